//! Loads of whole streams and of parts, many at once, and streams that are refused as unreadable.

use event_sourcing::testing::{Event, Task};
use event_sourcing::{Recorded, Snapshot, Version};
use event_store::{EventStore, Load, StoreError, Stream, UnreadableStream, fold};
use futures_util::future::{join_all, try_join_all};

use crate::build::{append, append_each, command, commit, event, id, load, versions, whole};
use crate::stores::Stores;

pub(crate) async fn a_stream_that_does_not_exist_is_empty(stores: &impl Stores) {
    let store = stores.open().await;
    store.ping().await.unwrap();
    let asked = Load { command: Some(command("any")), ..whole("nowhere") };
    assert_eq!(store.load(asked).await.unwrap(), Stream::default());
    assert_eq!(store.load_many(Vec::new()).await.unwrap(), []);
}

pub(crate) async fn streams_come_as_they_were_asked(stores: &impl Stores) {
    let store = stores.open().await;
    append_each(&store, "a", 1..=1).await;
    append_each(&store, "b", 1..=2).await;
    append_each(&store, "c", 1..=3).await;
    let later = Load { after: Version::new(2), ..whole("c") };
    let asked = vec![whole("c"), whole("nowhere"), whole("a"), later, whole("b"), whole("a")];
    let streams = store.load_many(asked).await.unwrap();
    let streams: Vec<Stream> = streams.into_iter().map(Result::unwrap).collect();
    let found: Vec<Vec<u64>> = streams.iter().map(|stream| versions(&stream.commits)).collect();
    assert_eq!(found, [vec![1, 2, 3], vec![], vec![1], vec![3], vec![1, 2], vec![1]]);
    assert_eq!(streams[0].commits[0].stream, id("c"));
    assert_eq!(streams[4].commits[1].stream, id("b"));
}

pub(crate) async fn a_long_stream_is_loaded_whole_and_from_any_commit_on(stores: &impl Stores) {
    const EVENTS: u64 = 10_000;
    let store = stores.open().await;
    for version in (1..=EVENTS).step_by(10) {
        append(&store, commit("long", version, 10)).await;
    }

    let commits = load(&store, "long").await;
    let events: Vec<Recorded<Event>> = commits.iter().flat_map(|commit| commit.recorded().unwrap()).collect();
    assert_eq!(events.len() as u64, EVENTS);
    for (index, found) in (1..).zip(events) {
        assert_eq!((found.version.get(), found.event), (index, event(index)));
    }

    let middle = Load { after: Version::new(9_950), ..whole("long") };
    assert_eq!(store.load(middle).await.unwrap().commits, commits[commits.len() - 5..]);
    let end = Load { after: Version::new(EVENTS), command: Some(command("long-command-1")), ..whole("long") };
    let end = store.load(end).await.unwrap();
    assert_eq!((end.commits, end.answered.unwrap().version), (Vec::new(), Version::new(10)));
}

pub(crate) async fn a_load_with_a_limit_has_what_begins_within_it(stores: &impl Stores) {
    let store = stores.open().await;
    append_each(&store, "a", 1..=3).await;
    append(&store, commit("a", 4, 5)).await;
    append_each(&store, "a", 9..=12).await;
    append_each(&store, "b", 1..=2).await;
    let page = |after: u64, limit| Load { after: Version::new(after), limit: Some(limit), ..whole("a") };
    let asked = [(0, 2), (0, 4), (2, 3), (3, 1), (8, 100), (12, 1), (3, 0), (3, u64::MAX)];
    let expected: [&[u64]; 8] =
        [&[1, 2], &[1, 2, 3, 4], &[3, 4], &[4], &[9, 10, 11, 12], &[], &[], &[4, 9, 10, 11, 12]];
    let mut loads: Vec<Load> = asked.map(|(after, limit)| page(after, limit)).to_vec();
    loads.push(whole("b"));
    let streams = store.load_many(loads).await.unwrap();
    let found: Vec<Vec<u64>> = streams.into_iter().map(|stream| versions(&stream.unwrap().commits)).collect();
    assert_eq!(found[..8], expected);
    assert_eq!(found[8], [1, 2], "another load of the same read has no limit");
    // A command is found in the whole stream.
    let asked = Load { command: Some(command("a-command-12")), ..page(0, 1) };
    let Stream { commits, answered } = store.load(asked).await.unwrap();
    assert_eq!((versions(&commits), answered.unwrap().version), (vec![1], Version::new(12)));
}

pub(crate) async fn one_load_answers_many_callers(stores: &impl Stores) {
    const CALLERS: usize = 200;
    let store = stores.open().await;
    let names: Vec<String> = (0..CALLERS).map(|number| format!("stream-{number}")).collect();
    join_all(names.iter().map(|name| append(&store, commit(name, 1, 1)))).await;
    let streams = try_join_all(names.iter().map(|name| store.load(whole(name)))).await.unwrap();
    for (name, stream) in names.iter().zip(streams) {
        assert_eq!(stream.commits, [commit(name, 1, 1)]);
    }
}

pub(crate) async fn a_gap_in_a_stream_is_unreadable(stores: &impl Stores) {
    let store = stores.open().await;
    append_each(&store, "a", 1..=4).await;
    append_each(&store, "b", 1..=2).await;
    stores.lose(&id("a"), Version::new(2)).await;
    stores.lose(&id("b"), Version::new(1)).await;

    for (stream, after) in [("a", 0), ("a", 1), ("b", 0)] {
        let asked = Load { after: Version::new(after), ..whole(stream) };
        assert_unreadable(store.load(asked).await, stream, "version");
    }
    // The part after the gap can be read, and so can every other stream.
    let later = Load { after: Version::new(2), ..whole("a") };
    assert_eq!(versions(&store.load(later).await.unwrap().commits), [3, 4]);
    append_each(&store, "c", [1]).await;
    assert_eq!(versions(&load(&store, "c").await), [1]);
}

