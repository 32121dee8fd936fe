//! `orders copy` between files: what it refuses, and what it takes from a system that runs.

use tests::process::Finished;
use tests::stores::Stores;
use tests::system::{Setup, System};

/// The URL of a file in the system's folder.
pub(crate) fn file(system: &System, name: &str) -> String {
    format!("sqlite:{}", system.path(name).display())
}

/// Copies one event store into another one.
pub(crate) async fn copy(system: &System, from: &str, to: &str) -> Finished {
    system.orders(&["copy", "--from", from, "--to", to, "--json"]).await
}

async fn system() -> System {
    Setup::on(Stores::Embedded).start().await
}

#[tokio::test]
async fn a_copy_takes_what_is_there_and_the_next_one_what_came_later() {
    let mut system = system().await;
    let (from, to) = (file(&system, "events.db"), file(&system, "copy.db"));
    system.create_and_process("a").await;
    // A server that is running marks what it has published, and orders may come in at any time.
    let first = copy(&system, &from, &to).await.json();
    assert!(first["commits"].as_u64() >= Some(3), "{first}");
    system.create_and_process("b").await;
    system.stop().await;
    let last = copy(&system, &from, &to).await.with_code(0).json();
    assert_eq!((&last["commits"], &last["unpublished"], &last["behind"]), (&6.into(), &0.into(), &0.into()));
    let report = system.orders(&["copy", "--from", &from, "--to", &to]).await.with_code(0).stdout;
    assert!(report.contains("both hold 6 commits with 6 events (0 commits unpublished)"), "{report}");
}

#[tokio::test]
async fn a_store_is_not_copied_into_itself_and_no_file_is_made_for_a_source() {
    let mut system = system().await;
    system.create("a").await;
    system.stop().await;
    let from = file(&system, "events.db");
    let link = system.path("link.db");
    std::os::unix::fs::symlink(system.path("events.db"), &link).unwrap();
    for to in [&from, &file(&system, "./events.db"), &file(&system, "link.db")] {
        let refused = copy(&system, &from, to).await.with_code(2).stderr;
        assert!(refused.contains("name the same store"), "{refused}");
    }
    let refused = copy(&system, &file(&system, "none.db"), &file(&system, "copy.db")).await.with_code(2);
    assert!(refused.stderr.contains("there is no file"), "{}", refused.stderr);
    assert!(!system.path("none.db").exists());
    let same = ["postgres://a:b@host/x", "postgresql://host/x"];
    let refused = copy(&system, same[0], same[1]).await.with_code(2).stderr;
    assert!(refused.contains("name the same store"), "{refused}");
}

#[tokio::test]
async fn a_target_that_has_other_commits_is_refused_and_the_stream_is_named() {
    let mut ours = system().await;
    ours.create("same").await;
    ours.stop().await;
    let from = file(&ours, "events.db");
    for (id, expected) in [("other", "another stream, other"), ("same", "another commit of the stream same")]
    {
        let mut theirs = system().await;
        theirs.create(id).await;
        theirs.stop().await;
        let refused = copy(&ours, &from, &file(&theirs, "events.db")).await.with_code(1).stderr;
        assert!(refused.contains(expected), "{refused}");
    }

    // The target goes on by itself.
    let to = file(&ours, "copy.db");
    copy(&ours, &from, &to).await.with_code(0);
    ours.start_again_with(&["--event-store", &to]).await;
    let refused = copy(&ours, &from, &to).await.with_code(2).stderr;
    assert!(refused.contains("is in use"), "{refused}");
    ours.process("same").await;
    ours.until_status("same", "processed").await;
    ours.stop().await;
    let refused = copy(&ours, &from, &to).await.with_code(1).stderr;
    assert!(refused.contains("other commits of the stream same"), "{refused}");
}
