//! `template.yaml` says the same as the functions and the dispatcher: their routes, triggers and settings.

mod functions;
mod routes;
mod triggers;
mod yaml;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

const FUNCTIONS: [&str; 8] =
    ["create-order", "process-order", "cancel-order", "query", "history", "projector", "processor", "relay"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn template() -> Value {
    yaml::parse(&read("template.yaml"))
}

/// The resources of a type, by their logical ids.
fn resources(template: &Value, kind: &str) -> BTreeMap<String, Value> {
    let all = template["Resources"].as_object().unwrap().iter();
    let of_kind = all.filter(|(_, resource)| resource["Type"] == kind);
    of_kind.map(|(id, resource)| (id.clone(), resource.clone())).collect()
}

/// What the policies allow that a function has, under whatever conditions.
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
