//! The answers to a command, however often it comes and through whichever process.

use command_handler::handler::IfMatch;
use command_handler::{CommandError, CommandRequest};
use event_sourcing::Version;
use event_sourcing::testing::{Command, Rejection, Task};
use futures_util::future::join_all;

use crate::system::{System, handle, id, keyed, open, rename, request, stream};

#[tokio::test]
async fn a_command_is_durable_when_it_is_answered() {
    let system = System::new();
    let process = system.process().await;
    let outcome = handle(&process, request("a", open("a lamp"))).await.unwrap();
    assert_eq!((outcome.snapshot.version, outcome.with_events), (Version::new(1), true));
    assert_eq!(stream(&system.process().await, "a").await.commits.len(), 1);
}

#[tokio::test]
async fn a_retry_under_the_same_key_after_a_lost_answer_is_answered_the_same() {
    let system = System::new();
    let (one, other) = (system.process().await, system.process().await);
    let first = handle(&one, keyed("a", open("a lamp"), "key-1")).await.unwrap();
    handle(&one, request("a", Command::Start)).await.unwrap();
    for process in [&one, &other] {
        assert_eq!(handle(process, keyed("a", open("a lamp"), "key-1")).await.unwrap(), first);
    }
    assert_eq!(stream(&one, "a").await.commits.len(), 2);
}

#[tokio::test]
async fn a_retry_with_another_payload_is_refused_and_changes_nothing() {
    let system = System::new();
    let (one, other) = (system.process().await, system.process().await);
    handle(&one, keyed("a", open("a lamp"), "key-1")).await.unwrap();
    for process in [&one, &other] {
        let error = handle(process, keyed("a", open("a desk"), "key-1")).await.unwrap_err();
        assert!(matches!(error, CommandError::KeyReused), "{error}");
        let error = handle(process, keyed("a", Command::Start, "key-1")).await.unwrap_err();
        assert!(matches!(error, CommandError::KeyReused), "{error}");
    }
    assert_eq!(stream(&one, "a").await.commits.len(), 1);
}

#[tokio::test]
async fn a_command_without_effect_is_answered_the_same_after_the_task_moved_on() {
    let system = System::new();
    let (one, other) = (system.process().await, system.process().await);
    handle(&one, request("a", open("a lamp"))).await.unwrap();
    handle(&one, request("a", Command::Start)).await.unwrap();
    let first = handle(&one, keyed("a", Command::Start, "again")).await.unwrap();
    let running = Task::Running { title: "a lamp".to_owned() };
    assert_eq!((&first.snapshot.state, first.with_events), (&running, false));
    handle(&one, request("a", Command::Finish)).await.unwrap();
    for process in [&one, &other] {
        assert_eq!(handle(process, keyed("a", Command::Start, "again")).await.unwrap(), first);
    }
}

#[tokio::test]
async fn a_rejected_command_may_be_decided_anew_under_the_same_key() {
    let system = System::new();
    let process = system.process().await;
    let error = handle(&process, keyed("a", Command::Start, "key")).await.unwrap_err();
    assert!(matches!(error, CommandError::Rejected(Rejection::NotFound)), "{error}");
    handle(&process, request("a", open("a lamp"))).await.unwrap();
    handle(&process, keyed("a", Command::Start, "key")).await.unwrap();
}

#[tokio::test]
async fn a_kept_state_that_another_process_made_stale_decides_nothing() {
    let system = System::new();
    let (one, other) = (system.process().await, system.process().await);
    handle(&one, request("a", open("a lamp"))).await.unwrap();

    // One keeps version 1; the other starts the task.
    handle(&other, request("a", Command::Start)).await.unwrap();
    // From version 1 a rename would be allowed: the append finds the version taken.
    let error = handle(&one, request("a", rename())).await.unwrap_err();
    assert!(matches!(error, CommandError::Rejected(Rejection::NotAllowed)), "{error}");

    // One keeps version 2; the other stops the task, which is then no longer running.
    handle(&other, request("a", Command::Stop)).await.unwrap();
    // From version 2 a start would already be true, and no append would tell.
    let outcome = handle(&one, request("a", Command::Start)).await.unwrap();
    assert_eq!((outcome.snapshot.version, outcome.with_events), (Version::new(4), true));

    // One keeps version 4; the other stops it again, so that one's rejection would be wrong.
    handle(&other, request("a", Command::Stop)).await.unwrap();
    handle(&one, request("a", rename())).await.unwrap();
}

#[tokio::test]
async fn if_match_holds_against_the_store_and_not_against_what_is_kept() {
    let system = System::new();
    let (one, other) = (system.process().await, system.process().await);
    handle(&one, request("a", open("a lamp"))).await.unwrap();
    handle(&other, request("a", Command::Start)).await.unwrap();
    let at = |version| CommandRequest {
        if_match: Some(IfMatch::Version(Version::new(version))),
        ..request("a", Command::Finish)
    };
    let error = handle(&one, at(1)).await.unwrap_err();
    assert!(
        matches!(error, CommandError::PreconditionFailed(version) if version == Version::new(2)),
        "{error}"
    );
    handle(&one, at(2)).await.unwrap();
}

#[tokio::test]
async fn a_repeated_command_is_answered_before_if_match_is_looked_at() {
    let system = System::new();
    let process = system.process().await;
    handle(&process, request("a", open("a lamp"))).await.unwrap();
    let again = || CommandRequest {
        if_match: Some(IfMatch::Version(Version::new(1))),
        ..keyed("a", Command::Start, "key")
    };
    let first = handle(&process, again()).await.unwrap();
    assert_eq!(handle(&process, again()).await.unwrap(), first);
}

#[tokio::test]
async fn of_many_that_race_on_one_task_each_takes_effect_once() {
    let system = System::new();
    let processes = [system.process().await, system.process().await];
    let opens = (0..24).map(|n| handle(&processes[n % 2], request("a", open("a lamp"))));
    let outcomes = join_all(opens).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.as_ref().unwrap().with_events).count(), 1);

    // The same command from everywhere under one key is one command.
    let starts = (0..24).map(|n| handle(&processes[n % 2], keyed("a", Command::Start, "one-key")));
    let outcomes = join_all(starts).await;
    for outcome in &outcomes {
        assert_eq!(outcome.as_ref().unwrap(), outcomes[0].as_ref().unwrap());
    }
    let commits = stream(&processes[0], "a").await.commits;
    assert_eq!(commits.iter().map(|commit| commit.version.get()).collect::<Vec<_>>(), [1, 2]);
}

#[tokio::test]
async fn an_id_belongs_to_the_first_title() {
    let system = System::new();
    let process = system.process().await;
    handle(&process, request("a", open("a lamp"))).await.unwrap();
    let again = handle(&process, request("a", open("a lamp"))).await.unwrap();
    assert_eq!((again.snapshot.id, again.with_events), (id("a"), false));
    let error = handle(&process, request("a", open("a desk"))).await.unwrap_err();
    assert!(matches!(error, CommandError::Rejected(Rejection::IdTaken)), "{error}");
}
