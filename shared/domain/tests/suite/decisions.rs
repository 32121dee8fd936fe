//! Every command in every state. The commands are create (with the order's name and with another), process, complete, fail and
//! cancel. The states are absent, new, processing, processed, failed and cancelled.

use crate::dsl::*;

const NO_SUCH_ORDER: &str = "there is no such order";
const ID_TAKEN: &str = "an order with this id and another name exists";

#[test]
fn an_order_that_does_not_exist_is_created() {
    given(ABSENT).when(create()).then([created()]);
}

#[test]
fn creating_it_again_with_the_same_name_is_already_true_wherever_it_stands() {
    given(NEW).when(create()).then_nothing();
    given(PROCESSING).when(create()).then_nothing();
    given(PROCESSED).when(create()).then_nothing();
    given(FAILED).when(create()).then_nothing();
    given(CANCELLED).when(create()).then_nothing();
}

#[test]
fn an_id_is_never_given_to_an_order_with_another_name() {
    given(NEW).when(create_another()).then_rejected(ID_TAKEN);
    given(PROCESSING).when(create_another()).then_rejected(ID_TAKEN);
    given(PROCESSED).when(create_another()).then_rejected(ID_TAKEN);
    given(FAILED).when(create_another()).then_rejected(ID_TAKEN);
    given(CANCELLED).when(create_another()).then_rejected(ID_TAKEN);
}

#[test]
fn nothing_but_create_is_for_an_order_that_does_not_exist() {
    given(ABSENT).when(process()).then_rejected(NO_SUCH_ORDER);
    given(ABSENT).when(complete()).then_rejected(NO_SUCH_ORDER);
    given(ABSENT).when(fail()).then_rejected(NO_SUCH_ORDER);
    given(ABSENT).when(cancel()).then_rejected(NO_SUCH_ORDER);
}

#[test]
fn processing_starts_from_new() {
    given(NEW).when(process()).then([processing_started()]);
}

#[test]
fn processing_starts_again_after_it_failed() {
    given(FAILED).when(process()).then([processing_started()]);
}

#[test]
fn processing_what_is_under_way_or_done_is_already_true() {
    given(PROCESSING).when(process()).then_nothing();
    given(PROCESSED).when(process()).then_nothing();
}

#[test]
fn what_is_cancelled_is_not_processed() {
    given(CANCELLED)
        .when(process())
        .then_rejected("an order that is cancelled can't be processed; allowed from: new, failed");
}

#[test]
fn processing_completes_once() {
    given(PROCESSING).when(complete()).then([processed()]);
    given(PROCESSED).when(complete()).then_nothing();
}

#[test]
fn nothing_completes_that_is_not_under_way() {
    let text = |status| format!("an order that is {status} can't be completed; allowed from: processing");
    given(NEW).when(complete()).then_rejected(&text("new"));
    given(FAILED).when(complete()).then_rejected(&text("failed"));
    given(CANCELLED).when(complete()).then_rejected(&text("cancelled"));
}

#[test]
fn processing_fails_once() {
    given(PROCESSING).when(fail()).then([processing_failed()]);
    given(FAILED).when(fail()).then_nothing();
}

#[test]
fn nothing_fails_that_is_not_under_way() {
    let text = |status| format!("an order that is {status} can't be failed; allowed from: processing");
    given(NEW).when(fail()).then_rejected(&text("new"));
    given(PROCESSED).when(fail()).then_rejected(&text("processed"));
    given(CANCELLED).when(fail()).then_rejected(&text("cancelled"));
}

#[test]
fn an_order_is_cancelled_before_it_is_processed_or_after_that_failed() {
    given(NEW).when(cancel()).then([cancelled()]);
    given(FAILED).when(cancel()).then([cancelled()]);
}

#[test]
fn cancelling_what_is_cancelled_is_already_true() {
    given(CANCELLED).when(cancel()).then_nothing();
}

#[test]
fn what_is_processing_or_processed_is_not_cancelled() {
    let text = |status| format!("an order that is {status} can't be cancelled; allowed from: new, failed");
    given(PROCESSING).when(cancel()).then_rejected(&text("processing"));
    given(PROCESSED).when(cancel()).then_rejected(&text("processed"));
}
