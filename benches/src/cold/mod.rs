//! Cold starts of the functions' artefacts against hello-world's: `benches cold-start`.
//!
//! - [`runtime_api`]: Lambda's side of a function: its process, and the Runtime API that it asks for events.
//! - [`events`]: the events of each function. [`place`]: the stores that it works on.
//! - [`request`]: a cold request of a command function, against raw clients.
//! - [`durations`]: the time of invocations with the [`share`] of a processor that a memory size gives.
//!
//! The measurement knows the functions by their binaries and events alone. It writes the orders that they need through the event
//! store.

mod durations;
mod events;
mod place;
mod request;
mod runtime_api;
mod share;

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};
use serde_json::Value;

use self::durations::Durations;
use self::events::{Function, Work};
use self::place::Place;
use self::runtime_api::Instance;
use crate::args::Common;
use crate::servers::given::{ServerArgs, Servers};
use crate::servers::report;
use crate::table::{Table, median};

/// The largest time of an HTTP function until it asks for its first event, as a multiple of hello-world's time.
const MOST_OF_HELLO: f64 = 1.5;
/// The memory, in MB, below which a function must be then.
const MOST_RESIDENT: f64 = 30.0;

#[derive(Args)]
pub(crate) struct ColdArgs {
    #[command(flatten)]
    pub(crate) common: Common,

    #[command(flatten)]
    servers: ServerArgs,

    /// The folder of the artefacts [default: where `deploy/checks/artefacts` puts them]
    #[arg(long, value_name = "FOLDER")]
    artefacts: Option<PathBuf>,

    /// Measure these alone
    #[arg(long, value_enum, value_name = "FUNCTION", value_delimiter = ',')]
    only: Vec<Function>,

    /// How often each function is started, in turn with hello-world; the medians count
    #[arg(long, value_name = "N", default_value_t = 11, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,

    /// Measure invocations as well, with the share of a processor that Lambda gives with this memory, in MiB. Takes a
    /// Linux whose control groups this user may change
    #[arg(long, value_name = "MIB", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(128..=10_240))]
    memory: Vec<u32>,

    /// Keep the tables in this file, with versions and machine. It has both, so that none is of another run
    #[arg(long, value_name = "FILE", requires = "memory")]
    write: Option<PathBuf>,
}

impl ColdArgs {
    /// Returns the folder of the artefacts. The default is that of `deploy/checks/artefacts`, in cargo's target folder, so that the last
    /// build is measured.
    fn artefacts(&self) -> PathBuf {
        let target =
            || env::var_os("CARGO_TARGET_DIR").filter(|folder| !folder.is_empty()).map(PathBuf::from);
        let default = || {
            let target = target().unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"));
            target.join("artefacts")
        };
        self.artefacts.clone().unwrap_or_else(default)
    }
}

/// One cold start.
struct Cold {
    /// Resident memory at the first call of the Runtime API, in MB.
    resident: f64,
    /// The time from handing over the first event until its answer, in milliseconds.
    first: f64,
    /// The same for the second event.
    second: f64,
}

/// The cold starts of one function, or of hello-world beside it.
#[derive(Default)]
struct Starts {
    invoked: Vec<Cold>,
    /// The times of instances that were only started, from exec to the first `next`, in milliseconds.
    to_next: Vec<f64>,
}

impl Starts {
    fn median(&self, figure: impl Fn(&Cold) -> f64) -> f64 {
        median(self.invoked.iter().map(figure).collect())
    }

    fn to_next(&self) -> f64 {
        median(self.to_next.clone())
    }
}

/// The number of instances that are only started, for each one that is invoked. A start takes two or three milliseconds and
/// varies by as much, so it is measured more often.
const STARTS_A_ROUND: u32 = 20;

