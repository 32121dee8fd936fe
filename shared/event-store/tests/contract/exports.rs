//! Pages of everything that a store holds, as another store needs it.

use std::collections::BTreeMap;

use event_sourcing::{CommandId, Version};
use event_store::{CommandRecord, Commit, EventStore, Mark, ReminderPolicy, ReminderRow, UnreadableStream};

use crate::build::{append, append_each, commit, id, place, record, second};
use crate::loads::expect_unreadable;
use crate::stores::Stores;

async fn commits(store: &EventStore, limit: usize) -> (Vec<Commit>, Vec<UnreadableStream>) {
    let (mut commits, mut unreadable, mut after) = (Vec::new(), Vec::new(), None);
    loop {
        let page = store.export_commits(after.take(), limit).await.unwrap();
        assert!(page.commits.len() <= limit);
        commits.extend(page.commits);
        unreadable.extend(page.unreadable);
        match page.next {
            Some(next) => after = Some(next),
            None => return (commits, unreadable),
        }
    }
}

async fn records(store: &EventStore, limit: usize) -> Vec<CommandRecord> {
    let (mut records, mut after) = (Vec::new(), None);
    loop {
        let page = store.export_records(after.take(), limit).await.unwrap();
        records.extend(page.records);
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    records.sort_by(|a, b| (&a.stream, &a.command_id).cmp(&(&b.stream, &b.command_id)));
    records
}

async fn reminders(store: &EventStore, limit: usize) -> BTreeMap<String, ReminderRow> {
    let mut reminders = BTreeMap::new();
    let mut behind = None;
    loop {
        let page = store.export_reminders(behind.as_ref(), limit).await.unwrap();
        behind = page.last().map(|row| row.commit.clone());
        let is_last = page.len() < limit;
        reminders.extend(page.into_iter().map(|row| (row.commit.stream.to_string(), row)));
        if is_last {
            return reminders;
        }
    }
}

pub(crate) async fn an_empty_store_has_nothing_to_export(stores: &impl Stores) {
    let store = stores.open().await;
    assert_eq!(commits(&store, 10).await, (Vec::new(), Vec::new()));
    assert_eq!(records(&store, 10).await, []);
    assert_eq!(reminders(&store, 10).await, BTreeMap::new());
}

pub(crate) async fn every_commit_is_exported_as_it_was_appended_whatever_the_page(stores: &impl Stores) {
    let store = stores.open().await;
    let mut appended = Vec::new();
    // One name begins with another, and the versions have a different order as text.
    for (stream, number) in [("a", 12), ("a.b", 3), ("ab", 1), ("a~", 2), ("B", 4)] {
        for number in 0..number {
            let commit = Commit { unpublished: number % 2 == 0, ..commit(stream, 1 + number * 2, 2) };
            append(&store, commit.clone()).await;
            appended.push(commit);
        }
    }
    store.remember(record("no-op", "a", 3)).await.unwrap();
    let place = |commit: &Commit| (commit.stream.clone(), commit.version);
    appended.sort_by_key(place);
    for limit in [1, 2, 5, 21, 22, 23, 1_000] {
        let (mut exported, unreadable) = commits(&store, limit).await;
        exported.sort_by_key(place);
        assert_eq!((&exported, unreadable.len()), (&appended, 0), "in pages of {limit}");
    }
}

pub(crate) async fn every_small_record_is_exported_whatever_the_page(stores: &impl Stores) {
    let store = stores.open().await;
    append_each(&store, "a", 1..=3).await;
    append_each(&store, "z", 1..=3).await;
    let rejected = CommandRecord { rejection: Some("it is \"läwp\"".into()), ..record("rejected", "a", 2) };
    let of_the_system = CommandRecord {
        command_id: CommandId::system("reaction:x:a@1:0:0").unwrap(),
        recorded_at: second(7),
        ..record("system", "nowhere", 0)
    };
    let mut remembered = vec![record("no-op", "a", 3), rejected, record("no-op", "b", 0), of_the_system];
    for record in &remembered {
        store.remember(record.clone()).await.unwrap();
    }
    remembered.sort_by(|a, b| (&a.stream, &a.command_id).cmp(&(&b.stream, &b.command_id)));
    for limit in [1, 2, 3, 1_000] {
        assert_eq!(records(&stores.open().await, limit).await, remembered, "in pages of {limit}");
    }
}

pub(crate) async fn reminders_are_exported_and_imported_as_they_are(stores: &impl Stores) {
    let store = stores.open().await;
    for stream in ["a", "b", "c"] {
        append_each(&store, stream, 1..=2).await;
    }
    let waits = |stream| Mark { remind: ReminderPolicy::UntilFollowed, ..place(stream, 2).into() };
    store.mark_published(vec![waits("c")]).await.unwrap();
    let of = |stream, sent, problem: Option<&str>| ReminderRow {
        commit: place(stream, 2),
        since: second(i64::from(sent)),
        sent,
        problem: problem.map(str::to_owned),
    };
    let imported = [of("a", 0, None), of("b", 3, Some("the service says no")), of("c", 20, None)];
    for row in &imported {
        store.import_reminder(row.clone()).await.unwrap();
    }
    for limit in [1, 2, 3, 100] {
        let exported: Vec<ReminderRow> = reminders(&store, limit).await.into_values().collect();
        assert_eq!(exported, imported, "in pages of {limit}");
    }
    store.remove_reminders(vec![place("a", 2), place("c", 2)]).await.unwrap();
    assert_eq!(reminders(&store, 100).await.into_keys().collect::<Vec<_>>(), ["b"]);
}

pub(crate) async fn an_export_names_what_it_cant_read_and_goes_on(stores: &impl Stores) {
    let store = stores.open().await;
    for name in ["a", "gap", "newer", "z"] {
        append_each(&store, name, 1..=4).await;
    }
    stores.lose(&id("gap"), Version::new(2)).await;
    let unknown = r#"[{"type":"TaskEaten","schema":99,"data":{"by": [1, "dog"]}}]"#;
    stores.overwrite_events(&id("newer"), Version::new(3), unknown).await;
    for limit in [1, 3, 100] {
        let (exported, unreadable) = commits(&store, limit).await;
        assert_eq!((exported.len(), unreadable.len()), (4 + 1 + 4 + 4, 1), "in pages of {limit}");
        expect_unreadable(&unreadable[0], "gap", "version 3");
        let newer = exported.iter().find(|commit| commit.stream == id("newer") && commit.version.get() == 3);
        assert_eq!(newer.unwrap().events[0].data.get(), r#"{"by": [1, "dog"]}"#);
    }
}
