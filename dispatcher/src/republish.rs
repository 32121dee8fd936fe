//! `orders republish`: publishes again what the event store has, for when the channel has lost it.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use command_handler::Publisher;
use command_handler::publisher::Moment;
use domain::{Event, OrderId, Version};
use event_store::{Commit, EventStore, Load, StoreError};
use futures_util::{StreamExt, stream};
use host::{complain, line};
use jiff::Timestamp;

use crate::receivers::PublishingStores;
use host::CannotStart;

/// Commits that are read at a time, and orders that are published side by side.
const PAGE: usize = 1_000;
const SIDE_BY_SIDE: usize = 32;

/// How often an order is tried that the channel does not take, and how long between.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(200);

/// Publish again what the event store has.
#[derive(Args, Clone, Debug)]
pub struct RepublishArgs {
    #[command(flatten)]
    stores: PublishingStores,
    /// Only the events of this order
    #[arg(long, value_name = "ID", value_parser = OrderId::parse)]
    order: Option<OrderId>,
    /// Only events that were recorded since this time, such as 2026-11-29T14:00:00Z, and what follows them in their orders
    #[arg(long, value_name = "TIME", conflicts_with = "order")]
    since: Option<Timestamp>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What was published.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
struct Republished {
    orders: usize,
    events: usize,
    /// Orders that the channel did not take, or that can't be read.
    failed: usize,
}

/// Publishes. Each order's events go out in order, and receivers pass over what they know. Exit 1 when an order could not be published.
///
/// # Errors
/// When a store can't be opened or is not available, and when there is no such order.
pub async fn run(args: RepublishArgs) -> anyhow::Result<ExitCode> {
    let receivers = args.stores.open().await?;
    let republisher = Republisher {
        store: receivers.handler.store().clone(),
        publisher: receivers.handler.publisher().clone(),
    };
    let republished = match &args.order {
        Some(order) => republisher.one(order).await?,
        None => republisher.all(args.since.unwrap_or(Timestamp::MIN)).await?,
    };
    republisher.publisher.idle().await;
    receivers.end().await;
    if args.json {
        line!("{}", serde_json::to_string(&republished)?)?;
    } else {
        let Republished { orders, events, failed } = republished;
        line!("published {events} events of {orders} orders again; {failed} orders failed")?;
    }
    Ok(if republished.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

struct Republisher {
    store: EventStore,
    publisher: Publisher,
}

impl Republisher {
    async fn one(&self, order: &OrderId) -> anyhow::Result<Republished> {
        let commits = self.load(order, Version::NONE).await?;
        if commits.is_empty() {
            return Err(CannotStart(format!("there is no order {order}")).into());
        }
        Ok(self.publish(commits).await)
    }

    /// Walks over the whole store, page by page, since nothing in it is by time.
    async fn all(&self, since: Timestamp) -> anyhow::Result<Republished> {
        let (mut position, mut total) = (None, Republished::default());
        let mut done: Option<OrderId> = None;
        loop {
            let page = self.store.scan::<Event>(position, PAGE).await?;
            for unreadable in page.unreadable {
                complain!("{unreadable}");
                total.failed += 1;
            }
            let last = page.commits.last().map(|commit| commit.stream.clone());
            let mut first: BTreeMap<OrderId, Version> = BTreeMap::new();
            for commit in page.commits {
                // An order that goes on over the end of a page was published whole.
                if commit.recorded_at >= since && done.as_ref() != Some(&commit.stream) {
                    first.entry(commit.stream).or_insert(commit.version);
                }
            }
            done = last.filter(|last| first.contains_key(last) || done.as_ref() == Some(last));
            let publishing = first.into_iter().map(|(order, version)| self.publish_from(order, version));
            let mut publishing = stream::iter(publishing).buffer_unordered(SIDE_BY_SIDE);
            while let Some(republished) = publishing.next().await {
                total.orders += republished.orders;
                total.events += republished.events;
                total.failed += republished.failed;
            }
            position = page.next;
            if position.is_none() {
                return Ok(total);
            }
        }
    }

    async fn publish_from(&self, order: OrderId, version: Version) -> Republished {
        let after = Version::new(version.get().saturating_sub(1));
        match self.load(&order, after).await {
            Ok(commits) => self.publish(commits).await,
            Err(error) => {
                complain!("{order} was not published: {error}");
                Republished { failed: 1, ..Republished::default() }
            }
        }
    }

    async fn load(&self, order: &OrderId, after: Version) -> Result<Vec<Arc<Commit>>, StoreError> {
        let load = Load { stream: order.clone(), after, command: None };
        Ok(self.store.load(load).await?.commits.into_iter().map(Arc::new).collect())
    }

    /// A channel in memory has little room, so an order may have to be tried again.
    async fn publish(&self, commits: Vec<Arc<Commit>>) -> Republished {
        let Some(order) = commits.first().map(|commit| commit.stream.clone()) else {
            return Republished::default();
        };
        for _ in 0..TRIES {
            if self.publisher.submit_and_tell(&order, commits.clone(), Moment::Accepted).await {
                let events = commits.iter().map(|commit| commit.events.len()).sum();
                return Republished { orders: 1, events, failed: 0 };
            }
            self.publisher.channel().available().await;
            tokio::time::sleep(PAUSE).await;
        }
        complain!("{order} was not published: the channel does not take it");
        Republished { failed: 1, ..Republished::default() }
    }
}
