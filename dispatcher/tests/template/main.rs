//! `template.yaml` says the same as the functions declare: their routes, mappings and settings.

// Helpers of tests may fail loudly too; clippy's own exception covers only functions marked as tests.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod alarms;
mod functions;
mod routes;
mod stacks;
mod system;
mod triggers;
mod yaml;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use event_source_mapping::Mapping;
use runtime::Route;
use serde_json::{Value, json};

/// What the functions declare in the dispatcher, on stores that nothing is written to.
async fn declared() -> (Vec<Route>, Vec<Mapping>) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let orders = dispatcher::orders();
    let words = ["orders", "relay", "--data", data, "--channel", "memory:", "--fulfilment", "mock:"];
    let matches = orders.command_line().get_matches_from(words);
    let flags = matches.subcommand_matches("relay").unwrap();
    orders.declarations(flags).await.unwrap()
}

/// Cargo's metadata of the workspace.
fn metadata() -> Value {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let words = ["metadata", "--format-version", "1", "--no-deps"];
    let output = Command::new(cargo).args(words).current_dir(root()).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Every function, by its folder.
fn functions() -> BTreeSet<String> {
    let entries = fs::read_dir(root().join("functions")).unwrap().map(Result::unwrap);
    let folders = entries.filter(|entry| entry.path().is_dir());
    folders.map(|entry| entry.file_name().into_string().unwrap()).collect()
}

/// The functions that mappings of the template invoke.
fn consumers(template: &Value) -> BTreeSet<String> {
    let mappings = resources(template, "AWS::Lambda::EventSourceMapping").into_values();
    let functions = mappings.map(|mapping| text(&mapping["Properties"]["FunctionName"]["Ref"]).to_owned());
    functions.map(|id| function_name(template, &id)).collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn template() -> Value {
    yaml::parse(&fs::read_to_string(root().join("template.yaml")).unwrap())
}

/// The resources of a type, by their logical ids.
fn resources(template: &Value, kind: &str) -> BTreeMap<String, Value> {
    let all = template["Resources"].as_object().unwrap().iter();
    let of_kind = all.filter(|(_, resource)| resource["Type"] == kind);
    of_kind.map(|(id, resource)| (id.clone(), resource.clone())).collect()
}

/// The documents of a function's policies, under whatever conditions it has them.
fn policies_of(template: &Value, function: &Value) -> Vec<String> {
    let given = function["Properties"]["Policies"].to_string();
    let policies = resources(template, "AWS::IAM::ManagedPolicy").into_iter();
    let given = policies.filter(|(id, _)| given.contains(&json!({"Ref": id}).to_string()));
    given.map(|(_, policy)| policy["Properties"]["PolicyDocument"].to_string()).collect()
}

/// The name of the function that a logical id stands for.
fn function_name(template: &Value, id: &str) -> String {
    let binary = &template["Resources"][id]["Metadata"]["BuildProperties"]["Binary"];
    binary.as_str().unwrap_or_else(|| panic!("{id} is no function")).to_owned()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is not text"))
}
