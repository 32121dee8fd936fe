//! The inputs that the fuzzers found worth keeping, as plain tests. A file that once broke a rule is among them.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use fuzz_properties::{filter, http_request, kafka_event, lambda_request, record, seed_document, template};

const TARGETS: [&str; 7] =
    ["filter", "http_request", "kafka_event", "lambda_request", "record", "seed_document", "template"];

fn fuzz() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

/// Runs a check over a corpus, and names the file that breaks it.
fn over(target: &str, check: fn(&[u8])) {
    assert!(TARGETS.contains(&target));
    let mut files: Vec<PathBuf> = fs::read_dir(fuzz().join("corpus").join(target))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() > 20, "only {} files", files.len());
    for file in files {
        let bytes = fs::read(&file).unwrap();
        let outcome = std::panic::catch_unwind(|| check(&bytes));
        assert!(outcome.is_ok(), "{} breaks the rule: {}", file.display(), String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn a_filter_decides_as_a_plain_reading_of_its_patterns() {
    over("filter", filter::check);
}

#[test]
fn any_request_gets_a_documented_answer_and_a_command_the_same_under_the_same_key() {
    over("http_request", http_request::check);
}

#[test]
fn requests_are_checked_with_a_query_and_without() {
    for target in ["GET /a", "GET /?limit=2", "POST /", "POST /a", "DELETE /a", "GET /a/events"] {
        assert!(http_request::is_checked(target.as_bytes()), "{target}");
    }
    let waits = "GET /a?min_version=2";
    assert!(!http_request::is_checked(waits.as_bytes()));
    assert!(http_request::is_checked(format!("{waits}\nprefer: wait=0").as_bytes()));
    // The corpus also holds bytes that no server takes for a request, but most of it must be checked.
    let corpus = fs::read_dir(fuzz().join("corpus/http_request")).unwrap();
    let checked = corpus.map(|entry| http_request::is_checked(&fs::read(entry.unwrap().path()).unwrap()));
    let (checked, left_out): (Vec<_>, Vec<_>) = checked.partition(|is_checked| *is_checked);
    assert!(checked.len() > 2 * left_out.len(), "{} checked, {} left out", checked.len(), left_out.len());
}

#[test]
fn the_view_takes_any_batch_and_a_second_time_changes_nothing() {
    over("kafka_event", kafka_event::check);
}

#[test]
fn any_event_of_a_gateway_gets_a_documented_answer() {
    over("lambda_request", lambda_request::check);
}

#[test]
fn a_record_is_a_valid_event_that_is_written_as_it_was_read_or_says_why_not() {
    over("record", record::check);
}

#[test]
fn a_document_of_the_seed_is_a_valid_command_or_refused_in_a_line() {
    over("seed_document", seed_document::check);
}

#[test]
fn a_template_has_only_values_that_are_allowed_or_is_refused_shortly() {
    over("template", template::check);
}

#[test]
fn every_fuzzer_has_its_corpus_and_its_test() {
    let targets: BTreeSet<String> = TARGETS.map(str::to_owned).into();
    assert_eq!(names(&fuzz().join("fuzz_targets")), targets);
    assert_eq!(names(&fuzz().join("corpus")), targets);
}
