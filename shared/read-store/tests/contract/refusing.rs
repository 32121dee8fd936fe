//! The scenarios of values that the database refuses.

use event_sourcing::Recorded;
use event_sourcing::testing::Event;
use rand::SeedableRng;
use rand::distr::{Alphanumeric, SampleString};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use read_store::{Filter, HeldReason, ProjectionCounts, RedriveCounts};

use super::shared::{added, open, tasks};
use super::{Incoming, ReadStore, Shared, id, raw, recorded, version_of};

/// No two rows may have the same title.
const ONE_TITLE: &str = "CREATE UNIQUE INDEX one_title ON tasks_1 (title)";

fn task(stream: &str, number: u64, event: Event) -> Recorded<Event> {
    Recorded { event, ..recorded(stream, number) }
}

fn opened(stream: &str, title: &str) -> Recorded<Event> {
    task(stream, 1, Event::TaskOpened { title: title.to_owned() })
}

fn renamed(stream: &str, number: u64, title: &str) -> Recorded<Event> {
    task(stream, number, Event::TaskRenamed { title: title.to_owned() })
}

fn record(event: &Recorded<Event>) -> Incoming {
    raw(&event.encode(), event.stream.as_str(), i64::try_from(event.version.get()).unwrap())
}

fn records(events: &[Recorded<Event>]) -> Vec<Incoming> {
    events.iter().map(record).collect()
}

/// A text that no compression makes much shorter.
fn long(bytes: usize) -> String {
    Alphanumeric.sample_string(&mut rand::rng(), bytes)
}

async fn reasons(store: &ReadStore, stream: &str) -> Vec<(u64, HeldReason)> {
    let held = store.held(Some(&id(stream)), None, 10_000).await.unwrap();
    let mut held: Vec<_> = held.iter().map(|held| (held.version.unwrap().get(), held.reason)).collect();
    held.sort_unstable();
    held
}

async fn title(store: &ReadStore, stream: &str) -> String {
    store.row(&id(stream)).await.unwrap().map_or_else(String::new, |row| row.title)
}

pub(crate) async fn a_refused_row_holds_its_stream_alone(shared: &Shared) {
    let store = shared.open().await;
    shared.execute(ONE_TITLE).await;
    let batch = [
        opened("a", "one"),
        opened("b", "one"),
        task("b", 2, Event::TaskStarted),
        opened("c", "three"),
        renamed("c", 2, "one"),
        task("c", 3, Event::TaskStarted),
        opened("d", "four"),
        task("d", 2, Event::TaskStarted),
    ];
    let taken = store.project(records(&batch)).await.unwrap();
    assert_eq!(taken, ProjectionCounts { applied: 4, ignored: 0, held: 4, released: 0 });
    let (refused, gap) = (HeldReason::Refused, HeldReason::Gap);
    assert_eq!(reasons(&store, "b").await, [(1, refused), (2, gap)]);
    assert_eq!(reasons(&store, "c").await, [(2, refused), (3, gap)]);
    assert_eq!((title(&store, "a").await, title(&store, "c").await), ("one".to_owned(), "three".to_owned()));
    assert_eq!(version_of(&store, "d").await, 2);
    let problem = &store.held(Some(&id("b")), None, 1).await.unwrap()[0].problem;
    assert!(
        problem.contains("the view refused it: ") && problem.to_lowercase().contains("unique"),
        "{problem}"
    );

    assert_eq!(store.project(records(&batch)).await.unwrap().ignored, 8, "a redelivery is held once");
    assert_eq!(store.redrive(None).await.unwrap(), RedriveCounts { applied: 0, removed: 0, held: 4 });
    assert_eq!(reasons(&store, "b").await, [(1, refused), (2, gap)]);

    // With the next event the row is one that the database takes.
    let taken = store.project(records(&[renamed("c", 4, "five")])).await.unwrap();
    assert_eq!(taken, ProjectionCounts { applied: 1, ignored: 0, held: 0, released: 2 });
    assert_eq!((title(&store, "c").await, version_of(&store, "c").await), ("five".to_owned(), 4));
    shared.execute("DROP INDEX one_title").await;
    assert_eq!(store.redrive(None).await.unwrap(), RedriveCounts { applied: 2, removed: 0, held: 0 });
    assert_eq!(version_of(&store, "b").await, 2);
}

