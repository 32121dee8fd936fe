//! The imports between our crates, and the libraries that the parts link.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::{env, fs};

use serde_json::Value;

/// Every crate, and our crates that it may import. All but the pure crates may import `runtime`, which is left out here.
const MAY_IMPORT: [(&str, &[&str]); 26] = [
    ("event-sourcing", &[]),
    ("domain", &["event-sourcing"]),
    ("runtime", &[]),
    ("event-channel", &[]),
    // The import is optional, for the host and `kafka-trigger`. A test below checks the libraries that functions link.
    ("event-source-mapping", &["event-channel"]),
    ("kafka-trigger", &["event-channel", "event-source-mapping"]),
    ("event-store", &["event-sourcing"]),
    ("read-store", &["event-sourcing"]),
    ("command-handler", &["event-sourcing", "event-store", "event-channel"]),
    (
        "host",
        &[
            "command-handler",
            "event-channel",
            "event-source-mapping",
            "event-sourcing",
            "event-store",
            "read-store",
        ],
    ),
    ("create-order", &["domain", "command-handler"]),
    ("process-order", &["domain", "command-handler"]),
    ("cancel-order", &["domain", "command-handler"]),
    ("query", &["domain", "read-store"]),
    ("history", &["domain", "event-store"]),
    ("projector", &["domain", "event-source-mapping", "read-store"]),
    ("processor", &["domain", "command-handler", "event-source-mapping", "event-store", "event-channel"]),
    ("relay", &["domain", "command-handler", "event-store", "event-channel"]),
    ("reconciler", &["domain", "event-store", "read-store"]),
    ("load", &["domain", "host"]),
    ("import-seed", &["domain", "command-handler", "event-store", "host"]),
    ("dispatcher", &[ANY]),
    // Black box: it imports not even the domain, except as a model of its decisions in the tests themselves.
    ("tests", &[]),
    ("hello-lambda", &[]),
    // It imports everything that is fuzzed, wherever that is.
    ("fuzz-properties", &[ANY]),
    (
        "benches",
        &[
            "domain",
            "command-handler",
            "event-store",
            "event-channel",
            "event-source-mapping",
            "kafka-trigger",
            "read-store",
        ],
    ),
];

/// The crates that do no I/O.
const PURE: [&str; 2] = ["event-sourcing", "domain"];

/// The crates that are commands of the dispatcher.
const COMMANDS: [&str; 2] = ["load", "import-seed"];

/// Every crate of ours that is not a program.
const ANY: &str = "any";

const WORKSPACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Returns every function, by its folder.
fn functions() -> BTreeSet<String> {
    let entries = fs::read_dir(format!("{WORKSPACE}/functions")).unwrap().map(Result::unwrap);
    let folders = entries.filter(|entry| entry.path().is_dir());
    folders.map(|entry| entry.file_name().into_string().unwrap()).collect()
}

