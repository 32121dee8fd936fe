//! Scenarios of PostgreSQL alone: the schema, cut connections, servers that take no writes, rows that are refused.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

use event_store::{AppendError, CommitId, EventStore, OpenError, OtherProcesses, StoreError};
use futures_util::future::{join_all, try_join_all};
use sqlx::{AssertSqlSafe, Row, raw_sql};
use tokio::time::timeout;

use crate::build::{
    answer, append, append_each, commit, commit_by, id, load, namespace, place, record, second, versions,
    whole, wins,
};
use crate::proxy::{Proxy, Weather, append_at_last, append_through};
use crate::stores::{Postgres, Stores};

/// The time limit for an answer. A command must be answered while its caller still waits.
const SOON: Duration = Duration::from_secs(8);

impl Postgres {
    async fn execute(&self, statements: &str) {
        raw_sql(AssertSqlSafe(statements)).execute(&mut self.0.connect().await).await.unwrap();
    }

    async fn number(&self, statement: &str) -> i64 {
        let found = raw_sql(AssertSqlSafe(statement)).fetch_one(&mut self.0.connect().await).await.unwrap();
        found.try_get(0).unwrap()
    }

    /// Returns the server's host and port.
    fn host(&self) -> String {
        let url = self.url();
        let authority = url.split_once("://").unwrap().1.split('/').next().unwrap();
        authority.rsplit('@').next().unwrap().to_owned()
    }

