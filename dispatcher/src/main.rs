//! The binary `orders`.

use std::process::ExitCode;

use clap::Parser;
use dispatcher::cli::Cli;

fn main() -> ExitCode {
    let cli = Cli::parse_from(dispatcher::cli::with_default_command(std::env::args_os()));
    dispatcher::main(cli)
}
