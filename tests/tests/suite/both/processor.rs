//! Fulfilment: a service somewhere else is asked as often as it takes, and there is one outcome.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use tests::damage::set_schema;
use tests::fulfilment::{Asked, Reply, Service};
use tests::poll::until;
use tests::system::System;

const PROCESSED: [&str; 3] = ["OrderCreated", "ProcessingStarted", "OrderProcessed"];

async fn system_with(service: &Service) -> System {
    System::start_with(&["--fulfilment", service.url(), "--fulfilment-timeout", "0.3"]).await
}

/// Starts a system whose service was asked about order "a" and has not answered. Asked again, it will answer.
pub(crate) async fn with_fulfilment_under_way() -> (System, Service) {
    let service =
        Service::start(|asked| if asked.times == 1 { Reply::Silence } else { Reply::Fulfilled }).await;
    let system = System::start_with(&["--fulfilment", service.url()]).await;
    system.create("a").await;
    system.process("a").await;
    service.until_asked().await;
    (system, service)
}

#[tokio::test]
async fn the_service_is_asked_once_about_an_order_with_its_key_and_trace_and_2xx_is_processed() {
    let service = Service::start(|_| Reply::Fulfilled).await;
    let system = system_with(&service).await;
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    system.create("a").await;
    system.post("/a").header("traceparent", traceparent).await.with_status(200);
    system.until_status("a", "processed").await;
    let asked = service.asked();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!((asked[0].key.as_str(), asked[0].traceparent.as_str()), ("a@2", traceparent));
    assert_eq!(asked[0].body, json!({"order": "a", "name": "a lamp", "version": 2}));
    assert_eq!(system.event_types("a").await, PROCESSED);
}

#[tokio::test]
async fn a_4xx_fails_the_order_with_what_the_service_said_and_it_can_be_asked_again() {
    let problem = json!({"title": "No", "detail": "out of lamps"}).to_string();
    let service = Service::start(move |asked| match asked.key.as_str() {
        "problem@2" => Reply::Refused(422, problem.clone()),
        "text@2" => Reply::Refused(410, "what is\nthat?".to_owned()),
        "bare@2" => Reply::Refused(409, String::new()),
        _ => Reply::Fulfilled,
    })
    .await;
    let system = system_with(&service).await;
    for (id, reason) in [
        ("problem", "422 Unprocessable Entity: out of lamps"),
        ("text", "410 Gone: what is that?"),
        ("bare", "409 Conflict:"),
    ] {
        system.create(id).await;
        system.process(id).await;
        let failed = system.until_status(id, "failed").await;
        assert_eq!((&failed["reason"], &failed["version"]), (&reason.into(), &3.into()));
        system.process(id).await;
        let processed = system.until_status(id, "processed").await;
        assert_eq!((processed.get("reason"), &processed["version"]), (None, &5.into()));
        let keys: Vec<_> = service.asked_about(id).into_iter().map(|asked| asked.key).collect();
        assert_eq!(keys, [format!("{id}@2"), format!("{id}@4")], "another attempt is another key");
    }
}

#[tokio::test]
async fn an_answer_that_says_nothing_for_good_is_asked_for_again_under_the_same_key() {
    let service = Service::start(|asked| match (asked.body["order"].as_str().unwrap(), asked.times) {
        ("busy", 1) => Reply::NotNow(503),
        ("broken", 1..=2) => Reply::NotNow(500),
        ("throttled", 1) => Reply::NotNow(429),
        ("timed-out", 1) => Reply::NotNow(408),
        ("early", 1) => Reply::NotNow(425),
        ("moved", 1) => Reply::NotNow(302),
        ("nowhere", 1) => Reply::NotNow(404),
        ("unknown", 1) => Reply::NotNow(401),
        ("forbidden", 1) => Reply::NotNow(403),
        ("unmeant", 1) => Reply::NotNow(405),
        ("silent", 1) => Reply::Silence,
        _ => Reply::Fulfilled,
    })
    .await;
    let system = system_with(&service).await;
    let orders = [
        ("busy", 2),
        ("broken", 3),
        ("throttled", 2),
        ("timed-out", 2),
        ("early", 2),
        ("moved", 2),
        ("nowhere", 2),
        ("unknown", 2),
        ("forbidden", 2),
        ("unmeant", 2),
        ("silent", 2),
    ];
    // The orders come one after the other, because many failures in a row hold calls back.
    for (id, calls) in orders {
        system.create_and_process(id).await;
        let asked = service.asked_about(id);
        assert!(asked.len() >= calls, "{asked:?}");
        assert!(asked.iter().all(|asked| asked.key == format!("{id}@2")), "{asked:?}");
        assert_eq!(system.event_types(id).await, PROCESSED);
    }
    system.expect_verified().await;
}

#[tokio::test]
async fn a_service_that_asks_for_a_pause_is_asked_about_nothing_until_it_is_over() {
    let service = Service::start(|asked| match asked.body["order"].as_str() {
        Some("first") if asked.times == 1 => Reply::Later(3),
        _ => Reply::Fulfilled,
    })
    .await;
    let system = system_with(&service).await;
    system.create("first").await;
    system.process("first").await;
    let first = service.until_asked().await;
    for number in 0..5 {
        system.create_and_process(&format!("a{number}")).await;
    }
    system.until_status("first", "processed").await;
    let asked = service.asked();
    let paused = |asked: &Asked| asked.at.duration_since(first.at) >= Duration::from_secs(3);
    assert!(asked.len() >= 7 && asked.iter().skip(1).all(paused), "{asked:?}");
}

