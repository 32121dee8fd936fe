//! Commands of one stream in one process: each decides on what the one before has left.

use std::collections::BTreeSet;

use command_handler::handler::IfMatch;
use command_handler::{CommandError, CommandRequest};
use event_sourcing::Version;
use event_sourcing::testing::{Command, Rejection, Task};
use futures_util::future::join_all;

use crate::system::{System, handle, keyed, open, request, stream, within};

/// Far more than the attempts that a command has.
const COMMANDS: u64 = 300;

fn title(number: u64) -> Command {
    Command::Rename { title: format!("title {number}") }
}

#[tokio::test]
async fn commands_of_one_stream_that_come_at_once_all_take_effect() {
    let system = System::new();
    let process = system.process().await;
    handle(&process, request("a", open("a lamp"))).await.unwrap();
    let commands = (0..COMMANDS).map(|number| handle(&process, request("a", title(number))));
    let outcomes = join_all(commands).await;
    let versions: BTreeSet<Version> =
        outcomes.iter().map(|outcome| outcome.as_ref().unwrap().snapshot.version).collect();
    assert_eq!(versions.len() as u64, COMMANDS, "each is answered with its own version");
    let commits = stream(&system.process().await, "a").await.commits;
    assert_eq!(commits.len() as u64, COMMANDS + 1);
}

#[tokio::test]
async fn two_processes_may_be_busy_with_one_stream() {
    let system = System::new();
    let processes = [system.process().await, system.process().await];
    handle(&processes[0], request("a", open("a lamp"))).await.unwrap();
    let commands = (0..120).map(|number| handle(&processes[number % 2], request("a", title(number as u64))));
    for outcome in join_all(commands).await {
        outcome.unwrap();
    }
    assert_eq!(stream(&processes[0], "a").await.commits.len(), 121);
}

#[tokio::test]
async fn commands_that_wait_together_have_each_its_own_answer() {
    let system = System::new();
    let process = system.process().await;
    let wrong =
        || CommandRequest { if_match: Some(IfMatch::Version(Version::new(99))), ..request("a", title(1)) };
    let repeat = || keyed("a", title(2), "key");
    let other = || keyed("a", title(3), "key");
    let requests = [
        request("a", open("a lamp")),
        request("a", open("another lamp")),
        repeat(),
        repeat(),
        other(),
        wrong(),
        request("a", Command::Start),
        request("b", Command::Start),
    ];
    let mut answers =
        join_all(requests.into_iter().map(|request| handle(&process, request))).await.into_iter();
    let mut next = || answers.next().unwrap();
    assert_eq!(next().unwrap().snapshot.version, Version::new(1));
    assert!(matches!(next(), Err(CommandError::Rejected(Rejection::IdTaken))));
    let first = next().unwrap();
    assert_eq!(next().unwrap(), first, "a repeat is answered as the first");
    assert!(matches!(next(), Err(CommandError::KeyReused)));
    assert!(matches!(next(), Err(CommandError::PreconditionFailed(_))));
    assert_eq!(next().unwrap().snapshot.state, Task::Running { title: "title 2".to_owned() });
    assert!(matches!(next(), Err(CommandError::Rejected(Rejection::NotFound))));
    assert_eq!(stream(&process, "a").await.commits.len(), 3);
}

#[tokio::test]
async fn a_caller_that_leaves_passes_its_turn_on() {
    let system = System::new();
    let process = system.process().await;
    for number in 0..20 {
        let name = format!("a{number}");
        let open = || {
            let (process, request) = (process.clone(), request(&name, open("a lamp")));
            tokio::spawn(async move { process.handle(request).await })
        };
        let leaving = open();
        tokio::task::yield_now().await;
        let waiting = [open(), open(), open()];
        tokio::task::yield_now().await;
        leaving.abort();
        for answer in join_all(waiting.map(within)).await {
            assert_eq!(answer.unwrap().unwrap().snapshot.version, Version::new(1));
        }
    }
}
