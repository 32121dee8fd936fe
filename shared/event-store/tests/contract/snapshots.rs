//! Snapshots of long streams. Nothing depends on them, and none counts that is not right.

use std::sync::Arc;

use event_sourcing::testing::{Command, Event, Rejection, Task};
use event_sourcing::{Aggregate, Version};
use event_store::{EventStore, LoadedStream, SNAPSHOT_EVERY, StoreError, fold};
use serde::{Deserialize, Serialize};

use crate::build::{command, commit, id, load, place, versions};
use crate::stores::Stores;

/// So many events that a stream has several snapshots.
const EVENTS: u64 = SNAPSHOT_EVERY * 4 + 5;

/// A task whose state was changed since.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct LaterTask(Task);

impl Aggregate for LaterTask {
    const KIND: &'static str = Task::KIND;
    const SOURCE: &'static str = Task::SOURCE;
    const REVISION: u32 = Task::REVISION + 1;

    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;

    fn decide(&self, command: Command) -> Result<Vec<Event>, Rejection> {
        self.0.decide(command)
    }

    fn evolve(self, event: &Event) -> Self {
        Self(self.0.evolve(event))
    }
}

/// Appends a stream whose commits are published up to this version, and adds its snapshots.
async fn long_stream(store: &EventStore, stream: &str, events: u64, published: u64) {
    // The last commit of some snapshots has two events.
    let commits =
        (1..=events).step_by(2).map(|version| Arc::new(commit(stream, version, 2.min(events - version + 1))));
    store.append_all(commits.collect()).await.unwrap();
    let marks = (1..=published).step_by(2).map(|version| place(stream, version));
    store.mark_published(marks.collect()).await.unwrap();
    store.add_snapshots::<Task>(id(stream)).await.unwrap();
}

async fn read(store: &EventStore, stream: &str) -> LoadedStream<Task> {
    store.load_stream(id(stream), None).await.unwrap()
}

/// Makes the whole fold of a stream impossible: nobody knows its third event.
async fn spoil_the_beginning(stores: &impl Stores, stream: &str) {
    let unknown =
        r#"[{"type":"TaskEaten","schema":1,"data":{}},{"type":"TaskStarted","schema":1,"data":{}}]"#;
    stores.overwrite_events(&id(stream), Version::new(3), unknown).await;
}

pub(crate) async fn a_long_stream_is_folded_from_its_last_snapshot(stores: &impl Stores) {
    let store = stores.open().await;
    long_stream(&store, "a", EVENTS, EVENTS).await;
    let whole = fold::<Task>(id("a"), &load(&store, "a").await).unwrap();
    spoil_the_beginning(stores, "a").await;

    let asked = store.load_stream::<Task>(id("a"), Some(command("a-command-5")));
    let found = asked.await.unwrap();
    assert_eq!(found.fold().unwrap(), whole, "with its times");
    assert_eq!(found.base.version, Version::new(SNAPSHOT_EVERY * 4));
    let expected: Vec<u64> = (SNAPSHOT_EVERY * 4 - 1..=EVENTS).step_by(2).collect();
    assert_eq!(versions(&found.commits), expected, "from the commit on with which the snapshot ends");
    assert_eq!(found.answered.unwrap().version, Version::new(6), "a command before the snapshot is found");
}

pub(crate) async fn a_short_stream_has_no_snapshot(stores: &impl Stores) {
    let store = stores.open().await;
    long_stream(&store, "a", SNAPSHOT_EVERY - 1, SNAPSHOT_EVERY).await;
    let found = read(&store, "a").await;
    assert_eq!((found.base.version, found.commits), (Version::NONE, load(&store, "a").await));
    let nowhere = read(&store, "nowhere").await;
    assert_eq!((nowhere.fold().unwrap().version, nowhere.commits.len()), (Version::NONE, 0));
}

