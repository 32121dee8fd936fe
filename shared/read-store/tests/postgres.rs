//! The read store in a PostgreSQL database: the contract, and the tests that apply to a server only.
#![cfg(feature = "postgres")]
// Helpers of tests may fail loudly too; clippy's own exception covers only functions marked as tests.
#![allow(clippy::unwrap_used)]

#[macro_use]
mod contract;
mod database;
#[path = "postgres/keyed.rs"]
mod keyed;
#[path = "postgres/shapes.rs"]
mod shapes;

use std::time::{Duration, Instant};

use contract::{
    Incoming, ReadStore, Shared, assert_rows, events, id, incoming, raw, recorded, until, version, version_of,
};
use database::Database;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use read_store::{Filter, HeldReason, ProjectionCounts, ReadStoreError};
use sqlx::{AssertSqlSafe, PgConnection, Row, raw_sql};
use tokio::task::{JoinHandle, JoinSet};

contract!(fresh);

async fn fresh() -> Option<Shared> {
    let database = migrated().await?;
    Some(Shared::new(database.url(), database))
}

async fn migrated() -> Option<Database> {
    let database = Database::fresh().await?;
    ReadStore::open(database.url()).await.unwrap().migrate().await.unwrap();
    Some(database)
}

/// Opens a store whose sessions can be told from others in the server's list of sessions.
async fn open_named(database: &Database, name: &str) -> ReadStore {
    ReadStore::open(format!("{}&application_name={name}", database.url())).await.unwrap()
}

/// Waits for a session with this name for which the condition holds, and ends all such sessions.
async fn cut(raw: &mut PgConnection, name: &str, condition: &str) {
    of_sessions(raw, "pg_terminate_backend(pid)::text", name, condition).await;
}

/// Waits for a session with this name for which the condition holds, and returns `what` of all such sessions.
async fn of_sessions(raw: &mut PgConnection, what: &str, name: &str, condition: &str) -> Vec<String> {
    let sql =
        format!("SELECT {what} FROM pg_stat_activity WHERE application_name = '{name}' AND {condition}");
    let started = Instant::now();
    loop {
        let found = texts(raw, &sql).await;
        if !found.is_empty() {
            return found;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "no such session");
    }
}

/// The first column of the rows that a statement finds.
async fn texts(raw: &mut PgConnection, sql: &str) -> Vec<String> {
    let found = raw_sql(AssertSqlSafe(sql)).fetch_all(raw).await.unwrap();
    found.iter().map(|row| row.get(0)).collect()
}

fn start_project(
    store: &ReadStore,
    batch: Vec<Incoming>,
) -> JoinHandle<Result<ProjectionCounts, ReadStoreError>> {
    let store = store.clone();
    tokio::spawn(async move { store.project(batch).await })
}

