//! `GET /`: pages of orders, whole and in order, whatever is written meanwhile.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use form_urlencoded::byte_serialize;
use serde_json::{Value, json};
use tests::poll::until;
use tests::system::System;

/// Follows the links from a page to the last one, and returns the orders of each page.
async fn walk(system: &System, first: &str) -> Vec<Vec<Value>> {
    let (mut pages, mut next) = (vec![], Some(first.to_owned()));
    while let Some(path) = next {
        let answer = system.get(&path).await.with_status(200);
        pages.push(answer.json().as_array().unwrap().clone());
        next = answer.next_page();
    }
    pages
}

fn ids(orders: &[Value]) -> Vec<String> {
    orders.iter().map(|order| order["id"].as_str().unwrap().to_owned()).collect()
}

async fn create_named(system: &System, id: &str, name: &str) {
    system.post("/").json(&json!({"id": id, "name": name})).await.with_status(201);
    system.get(&format!("/{id}?min_version=1")).await.with_status(200);
}

#[tokio::test]
async fn an_empty_view_is_an_empty_list() {
    let system = System::start().await;
    let answer = system.get("/").await.with_status(200);
    assert_eq!((answer.json(), answer.next_page()), (json!([]), None));
}

#[tokio::test]
async fn pages_hold_every_order_once_by_id() {
    let system = System::start().await;
    // The order is by bytes: capitals first, and "a10" before "a2".
    let mut all = vec!["B", "C", "_", "a1", "a10", "a2", "b", "~"];
    for id in all.iter().rev() {
        create_named(&system, id, "a lamp").await;
    }
    all.sort_unstable();
    for limit in [1, 3, 8, 9, 500] {
        let pages = walk(&system, &format!("/?limit={limit}")).await;
        assert_eq!(ids(&pages.concat()), all, "{limit}");
        assert!(pages.iter().rev().skip(1).all(|page| page.len() == limit), "{limit}");
        assert_eq!(pages.len(), all.len().div_ceil(limit), "no empty page at the end");
    }
    assert_eq!(ids(&walk(&system, "/?after=a1").await.concat()), ["a10", "a2", "b", "~"]);
}

#[tokio::test]
async fn a_page_has_at_most_500_orders_and_the_link_goes_on() {
    let system = System::start().await;
    system.load(&["--orders", "501", "--clients", "32", "--only", "create"]).run().await.with_code(0);
    let pages = until("501 orders in the view", async || {
        let pages = walk(&system, "/").await;
        (pages.concat().len() == 501).then_some(pages)
    })
    .await;
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [500, 1]);
}

#[tokio::test]
async fn pages_read_while_others_write_miss_nothing_and_repeat_nothing() {
    let system = System::start().await;
    let standing: BTreeSet<String> = (0..40).map(|number| format!("s{number:02}")).collect();
    for id in &standing {
        system.create(id).await;
    }
    for id in &standing {
        system.until_version(id, 1).await;
    }
    let written = AtomicBool::new(false);
    let writer = async {
        for number in 0..120 {
            // The new orders are before, between and behind those that stand.
            let place = ["a", "s05-", "s20-", "s39-", "z"][number % 5];
            system.create(&format!("{place}{number}")).await;
            let id = format!("s{:02}", number % 40);
            let process = system.process(&id).await;
            system.get(&format!("/{id}?min_version={}", process.version())).await.with_status(200);
        }
        written.store(true, Ordering::Relaxed);
    };
    let reader = async {
        let mut walks = 0;
        while !written.load(Ordering::Relaxed) || walks == 0 {
            let read = ids(&walk(&system, "/?limit=7").await.concat());
            assert!(read.is_sorted_by(|a, b| a < b), "something came twice: {read:?}");
            let read: BTreeSet<String> = read.into_iter().collect();
            let missed: Vec<_> = standing.difference(&read).collect();
            assert!(missed.is_empty(), "{missed:?}");
            walks += 1;
        }
        walks
    };
    let ((), walks) = tokio::join!(writer, reader);
    assert!(walks > 1, "nothing was read while others wrote");
}

#[tokio::test]
async fn a_list_can_be_narrowed_by_status() {
    let system = System::start().await;
    for id in ["a", "b", "c", "d"] {
        system.create(id).await;
    }
    system.process("b").await;
    system.process("d").await;
    system.delete("/c").await.with_status(200);
    system.until_status("b", "processed").await;
    system.until_status("d", "processed").await;
    system.until_status("c", "cancelled").await;
    system.until_status("a", "new").await;
    for (status, expected) in [
        ("new", &["a"][..]),
        ("processed", &["b", "d"]),
        ("cancelled", &["c"]),
        ("failed", &[]),
        ("processing", &[]),
    ] {
        let pages = walk(&system, &format!("/?status={status}&limit=1")).await;
        assert_eq!(ids(&pages.concat()), expected, "{status}");
    }
}

#[tokio::test]
async fn a_list_can_be_narrowed_by_name_to_the_letter() {
    let system = System::start().await;
    let names = ["a&b=c d/é?#%+\"<>;", "A&B=C D/É?#%+\"<>;", "a", "a ", "100%", "%31", "\u{1f4a1}+\u{1f4a1}"];
    for (number, name) in names.iter().enumerate() {
        create_named(&system, &format!("one-{number}"), name).await;
        create_named(&system, &format!("two-{number}"), name).await;
    }
    for (number, name) in names.iter().enumerate() {
        let encoded: String = byte_serialize(name.as_bytes()).collect();
        let pages = walk(&system, &format!("/?name={encoded}&limit=1")).await;
        assert_eq!(ids(&pages.concat()), [format!("one-{number}"), format!("two-{number}")], "{name}");
        assert!(pages.concat().iter().all(|order| order["name"] == *name), "{name}");
        let both = system.get(&format!("/?status=new&name={encoded}")).await.with_status(200);
        assert_eq!(both.json().as_array().unwrap().len(), 2);
        let none = system.get(&format!("/?status=failed&name={encoded}")).await.with_status(200);
        assert_eq!(none.json(), json!([]));
    }
}