pub(crate) async fn measure(args: &ColdArgs) -> anyhow::Result<Table> {
    let artefacts = args.artefacts();
    let hello = artefacts.join("hello-lambda");
    let servers = Servers::new(&args.servers)?;
    let environment = report::machine_and_servers(&servers).await?;
    let mut table = Table::new(format!(
        "Cold starts, {} of each; raw is hello-world (lambda_runtime alone)",
        args.rounds
    ));
    let mut durations = Durations::default();
    for function in Function::value_variants() {
        if !args.only.is_empty() && !args.only.contains(function) {
            continue;
        }
        eprintln!("{}", function.name());
        let binary = artefacts.join(function.name());
        if let Err(error) = one(*function, &binary, &hello, &servers, args.rounds, &mut table).await {
            table.failed(format!("{}: {error:#}", function.name()));
        }
        if args.memory.is_empty() {
            continue;
        }
        if let Err(error) = durations.measure(*function, &binary, &servers, &args.memory).await {
            table.failed(format!("{}, by memory: {error:#}", function.name()));
        }
    }
    println!("{durations}");
    if let Some(file) = &args.write {
        report::write_cold_starts(file, &table, &durations.to_string(), &environment)?;
    }
    Ok(table)
}

/// Starts the function and hello-world in turn.
async fn one(
    function: Function,
    binary: &Path,
    hello: &Path,
    servers: &Servers,
    rounds: u32,
    table: &mut Table,
) -> anyhow::Result<()> {
    for binary in [binary, hello] {
        ensure!(binary.is_file(), "{} is not there: deploy/checks/artefacts builds it", binary.display());
    }
    let place = Place::fresh(servers).await?;
    let measured = async {
        let work = Work::one(function);
        place.prepare(work, rounds * 3 + 1).await?;
        let (mut ours, mut raw) = (Starts::default(), Starts::default());
        for round in 0..rounds {
            let events = [work.event(round * 2)?, work.event(round * 2 + 1)?];
            let variables = place.variables();
            raw.invoked.push(start(hello, &[], &events, |_| Ok(())).await.context("hello-world")?);
            ours.invoked.push(start(binary, &variables, &events, |answer| function.check(answer)).await?);
            for _ in 0..STARTS_A_ROUND {
                raw.to_next.push(Instance::start(hello, &[], None).await?.until_ready().await?);
                ours.to_next.push(Instance::start(binary, &variables, None).await?.until_ready().await?);
            }
        }
        if matches!(function, Function::CreateOrder | Function::ProcessOrder) {
            request::measure(binary, &place, work, rounds * 2, rounds, table).await?;
        }
        anyhow::Ok((ours, raw))
    };
    let measured = measured.await;
    place.remove().await?;
    let (ours, raw) = measured?;
    let name = function.name();
    table.compared(format!("{name}: from exec to the first next"), ours.to_next(), raw.to_next(), "ms");
    let mut compared = |what: &str, figure: fn(&Cold) -> f64, unit| {
        table.compared(format!("{name}: {what}"), ours.median(figure), raw.median(figure), unit);
    };
    compared("resident before the first invocation", |cold| cold.resident, "MB");
    compared("first invocation", |cold| cold.first, "ms");
    compared("second invocation", |cold| cold.second, "ms");
    table.alone(
        format!("{name}: of the first, what the second has no more: connecting"),
        ours.median(|cold| cold.first - cold.second),
        "ms",
    );
    table.compared(format!("{name}: binary"), megabytes(binary)?, megabytes(hello)?, "MB");
    let slower = ours.to_next() / raw.to_next();
    if function.is_http() && slower > MOST_OF_HELLO {
        table.failed(format!(
            "{name} takes {slower:.2} times as long as hello-world; {MOST_OF_HELLO} is the most"
        ));
    }
    let resident = ours.median(|cold| cold.resident);
    if resident >= MOST_RESIDENT {
        table.failed(format!("{name} has {resident:.1} MB in memory; it must be less than {MOST_RESIDENT}"));
    }
    Ok(())
}

/// Measures one cold start: two invocations, one after the other.
async fn start(
    binary: &Path,
    variables: &[(&str, &str)],
    events: &[Value; 2],
    check: impl Fn(&Value) -> anyhow::Result<()>,
) -> anyhow::Result<Cold> {
    let mut instance = Instance::start(binary, variables, None).await?;
    instance.until_ready().await?;
    let resident = instance.resident()?;
    let (answer, first) = instance.invoke(&events[0]).await?;
    check(&answer).context("the first invocation")?;
    let (answer, second) = instance.invoke(&events[1]).await?;
    check(&answer).context("the second invocation")?;
    Ok(Cold { resident, first, second })
}

fn megabytes(file: &Path) -> anyhow::Result<f64> {
    Ok(file.metadata()?.len() as f64 / 1e6)
}
