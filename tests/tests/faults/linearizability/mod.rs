//! Clients that call one order at the same time are answered as if they had called it one after the other.
//!
//! The histories are small, and each has its seed. The seed decides the calls, but not which of them comes first. [`model`] gives
//! the expected answers, by the domain's own decisions. [`checker`] looks for an order of the calls that explains the answers.
//! [`refusals`] has the checker's own tests. A call without an answer may have taken effect at any later time, or never.

mod checker;
mod clients;
mod killed;
mod model;
mod refusals;

use domain::{Command, Reason};
use futures_util::{StreamExt, stream};
use serde_json::json;
use tests::fulfilment::{Reply, Service};
use tests::http::Http;
use tests::report::{note, seed};
use tests::stores::Stores;
use tests::system::{Setup, System};

use clients::History;
use model::OneOrder;

/// The number of histories of each kind.
const HISTORIES: u64 = 400;

/// The number of orders that are called at the same time.
const SIDE_BY_SIDE: usize = 16;

const CLIENTS: usize = 4;
const CALLS: usize = 5;

const REFUSAL: &str = "it is broken";

/// Starts a service that refuses most orders, so that they can be processed again, and cancelled.
async fn service() -> Service {
    Service::start(|asked| {
        let fulfils = asked.key.bytes().map(u64::from).sum::<u64>() % 4 == 0;
        if fulfils { Reply::Fulfilled } else { Reply::Refused(409, REFUSAL.to_owned()) }
    })
    .await
}

fn model() -> OneOrder {
    let reason = Reason::parse(&format!("409 Conflict: {REFUSAL}")).unwrap();
    OneOrder { outcomes: vec![Command::Complete, Command::Fail { reason }] }
}

async fn start(stores: &Stores, service: &Service) -> System {
    Setup::on(stores.clone()).with(&["--fulfilment", service.url()]).start().await
}

/// Returns the seeds of one kind of histories, apart from the other kinds' seeds.
fn seeds(kind: u64, histories: u64) -> impl Iterator<Item = u64> {
    // The arithmetic wraps, so that any seed is allowed.
    let first = seed().wrapping_mul(10).wrapping_add(kind).wrapping_mul(1_000_000);
    (0..histories).map(move |history| first.wrapping_add(history))
}

/// Makes these histories go on, some of them at a time.
async fn all_go_on(histories: Vec<History>, servers: Vec<Http>, calls: usize) -> Vec<History> {
    let going_on = stream::iter(histories).map(|mut history| async {
        history.go_on(&servers, CLIENTS, calls).await;
        history
    });
    going_on.buffer_unordered(SIDE_BY_SIDE).collect().await
}

/// Checks that every call got an answer, as it must when nothing is in the way.
fn expect_all_answered(histories: &[History]) {
    let unanswered: usize = histories.iter().map(History::unanswered).sum();
    assert_eq!(unanswered, 0, "calls without an answer");
}

fn expect_linearizable(test: &str, stores: &Stores, histories: &[History]) {
    let model = model();
    histories.iter().for_each(|history| history.expect_linearizable(&model));
    let sum = |of: fn(&History) -> usize| histories.iter().map(of).sum::<usize>();
    let (calls, concurrent, unanswered) =
        (sum(History::calls), sum(History::concurrent), sum(History::unanswered));
    // Clients that wait for each other would prove nothing.
    assert!(concurrent * 2 > calls, "only {concurrent} of {calls} calls were side by side with another");
    let figures = json!({"histories": histories.len(), "calls": calls, "concurrent": concurrent,
        "unanswered": unanswered, "not_linearizable": 0});
    note(test, stores.name(), &figures);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn clients_of_one_order_are_answered_as_if_one_after_the_other() {
    let (stores, service) = (Stores::fresh(), service().await);
    let system = start(&stores, &service).await;
    let histories = seeds(0, HISTORIES).map(History::new).collect();
    let histories = all_go_on(histories, vec![system.api().clone()], CALLS).await;
    expect_all_answered(&histories);
    let test = "clients_of_one_order_are_answered_as_if_one_after_the_other";
    expect_linearizable(test, &stores, &histories);
}

/// Runs histories over two replicas on these stores.
async fn on_two_replicas(test: &str, stores: Option<Stores>, turn: u64) {
    let Some(stores) = stores else { return };
    let service = service().await;
    let replicas = [start(&stores, &service).await, start(&stores, &service).await];
    let apis = replicas.iter().map(|replica| replica.api().clone()).collect();
    let histories = seeds(turn, HISTORIES).map(History::new).collect();
    let histories = all_go_on(histories, apis, CALLS).await;
    expect_all_answered(&histories);
    expect_linearizable(test, &stores, &histories);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn clients_of_two_replicas_are_answered_as_if_one_after_the_other() {
    let test = "clients_of_two_replicas_are_answered_as_if_one_after_the_other";
    on_two_replicas(test, Stores::servers(), 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn clients_of_two_replicas_on_postgresql_alone_are_answered_as_if_one_after_the_other() {
    let test = "clients_of_two_replicas_on_postgresql_alone_are_answered_as_if_one_after_the_other";
    on_two_replicas(test, Stores::postgres(), 4).await;
}
