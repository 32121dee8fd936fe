//! An import that can't begin: it says why, and exits with 2.

use std::net::TcpListener;

use crate::orders;
use crate::place::Place;
use crate::seed::Seed;

/// Returns the reason why the import could not begin. Nothing of it is on stdout, and no password is in it.
#[track_caller]
fn not_begun(url: &str, more: &[&str]) -> String {
    let place = Place::sqlite();
    let output = orders(&[&["import-seed", url], &*place.flags(), more].concat()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(output.stdout.is_empty() && !said.contains("hunter2"), "{said}");
    said
}

#[test]
fn a_seed_that_can_not_be_read_is_said_before_anything_begins() {
    for (url, reason) in [
        ("postgres://someone:hunter2@127.0.0.1/db", "its URL has an unknown scheme; allowed: mongodb://"),
        ("hunter2", "its URL has an unknown scheme"),
        ("mongodb://someone:hunter2@127.0.0.1/d$b", "illegal character in database name"),
        ("mongodb://someone:hun%ter2/hunter2@127.0.0.1/db", "must be percent-encoded"),
    ] {
        let said = not_begun(url, &[]);
        assert!(said.contains("the seed can't be read: ") && said.contains(reason), "{url}: {said}");
    }
    // A port on which nobody listens.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("mongodb://someone:hunter2@{nobody}/db?serverSelectionTimeoutMS=200");
    let said = not_begun(&url, &[]);
    assert!(said.contains("the seed can't be read: "), "{said}");
    let said = not_begun("mongodb://127.0.0.1/db", &["--event-store", "nosql://someone:hunter2@somewhere"]);
    assert!(said.contains("unknown scheme"), "{said}");
    let store = format!("mongodb://someone:hunter2@{nobody}/db?serverSelectionTimeoutMS=200");
    let said = not_begun("mongodb://127.0.0.1/db", &["--event-store", &store]);
    assert!(said.contains("the event store is not available"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_without_commands_is_no_empty_seed() {
    let Some(seed) = Seed::fresh().await else { return };
    let said = not_begun(seed.url(), &[]);
    assert!(said.contains("has no collection commands"), "{said}");
}
