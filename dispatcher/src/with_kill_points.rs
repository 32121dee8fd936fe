//! The binary `orders` with kill points (see [`runtime::kill_points`]), for tests. `--kill-points` prints their names.

use std::process::ExitCode;

use runtime::KillPoint;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    if std::env::args_os().skip(1).eq(["--kill-points"]) {
        KillPoint::ALL.iter().for_each(|point| println!("{}", point.name()));
        return ExitCode::SUCCESS;
    }
    dispatcher::orders().run()
}
