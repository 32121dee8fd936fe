//! Compares two builds of `orders`: the cost of a change in processor time and in rates.
//!
//! Three contenders take turns: the build before, the same once more, and the build after. The two measurements of one build show
//! the spread of figures that should be equal. A change may cost no more than this spread and [`ALLOWANCE`].

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};

use crate::load::Orders;
use crate::server::{self, Server};
use crate::servers::bench::Bench;
use crate::servers::given::{ServerArgs, Servers};
use crate::servers::rounds::Pace;
use crate::servers::system::System;
use crate::table::{Table, median};

/// The share by which a figure may be worse beyond the spread.
const ALLOWANCE: f64 = 0.03;

const CLIENTS: u32 = 64;

/// Orders of the load that precedes each measurement.
const WARM_UP: u64 = 1_000;

/// Events of an order that is created, processed and fulfilled.
const EVENTS: u64 = 3;

/// The time limit for the view to follow a load.
const PATIENCE: Duration = Duration::from_secs(180);

#[derive(Args)]
pub(crate) struct CompareArgs {
    /// The `orders` binary as it was
    #[arg(long, value_name = "PATH")]
    before: PathBuf,

    /// The `orders` binary as it is
    #[arg(long, value_name = "PATH")]
    after: PathBuf,

    /// What both run on
    #[arg(
        long,
        value_enum,
        value_name = "STORES",
        value_delimiter = ',',
        default_value = "embedded,servers"
    )]
    on: Vec<Stores>,

    /// How many orders each measurement creates, processes and reads
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    orders: u64,

    /// How often each contender is measured, in turn with the others; the medians count
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,

    #[command(flatten)]
    servers: ServerArgs,

    /// Write the figures to this file as JSON too
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Stores {
    Embedded,
    Servers,
}

/// A build that takes turns with the others.
#[derive(Clone, Copy, Debug)]
enum Contender {
    Before,
    BeforeAgain,
    After,
}

const CONTENDERS: [Contender; 3] = [Contender::Before, Contender::BeforeAgain, Contender::After];

/// The measurements of a contender, one a round.
#[derive(Default)]
struct Figures {
    commands: Series,
    queries: Series,
}

#[derive(Default)]
struct Series {
    /// Calls a second.
    rates: Vec<f64>,
    /// Seconds of all processors, for all processes of the machine. They are counted for 10,000 calls and the work that follows
    /// from them.
    processor: Vec<f64>,
}

impl Series {
    fn note(&mut self, calls: u64, rate: f64, processor: f64) {
        self.rates.push(rate);
        self.processor.push(processor / calls as f64 * 10_000.0);
    }
}

/// The direction in which a figure is better.
#[derive(Clone, Copy)]
enum Better {
    More,
    Less,
}

pub(crate) async fn measure(args: &CompareArgs) -> anyhow::Result<Table> {
    let [before, after] = [&args.before, &args.after]
        .map(|path| path.canonicalize().with_context(|| path.display().to_string()));
    let comparison = Comparison { before: before?, after: after?, orders: args.orders, rounds: args.rounds };
    let mut table = Table::of("Two builds of orders", ["after", "before"]);
    table.alone("processors in use before the first round", in_use().await?, "");
    for stores in &args.on {
        let figures = match stores {
            Stores::Embedded => comparison.embedded().await?,
            Stores::Servers => comparison.on_servers(&args.servers).await?,
        };
        judge(*stores, figures, &mut table);
    }
    Ok(table)
}

struct Comparison {
    before: PathBuf,
    after: PathBuf,
    orders: u64,
    rounds: u32,
}

impl Comparison {
    fn binary(&self, contender: Contender) -> &Path {
        match contender {
            Contender::Before | Contender::BeforeAgain => &self.before,
            Contender::After => &self.after,
        }
    }

    /// Returns the contenders in turn. Each round begins with another one, so that none always runs after the same other one.
    fn turns(&self) -> impl Iterator<Item = Contender> {
        (0..self.rounds as usize).flat_map(|round| (0..3).map(move |turn| CONTENDERS[(round + turn) % 3]))
    }

    async fn embedded(&self) -> anyhow::Result<[Figures; 3]> {
        let mut figures = <[Figures; 3]>::default();
        for contender in self.turns() {
            let server = Server::orders(self.binary(contender), server::folder()?).await?;
            self.round(&server, &mut figures[contender as usize]).await?;
        }
        Ok(figures)
    }

    async fn on_servers(&self, args: &ServerArgs) -> anyhow::Result<[Figures; 3]> {
        let pace = Pace { time: Duration::ZERO, rounds: self.rounds };
        // The first bench starts the servers. It comes first, so that it is dropped last and stops them in the end.
        let before = Bench::new(Servers::new(args)?, pace, Some(self.before.clone()));
        let after = Bench::new(Servers::new(args)?, pace, Some(self.after.clone()));
        let mut figures = <[Figures; 3]>::default();
        for contender in self.turns() {
            let bench = if matches!(contender, Contender::After) { &after } else { &before };
            let system = System::start(bench, "compare").await?;
            self.round(&system.server, &mut figures[contender as usize]).await?;
            system.end(bench).await?;
        }
        Ok(figures)
    }

