//! The scenarios of a view whose rows are shared by streams.

use std::time::Duration;

use event_sourcing::testing::{
    BY_SUBJECT, BY_TASKS, LabelEvent, LabelRow, LabelsView, PANIC_LABEL, REFUSED_LABEL,
};
use event_sourcing::{Recorded, Rows, Version, View};
use jiff::Timestamp;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use read_store::{
    DropRefused, Filter, HeldReason, ProjectionCounts, ReadStoreError, RedriveCounts, SwapRefused, ViewId,
};

use super::{Shared, id, raw, until, version};

pub(crate) type Labels = read_store::ReadStore<LabelsView>;
type Incoming = read_store::Incoming<LabelEvent>;

const EVENTS: u64 = 5;
const LONG: Duration = Duration::from_secs(30);

pub(crate) async fn open(shared: &Shared) -> Labels {
    let store = shared.open_as::<LabelsView>().await;
    store.migrate().await.unwrap();
    store
}

/// The event of this version in every stream here. After five events the task carries what it carried before.
fn event_of(stream: &str, number: u64) -> LabelEvent {
    let own = format!("group:{}", stream.bytes().map(u64::from).sum::<u64>() % 3);
    let text = str::to_owned;
    match number % EVENTS {
        1 => LabelEvent::LabelsAdded { labels: vec![text("common"), own] },
        2 => LabelEvent::LabelReplaced { from: text("common"), to: text("other") },
        3 => LabelEvent::CommentAdded,
        4 => LabelEvent::LabelRemoved { label: text("other") },
        _ => LabelEvent::LabelRemoved { label: own },
    }
}

fn recorded(stream: &str, number: u64) -> Recorded<LabelEvent> {
    let time = Timestamp::from_second(1_700_000_000 + i64::try_from(number).unwrap()).unwrap();
    Recorded { stream: id(stream), version: version(number), time, event: event_of(stream, number) }
}

/// The record of any event.
fn record(stream: &str, number: u64, event: LabelEvent) -> Incoming {
    let value = Recorded { event, ..recorded(stream, number) }.encode();
    raw(&value, stream, i64::try_from(number).unwrap())
}

fn incoming(stream: &str, number: u64) -> Incoming {
    record(stream, number, event_of(stream, number))
}

fn events(stream: &str, numbers: impl IntoIterator<Item = u64>) -> Vec<Incoming> {
    numbers.into_iter().map(|number| incoming(stream, number)).collect()
}

pub(crate) fn added(stream: &str, number: u64, labels: &[&str]) -> Incoming {
    let labels = labels.iter().map(|label| (*label).to_owned()).collect();
    record(stream, number, LabelEvent::LabelsAdded { labels })
}

fn replaced(stream: &str, number: u64, from: &str, to: &str) -> Incoming {
    record(stream, number, LabelEvent::LabelReplaced { from: from.to_owned(), to: to.to_owned() })
}

/// The rows after so many events of each of these streams.
fn fold(streams: &[(&str, u64)]) -> Vec<(String, LabelRow)> {
    let mut rows = Rows::<LabelsView>::default();
    for (stream, events) in streams {
        for number in 1..=*events {
            rows.apply(&recorded(stream, number)).unwrap();
        }
    }
    rows.iter().map(|(key, row)| (key.clone(), row.clone())).collect()
}

/// All rows that a filter lets through, page by page.
async fn pages(store: &Labels, filter: &Filter<String>) -> Vec<(String, LabelRow)> {
    let (mut rows, mut filter) = (Vec::new(), filter.clone());
    loop {
        let page = store.page(filter.clone()).await.unwrap();
        assert!(page.rows.len() <= filter.limit);
        rows.extend(page.rows);
        filter = filter.after(rows.last().map(|(key, _)| key.clone()));
        if !page.more {
            return rows;
        }
    }
}

pub(crate) async fn tasks(store: &Labels, label: &str) -> i64 {
    store.row(&label.to_owned()).await.unwrap().map_or(0, |row| row.tasks)
}

async fn version_of(store: &Labels, stream: &str) -> u64 {
    store.get(&id(stream)).await.unwrap().map_or(0, |entry| entry.version.get())
}

