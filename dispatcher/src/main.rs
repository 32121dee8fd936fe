//! The binary `orders`.

use std::process::ExitCode;

/// A quarter of the time of a command went into the system's allocator, with its locks between threads; SQLite's memory comes from
/// this one too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    dispatcher::orders().run()
}
