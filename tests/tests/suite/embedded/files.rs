//! Files: only their owner can read them, one process serves them, and a server notices when they go.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use serde_json::json;
use tests::poll::{until, until_within};
use tests::process::{Finished, Invocation, program};
use tests::stores::Stores;
use tests::system::{Setup, System, addresses};

/// The time limit for a server to notice that its files are gone.
const NOTICED: std::time::Duration = std::time::Duration::from_secs(2);

const SERVE: [&str; 5] = ["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];

/// Runs a server with these words, whose start must be refused.
async fn refused(words: &[&str]) -> Finished {
    Invocation::new(&[&SERVE[..], words].concat()).run().await.with_code(2)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn data_files_are_for_their_owner_alone_whatever_the_umask_is() {
    for umask in ["000", "022", "077", "277"] {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("above").join("data");
        let script = format!("umask {umask}; exec \"$0\" \"$@\"");
        let orders = program();
        let words = [&["-c", &script, text(&orders)], &SERVE[..], &["--data", text(&data)]].concat();
        let mut server = Invocation::of("/bin/sh".into(), &words).start();
        until("the greeting", async || {
            assert_eq!(server.ended(), None, "{}", server.stderr());
            addresses(&server.stdout())
        })
        .await;
        let files: Vec<_> = fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().path()).collect();
        for name in ["events.db", "events.db-wal", "views.db", "orders.lock", "events.db.lock"] {
            assert!(files.contains(&data.join(name)), "{name} is not among {files:?}");
        }
        for file in files {
            assert_eq!(mode(&file), 0o600, "umask {umask}: {}", file.display());
        }
        assert_eq!(mode(&data), 0o700, "umask {umask}");
    }
}

#[tokio::test]
async fn a_lock_that_is_a_link_is_refused_and_what_it_names_stays_as_it_is() {
    for (link, is_symbolic) in [("orders.lock", true), ("events.db.lock", true), ("orders.lock", false)] {
        let folder = tempfile::tempdir().unwrap();
        let (diary, lock) = (folder.path().join("diary"), folder.path().join("data").join(link));
        fs::create_dir(lock.parent().unwrap()).unwrap();
        fs::write(&diary, "dear diary").unwrap();
        if is_symbolic { symlink(&diary, &lock) } else { fs::hard_link(&diary, &lock) }.unwrap();
        let finished = refused(&["--data", text(lock.parent().unwrap())]).await;
        assert!(finished.stderr.contains("can't be written"), "{finished:?}");
        assert_eq!(fs::read_to_string(&diary).unwrap(), "dear diary");
    }
}

#[tokio::test]
async fn a_second_server_on_the_same_event_store_is_refused_whatever_its_folder_and_its_name() {
    let mut system = Setup::on(Stores::Embedded).start().await;
    let (events, link) = (system.path("events.db"), system.path("link.db"));
    symlink(&events, &link).unwrap();
    for path in [&events, &link] {
        let other = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", text(path));
        let finished = refused(&["--data", text(other.path()), "--event-store", &url]).await;
        let pid = format!("process {}", system.server().pid());
        for part in ["the event store", "in use", &pid, "--event-store"] {
            assert!(finished.stderr.contains(part), "{part:?} is not in {finished:?}");
        }
    }
    system.create_and_process("a").await;
}

async fn expect_noticed(system: &System) {
    let refused = async || {
        let answer = system.post("/").json(&json!({"name": "a lamp"})).await;
        (answer.status == 503).then(|| answer.problem(503, "unavailable"))
    };
    until_within(NOTICED, "commands to be refused", refused).await;
    let ready = system.admin().get("/readyz").await.with_status(503).json();
    assert!(ready["event_store"].as_str().unwrap().contains("deleted or replaced"), "{ready}");
    assert!(ready["read_store"].as_str().unwrap().contains("deleted or replaced"), "{ready}");
}

#[tokio::test]
async fn a_data_folder_that_is_deleted_under_a_server_is_noticed_and_commands_are_refused() {
    let mut system = Setup::on(Stores::Embedded).start().await;
    system.create_and_process("a").await;
    fs::remove_dir_all(system.folder()).unwrap();
    expect_noticed(&system).await;
    fs::create_dir(system.folder()).unwrap();
    // Other files at the same paths are not those that are open.
    for name in ["events.db", "views.db"] {
        fs::write(system.path(name), "").unwrap();
    }
    expect_noticed(&system).await;
    system.kill();
}

#[tokio::test]
async fn a_view_that_was_deleted_while_nothing_ran_is_rebuilt_at_the_start_which_is_said() {
    let mut system = Setup::on(Stores::Embedded).start().await;
    let order = system.create_and_process("a").await;
    system.stop().await;
    for name in ["views.db", "views.db-wal", "views.db-shm"] {
        let _ = fs::remove_file(system.path(name));
    }
    system.start_again().await;
    assert_eq!(system.get("/a").await.with_status(200).json(), order);
    let log = system.server().stderr();
    assert!(log.contains("the view is filled") && log.contains("rebuilt the view from 3 commits"), "{log}");
    system.expect_verified().await;
    system.stop().await;
    system.start_again().await;
    let log = system.server().stderr();
    assert!(!log.contains("rebuilt"), "nothing is to be done: {log}");
}
