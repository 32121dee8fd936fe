//! The cost of long streams: of a command on one, and of its readers for others.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use command_handler::{AnswerPolicy, CommandHandler, CommandRequest, KeyOrigin, command_hash};
use domain::{
    APPLICATION, Aggregate, Command, CommandId, EncodedEvent, Event, Order, OrderId, OrderName, Reason,
    Version,
};
use event_channel::EventChannel;
use event_store::{CommandHash, Commit, CommitId, EventStore, Load, Metadata, Namespace};
use jiff::Timestamp;
use runtime::SecretUrl;
use tokio::task::JoinSet;

use crate::table::{Table, median};

/// The lengths of the streams, in events. The first is the one that others are compared with.
const LENGTHS: [u64; 3] = [10, 1_000, 100_000];

/// The number of events on a page that a reader reads.
const PAGE: u64 = 10;

const READERS: usize = 64;

/// The number of callers that load other orders meanwhile.
const OTHERS: usize = 8;

/// The number of commits that are written at a time.
const FILL: u64 = 500;

#[derive(Args)]
pub(crate) struct StreamsArgs {
    /// Event stores that have nothing yet. Default: a file
    #[arg(long, value_name = "URL")]
    store: Vec<SecretUrl>,

    /// The number of commands on each stream
    #[arg(long, value_name = "N", default_value_t = 101)]
    commands: u32,

    /// The number of rounds beside the readers of each kind; the medians count
    #[arg(long, value_name = "N", default_value_t = 5)]
    rounds: u32,

    /// The time of such a round
    #[arg(long, value_name = "S", default_value_t = 4)]
    seconds: u64,

