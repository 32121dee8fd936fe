//! The command `republish`: publishes again what the event store has, for when the channel has lost it.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{ArgMatches, Args};
use command_handler::publisher::PublishStage;
use event_sourcing::{StreamId, Version};
use event_store::{Commit, Load, StoreError};
use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use serde::Serialize;

use crate::CannotStart;
use crate::aggregates::{AnyHandler, OpenAggregate};
use crate::functions::{Functions, settings_of};
use crate::output::{Label, Named, plural};
use crate::receivers::Receivers;
use crate::registry::{AggregateChoice, Registry};

/// Commits that are read at a time, and streams that are published side by side.
const PAGE: usize = 1_000;
const SIDE_BY_SIDE: usize = 32;

/// How often a stream is tried that the channel does not take, and how long between.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(200);

/// Publish events again that the channel has lost. Without an option, it publishes all events
#[derive(Args, Clone, Debug)]
pub struct RepublishArgs {
    /// Only the events of this {kind}
    #[arg(long = "{kind}", value_name = "ID", value_parser = StreamId::parse)]
    stream: Option<StreamId>,
    /// Only events that were recorded since this time, such as 2026-11-29T14:00:00Z, and the later events of their {kind}s
    #[arg(long, value_name = "TIME", conflicts_with = "stream")]
    since: Option<Timestamp>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    choice: AggregateChoice,
}

/// What was published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Republished {
    streams: usize,
    events: usize,
    /// Streams that the channel did not take, or that can't be read.
    failed: usize,
}

/// Publishes. Each stream's events go out in order, and receivers pass over what they know. Exit 1 when a stream could not be published.
///
/// # Errors
/// When a store can't be opened or is not available, and when there is no such stream.
pub async fn run(registry: &Registry, functions: &Functions, flags: &ArgMatches) -> anyhow::Result<ExitCode> {
    let args: RepublishArgs = settings_of(flags)?;
    let receivers = Receivers::open(registry, functions, flags).await?;
    let kind = |aggregate: &OpenAggregate| aggregate.handler.kind();
    let aggregates = &receivers.stores.aggregates;
    let chosen = match args.stream {
        Some(_) => vec![args.choice.one(aggregates, kind)?],
        None => args.choice.all(aggregates, kind),
    };
    let mut code = ExitCode::SUCCESS;
    for aggregate in &chosen {
        let republisher = Republisher { aggregate: &*aggregate.handler };
        let republished = match &args.stream {
            Some(stream) => republisher.one(stream).await?,
            None => republisher.all(args.since.unwrap_or(Timestamp::MIN)).await?,
        };
        aggregate.handler.publisher().idle().await;
        let kind = kind(aggregate);
        republished.print(kind, Label::of_aggregate(kind, chosen.len()), args.json)?;
        if republished.failed > 0 {
            code = ExitCode::FAILURE;
        }
    }
    receivers.end().await;
    Ok(code)
}

impl Republished {
    fn print(self, kind: &str, label: Label, json: bool) -> anyhow::Result<()> {
        let Self { streams, events, failed } = self;
        let many = plural(kind);
        if json {
            let shown = RepublishedBody { streams: Named::new(many, streams), events, failed };
            line!("{}", label.json(&shown)?)?;
        } else {
            line!("published {events} events of {streams} {many} again; {failed} {many} failed")?;
        }
        Ok(())
    }
}

/// The same as it is shown.
#[derive(Serialize)]
struct RepublishedBody {
    #[serde(flatten)]
    streams: Named<usize>,
    events: usize,
    failed: usize,
}

struct Republisher<'a> {
    aggregate: &'a dyn AnyHandler,
}

impl Republisher<'_> {
    async fn one(&self, id: &StreamId) -> anyhow::Result<Republished> {
        let commits = self.load(id, Version::NONE).await?;
        if commits.is_empty() {
            return Err(CannotStart(format!("there is no {} {id}", self.aggregate.kind())).into());
        }
        Ok(self.publish(commits).await)
    }

    /// Walks over the whole store, page by page, since nothing in it is by time.
    async fn all(&self, since: Timestamp) -> anyhow::Result<Republished> {
        let (mut position, mut total) = (None, Republished::default());
        let mut done: Option<StreamId> = None;
        loop {
            let page = self.aggregate.scan(position, PAGE).await?;
            for unreadable in page.unreadable {
                complain!("{unreadable}");
                total.failed += 1;
            }
            let last = page.commits.last().map(|(stream, ..)| stream.clone());
            let mut first: BTreeMap<StreamId, Version> = BTreeMap::new();
            for (stream, version, recorded_at) in page.commits {
                // A stream that goes on over the end of a page was published whole.
                if recorded_at >= since && done.as_ref() != Some(&stream) {
                    first.entry(stream).or_insert(version);
                }
            }
            done = last.filter(|last| first.contains_key(last) || done.as_ref() == Some(last));
            let publishing = first.into_iter().map(|(id, version)| self.publish_from(id, version));
            let mut publishing = stream::iter(publishing).buffer_unordered(SIDE_BY_SIDE);
            while let Some(republished) = publishing.next().await {
                total.streams += republished.streams;
                total.events += republished.events;
                total.failed += republished.failed;
            }
            position = page.next;
            if position.is_none() {
                return Ok(total);
            }
        }
    }

    async fn publish_from(&self, id: StreamId, version: Version) -> Republished {
        let after = Version::new(version.get().saturating_sub(1));
        match self.load(&id, after).await {
            Ok(commits) => self.publish(commits).await,
            Err(error) => {
                complain!("{id} was not published: {error}");
                Republished { failed: 1, ..Republished::default() }
            }
        }
    }

    async fn load(&self, id: &StreamId, after: Version) -> Result<Vec<Arc<Commit>>, StoreError> {
        let load = Load::after(id.clone(), after);
        Ok(self.aggregate.store().load(load).await?.commits.into_iter().map(Arc::new).collect())
    }

    /// A channel in memory has little room, so a stream may have to be tried again.
    async fn publish(&self, commits: Vec<Arc<Commit>>) -> Republished {
        let Some(id) = commits.first().map(|commit| commit.stream.clone()) else {
            return Republished::default();
        };
        for _ in 0..TRIES {
            if self.aggregate.publisher().submit_and_tell(&id, commits.clone(), PublishStage::Accepted).await
            {
                let events = commits.iter().map(|commit| commit.events.len()).sum();
                return Republished { streams: 1, events, failed: 0 };
            }
            self.aggregate.publisher().channel().available().await;
            tokio::time::sleep(PAUSE).await;
        }
        complain!("{id} was not published: the channel does not take it");
        Republished { failed: 1, ..Republished::default() }
    }
}
