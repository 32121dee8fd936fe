//! What a command is answered, however often and through whichever process it comes.

use command_handler::handler::IfMatch;
use command_handler::{CommandError, CommandRequest};
use domain::{Command, Order, Rejection, Status, Version};
use futures_util::future::join_all;

use crate::system::{System, cancel, create, handle, id, keyed, request, stream};

fn status(order: &Order) -> Status {
    match order {
        Order::Present(details) => details.status,
        Order::Absent => panic!("there is no order"),
    }
}

#[tokio::test]
async fn a_command_is_durable_when_it_is_answered() {
    let system = System::new();
    let process = system.process().await;
    let outcome = handle(&process, request("a", create("a lamp"))).await.unwrap();
    assert_eq!((outcome.snapshot.version, outcome.with_events), (Version::new(1), true));
    assert_eq!(stream(&system.process().await, "a").await.commits.len(), 1);
}

#[tokio::test]
async fn a_retry_under_the_same_key_after_a_lost_answer_is_answered_the_same() {
    let system = System::new();
    let (one, other) = (system.process().await, system.process().await);
    let first = handle(&one, keyed("a", create("a lamp"), "key-1")).await.unwrap();
    handle(&one, request("a", Command::Process)).await.unwrap();
    for process in [&one, &other] {
        assert_eq!(handle(process, keyed("a", create("a lamp"), "key-1")).await.unwrap(), first);
    }
    assert_eq!(stream(&one, "a").await.commits.len(), 2);
}

#[tokio::test]
async fn a_retry_with_another_payload_is_refused_and_changes_nothing() {
    let system = System::new();
    let (one, other) = (system.process().await, system.process().await);
    handle(&one, keyed("a", create("a lamp"), "key-1")).await.unwrap();
    for process in [&one, &other] {
        let error = handle(process, keyed("a", create("a desk"), "key-1")).await.unwrap_err();
        assert!(matches!(error, CommandError::KeyReused), "{error}");
        let error = handle(process, keyed("a", Command::Process, "key-1")).await.unwrap_err();
        assert!(matches!(error, CommandError::KeyReused), "{error}");
    }
    assert_eq!(stream(&one, "a").await.commits.len(), 1);
}

#[tokio::test]
async fn a_command_without_effect_is_answered_the_same_after_the_order_moved_on() {
    let system = System::new();
    let (one, other) = (system.process().await, system.process().await);
    handle(&one, request("a", create("a lamp"))).await.unwrap();
    handle(&one, request("a", Command::Process)).await.unwrap();
    let first = handle(&one, keyed("a", Command::Process, "again")).await.unwrap();
    assert_eq!((status(&first.snapshot.order), first.with_events), (Status::Processing, false));
    handle(&one, request("a", Command::Complete)).await.unwrap();
    for process in [&one, &other] {
        assert_eq!(handle(process, keyed("a", Command::Process, "again")).await.unwrap(), first);
    }
}

#[tokio::test]
async fn a_rejected_command_may_be_decided_anew_under_the_same_key() {
    let system = System::new();
    let process = system.process().await;
    let error = handle(&process, keyed("a", Command::Process, "key")).await.unwrap_err();
    assert!(matches!(error, CommandError::Rejected(Rejection::NotFound)), "{error}");
    handle(&process, request("a", create("a lamp"))).await.unwrap();
    handle(&process, keyed("a", Command::Process, "key")).await.unwrap();
}

#[tokio::test]
async fn a_kept_state_that_another_process_made_stale_decides_nothing() {
    let system = System::new();
    let (one, other) = (system.process().await, system.process().await);
    handle(&one, request("a", create("a lamp"))).await.unwrap();

    // One keeps version 1; the other goes on to processing.
    handle(&other, request("a", Command::Process)).await.unwrap();
    // From version 1 a cancel would be allowed: the append finds the version taken.
    let error = handle(&one, request("a", cancel())).await.unwrap_err();
    assert!(
        matches!(error, CommandError::Rejected(Rejection::NotAllowed { status: Status::Processing, .. })),
        "{error}"
    );

    // One keeps version 2; the other fails the order, which is then no longer processing.
    let reason = domain::Reason::parse("no stock").unwrap();
    handle(&other, request("a", Command::Fail { reason })).await.unwrap();
    // From version 2 a process would already be true, and no append would tell.
    let outcome = handle(&one, request("a", Command::Process)).await.unwrap();
    assert_eq!((outcome.snapshot.version, outcome.with_events), (Version::new(4), true));

    // One keeps version 4; the other fails it again, so that one's rejection would be wrong.
    let reason = domain::Reason::parse("still none").unwrap();
    handle(&other, request("a", Command::Fail { reason })).await.unwrap();
    handle(&one, request("a", cancel())).await.unwrap();
}

#[tokio::test]
async fn if_match_holds_against_the_store_and_not_against_what_is_kept() {
    let system = System::new();
    let (one, other) = (system.process().await, system.process().await);
    handle(&one, request("a", create("a lamp"))).await.unwrap();
    handle(&other, request("a", Command::Process)).await.unwrap();
    let at = |version| CommandRequest {
        if_match: Some(IfMatch::Version(Version::new(version))),
        ..request("a", Command::Complete)
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
    handle(&process, request("a", create("a lamp"))).await.unwrap();
    let again = || CommandRequest {
        if_match: Some(IfMatch::Version(Version::new(1))),
        ..keyed("a", Command::Process, "key")
    };
    let first = handle(&process, again()).await.unwrap();
    assert_eq!(handle(&process, again()).await.unwrap(), first);
}

#[tokio::test]
async fn of_many_that_race_on_one_order_each_takes_effect_once() {
    let system = System::new();
    let processes = [system.process().await, system.process().await];
    let creates = (0..24).map(|n| handle(&processes[n % 2], request("a", create("a lamp"))));
    let outcomes = join_all(creates).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.as_ref().unwrap().with_events).count(), 1);

    // The same command from everywhere under one key is one command.
    let processings = (0..24).map(|n| handle(&processes[n % 2], keyed("a", Command::Process, "one-key")));
    let outcomes = join_all(processings).await;
    for outcome in &outcomes {
        assert_eq!(outcome.as_ref().unwrap(), outcomes[0].as_ref().unwrap());
    }
    let commits = stream(&processes[0], "a").await.commits;
    assert_eq!(commits.iter().map(|commit| commit.version.get()).collect::<Vec<_>>(), [1, 2]);
}

#[tokio::test]
async fn an_id_belongs_to_the_first_name() {
    let system = System::new();
    let process = system.process().await;
    handle(&process, request("a", create("a lamp"))).await.unwrap();
    let again = handle(&process, request("a", create("a lamp"))).await.unwrap();
    assert_eq!((again.snapshot.id, again.with_events), (id("a"), false));
    let error = handle(&process, request("a", create("a desk"))).await.unwrap_err();
    assert!(matches!(error, CommandError::Rejected(Rejection::IdTaken)), "{error}");
}
