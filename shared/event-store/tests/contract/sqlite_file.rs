//! Scenarios of SQLite alone: the file, and the files that are refused.

use std::fs;
use std::path::Path;

use event_store::{EventStore, OpenError};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::build::{append, append_each, commit, load, namespace, versions};

fn url(path: &Path) -> String {
    format!("sqlite:{}", path.display())
}

/// Returns the reason for which a file is refused. It must be one line and name the file.
async fn refusal(path: &Path) -> String {
    let Err(OpenError::Refused(problem)) = EventStore::open(url(path), &namespace()).await else {
        panic!("{} was opened", path.display());
    };
    assert_eq!(problem.lines().count(), 1, "{problem}");
    assert!(problem.contains(path.to_str().unwrap()), "{problem}");
    problem
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[tokio::test]
async fn the_folder_is_made_if_it_is_not_there() {
    let folder = folder();
    let path = folder.path().join("some/where/events.db");
    append(&EventStore::open(url(&path), &namespace()).await.unwrap(), commit("a", 1, 1)).await;
    assert!(path.is_file());
}

#[tokio::test]
async fn the_log_is_gone_when_the_last_handle_is() {
    let folder = folder();
    let path = folder.path().join("events.db");
    let store = EventStore::open(url(&path), &namespace()).await.unwrap();
    let clone = store.clone();
    append_each(&store, "a", 1..=3).await;
    store.backlog().await.unwrap();
    drop(store);
    append_each(&clone, "a", [4]).await;
    drop(clone);
    let files: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(files, ["events.db"]);
    assert_eq!(
        versions(&load(&EventStore::open(url(&path), &namespace()).await.unwrap(), "a").await),
        [1, 2, 3, 4]
    );
}

#[tokio::test]
async fn two_that_have_the_file_open_see_each_others_writes() {
    let folder = folder();
    let path = folder.path().join("events.db");
    let one = EventStore::open(url(&path), &namespace()).await.unwrap();
    let other = EventStore::open(url(&path), &namespace()).await.unwrap();
    for version in (1..=9).step_by(2) {
        append_each(&one, "a", [version]).await;
        assert_eq!(load(&other, "a").await.len() as u64, version);
        append_each(&other, "a", [version + 1]).await;
        assert_eq!(load(&one, "a").await.len() as u64, version + 1);
    }
}

#[tokio::test]
async fn a_folder_that_cant_be_made_is_refused() {
    let folder = folder();
    fs::write(folder.path().join("file"), "").unwrap();
    let problem = refusal(&folder.path().join("file/events.db")).await;
    assert!(problem.contains("folder can't be made"), "{problem}");
}

#[tokio::test]
async fn a_folder_in_the_place_of_the_file_is_refused() {
    let folder = folder();
    let problem = refusal(folder.path()).await;
    assert!(problem.contains("can't be opened"), "{problem}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_left_as_it_is() {
    let folder = folder();
    let path = folder.path().join("events.db");
    let text = "Dear diary, ".repeat(1_000);
    fs::write(&path, &text).unwrap();
    let problem = refusal(&path).await;
    assert!(problem.contains("not a database"), "{problem}");
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}

#[tokio::test]
async fn the_database_of_another_program_is_refused_and_left_as_it_is() {
    let folder = folder();
    let path = folder.path().join("events.db");
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE commits (stream)").unwrap();
    let before = fs::read(&path).unwrap();
    let problem = refusal(&path).await;
    assert!(problem.contains("another program"), "{problem}");
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn a_file_of_a_newer_program_is_refused_and_of_none_that_ever_was_too() {
    let folder = folder();
    let path = folder.path().join("events.db");
    drop(EventStore::open(url(&path), &namespace()).await.unwrap());
    for (schema, expected) in [
        (6, "newer program: its schema is 6"),
        (4, "before the first release: its schema is 4"),
        (3, "before the first release: its schema is 3"),
        (2, "before the first release: its schema is 2"),
        (1, "before the first release: its schema is 1"),
        (0, "another program"),
    ] {
        Connection::open(&path).unwrap().pragma_update(None, "user_version", schema).unwrap();
        let problem = refusal(&path).await;
        assert!(problem.contains(expected), "{problem}");
    }
}

#[tokio::test]
async fn a_url_that_names_no_file_is_refused() {
    for url in ["sqlite:", "sqlite::memory:"] {
        let refused = EventStore::open(url, &namespace()).await;
        assert!(matches!(refused, Err(OpenError::Refused(_))), "{url}");
    }
    for url in ["mysql:somewhere", "events.db", ""] {
        let Err(OpenError::UnknownScheme { allowed, .. }) = EventStore::open(url, &namespace()).await else {
            panic!("{url} was opened");
        };
        assert!(allowed.contains("sqlite:PATH"), "{allowed}");
    }
}