async fn assert_folded(store: &Labels, streams: &[(&str, u64)]) {
    assert_eq!(pages(store, &Filter::first(2)).await, fold(streams));
    for (stream, events) in streams {
        let seen = store.see(&id(stream)).await.unwrap();
        assert_eq!((version_of(store, stream).await, seen.held), (*events, false), "{stream}");
    }
}

async fn reasons(store: &Labels) -> Vec<(String, u64, HeldReason)> {
    let held = store.held(None, None, 100).await.unwrap();
    let mut held: Vec<_> = held
        .iter()
        .map(|held| (held.stream.as_ref().unwrap().to_string(), held.version.unwrap().get(), held.reason))
        .collect();
    held.sort_unstable();
    held
}

fn held(stream: &str, number: u64, reason: HeldReason) -> (String, u64, HeldReason) {
    (stream.to_owned(), number, reason)
}

/// Streams that end at different versions, and share their rows.
fn streams(count: usize) -> Vec<(String, u64)> {
    (0..count).map(|number| (format!("task-{number:03}"), 1 + number as u64 % (2 * EVENTS))).collect()
}

fn by_name(streams: &[(String, u64)]) -> Vec<(&str, u64)> {
    streams.iter().map(|(stream, events)| (stream.as_str(), *events)).collect()
}

/// Both views, so that rows of two tables are locked. Each lane brings all events of all streams.
pub(crate) async fn batches_of_many_lanes_at_once_apply_each_event_once(shared: &Shared) {
    let tool = open(shared).await;
    let building = tool.begin_rebuild().await.unwrap();
    let all = streams(60);
    let mut lanes = Vec::new();
    for seed in 0..2 {
        let store = open(shared).await;
        for lane in 0..2 {
            let (store, all) = (store.clone(), all.clone());
            lanes.push(tokio::spawn(async move {
                let mut random = StdRng::seed_from_u64(seed * 2 + lane);
                let mut deliveries: Vec<(&str, u64)> = by_name(&all)
                    .into_iter()
                    .flat_map(|(stream, events)| (1..=events).map(move |number| (stream, number)))
                    .collect();
                deliveries.shuffle(&mut random);
                let mut effects = 0;
                while !deliveries.is_empty() {
                    let size = random.random_range(1..=40).min(deliveries.len());
                    let batch = deliveries.drain(..size).map(|(stream, number)| incoming(stream, number));
                    let taken = store.project(batch.collect()).await.unwrap();
                    assert_eq!(taken.applied + taken.ignored + taken.held, size);
                    effects += taken.applied + taken.released;
                }
                effects as u64
            }));
        }
    }
    let mut effects = 0;
    for lane in lanes {
        effects += lane.await.unwrap();
    }
    assert_eq!(effects, all.iter().map(|(_, events)| events).sum::<u64>());
    assert_folded(&tool, &by_name(&all)).await;
    tool.swap(building).await.unwrap();
    assert_folded(&tool, &by_name(&all)).await;
    assert_eq!(tool.held_summary().await.unwrap(), []);
}

pub(crate) async fn repeats_are_ignored_and_gaps_heal(shared: &Shared) {
    let (one, other) = (open(shared).await, open(shared).await);
    let taken = one.project(events("a", [1, 3, 4, 3])).await.unwrap();
    assert_eq!(taken, ProjectionCounts { applied: 1, ignored: 1, held: 2, released: 0 });
    assert_eq!(pages(&other, &Filter::first(9)).await, fold(&[("a", 1)]));
    assert!(one.page(Filter::first(9)).await.unwrap().held);
    assert!(one.page(Filter::first(9).equal(BY_TASKS, &77)).await.unwrap().held, "of the view, not of rows");
    let taken = other.project([events("a", [2]), events("b", [1, 1])].concat_all()).await.unwrap();
    assert_eq!(taken, ProjectionCounts { applied: 2, ignored: 1, held: 0, released: 2 });
    assert_folded(&one, &[("a", 4), ("b", 1)]).await;
    assert_eq!(one.project(events("a", [1, 2, 3, 4])).await.unwrap().ignored, 4);
    assert!(!one.page(Filter::first(9)).await.unwrap().held);
    assert_folded(&one, &[("a", 4), ("b", 1)]).await;
}

