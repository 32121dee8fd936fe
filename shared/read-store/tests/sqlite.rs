//! The read store in a SQLite file: the contract, and the tests that apply to a file only.
#![cfg(feature = "embedded")]
// Helpers of tests may fail loudly too; clippy's own exception covers only functions marked as tests.
#![allow(clippy::unwrap_used)]

#[macro_use]
mod contract;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use contract::shared::{Labels, added, tasks};
use contract::{ReadStore, Shared, assert_rows, events, id, until, version_of};
use read_store::{OpenError, ProjectionCounts, ReadStoreError};
use rusqlite::Connection;
use tempfile::TempDir;

contract!(fresh);

async fn fresh() -> Option<Shared> {
    let (folder, path) = place();
    Some(Shared::new(url(&path), folder))
}

fn place() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("view.db");
    (folder, path)
}

fn url(path: &Path) -> String {
    format!("sqlite:{}", path.display())
}

async fn refusal(url: &str) -> String {
    let Err(OpenError::Refused(problem)) = ReadStore::open(url).await else { panic!("{url} was opened") };
    assert_eq!(problem.lines().count(), 1);
    problem
}

#[tokio::test]
async fn whatever_tables_are_missing_are_told_of_and_made_again() {
    for dropped in
        ["tasks_1", "read_store_views", "read_store_held", "read_store_walks", "read_store_programs"]
    {
        let (_folder, path) = place();
        let store = ReadStore::open(&url(&path)).await.unwrap();
        store.project(events("a", [1, 3])).await.unwrap();
        Connection::open(&path).unwrap().execute_batch(&format!("DROP TABLE {dropped}")).unwrap();
        if dropped == "tasks_1" {
            store.ping().await.unwrap_err();
        }
        drop(store);
        let store = ReadStore::open(&url(&path)).await.unwrap();
        store.ping().await.unwrap();
        store.project(events("a", [1, 2])).await.unwrap();
        assert!(version_of(&store, "a").await >= 2, "{dropped}");
        let is_lost = dropped == "tasks_1";
        assert!(!is_lost || store.walk().await.unwrap().doubt.is_some(), "{dropped}");
    }
}

#[tokio::test]
async fn a_batch_that_fails_leaves_nothing_and_can_come_again() {
    let (_folder, path) = place();
    let store = ReadStore::open(url(&path)).await.unwrap();
    let raw = Connection::open(&path).unwrap();
    raw.execute_batch(
        "CREATE TRIGGER full BEFORE INSERT ON tasks_1 WHEN NEW.id = 'b'
         BEGIN SELECT abs(-9223372036854775807 - 1); END",
    )
    .unwrap();
    let batch = || ["a", "b", "c"].into_iter().flat_map(|stream| events(stream, [1, 3])).collect::<Vec<_>>();
    let error = store.project(batch()).await.unwrap_err();
    assert!(matches!(error, ReadStoreError::Unavailable(_)), "{error}");
    assert_eq!((version_of(&store, "a").await, version_of(&store, "c").await), (0, 0));
    assert_eq!(store.held_summary().await.unwrap(), []);

    raw.execute_batch("DROP TRIGGER full").unwrap();
    let taken = store.project(batch()).await.unwrap();
    assert_eq!(taken, ProjectionCounts { applied: 3, ignored: 0, held: 3, released: 0 });
}

#[tokio::test]
async fn a_garbled_row_fails_its_own_batch_only_and_can_be_repaired() {
    let (_folder, path) = place();
    let store = ReadStore::open(url(&path)).await.unwrap();
    for stream in ["a", "b"] {
        store.project(events(stream, [1])).await.unwrap();
    }
    Connection::open(&path).unwrap().execute("UPDATE tasks_1 SET stage = '?' WHERE id = 'a'", []).unwrap();
    let error = store.get(&id("a")).await.unwrap_err();
    assert!(matches!(error, ReadStoreError::Corrupt(_)), "{error}");
    let calls = ["a", "b"].map(|stream| {
        let store = store.clone();
        tokio::spawn(async move { store.project(events(stream, [2])).await })
    });
    let [garbled, sound] = calls;
    assert!(matches!(garbled.await.unwrap(), Err(ReadStoreError::Corrupt(_))));
    assert_eq!(sound.await.unwrap().unwrap().applied, 1);
    assert_eq!(store.get_many(vec![id("a"), id("b")]).await.unwrap().len(), 1);
    store.repair(vec![contract::fold("a", 1)]).await.unwrap();
    assert_rows(&store, &[("a", 1), ("b", 2)]).await;
}