#[tokio::test]
async fn while_the_service_is_down_calls_are_held_back_and_commands_go_on() {
    let service = Service::start(|asked| match asked.body["order"].as_str() {
        Some("first") if asked.times < 8 => Reply::NotNow(503),
        _ => Reply::Fulfilled,
    })
    .await;
    let system = system_with(&service).await;
    system.create("first").await;
    let started = system.process("first").await;
    for number in 0..10 {
        system.create(&format!("a{number}")).await;
        system.process(&format!("a{number}")).await;
    }
    let behind = system.get(&format!("/first?min_version={}", started.version())).await.with_status(200);
    assert_eq!(behind.json()["status"], "processing");
    system.until_status("first", "processed").await;
    for number in 0..10 {
        system.until_status(&format!("a{number}"), "processed").await;
    }
    assert_eq!(service.asked_about("first").len(), 8);
}

#[tokio::test]
async fn what_the_mock_refuses_fails_and_fails_again() {
    let system = System::start_with(&["--fulfilment", "mock:?latency=5&failure_rate=1"]).await;
    system.create("a").await;
    for version in [2, 4] {
        let processing = system.process("a").await;
        assert_eq!((processing.version(), &processing.json()["status"]), (version, &"processing".into()));
        let failed = system.until_version("a", version + 1).await;
        assert_eq!(
            (&failed["status"], &failed["reason"]),
            (&"failed".into(), &"the mock refuses this order".into())
        );
    }
    let expected =
        ["OrderCreated", "ProcessingStarted", "ProcessingFailed", "ProcessingStarted", "ProcessingFailed"];
    assert_eq!(system.event_types("a").await, expected);
}

#[tokio::test]
async fn a_client_whose_key_reads_like_an_outcomes_id_stops_neither_its_order_nor_others() {
    let mut system = System::start().await;
    for id in ["x", "y"] {
        system.create(id).await;
        let key = format!("fulfilment:{id}@2");
        system.post(&format!("/{id}")).key(&key).await.with_status(200);
    }
    for number in 0..20 {
        system.create_and_process(&format!("a{number}")).await;
    }
    for id in ["x", "y"] {
        system.until_status(id, "processed").await;
        let events = system.events(id).await;
        let commands: Vec<_> =
            events.iter().skip(1).map(|event| (&event["command_id"], &event["command_kind"])).collect();
        let key = json!(format!("fulfilment:{id}@2"));
        assert_eq!(commands, [(&key, &json!("client")), (&key, &json!("system"))]);
    }
    system.stop().await;
    system.start_again().await;
    system.expect_verified().await;
}

#[tokio::test]
async fn an_order_that_only_a_newer_program_can_read_waits_alone_and_goes_on_after_the_upgrade() {
    let answers = Arc::new(AtomicBool::new(false));
    let answering = Arc::clone(&answers);
    // The service is silent until the order can't be read, so that the order comes again then.
    let service = Service::start(move |asked| match asked.body["order"].as_str() {
        Some("newer") if !answering.load(Ordering::Relaxed) => Reply::Silence,
        _ => Reply::Fulfilled,
    })
    .await;
    let system = System::start_with(&["--fulfilment", service.url(), "--fulfilment-timeout", "1"]).await;
    system.create("newer").await;
    system.process("newer").await;
    service.until_asked().await;
    set_schema(&system, "newer", 1, 99).await;
    let unread = async || {
        let sum = system.metrics().await.sum("orders_unreadable_streams_total", &[("by", "processor")]);
        (sum > 0.0).then_some(())
    };
    until("the processor to meet a stream that it can't read", unread).await;
    answers.store(true, Ordering::Relaxed);

    // There are more orders than partitions, so that some are in the same one.
    let others: Vec<String> = (0..40).map(|number| format!("a{number}")).collect();
    for id in &others {
        system.create(id).await;
        system.process(id).await;
    }
    for id in &others {
        system.until_status(id, "processed").await;
    }
    system.get("/newer/events").await.problem(500, "internal");
    set_schema(&system, "newer", 1, 1).await;
    system.until_status("newer", "processed").await;
    assert_eq!(system.event_types("newer").await, PROCESSED);
    system.expect_verified().await;
}

#[tokio::test]
async fn an_outcome_that_was_known_before_a_crash_is_not_asked_for_again() {
    let service = Service::start(|_| Reply::Fulfilled).await;
    let mut system = system_with(&service).await;
    system.create_and_process("a").await;
    system.kill();
    system.start_again().await;
    system.create_and_process("b").await;
    assert_eq!(service.asked_about("a").len(), 1);
    assert_eq!(system.event_types("a").await, PROCESSED);
}

#[tokio::test]
async fn an_order_whose_fulfilment_a_crash_has_cut_short_is_asked_for_again_under_the_same_key() {
    let (mut system, service) = with_fulfilment_under_way().await;
    system.kill();
    system.start_again().await;
    system.until_status("a", "processed").await;
    let keys: Vec<_> = service.asked().into_iter().map(|asked| asked.key).collect();
    assert_eq!(keys, ["a@2", "a@2"]);
    assert_eq!(system.event_types("a").await, PROCESSED);
}