/// Joins batches. `Incoming` can't be cloned, so `concat` is no choice.
trait ConcatAll {
    fn concat_all(self) -> Vec<Incoming>;
}

impl<const N: usize> ConcatAll for [Vec<Incoming>; N] {
    fn concat_all(self) -> Vec<Incoming> {
        self.into_iter().flatten().collect()
    }
}

pub(crate) async fn an_event_without_keys_moves_its_stream_on(shared: &Shared) {
    let store = open(shared).await;
    let comment = |number| record("a", number, LabelEvent::CommentAdded);
    assert_eq!(store.project(vec![comment(1), comment(2)]).await.unwrap().applied, 2);
    assert_eq!(version_of(&store, "a").await, 2);
    assert_eq!(pages(&store, &Filter::first(9)).await, []);
    assert_eq!(store.project(vec![comment(2), added("a", 3, &["x"])]).await.unwrap().applied, 1);
    assert_eq!(tasks(&store, "x").await, 1);
}

pub(crate) async fn rows_without_a_fold_are_deleted_and_come_again(shared: &Shared) {
    let store = open(shared).await;
    store.project(events("a", 1..=EVENTS)).await.unwrap();
    assert_folded(&store, &[("a", EVENTS)]).await;
    assert_eq!(pages(&store, &Filter::first(9)).await, []);
    assert_eq!(store.row(&"common".to_owned()).await.unwrap(), None);
    store.project(events("a", [EVENTS + 1])).await.unwrap();
    assert_folded(&store, &[("a", EVENTS + 1)]).await;
    // A row that comes and goes within one batch.
    store.project([events("b", 1..=EVENTS), events("c", 1..=2)].concat_all()).await.unwrap();
    assert_folded(&store, &[("a", EVENTS + 1), ("b", EVENTS), ("c", 2)]).await;
}

pub(crate) async fn an_event_changes_all_of_its_rows_or_none(shared: &Shared) {
    let store = open(shared).await;
    let empty = |stream| record(stream, 2, LabelEvent::LabelsAdded { labels: vec![String::new()] });
    let batch = || {
        vec![
            added("a", 1, &["x", "y"]),
            replaced("a", 2, "x", REFUSED_LABEL),
            replaced("a", 3, "x", "y"),
            added("b", 1, &["x"]),
            added("b", 2, &["y", PANIC_LABEL]),
            added("c", 1, &["x"]),
            empty("c"),
            added("d", 1, &["y"]),
            added("d", 2, &["z"]),
        ]
    };
    let taken = store.project(batch()).await.unwrap();
    assert_eq!(taken, ProjectionCounts { applied: 5, ignored: 0, held: 4, released: 0 });
    for (label, expected) in [("x", 3), ("y", 2), ("z", 1), (REFUSED_LABEL, 0)] {
        assert_eq!(tasks(&store, label).await, expected, "{label}");
    }
    let (refused, gap) = (HeldReason::Refused, HeldReason::Gap);
    let expected = [held("a", 2, refused), held("a", 3, gap), held("b", 2, refused), held("c", 2, refused)];
    assert_eq!(reasons(&store).await, expected);
    assert_eq!(store.project(batch()).await.unwrap().ignored, 9, "a redelivery is held once");
    assert_eq!(store.redrive(None).await.unwrap(), RedriveCounts { applied: 0, removed: 0, held: 4 });
    assert_eq!(reasons(&store).await, expected);
    let problem = &store.held(Some(&id("c")), None, 9).await.unwrap()[0].problem;
    assert!(problem.contains("a label without a text"), "{problem}");
    assert_eq!((tasks(&store, "x").await, tasks(&store, "y").await), (3, 2));
}