pub(crate) async fn snapshots_are_kept_and_the_nearest_one_below_a_version_is_read(stores: &impl Stores) {
    let store = stores.open().await;
    long_stream(&store, "a", EVENTS, EVENTS).await;
    let commits = load(&store, "a").await;
    spoil_the_beginning(stores, "a").await;
    for version in
        [SNAPSHOT_EVERY, SNAPSHOT_EVERY + 1, SNAPSHOT_EVERY * 2 - 1, SNAPSHOT_EVERY * 2, EVENTS, EVENTS + 9]
    {
        let version = Version::new(version);
        let then = event_store::fold_to::<Task>(id("a"), &commits, version).unwrap();
        match store.state_at::<Task>(id("a"), version).await {
            Ok(found) => assert_eq!(found, then),
            // No snapshot is at or below it but that of the version itself.
            Err(StoreError::Unreadable(_)) => assert_eq!(version.get(), SNAPSHOT_EVERY),
            Err(error) => panic!("{error}"),
        }
    }
    let before = store.state_at::<Task>(id("a"), Version::new(10)).await;
    assert!(matches!(before, Err(StoreError::Unreadable(_))), "{before:?}");
}

pub(crate) async fn a_snapshot_that_is_damaged_does_not_count(stores: &impl Stores) {
    let store = stores.open().await;
    long_stream(&store, "a", EVENTS, EVENTS).await;
    let whole = fold::<Task>(id("a"), &load(&store, "a").await).unwrap();
    stores.damage_snapshots(&id("a")).await;
    let found = read(&store, "a").await;
    assert_eq!((found.base.version, found.fold().unwrap()), (Version::NONE, whole));
    // The next ones take its place.
    store.add_snapshots::<Task>(id("a")).await.unwrap();
    assert_eq!(read(&store, "a").await.base.version, Version::new(SNAPSHOT_EVERY * 4));
}

pub(crate) async fn a_snapshot_of_another_revision_does_not_count(stores: &impl Stores) {
    let store = stores.open().await;
    long_stream(&store, "a", EVENTS, EVENTS).await;
    let later = store.load_stream::<LaterTask>(id("a"), None).await.unwrap();
    assert_eq!((later.base.version, later.commits.len()), (Version::NONE, load(&store, "a").await.len()));
    store.add_snapshots::<LaterTask>(id("a")).await.unwrap();
    let later = store.load_stream::<LaterTask>(id("a"), None).await.unwrap();
    let found = read(&store, "a").await;
    assert_eq!(later.base.version, found.base.version, "both programs have their own");
    assert_eq!(later.fold().unwrap().state, LaterTask(found.fold().unwrap().state));
}

pub(crate) async fn a_snapshot_without_the_commit_that_it_ends_with_does_not_count(stores: &impl Stores) {
    let store = stores.open().await;
    long_stream(&store, "a", EVENTS, EVENTS).await;
    // Somebody has brought back an earlier state of the store.
    let end = SNAPSHOT_EVERY * 4 - 1;
    for version in (end..=EVENTS).step_by(2) {
        stores.lose(&id("a"), Version::new(version)).await;
    }
    let found = read(&store, "a").await;
    assert_eq!((found.base.version, found.fold().unwrap().version), (Version::NONE, Version::new(end - 1)));
}

pub(crate) async fn what_is_unpublished_is_in_no_snapshot(stores: &impl Stores) {
    let store = stores.open().await;
    let published = SNAPSHOT_EVERY * 2 + 6;
    long_stream(&store, "a", EVENTS, published).await;
    let found = read(&store, "a").await;
    assert_eq!(found.base.version, Version::new(SNAPSHOT_EVERY * 2));
    let oldest = found.commits.iter().find(|commit| commit.unpublished).unwrap();
    assert_eq!(oldest.version, Version::new(published + 1));
    long_stream(&store, "none", EVENTS, 10).await;
    assert_eq!(read(&store, "none").await.base.version, Version::NONE);
}
