//! `orders load` drives a running system over HTTP and measures it. It writes acknowledgements to a file, and can read their
//! orders back.
//!
//! - `args` is the command line. `plan` is what follows from it: which `call`s are made for each order, how many, and how.
//! - `client` is HTTP: one keep-alive connection a client.
//! - `schedule` says which order comes next and when; `stop` ends a load early.
//! - `worker` is one client: the calls for each order, and how they are repeated.
//! - `check` is the file of acknowledgements; `verify` reads their orders back from the system.
//! - `report` holds the measurements.
//!
//! It knows the system only by its public API: nothing here touches a store, a channel or a function.

#![deny(clippy::print_stdout, clippy::print_stderr)]

mod args;
mod call;
mod check;
mod client;
mod plan;
mod report;
mod schedule;
mod stop;
mod verify;
mod worker;

use std::convert::Infallible;
use std::io::{IsTerminal, Write, stderr, stdout};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use host::CannotStart;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use tokio::task::JoinSet;

pub use args::LoadArgs;
pub use call::Call;
pub use client::Target;
pub use report::{Latency, Report, Series};
pub use stop::Ending;
pub use verify::{Mismatch, VerifyReport};

use check::CheckFile;
use report::Tally;
use schedule::Schedule;
use stop::Stop;
use worker::{Load, Worker};

/// Runs `orders load` and prints the result: a table, or one JSON object with `--json`.
///
/// The exit code is 0 if every call was answered with success, or with `--verify` if all orders were found. Otherwise it is 1.
///
/// # Errors
/// When the arguments don't fit together or a file can't be read or written.
pub async fn run(args: LoadArgs) -> anyhow::Result<ExitCode> {
    if args.verify.is_some() {
        let verified = verify(&args).await?;
        print(args.json, &verified, &verified.to_string())?;
        return Ok(if verified.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let report = drive(&args).await?;
    print(args.json, &report, &report.to_string())?;
    let all = report.ended != Ending::ServerGone && report.errors.is_empty();
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Drives the system and measures it.
///
/// # Errors
/// When the arguments don't fit together or the check file can't be written.
pub async fn drive(args: &LoadArgs) -> anyhow::Result<Report> {
    let plan = args.plan().map_err(cannot_start)?;
    let check = args.check.as_deref().map(CheckFile::open).transpose().map_err(cannot_start)?;
    let clients = args.clients().map_err(cannot_start)?;
    let schedule =
        Schedule::start(plan.orders, plan.orders_per_second()).context("no thread to keep the time")?;
    let load = Arc::new(Load { plan, schedule, check, stop: Stop::new(), answered: AtomicU64::new(0) });

    let started = Instant::now();
    let mut workers = JoinSet::new();
    for (number, client) in (0..).zip(clients) {
        workers.spawn(Worker::new(number, client, Arc::clone(&load))?.run());
    }
    let tally = Tally::new(load.plan.kinds())?;
    let tally = tokio::select! {
        tally = all_of(workers, tally) => tally?,
        never = stop_on_signal(&load.stop) => match never {},
        never = show_progress(load.plan.total_calls(), || load.answered.load(Ordering::Relaxed)) => match never {},
    };
    let took = started.elapsed();
    if let Some(check) = &load.check {
        check.finish().context("the check file can't be written, so it may lack acknowledgements")?;
    }
    Ok(Report::new(&load.plan, load.stop.ended(), took, tally))
}

async fn all_of(mut workers: JoinSet<Tally>, mut whole: Tally) -> anyhow::Result<Tally> {
    while let Some(tally) = workers.join_next().await {
        whole.add(tally.context("a client panicked")?)?;
    }
    Ok(whole)
}

/// Reads the acknowledged orders of a check file back from the system, and compares them with the file.
///
/// # Errors
/// When there is no such file, or it can't be read.
pub async fn verify(args: &LoadArgs) -> anyhow::Result<VerifyReport> {
    let path = args.verify.as_deref().context("--verify FILE is missing")?;
    let expected = check::read(path).map_err(cannot_start)?;
    let clients = args.clients().map_err(cannot_start)?;
    let total = expected.len() as u64;
    let verification = Arc::new(verify::Verification::new(expected, args.within));
    let bar = show_progress(total, || verification.done());
    tokio::select! {
        verified = verify::run(Arc::clone(&verification), clients) => verified,
        never = bar => match never {},
    }
}

fn cannot_start(error: anyhow::Error) -> CannotStart {
    CannotStart(format!("{error:#}"))
}

fn print(json: bool, value: &impl Serialize, text: &str) -> anyhow::Result<()> {
    let json = json.then(|| serde_json::to_string(value)).transpose()?;
    writeln!(stdout().lock(), "{}", json.as_deref().unwrap_or(text)).context("nobody reads the result")
}

/// Ends the load at Ctrl-C or SIGTERM: running calls finish, the check file and the report are written. Never returns.
async fn stop_on_signal(stop: &Stop) -> Infallible {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let (Ok(mut interrupt), Ok(mut terminate)) =
            (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            stop.now(Ending::Interrupted);
        }
    }
    #[cfg(not(unix))]
    if tokio::signal::ctrl_c().await.is_ok() {
        stop.now(Ending::Interrupted);
    }
    std::future::pending().await
}

/// Shows the progress of the work, on a terminal only. It looks at a counter ten times a second, so watching costs the work
/// nothing. It never returns; the bar goes when this is dropped.
async fn show_progress(total: u64, done: impl Fn() -> u64) -> Infallible {
    if !stderr().is_terminal() {
        return std::future::pending().await;
    }
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} {per_sec} {eta} left") {
        bar.set_style(style);
    }
    let bar = ProgressGuard(bar);
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    loop {
        ticks.tick().await;
        bar.0.set_position(done());
    }
}

struct ProgressGuard(ProgressBar);

impl Drop for ProgressGuard {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
