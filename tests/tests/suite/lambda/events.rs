//! The functions' example events, one in the folder of each.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use tests::runtime_api::Function;

use super::World;

fn functions() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "..", "functions"].iter().collect()
}

fn read(function: &str) -> Value {
    let file = functions().join(function).join("event.json");
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    serde_json::from_str(&text).unwrap()
}

#[test]
fn every_function_has_an_example_event() {
    let folders =
        fs::read_dir(functions()).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_dir());
    let events: Vec<Value> = folders.map(|folder| read(folder.file_name().to_str().unwrap())).collect();
    assert!(!events.is_empty() && events.iter().all(Value::is_object));
}

#[tokio::test]
async fn every_function_does_what_its_example_event_asks_however_often() {
    let Some(world) = World::new().await else { return };
    // Other tests use this setting to keep the reconciler from repairing their damage.
    let given = world.settings.iter().filter(|(name, _)| *name != "ORDERS_RECONCILE_RATE");
    let variables: Vec<(&str, &str)> = given.map(|(name, value)| (*name, value.as_str())).collect();
    let nothing_failed = json!({"batchItemFailures": []});
    let created = json!({"id": "a-mistake", "name": "a mistake"});
    Function::start("create-order", &variables).await.call("POST", "/", Some(&created)).await;
    for (name, path, expected) in [
        ("create-order", "/statusCode", [json!(201), json!(200)]),
        ("process-order", "/statusCode", [json!(200), json!(200)]),
        ("cancel-order", "/statusCode", [json!(200), json!(200)]),
        ("processor", "", [nothing_failed.clone(), nothing_failed.clone()]),
        ("projector", "", [nothing_failed.clone(), nothing_failed]),
        ("query", "/statusCode", [json!(200), json!(200)]),
        ("history", "/statusCode", [json!(200), json!(200)]),
        ("relay", "/failed", [json!(0), json!(0)]),
        ("reconciler", "/ended", [json!(true), json!(true)]),
    ] {
        let mut function = Function::start(name, &variables).await;
        for expected in expected {
            let answer = function.invoke(&read(name)).await;
            assert_eq!(answer.pointer(path), Some(&expected), "{name}: {answer}");
        }
    }
    let history = Function::start("history", &variables).await.call("GET", "/an-example/events", None).await;
    let kinds: Vec<&Value> = history.1.as_array().unwrap().iter().map(|event| &event["type"]).collect();
    assert_eq!(kinds, ["OrderCreated", "ProcessingStarted", "OrderProcessed"]);
    let seen = Function::start("query", &variables).await.call("GET", "/projected-example", None).await;
    assert_eq!((seen.0, &seen.1["status"]), (200, &json!("new")));
}

#[tokio::test]
async fn a_query_waits_no_longer_than_its_setting_and_says_how_long() {
    let Some(world) = World::new().await else { return };
    let variables: Vec<(&str, &str)> =
        world.settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut event = read("query");
    event["routeKey"] = json!("$default");
    event["rawPath"] = json!("/nobody");
    event["requestContext"]["http"]["path"] = json!("/nobody");
    event["rawQueryString"] = json!("min_version=1");
    event["headers"]["prefer"] = json!("wait=20");
    for (setting, waits) in [(None, "wait=1"), (Some(("ORDERS_LONGEST_WAIT", "0")), "wait=0")] {
        let variables: Vec<(&str, &str)> = variables.iter().copied().chain(setting).collect();
        let answer = Function::start("query", &variables).await.invoke(&event).await;
        let said = (&answer["statusCode"], &answer["headers"]["preference-applied"]);
        assert_eq!(said, (&json!(503), &json!(waits)), "{answer}");
    }
}
