//! The fold of an order: the state after each history of events.

use domain::{Aggregate, Details, Order, Status, order::follows};
use strum::VariantNames;

use crate::dsl::*;

fn details<const N: usize>(history: History<N>) -> Details {
    match given(history).state {
        Order::Present(details) => details,
        Order::Absent => panic!("there is no order"),
    }
}

#[test]
fn an_order_without_events_is_absent() {
    assert_eq!(given(ABSENT).state, Order::Absent);
}

#[test]
fn every_history_ends_in_the_state_that_it_is_named_after() {
    assert_eq!(details(NEW).status, Status::New);
    assert_eq!(details(PROCESSING).status, Status::Processing);
    assert_eq!(details(PROCESSED).status, Status::Processed);
    assert_eq!(details(FAILED).status, Status::Failed);
    assert_eq!(details(CANCELLED).status, Status::Cancelled);
}

#[test]
fn an_order_keeps_its_name_for_life() {
    assert_eq!(details(PROCESSED).name, name("a lamp"));
    assert_eq!(details(CANCELLED).name, name("a lamp"));
}

#[test]
fn a_reason_is_kept_while_it_explains_the_state_and_no_longer() {
    assert_eq!(details(FAILED).reason, Some(reason("out of stock")));
    assert_eq!(details(CANCELLED).reason, Some(reason("no longer wanted")));
    assert_eq!(
        details([created, processing_started, processing_failed, cancelled]).reason,
        Some(reason("no longer wanted"))
    );
    let again = [created, processing_started, processing_failed, processing_started];
    assert_eq!(details(again).reason, None);
}

#[test]
fn nothing_follows_what_is_final() {
    for order in [given(PROCESSED).state, given(CANCELLED).state] {
        for event in [created, processing_started, processed, processing_failed, cancelled] {
            assert!(!follows(&order, &event()), "{event:?} after {order:?}", event = event());
            assert_eq!(order.clone().evolve(&event()), order);
        }
    }
}

#[test]
fn a_status_is_read_by_the_name_that_it_is_shown_by_and_by_no_other() {
    for &name in Status::VARIANTS {
        let status: Status = name.parse().unwrap();
        assert_eq!(status.to_string(), name);
        assert_eq!(serde_json::to_value(status).unwrap(), name);
    }
    for other in ["", "New", "NEW", " new", "done"] {
        assert!(other.parse::<Status>().is_err(), "{other:?}");
    }
}
