//! `orders load` against a system with and without trouble.

// Helpers of tests may fail loudly too; clippy's own exception covers only functions marked as tests.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod server;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use clap::Parser;
use load::{Ending, LoadArgs, Report, VerifyReport};
use serde_json::Value;
use tempfile::TempDir;

use server::{System, Trouble};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    load: LoadArgs,
}

fn args(words: &[&str]) -> LoadArgs {
    Cli::try_parse_from([&["load"], words].concat()).unwrap().load
}

async fn drive(words: &[&str]) -> Report {
    load::drive(&args(words)).await.unwrap()
}

async fn verify(url: &str, file: &Path) -> VerifyReport {
    let words = ["--url", url, "--within", "0.3", "--verify", file.to_str().unwrap()];
    load::verify(&args(&words)).await.unwrap()
}

/// The lines of a check file.
fn acknowledged(file: &Path) -> Vec<Value> {
    fs::read_to_string(file).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn check_file() -> (TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("acknowledged");
    (folder, file)
}

#[tokio::test]
async fn every_order_is_created_and_processed_and_logged_once() {
    let system = System::sound();
    let (_folder, file) = check_file();
    let url = system.start().await.url;
    let words = ["--url", &url, "--orders", "50", "--clients", "8", "--prefix", "o"];
    let report = drive(&[&words[..], &["--check", file.to_str().unwrap()]].concat()).await;

    assert_eq!(report.ended, Ending::Done);
    assert_eq!((report.answered, report.not_acknowledged), (100, 0));
    assert_eq!(report.calls["create"].count, 50);
    assert_eq!(report.calls["process"].count, 50);
    let latency = report.calls["create"].latency_ms;
    assert!(0.0 < latency.p50 && latency.p50 <= latency.p99 && latency.p99 <= latency.max, "{latency:?}");
    assert!(latency.max < report.seconds * 1000.0, "{latency:?}");
    assert_eq!(system.requests(), 100);
    let mut ids: Vec<_> =
        acknowledged(&file).iter().map(|line| line["id"].as_str().unwrap().to_owned()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids, system.state().orders.keys().cloned().collect::<Vec<_>>());
    assert!(system.state().orders.contains_key("o-0") && system.state().orders.contains_key("o-49"));
}

#[tokio::test]
async fn what_breaks_or_is_put_off_is_sent_again_under_the_same_key() {
    let system = System::new(|number| match number % 10 {
        3 => Trouble::Later,
        7 => Trouble::Break,
        _ => Trouble::None,
    });
    let url = system.start().await.url;
    let report = drive(&["--url", &url, "--orders", "60", "--clients", "4", "--seed", "1"]).await;

    assert_eq!((report.answered, report.not_acknowledged), (120, 0), "{report}");
    let state = system.state();
    assert_eq!((state.orders.len(), state.keys.len()), (60, 120));
    assert!(state.keys.values().any(|(_, times)| *times > 1));
    assert!(report.retries["503"] > 0 && report.retries["no answer"] > 0);
    assert_eq!(system.requests(), 120 + report.retries.values().sum::<u64>());
}

#[tokio::test]
async fn a_load_whose_server_dies_ends_by_itself_with_all_that_was_acknowledged_in_the_file() {
    let system = System::new(|number| if number == 300 { Trouble::Die } else { Trouble::None });
    let (_folder, file) = check_file();
    let url = system.start().await.url;
    let words = ["--url", &url, "--orders", "100000", "--clients", "16", "--retries", "3"];
    let report = drive(&[&words[..], &["--check", file.to_str().unwrap()]].concat()).await;

    assert_eq!(report.ended, Ending::ServerGone);
    assert!(report.seconds < 10.0, "{report}");
    assert!(report.answered >= 280, "{report}");
    assert!((1..=16).contains(&report.not_acknowledged), "{report}");
    let lines = acknowledged(&file);
    assert_eq!(lines.len() as u64, report.answered);
    assert!(lines.iter().all(|line| system.state().orders.contains_key(line["id"].as_str().unwrap())));
}

#[tokio::test]
async fn clients_of_a_replica_that_died_go_on_with_the_next() {
    let system = System::new(|number| if number == 100 { Trouble::Die } else { Trouble::None });
    let (first, second) = (system.start().await.url, system.start().await.url);
    let report = drive(&["--url", &first, "--url", &second, "--orders", "200", "--clients", "8"]).await;

    assert_eq!(report.ended, Ending::Done);
    assert_eq!((report.answered, report.not_acknowledged), (400, 0), "{report}");
    assert_eq!(system.state().orders.len(), 200);
    assert!(report.retries["no answer"] > 0);
}

#[tokio::test]
async fn a_command_that_is_refused_is_reported_and_not_repeated() {
    let system = System::new(|number| if number < 3 { Trouble::Refuse } else { Trouble::None });
    let url = system.start().await.url;
    let report = drive(&["--url", &url, "--orders", "10", "--clients", "1"]).await;

    assert_eq!((report.answered, report.not_acknowledged), (14, 3));
    assert_eq!(report.errors["create 409"], 3);
    assert!(report.first_error.unwrap().contains("another order has this id"));
    assert_eq!(system.requests(), 17);
}

#[tokio::test]
async fn a_server_that_stays_overloaded_is_given_up() {
    let system = System::new(|_| Trouble::Later);
    let url = system.start().await.url;
    let report = drive(&["--url", &url, "--orders", "2", "--clients", "2", "--retries", "2"]).await;

    assert_eq!((report.answered, report.not_acknowledged), (0, 2));
    assert_eq!((report.errors["create 503"], report.retries["503"]), (2, 4));
}

#[tokio::test]
async fn a_server_that_does_not_say_when_to_come_again_is_reported() {
    let system = System::new(|_| Trouble::LaterOrNever);
    let url = system.start().await.url;
    let report = drive(&["--url", &url, "--orders", "1", "--clients", "1", "--retries", "1"]).await;

    assert_eq!(report.retries, [("503 without Retry-After".to_owned(), 1)].into());
    assert_eq!(report.errors, [("create 503 without Retry-After".to_owned(), 1)].into());
}

#[tokio::test]
async fn a_stalled_answer_counts_for_every_order_that_was_due_meanwhile() {
    let stall = Duration::from_millis(400);
    let system = System::new(move |number| if number == 0 { Trouble::Slow(stall) } else { Trouble::None });
    let url = system.start().await.url;
    let report =
        drive(&["--url", &url, "--orders", "50", "--clients", "1", "--only", "create", "--rate", "500"])
            .await;

    assert!(report.calls["create"].latency_ms.p50 > 300.0, "{report}");
}

#[tokio::test]
async fn a_rate_counts_calls_of_all_kinds() {
    let system = System::sound();
    let url = system.start().await.url;
    let started = Instant::now();
    drive(&["--url", &url, "--orders", "30", "--clients", "4", "--rate", "200"]).await;

    // The 30th order is due after 29 pairs of calls.
    assert!(started.elapsed() >= Duration::from_millis(290));
}

#[tokio::test]
async fn the_time_until_a_command_is_queryable_is_measured_for_one_order_in_so_many() {
    let system = System::sound();
    system.state().lag = 5;
    let url = system.start().await.url;
    let report =
        drive(&["--url", &url, "--orders", "20", "--clients", "2", "--only", "create", "--queryable", "4"])
            .await;

    assert_eq!(report.calls["queryable"].count, 5);
    assert_eq!(report.answered, 20);
    assert_eq!(system.requests(), 20 + 5 * 6);
}

#[tokio::test]
async fn only_reads_change_nothing() {
    let system = System::sound();
    let url = system.start().await.url;
    drive(&["--url", &url, "--orders", "5", "--prefix", "p", "--only", "create"]).await;
    let report = drive(&["--url", &url, "--orders", "5", "--prefix", "p", "--only", "get"]).await;

    assert_eq!(report.calls["get"].count, 5);
    assert_eq!(report.calls.len(), 1);
    assert!(system.state().orders.values().all(|order| *order == (1, "new")));
}

#[tokio::test]
async fn the_first_token_of_the_file_is_sent() {
    let system = System::sound();
    let (_folder, file) = check_file();
    fs::write(&file, "# mine\nada 0123456789abcdef\nbob fedcba9876543210\n").unwrap();
    let url = system.start().await.url;
    drive(&["--url", &url, "--orders", "1", "--token-file", file.to_str().unwrap()]).await;

    assert_eq!(system.state().authorization.as_deref(), Some("Bearer 0123456789abcdef"));
}

#[tokio::test]
async fn runs_do_not_collide_unless_they_have_the_same_seed() {
    let system = System::sound();
    let url = system.start().await.url;
    let one = drive(&["--url", &url, "--orders", "1"]).await.prefix;
    let other = drive(&["--url", &url, "--orders", "1"]).await.prefix;
    let seeded = drive(&["--url", &url, "--orders", "1", "--seed", "7"]).await.prefix;

    assert_ne!(one, other);
    assert_eq!(drive(&["--url", &url, "--orders", "1", "--seed", "7"]).await.prefix, seeded);
}

#[tokio::test]
async fn verify_finds_all_that_was_acknowledged_also_when_it_comes_late() {
    let system = System::sound();
    let (_folder, file) = check_file();
    let url = system.start().await.url;
    drive(&["--url", &url, "--orders", "40", "--check", file.to_str().unwrap()]).await;
    system.state().lag = 3;
    let verified = verify(&url, &file).await;

    assert!(verified.is_clean(), "{verified}");
    assert_eq!((verified.orders, verified.found["processed"]), (40, 40));
}

#[tokio::test]
async fn verify_names_what_is_lost_older_than_acknowledged_or_stuck() {
    let system = System::sound();
    let (_folder, file) = check_file();
    let url = system.start().await.url;
    drive(&["--url", &url, "--orders", "10", "--prefix", "v", "--check", file.to_str().unwrap()]).await;
    {
        let orders = &mut system.state().orders;
        orders.remove("v-1");
        orders.insert("v-2".into(), (1, "new"));
        orders.insert("v-3".into(), (3, "processing"));
    }
    let verified = verify(&url, &file).await;

    assert_eq!((verified.orders, verified.missed, verified.found["processed"]), (10, 3, 7));
    let mut problems: Vec<_> = verified.examples.iter().map(|m| format!("{}: {}", m.id, m.problem)).collect();
    problems.sort_unstable();
    assert_eq!(
        problems,
        ["v-1: GET answers 404 Not Found", "v-2: is at version 1", "v-3: is still processing"]
    );
}

#[test]
fn arguments_that_make_no_sense_are_refused() {
    for words in [
        &["--url", "https://example"][..],
        &["--clients", "0"],
        &["--rate", "0"],
        &["--rate", "-1"],
        &["--only", "paint"],
        &["--timeout", "0"],
        &["--verify", "a", "--check", "b"],
    ] {
        assert!(Cli::try_parse_from([&["load"], words].concat()).is_err(), "{words:?}");
    }
}