pub(crate) async fn held_events_are_redriven_or_needed(shared: &Shared) {
    let store = open(shared).await;
    let unknown = |stream, number| Incoming {
        event: Err(event_sourcing::Undecodable::Unknown {
            stream: id(stream),
            version: version(number),
            problem: event_sourcing::UnknownEvent::Type("Future".to_owned()),
        }),
        ..incoming(stream, number)
    };
    let batch = vec![incoming("a", 1), unknown("a", 2), incoming("a", 3), unknown("b", 1)];
    assert_eq!(store.project(batch).await.unwrap().held, 3);
    let first = store.held(None, None, 9).await.unwrap().remove(0);
    let refused = store.drop_held(first.id).await.unwrap_err();
    assert!(matches!(refused, DropRefused::Needed { have, .. } if have == version(1)), "{refused}");
    let redriven = store.redrive(Some(&id("a"))).await.unwrap();
    assert_eq!(redriven, RedriveCounts { applied: 2, removed: 0, held: 0 });
    assert_eq!(store.redrive(None).await.unwrap(), RedriveCounts { applied: 1, removed: 0, held: 0 });
    assert_folded(&store, &[("a", 3), ("b", 1)]).await;
}

pub(crate) async fn rows_are_read_by_key_and_by_page(shared: &Shared) {
    let store = open(shared).await;
    let empty = store.page(Filter::first(9)).await.unwrap();
    assert_eq!((empty.rows, empty.more, empty.held), (vec![], false, false));
    let labels: Vec<String> =
        (0..23).map(|number| format!("{}:{number}", ["A", "a", "ä"][number % 3])).collect();
    for (number, label) in labels.iter().enumerate() {
        for task in 0..=number % 2 {
            let batch = vec![added(&format!("task-{number}-{task}"), 1, &[label])];
            store.project(batch).await.unwrap();
        }
    }
    let select = |wanted: &dyn Fn(usize) -> bool| {
        let mut keys: Vec<String> =
            labels.iter().enumerate().filter(|(at, _)| wanted(*at)).map(|(_, label)| label.clone()).collect();
        keys.sort_unstable();
        keys
    };
    let keys = async |filter: &Filter<String>| {
        pages(&store, filter).await.into_iter().map(|(key, _)| key).collect::<Vec<_>>()
    };
    for limit in [1, 4, 23, 500] {
        let filter = Filter::first(limit);
        assert_eq!(keys(&filter).await, select(&|_| true), "by the keys' bytes");
        let by_subject = filter.clone().equal(BY_SUBJECT, &"a".to_owned());
        assert_eq!(keys(&by_subject).await, select(&|at| at % 3 == 1));
        assert_eq!(keys(&filter.equal(BY_TASKS, &2)).await, select(&|at| at % 2 == 1));
        let both = by_subject.equal(BY_TASKS, &2);
        assert_eq!(keys(&both).await, select(&|at| at % 6 == 1));
    }
    let row = LabelRow { subject: "a".to_owned(), tasks: 2, shared: true };
    assert_eq!(store.row(&"a:1".to_owned()).await.unwrap(), Some(row));
    assert_eq!(store.row(&"a:2".to_owned()).await.unwrap(), None);
}

pub(crate) async fn a_streams_version_is_waited_for_and_compared(shared: &Shared) {
    let (store, other) = (open(shared).await, open(shared).await);
    let waiting = {
        let store = store.clone();
        tokio::spawn(async move { store.wait_for(&id("a"), version(3), LONG).await.unwrap() })
    };
    let elsewhere = tokio::spawn(async move { other.wait_for(&id("a"), version(3), LONG).await.unwrap() });
    store.project(events("a", [1, 2])).await.unwrap();
    store.project(events("a", [3, 5])).await.unwrap();
    for waited in [waiting.await.unwrap(), elsewhere.await.unwrap()] {
        let entry = waited.entry.unwrap();
        assert_eq!((entry.id, entry.row, entry.version, waited.held), (id("a"), None, version(3), true));
    }
    store.project(events("c", [2])).await.unwrap();
    store.project(events("b", [1])).await.unwrap();
    let mut many = store.get_many(vec![id("b"), id("c"), id("a")]).await.unwrap();
    many.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    let many: Vec<_> = many.into_iter().map(|entry| (entry.id, entry.version)).collect();
    let expected = [(id("a"), version(3)), (id("b"), version(1))];
    assert_eq!(many, expected);
    assert_eq!(store.versions(None, 9).await.unwrap(), expected);
    assert_eq!(store.versions(Some(&id("a")), 9).await.unwrap(), expected[1..]);
    assert_eq!(store.repair(store.get_many(vec![id("a")]).await.unwrap()).await.unwrap(), 0);
    assert_eq!(store.remove(vec![id("a")]).await.unwrap(), 0);
    assert_eq!(version_of(&store, "a").await, 3);
}

