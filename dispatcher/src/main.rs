//! The binary `orders`.

use std::process::ExitCode;

use clap::Parser;
use dispatcher::cli::Cli;

/// A quarter of the time of a command went into the system's allocator, with its locks between threads; SQLite's memory comes from
/// this one too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse_from(dispatcher::cli::with_default_command(std::env::args_os()));
    dispatcher::main(cli)
}