fn cargo(words: &[&str]) -> String {
    let cargo = env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo).args(words).current_dir(WORKSPACE).output().unwrap();
    assert!(output.status.success(), "cargo {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Returns the crates of the workspace, and our crates that each imports by dependencies of these kinds. A dependency without a
/// kind is `normal`.
fn imports(kinds: &[&str]) -> BTreeMap<String, BTreeSet<String>> {
    let metadata: Value =
        serde_json::from_str(&cargo(&["metadata", "--format-version", "1", "--no-deps"])).unwrap();
    let name = |value: &Value| value["name"].as_str().unwrap().to_owned();
    let packages = metadata["packages"].as_array().unwrap();
    let ours: BTreeSet<String> = packages.iter().map(name).collect();
    let of_a_kind = |dependency: &&Value| kinds.contains(&dependency["kind"].as_str().unwrap_or("normal"));
    let imported = |package: &Value| {
        let dependencies = package["dependencies"].as_array().unwrap().iter().filter(of_a_kind);
        dependencies.map(name).filter(|name| ours.contains(name)).collect()
    };
    packages.iter().map(|package| (name(package), imported(package))).collect()
}

/// Returns everything that a crate links with its default features, when it is built alone.
fn linked(package: &str) -> BTreeSet<String> {
    let tree = cargo(&["tree", "-p", package, "-e", "normal", "--prefix", "none", "--format", "{p}"]);
    tree.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

fn assert_links_none(package: &str, banned: &[&str]) {
    let linked = linked(package);
    assert!(linked.contains(package), "{linked:?}");
    let found: Vec<_> = banned.iter().filter(|&&name| linked.contains(name)).collect();
    assert!(found.is_empty(), "{package} links {found:?}");
}

#[test]
fn every_crate_imports_only_what_its_place_allows() {
    let allowed: BTreeMap<_, _> = MAY_IMPORT.into_iter().collect();
    for (package, imported) in imports(&["normal", "build"]) {
        let allowed = allowed.get(package.as_str()).unwrap_or_else(|| panic!("{package} has no place yet"));
        for import in imported {
            let always = import == "runtime" && !PURE.contains(&package.as_str());
            let any =
                allowed.contains(&ANY) && !["tests", "benches", "dispatcher"].contains(&import.as_str());
            assert!(
                always || any || allowed.contains(&import.as_str()),
                "{package} must not import {import}"
            );
        }
    }
}

#[test]
fn every_place_is_taken() {
    let packages: BTreeSet<String> = imports(&[]).into_keys().collect();
    let places: BTreeSet<String> = MAY_IMPORT.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(packages, places);
}

#[test]
fn only_the_dispatcher_and_what_is_fuzzed_import_functions_and_nobody_imports_the_programs() {
    let functions = functions();
    for (package, imported) in imports(&["normal", "build", "dev"]) {
        for import in imported {
            assert!(
                ["dispatcher", "fuzz-properties"].contains(&package.as_str()) || !functions.contains(&import),
                "{package} imports {import}"
            );
            assert!(
                !["dispatcher", "tests", "benches", "fuzz-properties"].contains(&import.as_str()),
                "{package} imports {import}"
            );
        }
    }
}

#[test]
fn only_the_dispatcher_imports_its_commands() {
    for (package, imported) in imports(&["normal", "build", "dev"]) {
        let commands: Vec<_> = COMMANDS.into_iter().filter(|&command| imported.contains(command)).collect();
        assert_eq!(commands, if package == "dispatcher" { &COMMANDS[..] } else { &[] }, "{package}");
    }
}

#[test]
fn the_pure_crates_link_nothing_that_does_io() {
    let banned = [
        "tokio", "axum", "hyper", "mio", "socket2", "reqwest", "rusqlite", "mongodb", "rdkafka", "sqlx",
        "tracing",
    ];
    for package in PURE {
        assert_links_none(package, &banned);
        assert_links_none(package, &["rand", "getrandom", "uuid", "runtime"]);
    }
}

#[test]
fn query_and_projector_link_neither_the_event_store_nor_the_channel() {
    for function in ["query", "projector"] {
        assert_links_none(function, &["mongodb", "rdkafka", "rdkafka-sys"]);
        assert_links_none(function, &["event-store", "event-channel", "command-handler"]);
    }
}

#[test]
fn history_links_neither_the_channel_nor_the_view() {
    assert_links_none("history", &["rdkafka", "rdkafka-sys", "event-channel", "command-handler"]);
    assert_links_none("history", &["read-store"]);
}

/// Returns the features with which a crate and all that it links is built, one a line.
fn features(words: &[&str]) -> String {
    cargo(&[&["tree", "-e", "normal,features", "--prefix", "none", "--format", "{p} {f}"], words].concat())
}

#[test]
fn nothing_that_ships_has_kill_points() {
    for package in functions().into_iter().chain(["dispatcher".to_owned(), "kafka-trigger".to_owned()]) {
        let features = features(&["-p", &package]);
        assert!(features.contains("runtime") && !features.contains("kill-points"), "{package}: {features}");
        assert_links_none(&package, &["signal-hook"]);
    }
    // The same check finds kill points where they are.
    let with = features(&["-p", "dispatcher", "--features", "kill-points"]);
    assert!(with.contains("kill-points") && with.contains("signal-hook v"), "{with}");
}

#[test]
fn a_function_built_alone_links_nothing_of_the_embedded_default() {
    for function in functions() {
        assert_links_none(&function, &["rusqlite", "libsqlite3-sys"]);
    }
}

/// TLS for Kafka takes minutes to compile. Deployed programs have it, and a build leaves it out if nobody asks for it.
#[test]
fn plain_cargo_run_and_plain_cargo_lambda_watch_compile_no_openssl() {
    // Features are unified over the default members in the build of plain `cargo run`, and in that of `cargo lambda watch`.
    let built = cargo(&["tree", "-e", "normal,build", "--prefix", "none", "--format", "{p}"]);
    let others = ["dispatcher", "lambda_runtime", "rdkafka-sys"].map(str::to_owned);
    for package in functions().into_iter().chain(others) {
        assert!(built.lines().any(|line| line.starts_with(&format!("{package} v"))), "{package}: {built}");
    }
    for package in ["openssl-src", "openssl-sys"] {
        assert!(!built.contains(package), "{built}");
    }
}

#[test]
fn what_is_deployed_names_the_features_that_its_functions_need_beyond_their_defaults() {
    let metadata: Value =
        serde_json::from_str(&cargo(&["metadata", "--format-version", "1", "--no-deps"])).unwrap();
    let functions = functions();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        if !functions.contains(name) {
            continue;
        }
        // cargo-lambda takes these features; `sam build` calls it in the function's folder.
        let deployed = package["metadata"]["lambda"]["build"]["features"].as_array().cloned();
        let has = package["features"].get("kafka-tls").map(|_| vec!["kafka-tls".into()]);
        assert_eq!(deployed, has, "{name}");
        let with = cargo(&["tree", "-p", name, "-e", "normal,build", "--all-features", "--prefix", "none"]);
        assert_eq!(with.contains("openssl-sys"), deployed.is_some(), "{name}");
    }
}
