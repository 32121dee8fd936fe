//! The state of an order as snapshots hold it, and the fold that leads to it.

use std::fmt::Write;

use domain::{Aggregate, Order};

use crate::dsl::*;

/// The states of revision 1. A stored state is read by every program of its revision, so neither the form of the state nor the fold
/// may change under it. If this test fails, raise `Order::REVISION`, and put the new states here.
const STATES: (u32, &str) = (
    1,
    r#"null
{"name":"a lamp","status":"new"}
{"name":"a lamp","status":"processing"}
{"name":"a lamp","status":"processed"}
{"name":"a lamp","status":"failed","reason":"out of stock"}
{"name":"a lamp","status":"cancelled","reason":"no longer wanted"}
{"name":"a lamp","status":"processing"}
{"name":"a lamp","status":"cancelled","reason":"no longer wanted"}
{"name":"a lamp","status":"processed"}
{"name":"a lamp","status":"new"}
null
"#,
);

#[test]
fn the_states_of_a_revision_never_change() {
    let mut states = String::new();
    let histories: [&[fn() -> domain::Event]; 11] = [
        &ABSENT,
        &NEW,
        &PROCESSING,
        &PROCESSED,
        &FAILED,
        &CANCELLED,
        &[created, processing_started, processing_failed, processing_started],
        &[created, processing_started, processing_failed, cancelled],
        &[created, processing_started, processing_failed, processing_started, processed],
        // Events that can't follow change nothing.
        &[created, processed],
        &[processing_started],
    ];
    for history in histories {
        let order = history.iter().fold(Order::default(), |order, event| order.evolve(&event()));
        let state = serde_json::to_string(&order).unwrap();
        assert_eq!(serde_json::from_str::<Order>(&state).unwrap(), order, "a stored state is read as it was");
        writeln!(states, "{state}").unwrap();
    }
    assert_eq!((Order::REVISION, &*states), STATES, "raise Order::REVISION");
}