    /// Returns the store's URL with another host.
    fn url_at(&self, host: SocketAddr) -> String {
        self.url().replacen(&self.host(), &host.to_string(), 1)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_that_begin_at_once_make_the_tables_once() {
    let Some(stores) = Postgres::fresh().await else { return };
    let handles = join_all((0..8).map(|_| stores.open())).await;
    try_join_all(handles.iter().map(EventStore::ping)).await.unwrap();
    assert_eq!(stores.number("SELECT count(*) FROM tasks_task_schema").await, 1);
    assert_eq!(stores.number("SELECT version::bigint FROM tasks_task_schema").await, 1);
    let wins = join_all(handles.iter().map(|store| wins(store, commit("a", 1, 1)))).await;
    assert_eq!(wins.iter().filter(|won| **won).count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_schema_of_a_newer_program_is_refused_and_left_as_it_is() {
    let Some(stores) = Postgres::fresh().await else { return };
    stores.open().await.ping().await.unwrap();
    stores.execute("UPDATE tasks_task_schema SET version = 7; DROP TABLE tasks_task_outbox").await;
    let store = stores.open().await;
    for problem in [
        store.ping().await.unwrap_err().to_string(),
        store.append(Arc::new(commit("a", 1, 1))).await.unwrap_err().to_string(),
    ] {
        assert!(problem.contains("newer program (schema 7)"), "{problem}");
    }
    assert_eq!(stores.number("SELECT count(to_regclass('tasks_task_outbox'))").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_is_dropped_is_named_and_made_again() {
    let Some(stores) = Postgres::fresh().await else { return };
    let store = stores.open().await;
    append_each(&store, "a", 1..=2).await;
    stores.execute("DROP TABLE tasks_task_commits").await;
    let problem = store.append(Arc::new(commit("a", 3, 1))).await.unwrap_err().to_string();
    assert!(problem.contains("tasks_task_commits"), "{problem}");
    store.ping().await.unwrap();
    // Nothing is put behind what is gone.
    assert!(!wins(&store, commit("a", 3, 1)).await);
    stores.execute("DROP TABLE tasks_task_commits, tasks_task_outbox").await;
    assert!(store.ping().await.is_err());
    append(&store, commit("a", 1, 1)).await;
    assert_eq!(load(&stores.open().await, "a").await, [commit("a", 1, 1)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_takes_no_writes_is_refused_and_says_so() {
    let Some(stores) = Postgres::fresh().await else { return };
    append(&stores.open().await, commit("a", 1, 1)).await;
    let url = format!("{}&options[default_transaction_read_only]=on", stores.url());
    let store = EventStore::open(url, &namespace()).await.unwrap();
    let appended = store.append(Arc::new(commit("a", 2, 1))).await.unwrap_err().to_string();
    let (stream, version) = (id("a"), place("a", 1).version);
    let (loaded, pinged, current) =
        tokio::join!(store.load(whole("a")), store.ping(), store.is_current(&stream, version));
    let failed = [loaded.unwrap_err(), pinged.unwrap_err(), current.unwrap_err()];
    for problem in failed.map(|error| error.to_string()).into_iter().chain([appended]) {
        assert!(problem.contains("takes no writes: it is a standby"), "{problem}");
    }
    assert_eq!(versions(&load(&stores.open().await, "a").await), [1]);
}

/// The batches of the processes meet in all streams, and each process comes to them in another order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_processes_that_meet_in_many_streams_one_wins_each_version() {
    const PROCESSES: u64 = 4;
    const STREAMS: u64 = 24;
    const VERSIONS: u64 = 12;
    let Some(stores) = Postgres::fresh().await else { return };
    let handles = join_all((0..PROCESSES).map(|_| stores.open())).await;
    let appends = handles.iter().zip(0..).flat_map(|(store, process)| {
        (0..STREAMS).map(move |number| async move {
            let stream = format!("stream-{}", (number * 7 + process * 5) % STREAMS);
            let mut won = 0;
            for version in 1..=VERSIONS {
                let by = format!("{process}-{version}");
                won += u64::from(wins(store, commit_by(&by, &stream, version)).await);
            }
            won
        })
    });
    let won: u64 = join_all(appends).await.iter().sum();
    assert_eq!(won, STREAMS * VERSIONS);
    for number in 0..STREAMS {
        let commits = load(&handles[0], &format!("stream-{number}")).await;
        assert_eq!(versions(&commits), (1..=VERSIONS).collect::<Vec<_>>());
    }
    let unpublished = handles[0].backlog().await.unwrap().commits;
    assert_eq!(unpublished, STREAMS * VERSIONS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_the_server_refuses_fails_no_other_caller() {
    let Some(stores) = Postgres::fresh().await else { return };
    let store = stores.open().await;
    store.ping().await.unwrap();
    stores.execute("ALTER TABLE tasks_task_commits ADD CONSTRAINT no_b CHECK (stream <> 'b')").await;
    let appends = ["a", "b", "c", "d"].map(|stream| store.append(Arc::new(commit(stream, 1, 1))));
    let appended = join_all(appends).await;
    assert_eq!(appended.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true, true]);
    let Err(AppendError::Store(StoreError::Unavailable(problem))) = &appended[1] else {
        panic!("{appended:?}")
    };
    assert!(problem.contains("no_b"), "{problem}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_records_are_forgotten_by_the_clock_of_the_server() {
    let Some(stores) = Postgres::fresh().await else { return };
    let store = stores.open().await;
    append(&store, commit_by("commit", "a", 1)).await;
    for name in ["old", "young"] {
        store.remember(record(name, "a", 1)).await.unwrap();
    }
    let later = jiff::Timestamp::MAX;
    assert_eq!(store.forget_answered(later).await.unwrap(), 0);
    stores
        .execute(
            "UPDATE tasks_task_commits SET answered_at = now() - interval '23 hours' WHERE command_id LIKE '%young';
             UPDATE tasks_task_commits SET answered_at = now() - interval '25 hours' WHERE command_id LIKE '%old'",
        )
        .await;
    assert_eq!(store.forget_answered(later).await.unwrap(), 1);
    assert_eq!(answer(&store, "a", "old").await, None);
    assert!(answer(&store, "a", "young").await.is_some());
    assert!(answer(&store, "a", "commit").await.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_is_there_once_however_connections_are_cut() {
    let Some(stores) = Postgres::fresh().await else { return };
    let past = stores.open().await;
    past.ping().await.unwrap();
    let proxy = Proxy::to(stores.host(), Weather::Cutting(12)).await;
    let store = EventStore::open(stores.url_at(proxy.address), &namespace()).await.unwrap();
    append_through(&proxy, &store, &past).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_gone_or_silent_is_unavailable_soon_and_used_when_it_comes() {
    let Some(stores) = Postgres::fresh().await else { return };
    let proxy = Proxy::to(stores.host(), Weather::Down).await;
    let store = EventStore::open(stores.url_at(proxy.address), &namespace()).await.unwrap();
    for (weather, version) in [(Weather::Down, 1), (Weather::Silent, 2)] {
        proxy.turn(weather);
        let began = Instant::now();
        let (appended, loaded, pinged, marked) = tokio::join!(
            store.append(Arc::new(commit("a", version, 1))),
            store.load(whole("a")),
            store.ping(),
            store.mark_published(vec![place("a", 1)]),
        );
        assert!(matches!(appended, Err(AppendError::Store(StoreError::Unavailable(_)))), "{appended:?}");
        for outcome in [loaded.map(drop), pinged, marked] {
            assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{outcome:?}");
        }
        assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
        proxy.turn(Weather::Fair);
        append_at_last(&store, "a", version).await;
    }
    assert_eq!(versions(&load(&stores.open().await, "a").await), [1, 2]);
}

/// The time in which all commits of the scenarios below were recorded.
fn young() -> RangeInclusive<jiff::Timestamp> {
    second(0)..=second(100)
}

/// Waits until this handle sees so many other processes that live.
async fn until_alive(store: &EventStore, others: u64) {
    let alive = async || store.other_processes(young()).await.unwrap().unwrap().alive;
    let seen = async {
        while alive().await != others {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(timeout(SOON, seen).await.is_ok(), "{others} other processes are not seen");
}

async fn outstanding(store: &EventStore) -> Vec<CommitId> {
    let mut found = store.outstanding(young(), 10).await.unwrap();
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn young_commits_are_left_to_a_process_that_lives_and_taken_from_one_that_is_gone() {
    let Some(stores) = Postgres::fresh().await else { return };
    let [one, other] = [stores.open().await, stores.open().await];
    let enter = || {
        let one = one.clone();
        tokio::spawn(async move { one.stay_present().await })
    };
    let present = enter();
    until_alive(&other, 1).await;
    append(&one, commit("a", 1, 1)).await;
    assert_eq!(outstanding(&other).await, []);
    assert_eq!(outstanding(&one).await, [], "its own publisher has it");
    let of = async |store: &EventStore| store.other_processes(young()).await.unwrap().unwrap();
    assert_eq!(of(&other).await, OtherProcesses { alive: 1, left_to_them: 1 });
    assert_eq!(of(&one).await, OtherProcesses { alive: 0, left_to_them: 0 });
    // Nobody knows whether a process lives that has no session, so its commits are left to it too.
    append(&other, commit("b", 1, 1)).await;
    assert_eq!(outstanding(&one).await, []);
    assert_eq!(of(&one).await, OtherProcesses { alive: 0, left_to_them: 1 });
    present.abort();
    until_alive(&other, 0).await;
    assert_eq!(outstanding(&other).await, [place("a", 1)]);
    // Its successor has another number.
    let _present = enter();
    until_alive(&other, 1).await;
    append(&one, commit("c", 1, 1)).await;
    assert_eq!(outstanding(&other).await, [place("a", 1)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_the_server_ends_has_a_successor_and_its_commits_are_everybodys() {
    let Some(stores) = Postgres::fresh().await else { return };
    let [one, other] = [stores.open().await, stores.open().await];
    let entering = one.clone();
    let _present = tokio::spawn(async move { entering.stay_present().await });
    until_alive(&other, 1).await;
    append(&one, commit("a", 1, 1)).await;
    let sessions = "SELECT count(pg_terminate_backend(pid)) FROM pg_locks
        WHERE locktype = 'advisory' AND objsubid = 2
            AND classid = hashtext('tasks_task_outbox of ' || current_schema())::oid";
    assert_eq!(stores.number(sessions).await, 1);
    until_alive(&other, 0).await;
    until_alive(&other, 1).await;
    append(&one, commit("b", 1, 1)).await;
    for store in [&one, &other] {
        assert_eq!(outstanding(store).await, [place("a", 1)]);
    }
}

#[tokio::test]
async fn a_url_is_refused_without_its_password() {
    for url in ["postgre://someone:hunter2@somewhere", "postgres://someone:hunter2@somewhere:port/db"] {
        let Err(error @ (OpenError::UnknownScheme { .. } | OpenError::Refused(_))) =
            EventStore::open(url, &namespace()).await
        else {
            panic!("{url} was opened");
        };
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}
