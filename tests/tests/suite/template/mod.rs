//! `template.yaml` says the same as the functions and the dispatcher: their routes, triggers and settings.

mod alarms;
mod functions;
mod routes;
mod stacks;
mod triggers;
mod yaml;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// Every function, by its folder.
pub(crate) const FUNCTIONS: [&str; 9] = [
    "create-order",
    "process-order",
    "cancel-order",
    "query",
    "history",
    "projector",
    "processor",
    "relay",
    "reconciler",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn template() -> Value {
    yaml::parse(&read("template.yaml"))
}

/// The text of every Rust file below a folder.
fn rust_files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let read = |path: PathBuf| match path.extension() {
        _ if path.is_dir() => rust_files(&path),
        Some(extension) if extension == "rs" => vec![fs::read_to_string(&path).unwrap()],
        _ => vec![],
    };
    entries.flat_map(read).collect()
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