#[tokio::test]
async fn a_batch_of_shared_rows_that_fails_leaves_nothing_and_can_come_again() {
    let (_folder, path) = place();
    let store = Labels::open(url(&path)).await.unwrap();
    store.project(vec![added("a", 1, &["x", "y"])]).await.unwrap();
    let raw = Connection::open(&path).unwrap();
    raw.execute_batch(
        "CREATE TRIGGER full BEFORE INSERT ON labels_1 WHEN NEW.key = 'z'
         BEGIN SELECT abs(-9223372036854775807 - 1); END",
    )
    .unwrap();
    let batch = || vec![added("a", 2, &["x"]), added("b", 1, &["x", "z"]), added("b", 3, &["z"])];
    let error = store.project(batch()).await.unwrap_err();
    assert!(matches!(error, ReadStoreError::Unavailable(_)), "{error}");
    let rows = async || (tasks(&store, "x").await, tasks(&store, "y").await, tasks(&store, "z").await);
    assert_eq!(rows().await, (1, 1, 0));
    assert_eq!(store.get(&id("b")).await.unwrap(), None);
    raw.execute_batch("DROP TRIGGER full").unwrap();
    let taken = store.project(batch()).await.unwrap();
    assert_eq!(taken, ProjectionCounts { applied: 2, ignored: 0, held: 1, released: 0 });
    assert_eq!(rows().await, (3, 1, 1));
}

#[tokio::test]
async fn rows_without_versions_are_made_anew_and_so_are_versions_without_rows() {
    for dropped in ["labels_1", "labels_1_streams"] {
        let (_folder, path) = place();
        let store = Labels::open(url(&path)).await.unwrap();
        store.project(vec![added("a", 1, &["x"])]).await.unwrap();
        Connection::open(&path).unwrap().execute_batch(&format!("DROP TABLE {dropped}")).unwrap();
        store.ping().await.unwrap_err();
        drop(store);
        let store = Labels::open(url(&path)).await.unwrap();
        store.ping().await.unwrap();
        assert_eq!((store.get(&id("a")).await.unwrap(), tasks(&store, "x").await), (None, 0), "{dropped}");
        assert!(store.walk().await.unwrap().doubt.is_some());
        store.project(vec![added("a", 1, &["x"])]).await.unwrap();
        assert_eq!(tasks(&store, "x").await, 1);
    }
}

const CHILD: &str = "READ_STORE_TEST_CHILD";
const EVENTS_A_BATCH: u64 = 5;

/// The work of the process that is killed: batches without end, each with the next events of the same stream.
async fn write_without_end(path: &str) {
    let store = ReadStore::open(url(path.as_ref())).await.unwrap();
    for first in (1..).step_by(usize::try_from(EVENTS_A_BATCH).unwrap()) {
        store.project(events("a", first..first + EVENTS_A_BATCH)).await.unwrap();
    }
}

/// A process that is killed when this is dropped, also if the test fails before that.
struct KilledInTheEnd(Child);