/// Brings every stream one version further, again and again. Returns the last version.
async fn project_on(store: Labels, names: Vec<String>, stop: tokio::sync::watch::Receiver<bool>) -> u64 {
    let mut number = 0;
    while !*stop.borrow() {
        number += 1;
        for half in names.chunks(names.len() / 2) {
            store.project(half.iter().map(|name| incoming(name, number)).collect()).await.unwrap();
        }
    }
    number
}

async fn backfill(store: &Labels, view: ViewId, stream: &str, numbers: impl Iterator<Item = u64>) {
    store.backfill(view, numbers.map(|number| recorded(stream, number)).collect()).await.unwrap();
}

pub(crate) async fn a_rebuild_under_writes_ends_in_the_fold(shared: &Shared) {
    let (server, tool) = (open(shared).await, open(shared).await);
    let names: Vec<String> = (0..16).map(|number| format!("task-{number:02}")).collect();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let projecting = tokio::spawn(project_on(server.clone(), names.clone(), stopped));
    until(|| async { version_of(&server, &names[15]).await >= 3 }).await;
    let view = tool.begin_rebuild().await.unwrap();
    for name in &names {
        let length = version_of(&server, name).await;
        backfill(&tool, view, name, 1..=length).await;
    }
    tool.swap(view).await.unwrap();
    let swapped_at = version_of(&server, &names[0]).await;
    until(|| async { version_of(&server, &names[0]).await > swapped_at }).await;
    stop.send(true).unwrap();
    let last = projecting.await.unwrap();
    let expected: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), last)).collect();
    assert_folded(&server, &expected).await;
    assert_eq!(server.held_summary().await.unwrap(), []);
}

fn behind(refused: SwapRefused) -> (u64, String) {
    let SwapRefused::Behind { streams, first } = refused else { panic!("{refused}") };
    (streams, first.stream.to_string())
}

pub(crate) async fn a_swap_is_refused_while_a_version_is_behind(shared: &Shared) {
    let (server, tool) = (open(shared).await, open(shared).await);
    server.project([events("a", 1..=3), events("b", [1])].concat_all()).await.unwrap();
    let unfinished = tool.begin_rebuild().await.unwrap();
    let view = tool.begin_rebuild().await.unwrap();
    let late = tool.backfill(unfinished, vec![recorded("a", 1)]).await.unwrap_err();
    assert!(matches!(late, ReadStoreError::NotBuilding(_)), "{late}");
    backfill(&tool, view, "a", 1..=2).await;
    assert_eq!(behind(tool.swap(view).await.unwrap_err()), (2, "a".to_owned()));
    backfill(&tool, view, "b", 1..=1).await;
    // It waits for a missing event in the new view, but not in the active one.
    backfill(&tool, view, "c", 2..=2).await;
    backfill(&tool, view, "a", 3..=3).await;
    assert_eq!(behind(tool.swap(view).await.unwrap_err()), (1, "c".to_owned()));
    server.project(events("c", [1])).await.unwrap();
    tool.swap(view).await.unwrap();
    assert_folded(&server, &[("a", 3), ("b", 1), ("c", 2)]).await;
}

