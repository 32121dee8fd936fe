//! A function connects when it is invoked, and to whatever is up by then.

use serde_json::{Value, json};
use tests::late::Late;
use tests::poll::until;
use tests::process::Invocation;
use tests::runtime_api::Function;
use tests::stores::Stores;

#[tokio::test]
async fn functions_survive_servers_that_come_up_late() {
    let Some(stores) = Stores::servers() else { return };
    let folder = tempfile::tempdir().unwrap();
    let settings = stores.settings(folder.path());
    let url = |name: &str| settings.iter().find(|(known, _)| *known == name).unwrap().1.clone();
    let orders = |words: &[&str]| {
        settings.iter().fold(Invocation::new(words), |call, (name, value)| call.env(name, value))
    };
    orders(&["migrate"]).run().await.with_code(0);
    let (mut mongodb, event_store) = Late::before(&url("ORDERS_EVENT_STORE")).await;
    let (mut kafka, channel) = Late::before(&url("ORDERS_CHANNEL")).await;
    let (mut postgres, read_store) = Late::before(&url("ORDERS_READ_STORE")).await;
    let late = [
        ("ORDERS_EVENT_STORE", &*event_store),
        ("ORDERS_CHANNEL", &channel),
        ("ORDERS_READ_STORE", &read_store),
        ("ORDERS_PUBLISH_PATIENCE", "100"),
        ("ORDERS_RELAY_MIN_AGE", "0"),
    ];

    let mut create = Function::start("create-order", &late).await;
    let order = json!({"id": "a", "name": "a lamp"});
    assert_eq!(create.call("POST", "/", Some(&order)).await.0, 503);
    mongodb.open().await;
    let created = answered(&mut create, "POST", Some(&order), 201).await;
    assert_eq!(created["status"], "new");

    // What could not be published meanwhile, the relay does.
    let left =
        async || orders(&["relay", "--relay-min-age", "3600", "--json"]).run().await.json()["left"].clone();
    let mut relay = Function::start("relay", &late).await;
    let swept = relay.invoke(&json!({})).await;
    assert_eq!((&swept["commits"], left().await), (&0.into(), 1.into()), "{swept}");
    kafka.open().await;
    until("the order to be published", async || {
        relay.invoke(&json!({})).await;
        (left().await == 0).then_some(())
    })
    .await;

    let mut query = Function::start("query", &late).await;
    assert_eq!(query.call("GET", "/", None).await.0, 503);
    postgres.open().await;
    // Nobody projects here.
    assert_eq!(answered(&mut query, "GET", None, 200).await, json!([]));
}

/// Calls `/` until it is answered so.
async fn answered(function: &mut Function, method: &str, body: Option<&Value>, status: u64) -> Value {
    until(&format!("{method} / to be answered {status}"), async || {
        let (answered, body) = function.call(method, "/", body).await;
        assert!(answered == status || answered == 503, "{answered} {body}");
        (answered == status).then_some(body)
    })
    .await
}
