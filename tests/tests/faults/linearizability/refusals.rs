//! Tests of the checker itself: histories that it must accept, and histories that it must refuse.

use super::checker::{Call, Model, Took, linearize};
use super::model::{Answer, Asked, IfMatch, OneOrder, Operation, Shown, What};

fn model(outcomes: &[domain::Command]) -> OneOrder {
    OneOrder { outcomes: outcomes.to_vec() }
}

fn command(what: What, key: Option<&str>, if_match: Option<usize>) -> Operation {
    let (key, if_match) = (key.map(str::to_owned), if_match.map(IfMatch::Version));
    Operation::Command(Asked { what, key, if_match })
}

fn create() -> Operation {
    command(What::Create("a lamp".to_owned()), None, None)
}

fn process() -> Operation {
    command(What::Process, None, None)
}

fn cancel() -> Operation {
    command(What::Cancel("why".to_owned()), None, None)
}

fn order(http: u16, version: usize, status: &str) -> Answer {
    let reason = (status == "cancelled").then(|| "why".to_owned());
    Answer::Order(http, Shown { version, status: status.to_owned(), name: "a lamp".to_owned(), reason })
}

fn refused(status: u16, kind: &str) -> Answer {
    Answer::Problem(status, kind.to_owned())
}

fn events(kinds: &[&str]) -> Answer {
    let data = |kind: &str| if kind == "OrderCreated" { r#"{"name":"a lamp"}"# } else { "{}" };
    Answer::Events(kinds.iter().map(|kind| format!("{kind} {}", data(kind))).collect())
}

type Made = (Operation, u64, Option<(u64, Answer)>);

fn answered(operation: Operation, began: u64, ended: u64, answer: Answer) -> Made {
    (operation, began, Some((ended, answer)))
}

fn linearizes(outcomes: &[domain::Command], made: &[Made]) -> bool {
    let call = |(operation, began, answered): &Made| Call {
        operation: operation.clone(),
        began: *began,
        answered: answered.clone(),
    };
    linearize(&model(outcomes), &made.iter().map(call).collect::<Vec<_>>()).is_some()
}

#[test]
fn calls_one_after_the_other_must_be_answered_in_their_order() {
    let created = answered(create(), 0, 1, order(201, 1, "new"));
    let processed = answered(process(), 2, 3, order(200, 2, "processing"));
    assert!(linearizes(&[], &[created.clone(), processed.clone()]));
    let before = answered(process(), 2, 3, refused(404, "order-not-found"));
    assert!(!linearizes(&[], &[created.clone(), before]), "the order was there");
    let overlapping = answered(process(), 0, 3, refused(404, "order-not-found"));
    let created_later = answered(create(), 1, 2, order(201, 1, "new"));
    assert!(linearizes(&[], &[overlapping, created_later]), "it may have come first");
}

#[test]
fn a_version_that_two_commands_took_is_refused() {
    let created = answered(create(), 0, 1, order(201, 1, "new"));
    let one = answered(process(), 2, 5, order(200, 2, "processing"));
    let other = answered(cancel(), 3, 4, order(200, 2, "cancelled"));
    assert!(!linearizes(&[], &[created.clone(), one.clone(), other]));
    let refusal = answered(cancel(), 3, 4, refused(409, "not-allowed-in-state"));
    assert!(linearizes(&[], &[created, one, refusal]));
}

#[test]
fn a_read_that_is_behind_is_refused() {
    let created = answered(create(), 0, 1, order(201, 1, "new"));
    let processed = answered(process(), 2, 3, order(200, 2, "processing"));
    let read = |began, ended| answered(Operation::Events, began, ended, events(&["OrderCreated"]));
    assert!(!linearizes(&[], &[created.clone(), processed.clone(), read(4, 5)]));
    let slower = answered(process(), 2, 5, order(200, 2, "processing"));
    assert!(linearizes(&[], &[created.clone(), slower, read(3, 4)]));
    let lost = answered(Operation::Events, 4, 5, refused(404, "order-not-found"));
    assert!(!linearizes(&[], &[created, processed, lost]));
}

#[test]
fn a_read_that_goes_back_behind_another_is_refused() {
    let created = answered(create(), 0, 1, order(201, 1, "new"));
    let slow = answered(process(), 2, 9, order(200, 2, "processing"));
    let newer = answered(Operation::Events, 3, 4, events(&["OrderCreated", "ProcessingStarted"]));
    let older = |began, ended| answered(Operation::Events, began, ended, events(&["OrderCreated"]));
    assert!(!linearizes(&[], &[created.clone(), slow.clone(), newer.clone(), older(5, 6)]));
    // Here the older one began before the newer one had ended.
    let overlapping = answered(Operation::Events, 3, 7, events(&["OrderCreated", "ProcessingStarted"]));
    assert!(linearizes(&[], &[created, slow, overlapping, older(4, 5)]));
}

#[test]
fn a_repeated_key_must_be_answered_the_same() {
    let keyed = |what| command(what, Some("key"), None);
    let created = answered(keyed(What::Create("a lamp".to_owned())), 0, 1, order(201, 1, "new"));
    let moved_on = answered(process(), 2, 3, order(200, 2, "processing"));
    let again = |answer| answered(keyed(What::Create("a lamp".to_owned())), 4, 5, answer);
    assert!(linearizes(&[], &[created.clone(), moved_on.clone(), again(order(201, 1, "new"))]));
    assert!(!linearizes(&[], &[created.clone(), moved_on.clone(), again(order(200, 2, "processing"))]));
    let other = |answer| answered(keyed(What::Process), 4, 5, answer);
    assert!(linearizes(&[], &[created.clone(), other(refused(422, "idempotency-key-reused"))]));
    assert!(!linearizes(&[], &[created, moved_on, other(order(200, 2, "processing"))]));
}

#[test]
fn a_command_that_changes_nothing_is_remembered_once_it_is_answered_and_not_before_it_began() {
    let keyed = |what| command(what, Some("key"), None);
    let created = answered(create(), 0, 1, order(201, 1, "new"));
    let again = |ended| answered(keyed(What::Create("a lamp".to_owned())), 2, ended, order(200, 1, "new"));
    let cancelled = |began, ended| answered(cancel(), began, ended, order(200, 2, "cancelled"));
    let other = |began, ended, answer| answered(keyed(What::Process), began, ended, answer);
    let (taken, free) = (refused(422, "idempotency-key-reused"), refused(409, "not-allowed-in-state"));
    // `again` was decided before the order was cancelled, and remembered after the other command had looked for the key.
    assert!(linearizes(&[], &[created.clone(), again(7), cancelled(3, 4), other(5, 6, free.clone())]));
    assert!(linearizes(&[], &[created.clone(), again(7), cancelled(3, 4), other(5, 6, taken.clone())]));
    assert!(
        !linearizes(&[], &[created.clone(), again(3), cancelled(4, 5), other(6, 7, free)]),
        "remembered by then"
    );
    assert!(linearizes(&[], &[created.clone(), again(3), cancelled(4, 5), other(6, 7, taken.clone())]));
    let early = answered(keyed(What::Process), 0, 1, taken);
    assert!(
        !linearizes(&[], &[answered(create(), 0, 2, order(201, 1, "new")), early, again(9)]),
        "not sent yet"
    );
}

#[test]
fn a_version_that_is_asked_for_must_be_the_order_s() {
    let created = answered(create(), 0, 1, order(201, 1, "new"));
    let process_at = |version| command(What::Process, None, Some(version));
    let done = order(200, 2, "processing");
    assert!(linearizes(&[], &[created.clone(), answered(process_at(1), 2, 3, done.clone())]));
    assert!(!linearizes(&[], &[created.clone(), answered(process_at(2), 2, 3, done.clone())]));
    let mismatch = |version| answered(process_at(version), 2, 3, refused(412, "version-mismatch"));
    assert!(linearizes(&[], &[created.clone(), mismatch(2)]));
    assert!(!linearizes(&[], &[created, mismatch(1)]));
}

#[test]
fn a_call_without_an_answer_takes_effect_at_any_later_time_or_never() {
    let lost = (create(), 0, None);
    let absent = answered(process(), 2, 3, refused(404, "order-not-found"));
    let there = answered(process(), 4, 5, order(200, 2, "processing"));
    assert!(linearizes(&[], std::slice::from_ref(&lost)));
    assert!(linearizes(&[], &[lost.clone(), absent.clone()]), "never, or later");
    assert!(linearizes(&[], &[lost.clone(), absent.clone(), there.clone()]), "between the two");
    let gone = answered(process(), 6, 7, refused(404, "order-not-found"));
    assert!(!linearizes(&[], &[lost, there.clone(), gone]), "not there and gone again");
    assert!(!linearizes(&[], &[(create(), 6, None), there]), "not before it was sent");
}

#[test]
fn an_outcome_comes_at_any_moment_after_the_processing_started_and_once() {
    let complete = [domain::Command::Complete];
    let created = answered(create(), 0, 1, order(201, 1, "new"));
    let started = answered(process(), 2, 3, order(200, 2, "processing"));
    let seen = |kinds: &[&str]| answered(Operation::Events, 4, 5, events(kinds));
    let whole = ["OrderCreated", "ProcessingStarted", "OrderProcessed"];
    for length in 2..=3 {
        assert!(linearizes(&complete, &[created.clone(), started.clone(), seen(&whole[..length])]));
    }
    assert!(!linearizes(&[], &[created.clone(), started.clone(), seen(&whole)]), "nobody fulfils");
    let twice = ["OrderCreated", "ProcessingStarted", "OrderProcessed", "OrderProcessed"];
    assert!(!linearizes(&complete, &[created.clone(), started, seen(&twice)]));
    let early = ["OrderCreated", "OrderProcessed"];
    assert!(!linearizes(&complete, &[created, seen(&early)]));
}

/// A model that makes the checker look through every order of calls; the model of orders never asks for that.
struct Counter;

impl Model for Counter {
    type State = u32;
    type Operation = u32;
    type Answer = u32;
    type Rest = ();

    fn start(&self) -> u32 {
        0
    }

    fn call(&self, state: &u32, added: &u32) -> Took<Self> {
        let state = state * 2 + added;
        Took { state, answer: state, rest: None }
    }

    fn finish(&self, _: &u32, (): &()) -> Option<u32> {
        None
    }

    fn by_itself(&self, _: &u32) -> Vec<u32> {
        vec![]
    }
}

#[test]
fn the_one_order_among_many_that_explains_the_answers_is_found() {
    let all: Vec<u32> = (0..8).collect();
    let mut sum = 0;
    // The calls overlap, and are answered as if the last had come first.
    let calls: Vec<_> = all
        .iter()
        .rev()
        .map(|&added| {
            sum = sum * 2 + added;
            Call {
                operation: added,
                began: u64::from(7 - added),
                answered: Some((u64::from(100 + added), sum)),
            }
        })
        .collect();
    assert_eq!(linearize(&Counter, &calls), Some((0..8).collect()));
    let mut wrong = calls;
    wrong[7].answered = Some((100, sum + 1));
    assert_eq!(linearize(&Counter, &wrong), None);
}