pub(crate) async fn a_stream_that_cant_be_read_is_set_aside_and_stops_no_swap(shared: &Shared) {
    let (server, tool) = (open(shared).await, open(shared).await);
    server.project([events("a", 1..=4), events("b", 1..=2), events("c", [1])].concat_all()).await.unwrap();
    let view = tool.begin_rebuild().await.unwrap();
    // The scan reads `a` in part, and nothing of `b`. Both go on meanwhile.
    backfill(&tool, view, "a", 1..=2).await;
    backfill(&tool, view, "c", 1..=1).await;
    server.project([events("a", [5]), events("b", [3])].concat_all()).await.unwrap();
    assert_eq!(behind(tool.swap(view).await.unwrap_err()), (2, "a".to_owned()));
    let aside = ["a", "b", "b"].map(|stream| (id(stream), "version 3 is torn".to_owned()));
    tool.set_aside(view, aside.to_vec()).await.unwrap();
    tool.swap(view).await.unwrap();
    assert_eq!(pages(&server, &Filter::first(9)).await, fold(&[("a", 2), ("c", 1)]));
    let (torn, gap) = (HeldReason::Undecodable, HeldReason::Gap);
    let expected = [held("a", 3, torn), held("a", 5, gap), held("b", 1, torn), held("b", 3, gap)];
    assert_eq!(reasons(&server).await, expected);
    let held_of_a = server.held(Some(&id("a")), None, 9).await.unwrap();
    let problem = "the event store can't read it: version 3 is torn";
    assert_eq!(held_of_a.iter().filter(|held| held.problem == problem).count(), 1, "{held_of_a:?}");
    server.redrive(None).await.unwrap();
    assert_eq!(reasons(&server).await, expected, "a redrive does not know more");
    let again = tool.set_aside(view, vec![(id("a"), String::new())]).await.unwrap_err();
    assert!(matches!(again, SwapRefused::NotBuilding(_)), "{again}");
    // Later the events can be read, and the comparison with the event store projects them.
    server.project([events("a", [3, 4]), events("b", [1, 2])].concat_all()).await.unwrap();
    assert_folded(&server, &[("a", 5), ("b", 3), ("c", 1)]).await;
    assert_eq!(reasons(&server).await, []);
}

pub(crate) async fn a_view_is_compared_with_one_that_was_built_beside_it(shared: &Shared) {
    let (server, tool) = (open(shared).await, open(shared).await);
    server.project([events("a", 1..=2), events("b", [1])].concat_all()).await.unwrap();
    let view = tool.begin_rebuild().await.unwrap();
    backfill(&tool, view, "a", 1..=1).await;
    backfill(&tool, view, "c", 1..=1).await;
    let difference = tool.compare(view, 9).await.unwrap();
    let streams: Vec<_> = difference
        .streams
        .iter()
        .map(|found| (found.stream.as_str(), found.active.get(), found.building.get()))
        .collect();
    assert_eq!((streams, difference.rows), (vec![("a", 2, 1), ("b", 1, 0), ("c", 0, 1)], vec![]));
    assert_eq!(tool.compare(view, 1).await.unwrap().streams.len(), 1);
    // The same versions, made of another event.
    let other = Recorded { event: LabelEvent::CommentAdded, ..recorded("a", 2) };
    tool.backfill(view, vec![other, recorded("b", 1)]).await.unwrap();
    server.project(events("c", [1])).await.unwrap();
    let difference = tool.compare(view, 9).await.unwrap();
    assert_eq!(
        (difference.streams, difference.rows),
        (vec![], vec!["common".to_owned(), "other".to_owned()])
    );
    tool.abandon(view).await.unwrap();
    let late = tool.compare(view, 9).await.unwrap_err();
    assert!(matches!(late, ReadStoreError::NotBuilding(_)), "{late}");
    assert!(matches!(tool.abandon(view).await.unwrap_err(), ReadStoreError::NotBuilding(_)));
    assert_folded(&server, &[("a", 2), ("b", 1), ("c", 1)]).await;
}

/// A view of either kind is read by key.
pub(crate) async fn rows_of_a_view_by_stream_are_read_by_key_too(shared: &Shared) {
    let store = shared.open().await;
    store.project(super::events("b", [1, 2])).await.unwrap();
    store.project(super::events("a", [1, 3])).await.unwrap();
    assert_eq!(store.row(&id("b")).await.unwrap(), super::fold("b", 2).row);
    assert_eq!(store.row(&id("x")).await.unwrap(), None);
    let page = store.page(Filter::first(1)).await.unwrap();
    assert_eq!(page.rows, [(id("a"), super::fold("a", 1).row.unwrap())]);
    assert!(page.more && page.held);
    let page = store.page(Filter::first(5).after(Some(id("a")))).await.unwrap();
    assert_eq!(page.rows, [(id("b"), super::fold("b", 2).row.unwrap())]);
    let (entries, of_stream) = (store.list(Filter::first(5)).await.unwrap().entries, Version::new(2));
    assert_eq!(entries.iter().map(|entry| entry.version).max(), Some(of_stream));
    assert_eq!(<LabelsView as View>::NAME, "labels");
}
