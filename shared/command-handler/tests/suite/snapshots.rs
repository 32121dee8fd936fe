//! Snapshots of long streams: a process adds them behind its answers, and any other begins with them.

use event_sourcing::Version;
use event_sourcing::testing::{Command, Task};
use event_store::{LoadedStream, SNAPSHOT_EVERY};
use futures_util::future::join_all;

use crate::system::{System, handle, id, keyed, open, relay, request, within};

fn title(number: u64) -> Command {
    Command::Rename { title: format!("title {number}") }
}

#[tokio::test]
async fn a_cold_process_decides_on_a_snapshot_and_still_knows_every_command() {
    let system = System::new();
    let mut reader = system.reader();
    let (warm, cold) = (system.process().await, system.process().await);
    handle(&warm, keyed("a", open("a lamp"), "key-1")).await.unwrap();
    let mut fifth = None;
    for version in 2..=SNAPSHOT_EVERY + 1 {
        let outcome = handle(&warm, keyed("a", title(version), &format!("key-{version}"))).await.unwrap();
        fifth = fifth.or((version == 5).then_some(outcome));
    }
    reader.read(SNAPSHOT_EVERY as usize + 1).await;
    // The commit is marked, or the relay will do it.
    within(warm.publisher().idle()).await;
    relay(&warm).sweep().await.unwrap();
    let mut version = SNAPSHOT_EVERY + 1;
    let loaded = within(async {
        loop {
            version += 1;
            handle(&warm, request("a", title(version))).await.unwrap();
            reader.read(1).await;
            let loaded: LoadedStream<Task> = cold.store().load_stream(id("a"), None).await.unwrap();
            if loaded.base.version > Version::NONE {
                return loaded;
            }
        }
    })
    .await;
    assert!(loaded.base.version >= Version::new(SNAPSHOT_EVERY), "{loaded:?}");

    let outcome = handle(&cold, request("a", Command::Start)).await.unwrap();
    assert_eq!(outcome.snapshot.version, Version::new(version + 1));
    assert_eq!(outcome.snapshot.state, Task::Running { title: format!("title {version}") });
    let again = handle(&system.process().await, keyed("a", title(5), "key-5")).await.unwrap();
    assert_eq!(again, fifth.unwrap(), "a command before the snapshot is answered as it was");
}

#[tokio::test]
async fn many_commands_on_a_long_stream_take_effect_once_beside_the_snapshots() {
    let system = System::new();
    let mut reader = system.reader();
    let processes = [system.process().await, system.process().await];
    handle(&processes[0], request("a", open("a lamp"))).await.unwrap();
    for round in 0..6 {
        let commands = (0..50).map(|number| {
            let process = &processes[number as usize % 2];
            handle(process, request("a", title(round * 100 + number)))
        });
        for outcome in join_all(commands).await {
            outcome.unwrap();
        }
    }
    reader.read(301).await;
    let cold = system.process().await;
    let outcome = handle(&cold, request("a", Command::Start)).await.unwrap();
    assert_eq!(outcome.snapshot.version, Version::new(302));
}
