//! The kinds of poison, and the expected result for each record.

use serde_json::json;

use super::record;

/// The number of kinds.
pub(super) const KINDS: u64 = 16;

/// A record that is no event, or not the next one.
pub(super) struct Poison {
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
    /// The order for which it is held and the reason; `None` when it must be passed over.
    pub(super) held: Option<(&'static str, &'static str)>,
}

/// Nearly as large as the topic lets a record be.
const LARGE: usize = 1_000_000;

/// Returns the poison of this number, on this order. No two numbers make the same record.
pub(super) fn poison(number: u64, order: &'static str) -> Poison {
    let time = json!("2026-01-02T03:04:05Z");
    let garbage = || format!("poison {number}: {{\"type\":").into_bytes();
    let large = "x".repeat(LARGE);
    let by_key = |value: Vec<u8>, reason| Poison {
        key: Some(order.into()),
        value: Some(value),
        held: Some((order, reason)),
    };
    // This version is far beyond any that the order will reach.
    let later = 1_000 + number;
    match number % KINDS {
        0 => by_key([&b"\xff\xfe\x00"[..], &garbage()].concat(), "undecodable"),
        1 => by_key(record(order, later, "OrderPainted", &time), "unknown-type"),
        2 => {
            let schema = json!({
                "type": "OrderProcessed", "schema": 99, "stream": order, "version": later, "time": time, "data": {},
            });
            by_key(schema.to_string().into_bytes(), "unknown-type")
        }
        // A create without a name.
        3 => by_key(record(order, later, "OrderCreated", &time), "undecodable"),
        4 => by_key(record(order, later, "OrderProcessed", &time), "gap"),
        5 => by_key(format!("{number} {large}").into_bytes(), "undecodable"),
        6 => by_key(record(order, later, &large, &time), "unknown-type"),
        7 => by_key(record(order, 0, &format!("Number{number}"), &time), "undecodable"),
        8 => by_key(record(&format!("no/{number}"), 1, "OrderProcessed", &time), "no-valid-stream"),
        // The key names a healthy order; the value names the poisoned one.
        9 => Poison {
            key: Some(b"well".into()),
            ..by_key(record(order, later, "OrderProcessed", &time), "gap")
        },
        10 => Poison { key: None, ..by_key(record(order, later, "OrderProcessed", &time), "gap") },
        11 => Poison { key: None, value: Some(garbage()), held: Some(("", "undecodable")) },
        12 => Poison {
            key: Some(b"\xc3\x28 another/application".into()),
            value: Some(garbage()),
            held: Some(("", "undecodable")),
        },
        // Somebody else's key, which could be an order's, and somebody else's JSON.
        13 => Poison {
            key: Some(b"payment".into()),
            value: Some(json!({"payment": number, "amount": "12.50"}).to_string().into_bytes()),
            held: Some(("payment", "undecodable")),
        },
        14 => Poison { key: Some(order.into()), value: None, held: Some((order, "undecodable")) },
        // An event that the view has, again and under another key.
        _ => Poison {
            key: Some(b"well".into()),
            value: Some(record(order, 2, "ProcessingStarted", &time)),
            held: None,
        },
    }
}