impl Drop for KilledInTheEnd {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[tokio::test]
async fn a_killed_process_leaves_whole_batches_only() {
    if let Ok(path) = std::env::var(CHILD) {
        return write_without_end(&path).await;
    }
    let (_folder, path) = place();
    let store = ReadStore::open(url(&path)).await.unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_killed_process_leaves_whole_batches_only"])
        .env(CHILD, &path)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let child = KilledInTheEnd(child);
    until(|| async { version_of(&store, "a").await >= 10 * EVENTS_A_BATCH }).await;
    drop(child);
    let version = version_of(&store, "a").await;
    assert!(version.is_multiple_of(EVENTS_A_BATCH), "{version}");
    assert_rows(&store, &[("a", version)]).await;
    assert_eq!(store.project(events("a", 1..=version + 1)).await.unwrap().applied, 1);
}

#[tokio::test]
async fn a_file_that_is_no_read_store_is_refused_in_one_line() {
    let (_folder, path) = place();
    std::fs::write(&path, "this is a text and no database, ".repeat(100)).unwrap();
    assert!(refusal(&url(&path)).await.contains("file is not a database"));

    let (_folder, path) = place();
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
    assert!(refusal(&url(&path)).await.ends_with("is a SQLite file, but not a read store"));
    assert_eq!(refusal("sqlite:").await, "sqlite: names no file; allowed: sqlite:PATH");
}

#[tokio::test]
async fn a_place_where_no_file_can_be_is_refused_in_one_line() {
    let (folder, path) = place();
    assert!(refusal(&url(folder.path())).await.contains("unable to open database file"));
    std::fs::write(&path, "").unwrap();
    let below_a_file = path.join("view.db");
    assert!(refusal(&url(&below_a_file)).await.starts_with(below_a_file.to_str().unwrap()));
}

#[tokio::test]
async fn a_newer_schema_is_refused_in_one_line() {
    let (_folder, path) = place();
    drop(ReadStore::open(url(&path)).await.unwrap());
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 7).unwrap();
    let refused = refusal(&url(&path)).await;
    assert!(refused.ends_with("was made by a newer program (schema 7); this one knows 2"), "{refused}");
}

#[tokio::test]
async fn many_handles_may_open_a_new_file_at_once() {
    let (_folder, path) = place();
    let opening: Vec<_> = (0..8)
        .map(|_| {
            let url = url(&path);
            tokio::spawn(async move { ReadStore::open(url).await.unwrap().ping().await.unwrap() })
        })
        .collect();
    for opened in opening {
        opened.await.unwrap();
    }
}

#[tokio::test]
async fn an_unknown_scheme_is_refused_with_what_is_allowed() {
    let Err(error) = ReadStore::open("mysql://localhost").await else { panic!("it was opened") };
    let expected = "the read store \"mysql://localhost\" has an unknown scheme; allowed: sqlite:PATH";
    assert!(error.to_string().starts_with(expected), "{error}");
}

/// The ids that SQL tools see under the view's own name.
fn shown(path: &Path) -> Vec<String> {
    let connection = Connection::open(path).unwrap();
    let mut statement = connection.prepare("SELECT id FROM tasks ORDER BY id").unwrap();
    let ids = statement.query_map([], |row| row.get(0)).unwrap();
    ids.map(Result::unwrap).collect()
}

#[tokio::test]
async fn sql_tools_see_the_rows_of_the_view_that_was_filled_last() {
    let (_folder, path) = place();
    let store = ReadStore::open(url(&path)).await.unwrap();
    store.project(events("a", [1])).await.unwrap();
    assert_eq!(shown(&path), ["a"]);
    let building = store.begin_rebuild().await.unwrap();
    store.backfill(building, vec![contract::recorded("a", 1)]).await.unwrap();
    store.swap(building).await.unwrap();
    store.project(events("b", [1])).await.unwrap();
    assert_eq!(shown(&path), ["a", "b"]);

    let wider = read_store::ReadStore::<contract::shapes::WiderView>::open(url(&path)).await.unwrap();
    assert_eq!(shown(&path), ["a", "b"], "a view that is not filled is not shown");
    let building = wider.begin_rebuild().await.unwrap();
    wider.swap(building).await.unwrap();
    wider.project(events("c", [1])).await.unwrap();
    assert_eq!(shown(&path), ["c"]);
}