pub(crate) async fn many_refused_rows_of_a_large_batch_hold_their_streams_alone(shared: &Shared) {
    let store = shared.open().await;
    shared.execute(ONE_TITLE).await;
    let mut batch = Vec::new();
    for number in 0..400 {
        let stream = format!("task-{number}");
        // Each twentieth has the title of the one before.
        let title = if number % 20 == 1 { number - 1 } else { number };
        batch.push(opened(&stream, &format!("title {title}")));
        batch.push(task(&stream, 2, Event::TaskStarted));
    }
    let taken = store.project(records(&batch)).await.unwrap();
    assert_eq!(taken, ProjectionCounts { applied: 760, ignored: 0, held: 40, released: 0 });
    let mut after_another = vec![opened("long", "a title")];
    after_another
        .extend((2..1_000).map(|number| renamed("long", number, &format!("title {}", 2 + number / 500))));
    let taken = store.project(records(&after_another)).await.unwrap();
    assert_eq!((taken.applied, taken.held), (1, 998), "others have titles 2 and 3");
    assert_eq!(reasons(&store, "long").await[0], (2, HeldReason::Refused));
}

pub(crate) async fn a_refused_row_of_shared_rows_changes_none_of_them(shared: &Shared) {
    let store = open(shared).await;
    // Two rows may not have the same subject.
    let number = if store.is_file() { 1 } else { 2 };
    shared.execute(&format!("CREATE UNIQUE INDEX one_subject ON labels_{number} (subject)")).await;
    let batch = || {
        vec![
            added("a", 1, &["home:1", "work"]),
            added("b", 1, &["work", "home:2"]),
            added("b", 2, &["work"]),
            added("c", 1, &["work"]),
        ]
    };
    let taken = store.project(batch()).await.unwrap();
    assert_eq!(taken, ProjectionCounts { applied: 2, ignored: 0, held: 2, released: 0 });
    assert_eq!((tasks(&store, "work").await, tasks(&store, "home:1").await), (2, 1));
    let held = store.held(None, None, 9).await.unwrap();
    let held: Vec<_> = held.iter().map(|held| (held.stream.clone(), held.reason)).collect();
    assert_eq!(held, [(Some(id("b")), HeldReason::Refused), (Some(id("b")), HeldReason::Gap)]);
    assert_eq!(store.project(batch()).await.unwrap().ignored, 4);
    shared.execute("DROP INDEX one_subject").await;
    assert_eq!(store.redrive(None).await.unwrap(), RedriveCounts { applied: 2, removed: 0, held: 0 });
    assert_eq!((tasks(&store, "work").await, tasks(&store, "home:2").await), (4, 1));
}

/// A server refuses texts with the character NUL, and texts that are too long for their index. A file takes them.
pub(crate) async fn values_that_a_server_refuses_stop_neither_batches_nor_builds(shared: &Shared) {
    let (store, tool) = (shared.open().await, shared.open().await);
    let long = long(10_000);
    let events = [
        opened("fine", "a title"),
        opened("late", "a title"),
        renamed("late", 2, "nul: \0"),
        task("late", 3, Event::TaskStarted),
        opened("long", &long),
        opened("nul", "\0"),
        renamed("fine", 2, "another title"),
    ];
    let taken = store.project(records(&events)).await.unwrap();
    let is_file = store.is_file();
    let expected = if is_file { (7, 0) } else { (3, 4) };
    assert_eq!((taken.applied, taken.held), expected);
    let all = async || {
        let held = store.held(None, None, 99).await.unwrap();
        let mut held: Vec<_> =
            held.into_iter().map(|held| (held.stream, held.version, held.reason)).collect();
        held.sort_unstable();
        (store.list(Filter::first(99)).await.unwrap().entries, held)
    };
    let before = all().await;
    for (stream, words) in [("late", "0x00"), ("long", "fits_its_index"), ("nul", "0x00")] {
        let held = store.held(Some(&id(stream)), None, 9).await.unwrap();
        let is_refusal =
            held.iter().any(|held| held.reason == HeldReason::Refused && held.problem.contains(words));
        assert_eq!(is_refusal, !is_file, "{stream}: {held:?}");
    }
    // The same events come to the new view in pages of any size.
    for size in [1, 3, 7] {
        let view = tool.begin_rebuild().await.unwrap();
        for page in events.chunks(size) {
            tool.backfill(view, page.to_vec()).await.unwrap();
        }
        tool.swap(view).await.unwrap();
        assert_eq!(all().await, before, "pages of {size}");
    }
    // While a view is being built, a batch has the same effect on both.
    let view = tool.begin_rebuild().await.unwrap();
    tool.backfill(view, events.to_vec()).await.unwrap();
    let more = [renamed("nul", 2, "a title"), renamed("long", 2, &long), opened("more", &long)];
    store.project(records(&more)).await.unwrap();
    let before = all().await;
    assert_eq!(title(&store, "nul").await, "a title", "the row that is written is one that the server takes");
    tool.swap(view).await.unwrap();
    assert_eq!(all().await, before);
}

