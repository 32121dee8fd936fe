//! Rows that streams share, in a PostgreSQL database.

use event_sourcing::testing::LabelsView;
use read_store::ProjectionCounts;
use sqlx::{AssertSqlSafe, PgConnection, raw_sql};
use tokio::task::JoinHandle;

use crate::contract::id;
use crate::contract::shared::{Labels, added, tasks};
use crate::database::Database;
use crate::{cut, of_sessions, unavailable};

async fn migrated() -> Option<Database> {
    let database = Database::fresh().await?;
    Labels::open(database.url()).await.unwrap().migrate().await.unwrap();
    Some(database)
}

/// Opens a store whose sessions can be told from others.
async fn open_named(database: &Database) -> (Labels, String) {
    let name = format!("labels-{}", rand::random::<u32>());
    let url = format!("{}&application_name={name}", database.url());
    (Labels::open(url).await.unwrap(), name)
}

/// Starts to add this label to a new task.
fn start_add(
    store: &Labels,
    task: &'static str,
    labels: &'static [&'static str],
) -> JoinHandle<ProjectionCounts> {
    let store = store.clone();
    tokio::spawn(async move { store.project(vec![added(task, 1, labels)]).await.unwrap() })
}

async fn run(connection: &mut PgConnection, sql: &str) {
    raw_sql(AssertSqlSafe(sql)).execute(connection).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_another_transaction_writes_is_waited_for_and_folded_on() {
    let Some(database) = migrated().await else { return };
    let (store, name) = open_named(&database).await;
    let (mut raw, mut other) = (database.connect().await, database.connect().await);
    let create = "INSERT INTO labels_1 (key, subject, tasks, shared) VALUES ('x', 'x', 5, true)";
    let more = "UPDATE labels_1 SET tasks = tasks + 10 WHERE key = 'x'";
    let steps = [
        (create, "ROLLBACK", "a", 1),
        ("DELETE FROM labels_1", "COMMIT", "b", 1),
        ("DELETE FROM labels_1 RETURNING key", "ROLLBACK", "c", 2),
        (more, "COMMIT", "d", 13),
    ];
    for (statement, end, task, expected) in steps {
        run(&mut other, "BEGIN").await;
        run(&mut other, statement).await;
        let adding = start_add(&store, task, &["w", "x", "y"]);
        let waits = "wait_event_type = 'Lock' AND query LIKE 'INSERT INTO labels_1 (key)%'";
        of_sessions(&mut raw, "pid::text", &name, waits).await;
        run(&mut other, end).await;
        assert_eq!(adding.await.unwrap().applied, 1);
        assert_eq!(tasks(&store, "x").await, expected, "{statement}");
    }
    assert_eq!((tasks(&store, "w").await, tasks(&store, "y").await), (3, 3));
    run(&mut other, "DELETE FROM labels_1; BEGIN").await;
    run(&mut other, create).await;
    let adding = start_add(&store, "e", &["x"]);
    of_sessions(&mut raw, "pid::text", &name, "wait_event_type = 'Lock'").await;
    run(&mut other, "COMMIT").await;
    adding.await.unwrap();
    assert_eq!(tasks(&store, "x").await, 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_of_shared_rows_that_is_cut_leaves_nothing_and_can_come_again() {
    let Some(database) = migrated().await else { return };
    let (store, name) = open_named(&database).await;
    store.project(vec![added("a", 1, &["x", "y"])]).await.unwrap();
    store.begin_rebuild().await.unwrap();
    let (mut raw, mut blocker) = (database.connect().await, database.connect().await);
    run(&mut blocker, "BEGIN; LOCK TABLE labels_2_streams IN SHARE MODE").await;
    let batch = || vec![added("a", 2, &["x"]), added("b", 1, &["x", "z"]), added("b", 3, &["z"])];
    let projecting = {
        let store = store.clone();
        tokio::spawn(async move { store.project(batch()).await })
    };
    // By then the batch is written to the active view, and nothing of it to the other one.
    cut(&mut raw, &name, "wait_event_type = 'Lock' AND query LIKE '%labels_2_streams%'").await;
    unavailable(&projecting.await.unwrap().unwrap_err());
    run(&mut blocker, "ROLLBACK").await;
    let rows = async || (tasks(&store, "x").await, tasks(&store, "y").await, tasks(&store, "z").await);
    assert_eq!(rows().await, (1, 1, 0));
    assert_eq!(store.get(&id("b")).await.unwrap(), None);
    assert_eq!(store.held_summary().await.unwrap(), []);
    let taken = store.project(batch()).await.unwrap();
    assert_eq!(taken, ProjectionCounts { applied: 2, ignored: 0, held: 1, released: 0 });
    assert_eq!(rows().await, (3, 1, 1));
}

#[tokio::test]
async fn rows_without_versions_are_made_anew_and_so_are_versions_without_rows() {
    for dropped in ["labels_1", "labels_1_streams"] {
        let Some(database) = migrated().await else { return };
        let store = Labels::open(database.url()).await.unwrap();
        store.project(vec![added("a", 1, &["x"])]).await.unwrap();
        run(&mut database.connect().await, &format!("DROP TABLE {dropped} CASCADE")).await;
        store.ping().await.unwrap_err();
        let store = read_store::ReadStore::<LabelsView>::open(database.url()).await.unwrap();
        store.migrate().await.unwrap();
        store.ping().await.unwrap();
        assert_eq!((store.get(&id("a")).await.unwrap(), tasks(&store, "x").await), (None, 0), "{dropped}");
        assert!(store.walk().await.unwrap().doubt.is_some());
        store.project(vec![added("a", 1, &["x"])]).await.unwrap();
        assert_eq!(tasks(&store, "x").await, 1);
    }
}