    /// Write the figures to this file as JSON too
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

pub(crate) async fn measure(args: &StreamsArgs) -> anyhow::Result<Table> {
    let folder = tempfile::tempdir()?;
    let mut stores = args.store.clone();
    if stores.is_empty() {
        stores.push(format!("sqlite:{}", folder.path().join("events.db").display()).into());
    }
    let mut table = Table::of("Long streams", ["this", "10 events"]);
    for url in stores {
        let store = EventStore::open(url.clone(), &Namespace::of::<Order>(APPLICATION)?).await?;
        commands(&mut table, url.scheme(), &store, args.commands).await?;
        readers(&mut table, url.scheme(), &store, args).await?;
    }
    Ok(table)
}

async fn commands(table: &mut Table, name: &str, store: &EventStore, commands: u32) -> anyhow::Result<()> {
    for length in LENGTHS {
        fill(store, &of_length(length)?, length).await?;
    }
    let longest = of_length(LENGTHS[2])?;
    let began = Instant::now();
    store.load_stream::<Order>(longest.clone(), None).await?.fold()?;
    table.alone(format!("{name}: fold {} events without a snapshot", LENGTHS[2]), milliseconds(began), "ms");
    for length in LENGTHS {
        store.add_snapshots::<Order>(of_length(length)?).await?;
    }
    let warm = handler(store)?;
    let (mut cold_times, mut warm_times) = ([const { Vec::new() }; 3], [const { Vec::new() }; 3]);
    for number in 0..commands {
        for (at, length) in LENGTHS.into_iter().enumerate() {
            let order = of_length(length)?;
            cold_times[at].push(command(store, &handler(store)?, &order, &format!("cold-{number}")).await?);
            // It has lost its state to the process above.
            command(store, &warm, &order, &format!("load-{number}")).await?;
            warm_times[at].push(command(store, &warm, &order, &format!("warm-{number}")).await?);
        }
    }
    for (kind, times) in [("cold", cold_times), ("warm", warm_times)] {
        let [shortest, others @ ..] = times.map(median);
        table.alone(format!("{name}: {kind} command at {} events, median", LENGTHS[0]), shortest, "ms");
        for (length, time) in LENGTHS[1..].iter().zip(others) {
            table.compared(
                format!("{name}: {kind} command at {length} events, median"),
                time,
                shortest,
                "ms",
            );
        }
    }
    Ok(())
}

/// Measures loads of other orders beside readers of the longest stream, in turn with readers of short ones.
async fn readers(
    table: &mut Table,
    name: &str,
    store: &EventStore,
    args: &StreamsArgs,
) -> anyhow::Result<()> {
    for number in 0..READERS + OTHERS {
        fill(store, &short(number)?, LENGTHS[0]).await?;
    }
    let (mut long_times, mut short_times) = (Vec::new(), Vec::new());
    for _ in 0..args.rounds {
        short_times.push(beside(store, args.seconds, LENGTHS[0]).await?);
        long_times.push(beside(store, args.seconds, LENGTHS[2]).await?);
    }
    let what = format!("{name}: load of others beside {READERS} readers of {} events, p99", LENGTHS[2]);
    table.compared(what, median(long_times), median(short_times), "ms");
    Ok(())
}

/// Returns the 99th percentile of loads of short streams beside readers of streams of this length.
async fn beside(store: &EventStore, seconds: u64, length: u64) -> anyhow::Result<f64> {
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut tasks = JoinSet::new();
    for number in 0..READERS {
        let (store, stream) =
            (store.clone(), if length > PAGE { of_length(length)? } else { short(number)? });
        tasks.spawn(async move {
            while Instant::now() < end {
                let after = Version::new(rand::random_range(0..=length - PAGE));
                let page = Load { limit: Some(PAGE), ..Load::after(stream.clone(), after) };
                anyhow::ensure!(store.load(page).await?.commits.len() as u64 == PAGE, "a page is not full");
            }
            Ok(Vec::new())
        });
    }
    for number in READERS..READERS + OTHERS {
        let (store, stream) = (store.clone(), short(number)?);
        tasks.spawn(async move {
            let mut times = Vec::new();
            while Instant::now() < end {
                let began = Instant::now();
                store.load_stream::<Order>(stream.clone(), None).await?;
                times.push(milliseconds(began));
            }
            Ok(times)
        });
    }
    let mut times = Vec::new();
    while let Some(done) = tasks.join_next().await {
        times.extend(done??);
    }
    times.sort_unstable_by(f64::total_cmp);
    Ok(times.get(times.len() * 99 / 100).copied().unwrap_or(f64::NAN))
}

fn of_length(length: u64) -> anyhow::Result<OrderId> {
    Ok(OrderId::parse(&format!("of-{length}"))?)
}

fn short(number: usize) -> anyhow::Result<OrderId> {
    Ok(OrderId::parse(&format!("short-{number}"))?)
}

fn handler(store: &EventStore) -> anyhow::Result<CommandHandler<Order>> {
    let states = NonZeroUsize::new(100).unwrap_or(NonZeroUsize::MIN);
    let channel = EventChannel::open("memory:")?;
    Ok(CommandHandler::new(store.clone(), channel, states, AnswerPolicy::LeaveToRelay))
}

/// Handles a command, which always has events, and returns its time. Its commit is then marked.
async fn command(
    store: &EventStore,
    handler: &CommandHandler<Order>,
    order: &OrderId,
    id: &str,
) -> anyhow::Result<f64> {
    // After an even number of events, the order is in processing.
    let version = store.state_at::<Order>(order.clone(), Version::new(Version::MAX)).await?.version;
    let command = if version.get() % 2 == 0 { fail()? } else { Command::Process };
    let request = CommandRequest {
        stream: order.clone(),
        command,
        command_id: CommandId::system(id)?,
        key: KeyOrigin::Fresh,
        hash: command_hash("BENCH", order, id.as_bytes()),
        if_match: None,
        metadata: Metadata::default(),
        published: Version::NONE,
    };
    let began = Instant::now();
    let outcome = handler.handle(request).await?;
    let time = milliseconds(began);
    store.mark_published(vec![CommitId { stream: order.clone(), version: outcome.snapshot.version }]).await?;
    Ok(time)
}

fn fail() -> anyhow::Result<Command> {
    Ok(Command::Fail { reason: Reason::parse("out of stock")? })
}

/// Writes an order that is created, and then started and refused in turn.
async fn fill(store: &EventStore, order: &OrderId, events: u64) -> anyhow::Result<()> {
    let recorded_at = Timestamp::from_microsecond(Timestamp::now().as_microsecond())?;
    let commit = |version: u64| -> anyhow::Result<Arc<Commit>> {
        let event = match version {
            1 => Event::OrderCreated { name: OrderName::parse("a lamp")? },
            even if even % 2 == 0 => Event::ProcessingStarted,
            _ => Event::ProcessingFailed { reason: Reason::parse("out of stock")? },
        };
        Ok(Arc::new(Commit {
            stream: order.clone(),
            version: Version::new(version),
            command_id: CommandId::system(&format!("fill-{version}"))?,
            command_hash: CommandHash([0; 32]),
            events: vec![EncodedEvent::encode(&event)],
            awaits_outcome: Order::awaits_outcome(&event),
            recorded_at,
            metadata: Metadata::default(),
            unpublished: false,
        }))
    };
    for first in (1..=events).step_by(FILL as usize) {
        let commits = (first..=events.min(first + FILL - 1)).map(commit).collect::<Result<_, _>>()?;
        store.append_all(commits).await?;
    }
    Ok(())
}

fn milliseconds(began: Instant) -> f64 {
    began.elapsed().as_secs_f64() * 1_000.0
}