fn unavailable(error: &ReadStoreError) -> &str {
    let ReadStoreError::Unavailable(why) = error else { panic!("{error}") };
    why
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_projectors_that_meet_the_same_new_streams_apply_each_event_once() {
    const STREAMS: usize = 400;
    const EVENTS: u64 = 4;
    let Some(database) = migrated().await else { return };
    let tool = ReadStore::open(database.url()).await.unwrap();
    // Both views, so that rows of two tables are locked.
    let building = tool.begin_rebuild().await.unwrap();
    let names: Vec<String> = (0..STREAMS).map(|number| format!("stream-{number}")).collect();
    let mut projecting = Vec::new();
    for seed in 0..2 {
        let store = ReadStore::open(database.url()).await.unwrap();
        for lane in 0..2_usize {
            let (store, names) = (store.clone(), names.clone());
            projecting.push(tokio::spawn(async move {
                let mut random = StdRng::seed_from_u64(seed * 2 + lane as u64);
                let mut deliveries: Vec<_> = names
                    .iter()
                    .flat_map(|stream| (1..=EVENTS).map(move |version| (stream, version)))
                    .collect();
                deliveries.shuffle(&mut random);
                let mut effects = 0;
                while !deliveries.is_empty() {
                    let size = random.random_range(1..=300).min(deliveries.len());
                    let batch = deliveries.drain(..size).map(|(stream, version)| incoming(stream, version));
                    let taken = store.project(batch.collect()).await.unwrap();
                    effects += taken.applied + taken.released;
                }
                effects
            }));
        }
    }
    let mut effects = 0;
    for projecting in projecting {
        effects += projecting.await.unwrap();
    }
    assert_eq!(effects, STREAMS * usize::try_from(EVENTS).unwrap());
    tool.swap(building).await.unwrap();
    for stream in &names {
        assert_rows(&tool, &[(stream, EVENTS)]).await;
    }
    assert_eq!(tool.held_summary().await.unwrap(), []);
}

/// The batch is not rolled back and done anew. Otherwise projectors whose events name each other's new streams would roll back
/// all the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_is_overtaken_at_one_new_stream_goes_on_with_the_row_that_it_finds() {
    let Some(database) = migrated().await else { return };
    let name = format!("overtaken-{}", rand::random::<u32>());
    let store = open_named(&database, &name).await;
    let (mut raw, mut other) = (database.connect().await, database.connect().await);
    let created = "INSERT INTO tasks_1 (id, version, title, stage, starts, opened_at)
                   VALUES ('b', 1, 'title of b', 'open', 0, to_timestamp(1700000001))";
    raw_sql("BEGIN").execute(&mut other).await.unwrap();
    raw_sql(created).execute(&mut other).await.unwrap();
    let batch = ["a", "c"].into_iter().flat_map(|stream| events(stream, [1, 3])).chain(events("b", [2, 4]));
    let projecting = start_project(&store, batch.collect());
    // The transaction creates `a` before it waits, so it has an id by then.
    let waits = "wait_event_type = 'Lock' AND query LIKE 'INSERT INTO tasks_1%'";
    let waiting = of_sessions(&mut raw, "backend_xid::text", &name, waits).await;
    raw_sql("COMMIT").execute(&mut other).await.unwrap();

    let taken = projecting.await.unwrap().unwrap();
    assert_eq!(taken, ProjectionCounts { applied: 3, ignored: 0, held: 3, released: 0 });
    assert_rows(&store, &[("a", 1), ("b", 2), ("c", 1)]).await;
    let made = texts(&mut raw, "SELECT DISTINCT xmin::text FROM tasks_1").await;
    assert_eq!(made, waiting, "the rows are of the transaction that waited");
    let next = ["a", "b", "c"].into_iter().zip([2, 3, 2]).flat_map(|(stream, next)| events(stream, [next]));
    assert_eq!(store.project(next.collect()).await.unwrap().released, 3);
    assert_rows(&store, &[("a", 3), ("b", 4), ("c", 3)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_in_another_streams_partition_keeps_no_stream_waiting_but_its_own() {
    let Some(database) = migrated().await else { return };
    let store = ReadStore::open(database.url()).await.unwrap();
    store.project(events("b", [1])).await.unwrap();
    let mut other = database.connect().await;
    raw_sql("BEGIN; SELECT id FROM tasks_1 WHERE id = 'b' FOR UPDATE").execute(&mut other).await.unwrap();
    let astray = Incoming { key: Some(b"a".to_vec()), ..incoming("b", 2) };
    let keyless = Incoming { key: None, ..incoming("b", 4) };
    let batch = [astray, keyless].into_iter().chain(events("a", [1, 2])).collect();
    let projecting = start_project(&store, batch);
    until(async || version_of(&store, "a").await == 2).await;
    assert!(!projecting.is_finished());
    assert_rows(&store, &[("b", 1)]).await;
    raw_sql("COMMIT").execute(&mut other).await.unwrap();
    let taken = projecting.await.unwrap().unwrap();
    assert_eq!(taken, ProjectionCounts { applied: 3, ignored: 0, held: 1, released: 0 });
    assert_rows(&store, &[("a", 2), ("b", 2)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_is_cut_in_the_middle_leaves_nothing_and_can_come_again() {
    let Some(database) = migrated().await else { return };
    let name = format!("cut-{}", rand::random::<u32>());
    let store = open_named(&database, &name).await;
    let (mut raw, mut blocker) = (database.connect().await, database.connect().await);
    raw_sql("BEGIN; LOCK TABLE read_store_held IN SHARE MODE").execute(&mut blocker).await.unwrap();
    let batch = || ["a", "b", "c"].into_iter().flat_map(|stream| events(stream, [1, 3])).collect::<Vec<_>>();
    let projecting = start_project(&store, batch());
    // By then the batch's rows are written, and its held events are not.
    cut(&mut raw, &name, "wait_event_type = 'Lock' AND query LIKE 'INSERT INTO read_store_held%'").await;
    let error = projecting.await.unwrap().unwrap_err();
    unavailable(&error);
    raw_sql("ROLLBACK").execute(&mut blocker).await.unwrap();
    assert_eq!((version_of(&store, "a").await, version_of(&store, "c").await), (0, 0));
    assert_eq!(store.held_summary().await.unwrap(), []);

    let taken = store.project(batch()).await.unwrap();
    assert_eq!(taken, ProjectionCounts { applied: 3, ignored: 0, held: 3, released: 0 });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_died_while_nobody_used_them_are_replaced_unnoticed() {
    let Some(database) = migrated().await else { return };
    let name = format!("idle-{}", rand::random::<u32>());
    let store = open_named(&database, &name).await;
    let mut raw = database.connect().await;
    for number in 1..=3 {
        assert_eq!(store.project(events("a", [number])).await.unwrap().applied, 1);
        cut(&mut raw, &name, "state = 'idle'").await;
        assert_eq!(version_of(&store, "a").await, number);
        cut(&mut raw, &name, "state = 'idle'").await;
    }
    let view = store.begin_rebuild().await.unwrap();
    cut(&mut raw, &name, "state = 'idle'").await;
    store.backfill(view, (1..=3).map(|number| recorded("a", number)).collect()).await.unwrap();
    cut(&mut raw, &name, "state = 'idle'").await;
    store.swap(view).await.unwrap();
    assert_rows(&store, &[("a", 3)]).await;
}

#[tokio::test]
async fn a_runtime_that_is_busy_with_other_tasks_still_connects() {
    let Some(database) = migrated().await else { return };
    let mut others = JoinSet::new();
    for _ in 0..50 {
        others.spawn(keep_busy());
    }
    // If each of the password's 800 steps waited for a turn of all these tasks, it would take 40 s. The store gives up after 3 s.
    let store = ReadStore::open_with(database.url(), 1).await.unwrap();
    store.ping().await.unwrap();
    let ended = others.try_join_next();
    assert!(ended.is_none(), "{ended:?}");
}

/// Works for a millisecond at a time, and gives way to other tasks between.
async fn keep_busy() {
    loop {
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(1) {}
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_connection_is_enough_for_everything() {
    let Some(database) = migrated().await else { return };
    let store = ReadStore::open_with(database.url(), 1).await.unwrap();
    let calls: Vec<_> = (0..8)
        .map(|number| {
            let (store, stream) = (store.clone(), format!("stream-{number}"));
            tokio::spawn(async move {
                store.project(events(&stream, 1..=3)).await.unwrap();
                store
                    .wait_for(&id(&stream), version(3), Duration::from_secs(30))
                    .await
                    .unwrap()
                    .entry
                    .unwrap()
                    .version
            })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap(), version(3));
    }
    let view = store.begin_rebuild().await.unwrap();
    for number in 0..8 {
        let page = (1..=3).map(|version| recorded(&format!("stream-{number}"), version)).collect();
        store.backfill(view, page).await.unwrap();
    }
    store.swap(view).await.unwrap();
    store.ping().await.unwrap();
}

#[tokio::test]
async fn a_garbled_row_fails_its_own_batch_only_and_can_be_repaired() {
    let Some(database) = migrated().await else { return };
    let store = ReadStore::open(database.url()).await.unwrap();
    for stream in ["a", "b"] {
        store.project(events(stream, [1])).await.unwrap();
    }
    let mut raw = database.connect().await;
    raw_sql("UPDATE tasks_1 SET stage = '?' WHERE id = 'a'").execute(&mut raw).await.unwrap();
    let error = store.get(&id("a")).await.unwrap_err();
    assert!(matches!(error, ReadStoreError::Corrupt(_)), "{error}");
    let [garbled, sound] = ["a", "b"].map(|stream| {
        let store = store.clone();
        tokio::spawn(async move { store.project(events(stream, [2])).await })
    });
    assert!(matches!(garbled.await.unwrap(), Err(ReadStoreError::Corrupt(_))));
    assert_eq!(sound.await.unwrap().unwrap().applied, 1);
    assert_eq!(store.get_many(vec![id("a"), id("b")]).await.unwrap().len(), 1);
    store.repair(vec![contract::fold("a", 1)]).await.unwrap();
    assert_rows(&store, &[("a", 1), ("b", 2)]).await;
}

#[tokio::test]
async fn a_record_with_the_one_character_that_the_server_refuses_is_held_all_the_same() {
    let Some(database) = migrated().await else { return };
    let store = ReadStore::open(database.url()).await.unwrap();
    let record = raw(
        br#"{"type":"Ta\u0000sk","schema":1,"stream":"a","version":2,"time":"2026-01-01T00:00:00Z","data":{}}"#,
        "a\0",
        1,
    );
    assert_eq!(store.project(vec![incoming("a", 1), record]).await.unwrap().held, 1);
    let held = store.held(None, None, 10).await.unwrap();
    assert_eq!((held[0].reason, held[0].key.as_deref()), (HeldReason::UnknownType, Some(&b"a\0"[..])));
    assert_eq!(store.redrive(None).await.unwrap().held, 1);
}

#[tokio::test]
async fn a_placeholder_is_no_row() {
    let Some(database) = migrated().await else { return };
    let store = ReadStore::open(database.url()).await.unwrap();
    assert_eq!(store.project(events("a", [2])).await.unwrap().held, 1);
    let mut raw = database.connect().await;
    let rows = raw_sql("SELECT version FROM tasks_1").fetch_all(&mut raw).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.get::<i64, _>(0)).collect::<Vec<_>>(), [0]);
    assert_eq!(store.get(&id("a")).await.unwrap(), None);
    assert_eq!(store.get_many(vec![id("a")]).await.unwrap(), []);
    assert_eq!(store.list(Filter::first(5)).await.unwrap().entries, []);
    assert_eq!(store.remove(vec![id("a")]).await.unwrap(), 0);
    assert_eq!(store.held_summary().await.unwrap(), []);
}

#[tokio::test]
async fn a_database_without_tables_is_given_them_by_the_first_that_needs_them() {
    let Some(database) = Database::fresh().await else { return };
    let first: Vec<_> = (0..6)
        .map(|_| {
            let url = database.url();
            tokio::spawn(async move { ReadStore::open(url).await.unwrap().get(&id("a")).await.unwrap() })
        })
        .collect();
    for stream in first {
        assert_eq!(stream.await.unwrap(), None);
    }
    let store = ReadStore::open(database.url()).await.unwrap();
    assert_eq!(store.project(events("a", [1])).await.unwrap().applied, 1);
}

#[tokio::test]
async fn a_user_who_may_not_create_tables_is_told_what_to_do() {
    let Some(database) = Database::fresh().await else { return };
    let forbidden = format!("{}&options[default_transaction_read_only]=on", database.url());
    let error = ReadStore::open(forbidden).await.unwrap().ping().await.unwrap_err();
    let problem = unavailable(&error);
    assert!(
        problem.starts_with("its tables are not there and can't be created; run `migrate`: "),
        "{problem}"
    );
}

#[tokio::test]
async fn a_database_with_newer_tables_is_refused() {
    let Some(database) = migrated().await else { return };
    let mut raw = database.connect().await;
    raw_sql("UPDATE read_store_schema SET version = 7").execute(&mut raw).await.unwrap();
    let store = ReadStore::open(database.url()).await.unwrap();
    let newer = "its tables were made by a newer program (schema 7); this one knows 2";
    assert_eq!(unavailable(&store.ping().await.unwrap_err()), newer);
    assert_eq!(unavailable(&store.migrate().await.unwrap_err()), newer);
}

#[tokio::test]
async fn whatever_tables_are_missing_are_told_of_and_made_again() {
    for dropped in [
        "tasks_1",
        "read_store_views",
        "read_store_held",
        "read_store_walks",
        "read_store_programs",
        "read_store_schema",
        "tasks_1, read_store_views",
    ] {
        let Some(database) = migrated().await else { return };
        let store = ReadStore::open(&database.url()).await.unwrap();
        assert_eq!(store.project(events("a", [1, 3])).await.unwrap().applied, 1);
        let mut raw = database.connect().await;
        raw_sql(AssertSqlSafe(format!("DROP TABLE {dropped} CASCADE"))).execute(&mut raw).await.unwrap();
        if dropped.contains("tasks_1") {
            store.ping().await.unwrap_err();
        }
        let store = ReadStore::open(&database.url()).await.unwrap();
        store.migrate().await.unwrap();
        store.ping().await.unwrap();
        // A view that was not lost goes on. A view that was lost is empty, in doubt, and takes events in again.
        let is_new = dropped.contains("tasks_1") || dropped.contains("read_store_views");
        assert_eq!(store.get(&id("a")).await.unwrap().is_none(), is_new, "{dropped}");
        assert!(!is_new || store.walk().await.unwrap().doubt.is_some(), "{dropped}");
        store.project(events("a", [1, 2])).await.unwrap();
        assert!(version_of(&store, "a").await >= 2, "{dropped}");
    }
}

#[tokio::test]
async fn many_processes_may_migrate_at_once_and_again() {
    let Some(database) = Database::fresh().await else { return };
    let migrating: Vec<_> = (0..6)
        .map(|_| {
            let url = database.url();
            tokio::spawn(async move {
                let store = ReadStore::open(url).await.unwrap();
                store.migrate().await.unwrap();
                store.project(events("a", [1])).await.unwrap().applied
            })
        })
        .collect();
    let mut applied = 0;
    for migrating in migrating {
        applied += migrating.await.unwrap();
    }
    assert_eq!(applied, 1);
}

#[tokio::test]
async fn a_refused_password_is_said_so_and_never_shown() {
    let Some(database) = migrated().await else { return };
    let url = database.url();
    let (head, host) = url.rsplit_once('@').unwrap();
    let (user, _) = head.rsplit_once(':').unwrap();
    let store = ReadStore::open(format!("{user}:wrong-secret@{host}")).await.unwrap();
    let error = store.ping().await.expect_err("the server must ask for a password, for this to be tested");
    assert_eq!(unavailable(&error), "the server refuses this user or password");
}

#[tokio::test]
async fn a_server_that_is_down_or_silent_is_said_so_within_seconds() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let closed = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().port()
    };
    for port in [port, closed] {
        let url = format!("postgres://somebody:s3cret@127.0.0.1:{port}/streams");
        let store = ReadStore::open(url).await.unwrap();
        let started = Instant::now();
        let errors =
            [store.project(events("a", [1])).await.unwrap_err(), store.get(&id("a")).await.unwrap_err()];
        assert!(started.elapsed() < Duration::from_secs(15));
        for error in errors {
            let why = unavailable(&error);
            assert!(!why.contains("s3cret") && !why.contains("somebody"), "{why}");
        }
    }
}

#[tokio::test]
async fn a_url_that_is_none_is_refused_without_its_password() {
    let Err(error) = ReadStore::open("postgres://somebody:s3cret@host:no-port/streams").await else {
        panic!("it was opened")
    };
    assert!(!error.to_string().contains("s3cret"), "{error}");
    let Err(error) = ReadStore::open("mysql://somebody:s3cret@host/streams").await else {
        panic!("it was opened")
    };
    assert!(error.to_string().starts_with("the read store \"mysql://…@host/…\" has an unknown scheme"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_servers_sessions_are_taken_up_again_while_events_come() {
    let Some(database) = migrated().await else { return };
    let name = format!("restart-{}", rand::random::<u32>());
    let store = open_named(&database, &name).await;
    let projecting = tokio::spawn({
        let store = store.clone();
        async move {
            let mut failures = 0;
            for number in 1..=60 {
                // Like an event source mapping: it sends the same batch until it is taken.
                while store.project(events("a", [number])).await.is_err() {
                    failures += 1;
                }
            }
            failures
        }
    });
    let mut raw = database.connect().await;
    for _ in 0..5 {
        let before = version_of(&store, "a").await;
        until(|| async { version_of(&store, "a").await > before || before >= 60 }).await;
        let end = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{name}'"
        );
        raw_sql(AssertSqlSafe(end)).execute(&mut raw).await.unwrap();
    }
    projecting.await.unwrap();
    assert_rows(&store, &[("a", 60)]).await;
    assert_eq!(store.held_summary().await.unwrap(), []);
}
