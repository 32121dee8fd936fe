//! Snapshots: the events that they accept, and the form that clients see.

use domain::{Event, Gap, OrderId, Snapshot, Version};
use jiff::Timestamp;

use crate::dsl::*;

fn snapshot<const N: usize>(history: History<N>) -> Snapshot {
    let mut snapshot = Snapshot::absent(OrderId::parse("someid").unwrap());
    for (index, event) in history.into_iter().enumerate() {
        snapshot.apply(Version::new(index as u64 + 1), at(index as i64), &event()).unwrap();
    }
    snapshot
}

/// A time: this many seconds after 2026-01-02T03:04:05.678Z.
fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millisecond(1_767_323_045_678 + seconds * 1000).unwrap()
}

#[track_caller]
fn assert_json(snapshot: &Snapshot, expected: &str) {
    assert_eq!(serde_json::to_string(snapshot).unwrap(), expected);
}

#[test]
fn an_order_is_shown_with_its_version_and_its_times() {
    assert_json(
        &snapshot(NEW),
        r#"{"id":"someid","name":"a lamp","status":"new","version":1,"created_at":"2026-01-02T03:04:05.678Z","updated_at":"2026-01-02T03:04:05.678Z"}"#,
    );
    assert_json(
        &snapshot(PROCESSED),
        r#"{"id":"someid","name":"a lamp","status":"processed","version":3,"created_at":"2026-01-02T03:04:05.678Z","updated_at":"2026-01-02T03:04:07.678Z"}"#,
    );
}

#[test]
fn an_order_that_failed_or_was_cancelled_is_shown_with_the_reason() {
    assert_json(
        &snapshot(FAILED),
        r#"{"id":"someid","name":"a lamp","status":"failed","reason":"out of stock","version":3,"created_at":"2026-01-02T03:04:05.678Z","updated_at":"2026-01-02T03:04:07.678Z"}"#,
    );
    assert_json(
        &snapshot(CANCELLED),
        r#"{"id":"someid","name":"a lamp","status":"cancelled","reason":"no longer wanted","version":2,"created_at":"2026-01-02T03:04:05.678Z","updated_at":"2026-01-02T03:04:06.678Z"}"#,
    );
}

#[test]
fn an_absent_order_is_shown_without_what_it_does_not_have() {
    assert_json(&snapshot(ABSENT), r#"{"id":"someid","version":0}"#);
}

#[test]
fn only_the_next_version_is_taken_in_and_a_refused_one_changes_nothing() {
    for found in [0, 2, 4, 5, u64::MAX].map(Version::new) {
        let mut snapshot = snapshot(PROCESSING);
        let before = snapshot.clone();
        let refused = snapshot.apply(found, at(9), &Event::OrderProcessed);
        assert_eq!(refused, Err(Gap { have: Version::new(2), found }));
        assert_eq!(snapshot, before);
    }
}

#[test]
fn an_event_that_can_not_follow_moves_the_version_and_nothing_else_of_the_order() {
    let mut snapshot = snapshot(NEW);
    let before = snapshot.state.clone();
    snapshot.apply(Version::new(2), at(1), &Event::OrderProcessed).unwrap();
    assert_eq!(snapshot.state, before);
    assert_eq!(snapshot.version, Version::new(2));
}

#[test]
fn an_order_created_at_the_epoch_stays_created_then() {
    let mut snapshot = Snapshot::absent(OrderId::parse("someid").unwrap());
    snapshot.apply(Version::new(1), Timestamp::UNIX_EPOCH, &created()).unwrap();
    snapshot.apply(Version::new(2), at(0), &cancelled()).unwrap();
    assert_eq!(snapshot.created_at, Timestamp::UNIX_EPOCH);
}
