//! Cold starts of the functions' artefacts against hello-world's: `benches cold-start`.
//!
//! - [`runtime_api`]: what Lambda is to a function: its process, and the Runtime API that it asks for events.
//! - [`events`]: what each function is invoked with.
//!
//! Knows the functions by their binaries and events alone; orders that they need are written through the event store.

mod events;
mod runtime_api;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::{Args, ValueEnum};
use serde_json::Value;
use tokio::process::Command;

use self::events::Function;
use self::runtime_api::Instance;
use crate::Common;
use crate::servers::commits::{self, Outbox};
use crate::servers::given::{ServerArgs, Servers};
use crate::servers::mongo::Database;
use crate::servers::postgres::Schema;
use crate::servers::publish::Topic;
use crate::table::{Table, median};

#[derive(Args)]
pub(crate) struct ColdArgs {
    #[command(flatten)]
    pub(crate) common: Common,

    #[command(flatten)]
    servers: ServerArgs,

    /// The folder of the artefacts, as `deploy/artefacts` leaves it
    #[arg(long, value_name = "FOLDER", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/artefacts"))]
    artefacts: PathBuf,

    /// The hello-world. Default: built by cargo, in the profile of this program
    #[arg(long, value_name = "PATH")]
    hello_bin: Option<PathBuf>,

    /// Measure these alone
    #[arg(long, value_enum, value_name = "FUNCTION", value_delimiter = ',')]
    only: Vec<Function>,

    /// How often each function is started, in turn with hello-world; the medians count
    #[arg(long, value_name = "N", default_value_t = 11, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
}

/// One cold start.
struct Cold {
    /// From exec to the first call of the Runtime API, in milliseconds.
    to_next: f64,
    /// Resident memory at that moment, in MB.
    resident: f64,
    /// From handing over the first event until its answer, in milliseconds.
    first: f64,
    /// The same of the second.
    second: f64,
}

/// The cold starts of one function, or of hello-world beside it.
#[derive(Default)]
struct Starts(Vec<Cold>);

impl Starts {
    fn median(&self, figure: impl Fn(&Cold) -> f64) -> f64 {
        median(self.0.iter().map(figure).collect())
    }
}

/// Databases and a topic of their own.
struct Place {
    events: Database,
    view: Schema,
    topic: Topic,
}

impl Place {
    async fn fresh(servers: &Servers) -> anyhow::Result<Self> {
        let events = Database::fresh(servers).await?;
        Ok(Self { events, view: Schema::fresh(servers).await?, topic: Topic::fresh(servers).await? })
    }

    fn variables(&self) -> [(&'static str, &str); 4] {
        [
            ("ORDERS_EVENT_STORE", &self.events.url),
            ("ORDERS_READ_STORE", &self.view.url),
            ("ORDERS_CHANNEL", &self.topic.url),
            // What a test of the log would show; Lambda reads it from a pipe, here nobody does.
            ("ORDERS_LOG", "info"),
        ]
    }

    /// Orders that were created and no more, two for each start.
    async fn prepare(&self, function: Function, rounds: u32) -> anyhow::Result<()> {
        let store = self.events.store().await?;
        for number in (0..rounds).flat_map(|round| function.orders(round)) {
            store.append(commits::created(number, Outbox::Published)?.into()).await?;
            if function.needs_started() {
                store.append(commits::started(number, Outbox::Published)?.into()).await?;
            }
        }
        Ok(())
    }

    async fn remove(self) -> anyhow::Result<()> {
        self.events.remove().await?;
        self.view.remove().await?;
        self.topic.remove().await
    }
}

pub(crate) async fn measure(args: &ColdArgs) -> anyhow::Result<Table> {
    let hello = hello_binary(args.hello_bin.as_deref()).await?;
    let servers = Servers::new(&args.servers)?;
    let mut table = Table::new(format!(
        "Cold starts, {} of each; raw is hello-world (lambda_runtime alone)",
        args.rounds
    ));
    for function in Function::value_variants() {
        if !args.only.is_empty() && !args.only.contains(function) {
            continue;
        }
        eprintln!("{}", function.name());
        let binary = args.artefacts.join(function.name());
        if let Err(error) = one(*function, &binary, &hello, &servers, args.rounds, &mut table).await {
            table.failed(format!("{}: {error:#}", function.name()));
        }
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
    ensure!(binary.is_file(), "{} is not there: deploy/artefacts builds it", binary.display());
    let place = Place::fresh(servers).await?;
    let measured = async {
        place.prepare(function, rounds).await?;
        let (mut ours, mut raw) = (Starts::default(), Starts::default());
        for round in 0..rounds {
            let events = function.events(round)?;
            raw.0.push(start(hello, &[], &events, |_| Ok(())).await.context("hello-world")?);
            ours.0.push(start(binary, &place.variables(), &events, |answer| function.check(answer)).await?);
        }
        anyhow::Ok((ours, raw))
    };
    let measured = measured.await;
    place.remove().await?;
    let (ours, raw) = measured?;
    let name = function.name();
    let mut compared = |what: &str, figure: fn(&Cold) -> f64, unit| {
        table.compared(format!("{name}: {what}"), ours.median(figure), raw.median(figure), unit);
    };
    compared("from exec to the first next", |cold| cold.to_next, "ms");
    compared("resident before the first invocation", |cold| cold.resident, "MB");
    compared("first invocation", |cold| cold.first, "ms");
    compared("second invocation", |cold| cold.second, "ms");
    table.alone(
        format!("{name}: of the first, what the second has no more: connecting"),
        ours.median(|cold| cold.first - cold.second),
        "ms",
    );
    table.compared(format!("{name}: binary"), megabytes(binary)?, megabytes(hello)?, "MB");
    Ok(())
}

/// One cold start: two invocations, one after the other.
async fn start(
    binary: &Path,
    variables: &[(&str, &str)],
    events: &[Value; 2],
    check: impl Fn(&Value) -> anyhow::Result<()>,
) -> anyhow::Result<Cold> {
    let mut instance = Instance::start(binary, variables).await?;
    let to_next = instance.until_ready().await?;
    let resident = instance.resident()?;
    let (answer, first) = instance.invoke(&events[0]).await?;
    check(&answer).context("the first invocation")?;
    let (answer, second) = instance.invoke(&events[1]).await?;
    check(&answer).context("the second invocation")?;
    Ok(Cold { to_next, resident, first, second })
}

fn megabytes(file: &Path) -> anyhow::Result<f64> {
    Ok(file.metadata()?.len() as f64 / 1e6)
}

/// The hello-world: the one given, else cargo builds it in this program's profile.
async fn hello_binary(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(given) = given {
        return given.canonicalize().with_context(|| format!("--hello-bin {}", given.display()));
    }
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--package", "benches", "--bin", "hello-lambda"]);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    if !cargo.current_dir(env!("CARGO_MANIFEST_DIR")).kill_on_drop(true).status().await?.success() {
        bail!("cargo does not build hello-lambda");
    }
    let binary = std::env::current_exe()?.with_file_name("hello-lambda");
    ensure!(binary.is_file(), "{} is not there; name it with --hello-bin", binary.display());
    Ok(binary)
}
