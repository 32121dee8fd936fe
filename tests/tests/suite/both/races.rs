//! Many clients on one order: one of them wins, and all are told the truth.

use futures_util::future::join_all;
use serde_json::json;
use tests::http::{Answer, Call};
use tests::system::System;

/// The number of clients that race.
const CLIENTS: usize = 24;

/// Sends all calls at once, and returns the answers in the order of the calls.
async fn at_once(calls: impl IntoIterator<Item = Call>) -> Vec<Answer> {
    join_all(calls.into_iter().map(IntoFuture::into_future).map(tokio::spawn))
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect()
}

fn with_status(answers: &[Answer], status: u16) -> usize {
    answers.iter().filter(|answer| answer.status == status).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_clients_that_create_one_id_with_different_names_one_wins_and_the_others_are_told() {
    let system = System::start().await;
    for round in 0..5 {
        let id = format!("a{round}");
        let create = |client| system.post("/").json(&json!({"id": id, "name": format!("lamp {client}")}));
        let answers = at_once((0..CLIENTS).map(create)).await;
        assert_eq!((with_status(&answers, 201), with_status(&answers, 409)), (1, CLIENTS - 1));
        for answer in answers.iter().filter(|answer| answer.status == 409) {
            answer.problem(409, "id-taken");
        }
        let winner = answers.iter().find(|answer| answer.status == 201).unwrap().json();
        assert_eq!(system.until_version(&id, 1).await, winner);
        assert_eq!(system.event_types(&id).await, ["OrderCreated"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_clients_that_create_one_id_with_the_same_name_one_creates_and_all_get_the_order() {
    let system = System::start().await;
    let create = |_| system.post("/").json(&json!({"id": "a", "name": "a lamp"}));
    let answers = at_once((0..CLIENTS).map(create)).await;
    assert_eq!((with_status(&answers, 201), with_status(&answers, 200)), (1, CLIENTS - 1));
    assert!(answers.iter().all(|answer| answer.json() == answers[0].json()));
    assert_eq!(system.event_types("a").await, ["OrderCreated"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_order_that_many_clients_process_is_processed_once() {
    let system = System::start().await;
    for round in 0..5 {
        let id = format!("a{round}");
        system.create(&id).await;
        let answers = at_once((0..CLIENTS).map(|_| system.post(&format!("/{id}")))).await;
        assert_eq!(with_status(&answers, 200), CLIENTS, "{answers:?}");
        system.until_status(&id, "processed").await;
        assert_eq!(system.event_types(&id).await, ["OrderCreated", "ProcessingStarted", "OrderProcessed"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_clients_that_name_one_version_one_gets_through() {
    let system = System::start().await;
    for round in 0..5 {
        let path = format!("/a{round}");
        system.create(&path[1..]).await;
        let answers = at_once((0..CLIENTS).map(|_| system.post(&path).header("if-match", "\"1\""))).await;
        assert_eq!((with_status(&answers, 200), with_status(&answers, 412)), (1, CLIENTS - 1), "{answers:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_order_that_some_process_and_others_cancel_becomes_one_of_both() {
    let system = System::start().await;
    for round in 0..10 {
        let id = format!("a{round}");
        let path = format!("/{id}");
        system.create(&id).await;
        let call = |client| if client % 2 == round % 2 { system.post(&path) } else { system.delete(&path) };
        let answers = at_once((0..CLIENTS).map(call)).await;
        assert_eq!((with_status(&answers, 200), with_status(&answers, 409)), (CLIENTS / 2, CLIENTS / 2));
        let winner = answers.iter().position(|answer| answer.status == 200).unwrap();
        if winner % 2 == round % 2 {
            system.until_status(&id, "processed").await;
            assert_eq!(
                system.event_types(&id).await,
                ["OrderCreated", "ProcessingStarted", "OrderProcessed"]
            );
        } else {
            system.until_status(&id, "cancelled").await;
            assert_eq!(system.event_types(&id).await, ["OrderCreated", "OrderCancelled"]);
        }
    }
    system.expect_verified().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_command_sent_many_times_at_once_under_one_key_takes_place_once() {
    let system = System::start().await;
    let create = |_| system.post("/").key("once").json(&json!({"name": "a lamp"}));
    let answers = at_once((0..CLIENTS).map(create)).await;
    assert!(
        answers.iter().all(|answer| answer.status == 201 && answer.body == answers[0].body),
        "{answers:?}"
    );
    let id = answers[0].json()["id"].as_str().unwrap().to_owned();
    let answers = at_once((0..CLIENTS).map(|_| system.post(&format!("/{id}")).key("again"))).await;
    assert!(
        answers.iter().all(|answer| answer.status == 200 && answer.body == answers[0].body),
        "{answers:?}"
    );
    assert_eq!(answers[0].version(), 2);
    system.until_status(&id, "processed").await;
    assert_eq!(system.event_types(&id).await, ["OrderCreated", "ProcessingStarted", "OrderProcessed"]);
}