    /// Measures a round. The build before is always the client, whichever build serves.
    async fn round(&self, server: &Server, figures: &mut Figures) -> anyhow::Result<()> {
        let client = Orders { binary: self.before.clone() };
        let before = server.projected("applied").await?;
        client.load(&server.url, WARM_UP, CLIENTS, &["--prefix", "warm"]).await?;
        applied(server, before + WARM_UP * EVENTS).await?;
        server.rest().await?;

        let (busy, before) = (busy()?, server.projected("applied").await?);
        let load = client.load(&server.url, self.orders, CLIENTS, &["--prefix", "measured"]).await?;
        applied(server, before + self.orders * EVENTS).await?;
        figures.commands.note(self.orders * 2, load.per_second, self::busy()? - busy);
        server.rest().await?;

        let busy = self::busy()?;
        let words = ["--prefix", "measured", "--only", "get"];
        let load = client.load(&server.url, self.orders, CLIENTS, &words).await?;
        figures.queries.note(self.orders, load.per_second, self::busy()? - busy);
        Ok(())
    }
}

/// Waits until so many events are in the view.
async fn applied(server: &Server, events: u64) -> anyhow::Result<()> {
    let end = Instant::now() + PATIENCE;
    while server.projected("applied").await? < events {
        if Instant::now() > end {
            bail!("the view has not applied {events} events within {PATIENCE:?}");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

fn judge(stores: Stores, figures: [Figures; 3], table: &mut Table) {
    let [before, again, after] = figures;
    let name = format!("{stores:?}").to_lowercase();
    let kinds = [
        ("commands", before.commands, again.commands, after.commands),
        ("queries", before.queries, again.queries, after.queries),
    ];
    for (kind, before, again, after) in kinds {
        let rates = [before.rates, again.rates, after.rates].map(median);
        compare(format!("{name}: {kind} a second"), rates, Better::More, table);
        let processor = [before.processor, again.processor, after.processor].map(median);
        compare(format!("{name}: processor seconds for 10,000 {kind}"), processor, Better::Less, table);
    }
}

fn compare(what: String, [before, again, after]: [f64; 3], better: Better, table: &mut Table) {
    let spread = (before - again).abs() / before.min(again);
    let reference = f64::midpoint(before, again);
    table.compared(what.clone(), after, reference, "");
    table.alone(format!("  spread of {what}"), spread * 100.0, "%");
    if let Some(worse) = worse_by(reference, after, better).filter(|worse| *worse > spread + ALLOWANCE) {
        let percent = |share: f64| format!("{:.1} %", share * 100.0);
        let allowed = percent(spread + ALLOWANCE);
        table.failed(format!("{what}: worse by {}, and {allowed} are allowed", percent(worse)));
    }
}

/// Returns the share by which `after` is worse, if it is.
fn worse_by(before: f64, after: f64, better: Better) -> Option<f64> {
    let worse = match better {
        Better::Less => after / before - 1.0,
        Better::More => 1.0 - after / before,
    };
    (worse > 0.0).then_some(worse)
}

/// Returns the seconds that the processors have worked since the machine was started, for any process or the kernel.
fn busy() -> anyhow::Result<f64> {
    let stat = fs::read_to_string("/proc/stat")?;
    let total = stat
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("cpu "))
        .context("/proc/stat is not as expected")?;
    let ticks: Vec<f64> = total.split_whitespace().map_while(|field| field.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq, in hundredths of a second.
    match ticks[..] {
        [user, nice, system, _, _, irq, softirq, ..] => Ok((user + nice + system + irq + softirq) / 100.0),
        _ => bail!("/proc/stat is not as expected"),
    }
}

/// Returns how many processors others use: all figures are too high by that.
async fn in_use() -> anyhow::Result<f64> {
    const WATCHED: Duration = Duration::from_secs(2);
    let before = busy()?;
    tokio::time::sleep(WATCHED).await;
    Ok((busy()? - before) / WATCHED.as_secs_f64())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn is_refused(figures: [f64; 3], better: Better) -> bool {
        let mut table = Table::of("", ["after", "before"]);
        compare(String::new(), figures, better, &mut table);
        !table.is_whole()
    }

    #[test]
    fn a_change_may_cost_the_spread_and_three_percent_and_no_more() {
        assert!(!is_refused([1.0, 1.0, 1.02], Better::Less));
        assert!(is_refused([1.0, 1.0, 1.04], Better::Less));
        assert!(!is_refused([0.98, 1.02, 1.06], Better::Less));
        assert!(is_refused([0.98, 1.02, 1.09], Better::Less));
        assert!(!is_refused([1.0, 1.0, 0.5], Better::Less));
        assert!(is_refused([100.0, 100.0, 96.0], Better::More));
        assert!(!is_refused([100.0, 100.0, 98.0], Better::More));
        assert!(!is_refused([100.0, 100.0, 200.0], Better::More));
    }

    #[test]
    fn each_contender_has_each_turn_of_a_round_equally_often() {
        let comparison = Comparison { before: PathBuf::new(), after: PathBuf::new(), orders: 1, rounds: 6 };
        let turns: Vec<usize> = comparison.turns().map(|contender| contender as usize).collect();
        for turn in 0..3 {
            for contender in 0..3 {
                let times = turns.chunks(3).filter(|round| round[turn] == contender).count();
                assert_eq!(times, 2, "contender {contender} in turn {turn}");
            }
        }
    }

    #[test]
    fn the_processors_have_worked_for_some_time() {
        assert!(busy().unwrap() > 0.0);
    }
}
