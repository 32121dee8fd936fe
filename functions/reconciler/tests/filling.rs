//! The reconciler fills in events that the view lacks, in real stores.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::{
    APPLICATION, Aggregate, CommandId, EncodedEvent, Event, Order, OrderId, OrderName, OrdersView, Reason,
    RecordedEvent, Version,
};
use event_store::{CommandHash, Commit, CommitId, EventStore, Metadata, Namespace};
use jiff::Timestamp;
use read_store::{Incoming, ReadStore, Walker};
use reconciler::{Reconciler, ReconcilerSettings, Round};
use tempfile::TempDir;

struct World {
    events: EventStore,
    view: ReadStore<OrdersView>,
    _folder: TempDir,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = |file: &str| format!("sqlite:{}", folder.path().join(file).display());
        let events =
            EventStore::open(&url("events.db"), &Namespace::of::<Order>(APPLICATION).unwrap()).await.unwrap();
        let view = ReadStore::open(&url("views.db")).await.unwrap();
        Self { events, view, _folder: folder }
    }

    /// Adds an order with two commits, created and cancelled. `published` says which of them are published.
    async fn order(&self, id: &str, published: [bool; 2]) {
        let events = [created(), Event::OrderCancelled { reason: Reason::parse("no more wanted").unwrap() }];
        for ((version, event), published) in (1..).zip(events).zip(published) {
            let commit = Commit {
                stream: order(id),
                version: Version::new(version),
                command_id: CommandId::system(&format!("{id}-{version}")).unwrap(),
                command_hash: CommandHash([0; 32]),
                events: vec![EncodedEvent::encode(&event)],
                awaits_outcome: Order::awaits_outcome(&event),
                recorded_at: Timestamp::UNIX_EPOCH,
                metadata: Metadata::default(),
                unpublished: true,
            };
            self.events.append(Arc::new(commit)).await.unwrap();
            if published {
                let id = CommitId { stream: order(id), version: Version::new(version) };
                self.events.mark_published(vec![id]).await.unwrap();
            }
        }
    }

    async fn round(&self) -> Round {
        let settings = ReconcilerSettings { reconcile_rate: 1_000, reconcile_share: 100 };
        let mut reconciler = Reconciler::new(self.events.clone(), self.view.clone(), settings);
        reconciler.walk_until(Instant::now() + Duration::from_secs(30)).await.unwrap()
    }

    async fn version(&self, id: &str) -> u64 {
        self.view.get(&order(id)).await.unwrap().map_or(0, |order| order.version.get())
    }

    /// Projects one event, as if it came from the channel.
    async fn receive(&self, id: &str, version: u64) {
        let event = if version == 1 {
            created()
        } else {
            Event::OrderCancelled { reason: Reason::parse("no more wanted").unwrap() }
        };
        let event = RecordedEvent {
            stream: order(id),
            version: Version::new(version),
            time: Timestamp::UNIX_EPOCH,
            event,
        };
        self.view.project(vec![Incoming::from_event_store(event, Timestamp::UNIX_EPOCH)]).await.unwrap();
    }
}

fn order(id: &str) -> OrderId {
    OrderId::parse(id).unwrap()
}

fn created() -> Event {
    Event::OrderCreated { name: OrderName::parse("a lamp").unwrap() }
}

#[tokio::test]
async fn what_was_published_and_is_missing_is_filled_in_and_held_events_go_on() {
    let world = World::new().await;
    for id in ["behind", "gap", "lost", "well"] {
        world.order(id, [true; 2]).await;
    }
    for (id, version) in [("behind", 1), ("gap", 2), ("well", 1), ("well", 2)] {
        world.receive(id, version).await;
    }
    let round = world.round().await;
    assert_eq!(round, Round { compared: 4, found: 3, filled: 5, ended: true });
    for id in ["behind", "gap", "lost", "well"] {
        assert_eq!(world.version(id).await, 2, "{id}");
    }
    assert!(world.view.held_summary().await.unwrap().is_empty());
    // A late event changes nothing.
    world.receive("lost", 1).await;
    assert_eq!((world.version("lost").await, world.round().await.found), (2, 0));
    let walk = world.view.walk().await.unwrap();
    assert_eq!((walk.found, walk.filled, walk.doubt), (3, 5, None));
}

#[tokio::test]
async fn what_nobody_has_published_yet_is_left_to_the_relay() {
    let world = World::new().await;
    world.order("half", [true, false]).await;
    world.order("new", [false; 2]).await;
    assert_eq!(world.round().await.found, 1);
    assert_eq!((world.version("half").await, world.version("new").await), (1, 0));
}

#[tokio::test]
async fn a_doubt_is_over_when_a_round_that_began_after_it_has_compared_everything() {
    let world = World::new().await;
    world.round().await;
    world.order("lost", [true; 2]).await;
    world.view.doubt("a test").await.unwrap();
    let (_, why) = world.view.walk().await.unwrap().doubt.unwrap();
    assert_eq!(why, "a test");
    assert_eq!(world.round().await.found, 1);
    assert_eq!(world.view.walk().await.unwrap().doubt, None);
}

#[tokio::test]
async fn one_walks_at_a_time_and_another_goes_on_when_it_leaves() {
    let world = World::new().await;
    let now = Timestamp::now();
    let walker = |name: &str, now: Timestamp| Walker {
        name: name.to_owned(),
        now,
        until: now + Duration::from_secs(60),
    };
    let take = async |name, now| world.view.take_walk(walker(name, now)).await.unwrap().is_some();
    assert!(take("one", now).await);
    assert!(!take("other", now).await);
    assert!(take("one", now).await, "whoever has it goes on");
    assert!(take("other", now + Duration::from_secs(61)).await, "its time is over");
    assert_eq!(world.round().await.compared, 0);
    world.view.leave_walk("other").await.unwrap();
    assert!(take("one", now).await);
}