pub(crate) async fn keys_that_a_server_refuses_hold_their_streams_alone(shared: &Shared) {
    let (store, tool) = (open(shared).await, open(shared).await);
    let long = long(10_000);
    let batch = || {
        vec![
            added("a", 1, &["x"]),
            // Held until its turn comes.
            added("a", 3, &["x", "nul \0"]),
            added("b", 1, &["x", &long]),
            added("c", 1, &["\0"]),
            added("d", 1, &["x", "y"]),
        ]
    };
    let (applied, held) = if store.is_file() { (4, 1) } else { (2, 3) };
    let taken = store.project(batch()).await.unwrap();
    assert_eq!((taken.applied, taken.held), (applied, held));
    assert_eq!(store.project(batch()).await.unwrap().ignored, 5);
    let taken = store.project(vec![added("a", 2, &["y"])]).await.unwrap();
    assert_eq!(taken.applied, 1);
    let count = if store.is_file() { 4 } else { 2 };
    assert_eq!((tasks(&store, "x").await, tasks(&store, "y").await), (count, 2));
    let view = tool.begin_rebuild().await.unwrap();
    let events = batch().into_iter().chain([added("a", 2, &["y"])]).map(|record| record.event.unwrap());
    tool.backfill(view, events.collect()).await.unwrap();
    tool.swap(view).await.unwrap();
    assert_eq!((tasks(&store, "x").await, tasks(&store, "y").await), (count, 2));
    let refused = store.held(None, None, 9).await.unwrap();
    let refused = refused.iter().filter(|held| held.reason == HeldReason::Refused).count();
    assert_eq!(refused, if store.is_file() { 0 } else { 3 });
}

/// Batches with refused rows are written in parts, so their transactions lock shared rows in any sequence.
pub(crate) async fn refused_rows_in_lanes_at_once_leave_the_other_rows_right(shared: &Shared) {
    const STREAMS: usize = 30;
    let store = open(shared).await;
    let event = |stream: usize, number: usize| {
        let (name, label) = (format!("task-{stream}"), format!("label-{}", stream % 5));
        match number {
            2 => added(&name, 2, &[&label, "nul \0"]),
            _ => added(&name, number as u64, &[&label]),
        }
    };
    let mut lanes = Vec::new();
    for seed in 0..3 {
        let store = open(shared).await;
        lanes.push(tokio::spawn(async move {
            let mut deliveries: Vec<_> =
                (0..STREAMS).flat_map(|stream| (1..=3).map(move |number| (stream, number))).collect();
            deliveries.shuffle(&mut StdRng::seed_from_u64(seed));
            for batch in deliveries.chunks(20) {
                let batch = batch.iter().map(|(stream, number)| event(*stream, *number)).collect();
                store.project(batch).await.unwrap();
            }
        }));
    }
    for lane in lanes {
        lane.await.unwrap();
    }
    // A server takes the first event of each stream.
    let (taken, held) = if store.is_file() { (3, 0) } else { (1, 2 * STREAMS) };
    for number in 0..5 {
        let tasks = tasks(&store, &format!("label-{number}")).await;
        assert_eq!(tasks, (taken * STREAMS / 5) as i64, "label-{number}");
    }
    assert_eq!(store.held(None, None, 1_000).await.unwrap().len(), held);
}