pub(crate) async fn an_event_that_this_program_does_not_know_is_unreadable(stores: &impl Stores) {
    let store = stores.open().await;
    append_each(&store, "a", 1..=2).await;
    for (events, problem) in [
        (r#"[{"type":"TaskEaten","schema":1,"data":{}}]"#, "unknown event type \"TaskEaten\""),
        (r#"[{"type":"TaskOpened","schema":99,"data":{}}]"#, "unknown schema 99"),
        (r#"[{"type":"TaskOpened","schema":1,"data":{"title":7}}]"#, "TaskOpened"),
        (r#"[{"type":"TaskFinished"}]"#, "schema"),
        ("[]", "without events"),
    ] {
        stores.overwrite_events(&id("a"), Version::new(2), events).await;
        assert_unreadable(read(&store, "a").await, "a", problem);
        assert_unreadable(read(&store, "a").await, "a", "version 2");
    }
}

/// Folds a whole stream into a task.
async fn read(store: &EventStore, name: &str) -> Result<Snapshot<Task>, StoreError> {
    let commits = store.load(whole(name)).await?.commits;
    Ok(fold(id(name), &commits)?)
}

pub(crate) async fn an_event_that_this_program_does_not_know_is_loaded_as_it_is(stores: &impl Stores) {
    let store = stores.open().await;
    append_each(&store, "a", [1]).await;
    let unknown = r#"[{"type":"TaskEaten","schema":99,"data":{"by": [1, "dog"]}}]"#;
    stores.overwrite_events(&id("a"), Version::new(1), unknown).await;
    let loaded = load(&store, "a").await.remove(0).events.remove(0);
    assert_eq!((&*loaded.kind, loaded.schema, loaded.data.get()), ("TaskEaten", 99, r#"{"by": [1, "dog"]}"#));
}

pub(crate) async fn a_stream_is_current_at_its_last_version(stores: &impl Stores) {
    let store = stores.open().await;
    append_each(&store, "a", 1..=2).await;
    append(&store, commit("a", 3, 2)).await;
    // The test asks only for last versions. For an earlier version, only a store whose loads may be out of date notices that the
    // stream has moved on. So neither answer is wrong.
    for (stream, version) in [("a", 4), ("nowhere", 0)] {
        assert!(store.is_current(&id(stream), Version::new(version)).await.unwrap(), "{stream}");
    }
}

pub(crate) async fn a_stream_that_cant_be_read_fails_no_other(stores: &impl Stores) {
    let store = stores.open().await;
    for name in ["a", "garbled", "gap", "z"] {
        append_each(&store, name, 1..=3).await;
    }
    stores.lose(&id("gap"), Version::new(2)).await;
    let garbled = r#"[{"type":"TaskOpened","schema":"none","data":{}}]"#;
    stores.overwrite_events(&id("garbled"), Version::new(1), garbled).await;
    let asked = ["garbled", "a", "gap", "z", "garbled"].map(whole).to_vec();
    let mut streams = store.load_many(asked.clone()).await.unwrap();
    for (found, stream, problem) in
        [(0, "garbled", "version 1"), (2, "gap", "version 3"), (4, "garbled", "version 1")]
    {
        expect_unreadable(streams[found].as_ref().unwrap_err(), stream, problem);
    }
    for found in [3, 1] {
        assert_eq!(versions(&streams.remove(found).unwrap().commits), [1, 2, 3]);
    }
    // The loads of several callers are one read too.
    let alone = join_all(asked.into_iter().map(|asked| store.load(asked))).await;
    assert_eq!(alone.iter().map(Result::is_ok).collect::<Vec<_>>(), [false, true, false, true, false]);

    let known = r#"[{"type":"TaskOpened","schema":1,"data":{"title":"a lamp"}}]"#;
    stores.overwrite_events(&id("garbled"), Version::new(1), known).await;
    assert_eq!(versions(&load(&store, "garbled").await), [1, 2, 3]);
}

pub(crate) async fn events_written_by_a_former_program_are_read(stores: &impl Stores) {
    let store = stores.open().await;
    append(&store, commit("a", 1, 2)).await;
    // A writer may choose the order of fields, add unknown fields and use escapes. Schema 1 is the oldest.
    let written = r#"[ {"data": {"title": "caf\u00e9", "was": 1}, "schema": 1, "by": "x", "type": "TaskOpen\u0065d"},
        {"type": "TaskStarted", "schema": 1, "data": {}} ]"#;
    stores.overwrite_events(&id("a"), Version::new(1), written).await;
    let expected = [Event::TaskOpened { title: "café".to_owned() }, Event::TaskStarted];
    let loaded = load(&store, "a").await[0].recorded().unwrap();
    assert_eq!(loaded.into_iter().map(|recorded| recorded.event).collect::<Vec<Event>>(), expected);
    assert_eq!(store.scan::<Event>(None, 1).await.unwrap().commits[0].events, expected);
}

pub(crate) fn expect_unreadable(found: &UnreadableStream, stream: &str, expected: &str) {
    assert_eq!(&*found.stream, stream);
    assert!(found.problem.contains(expected), "{found}");
}

fn assert_unreadable<T: std::fmt::Debug>(found: Result<T, StoreError>, stream: &str, expected: &str) {
    match found {
        Err(StoreError::Unreadable(found)) => expect_unreadable(&found, stream, expected),
        other => panic!("{other:?}"),
    }
}
