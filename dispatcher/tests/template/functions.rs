//! The template builds, configures and watches each function as it needs, and gives it no further permissions.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use clap::CommandFactory;
use command_handler::settings::LambdaSettings;
use runtime::settings::{METRICS, METRICS_NAMESPACE, variable};
use serde_json::{Value, json};

use super::{consumers, declared, function_name, metadata, policies_of, resources, root, template, text};

fn functions(template: &Value) -> BTreeMap<String, Value> {
    let functions = resources(template, "AWS::Serverless::Function");
    functions.iter().map(|(id, function)| (function_name(template, id), function.clone())).collect()
}

#[test]
fn every_function_is_built_from_its_folder_by_cargo_lambda() {
    let template = template();
    let functions = functions(&template);
    assert_eq!(functions.keys().cloned().collect::<BTreeSet<_>>(), super::functions());
    for (name, function) in functions {
        assert_eq!(function["Metadata"]["BuildMethod"], "rust-cargolambda");
        assert_eq!(function["Properties"]["CodeUri"], format!("functions/{name}"));
    }
    let globals = &template["Globals"]["Function"];
    assert_eq!((&globals["Runtime"], &globals["Handler"]), (&json!("provided.al2023"), &json!("bootstrap")));
    assert_eq!(globals["Architectures"], json!(["arm64"]));
}

/// The crates that each function imports.
fn imports() -> BTreeMap<String, BTreeSet<String>> {
    let name = |value: &Value| text(&value["name"]).to_owned();
    let imported = |package: &Value| {
        let dependencies = package["dependencies"].as_array().unwrap().iter();
        dependencies.filter(|dependency| dependency["kind"].is_null()).map(name).collect()
    };
    let metadata = metadata();
    let packages = metadata["packages"].as_array().unwrap().iter();
    let imports = packages.map(|package| (name(package), imported(package)));
    imports.filter(|(name, _)| super::functions().contains(name)).collect()
}

/// The functions that have the event channel in them.
fn publishers() -> BTreeSet<String> {
    imports()
        .into_iter()
        .filter(|(_, imported)| imported.contains("command-handler"))
        .map(|(name, _)| name)
        .collect()
}

/// A function can use a store if it imports the store's crate. The URLs are settings of all functions, and name secrets; the policies
/// for those secrets are each function's own.
#[test]
fn every_function_may_use_the_stores_that_it_imports_and_no_others() {
    let template = template();
    let (imports, publishers, consumers) = (imports(), publishers(), consumers(&template));
    for (name, function) in functions(&template) {
        let policies = function["Properties"]["Policies"].to_string();
        let commands = publishers.contains(&name);
        let events = commands || imports[&name].contains("event-store");
        let view = imports[&name].contains("read-store");
        assert_eq!(policies.contains("\"UseEventStore\""), events, "{name}");
        assert_eq!(policies.contains("\"UseReadStore\""), view, "{name}");
        assert_eq!(policies.contains("\"Publish\""), commands, "{name}");
        assert_eq!(policies.contains("\"Consume\""), consumers.contains(&name), "{name}");
    }
}

/// The settings of a function beside those of all functions.
fn own_settings(function: &Value) -> serde_json::Map<String, Value> {
    function["Properties"]["Environment"]["Variables"].as_object().cloned().unwrap_or_default()
}

/// The variables of a command and of those below it.
fn variables_of(command: &clap::Command, found: &mut BTreeSet<String>) {
    let variables = command.get_arguments().filter_map(clap::Arg::get_env);
    found.extend(variables.map(|name| name.to_str().unwrap().to_owned()));
    command.get_subcommands().for_each(|command| variables_of(command, found));
}

#[test]
fn every_variable_is_a_setting_and_no_store_is_named_in_the_clear() {
    let template = template();
    let mut settings = BTreeSet::from([METRICS.to_owned(), METRICS_NAMESPACE.to_owned()]);
    for command in
        [dispatcher::orders().command_line(), LambdaSettings::command(), query::Settings::command()]
    {
        variables_of(&command, &mut settings);
    }
    // The application's name is put in front of them at run time.
    let settings: BTreeSet<String> = settings.iter().map(|name| variable("orders", name)).collect();
    let mut variables =
        template["Globals"]["Function"]["Environment"]["Variables"].as_object().unwrap().clone();
    for function in functions(&template).into_values() {
        variables.extend(own_settings(&function));
    }
    // The extension's own.
    variables.remove("PARAMETERS_SECRETS_EXTENSION_CACHE_ENABLED");
    for (name, value) in &variables {
        assert!(settings.contains(name), "nothing reads {name}");
        if name.ends_with("_STORE") {
            let [_, login, whole] = &value["Fn::If"].as_array().unwrap()[..] else {
                panic!("{name} is {value}")
            };
            assert!(text(&login["Fn::Sub"][0]).starts_with("${Scheme}://{secret:${"), "{name} is {value}");
            assert!(text(&whole["Fn::Sub"]).starts_with("secret:${"), "{name} is {value}");
        }
    }
    assert!(variables.keys().filter(|name| name.ends_with("_STORE")).count() == 2);
}

/// An account with a small quota can reserve nothing.
#[test]
fn nothing_is_reserved_unless_it_is_asked_for() {
    let template = template();
    for (name, function) in functions(&template) {
        let reserved = &function["Properties"]["ReservedConcurrentExecutions"]["Fn::If"];
        let parameter = text(&reserved[1]["Ref"]);
        assert_eq!(reserved[2], json!({"Ref": "AWS::NoValue"}), "{name}");
        assert_eq!(template["Parameters"][parameter]["Default"], 0, "{name}");
        let asked = &template["Conditions"][text(&reserved[0])]["Fn::Not"][0]["Fn::Equals"];
        assert_eq!(*asked, json!([{"Ref": parameter}, "0"]), "{name}");
    }
}

/// A function looks up the secrets of its settings with its own permissions.
#[test]
fn every_function_may_read_the_secrets_that_its_settings_stand_for() {
    let template = template();
    let secrets = |settings: &Value| -> Vec<String> {
        let settings = settings["Environment"]["Variables"].to_string();
        settings
            .split("secret:${")
            .skip(1)
            .filter_map(|rest| Some(rest.split('}').next()?.to_owned()))
            .collect()
    };
    let of_all: BTreeSet<String> = secrets(&template["Globals"]["Function"]).into_iter().collect();
    assert_eq!(
        of_all,
        ["EventStoreSecretArn", "KafkaSecretArn", "ReadStoreSecretArn"].map(str::to_owned).into()
    );
    let (imports, publishers) = (imports(), publishers());
    for (name, function) in functions(&template) {
        let mut wanted = secrets(&function["Properties"]);
        for (secret, reads) in [
            ("KafkaSecretArn", publishers.contains(&name)),
            ("EventStoreSecretArn", publishers.contains(&name) || imports[&name].contains("event-store")),
            ("ReadStoreSecretArn", imports[&name].contains("read-store")),
        ] {
            wanted.extend(reads.then(|| secret.to_owned()));
        }
        let policies = policies_of(&template, &function);
        for secret in wanted {
            let resource = json!({"Ref": secret}).to_string();
            assert!(policies.iter().any(|policy| policy.contains(&resource)), "{name} may not read {secret}");
        }
    }
}

/// Where there are subnets, all functions are in them.
#[test]
fn what_all_functions_share_no_function_has_otherwise() {
    let template = template();
    let globals = &template["Globals"]["Function"];
    let network = json!({"SubnetIds": [{"Ref": "SubnetA"}, {"Ref": "SubnetB"}], "SecurityGroupIds": [{"Ref": "SecurityGroup"}]});
    assert_eq!(globals["VpcConfig"]["Fn::If"], json!(["HasVpc", network, {"Ref": "AWS::NoValue"}]));
    for (name, function) in functions(&template) {
        for shared in ["Architectures", "Handler", "Layers", "Runtime", "VpcConfig"] {
            assert_eq!(function["Properties"][shared], Value::Null, "{shared} of {name}");
        }
    }
}

/// X-Ray follows no Kafka mapping, and a scheduled run has no caller to follow ("Visualize Lambda function invocations using AWS
/// X-Ray").
#[tokio::test]
async fn only_functions_that_answer_http_may_be_traced() {
    let template = template();
    let (routes, _) = declared().await;
    assert_eq!(template["Globals"]["Function"]["Tracing"], json!({"Ref": "Tracing"}));
    for (name, function) in functions(&template) {
        let answers_http = routes.iter().any(|route| route.function == name);
        let expected = if answers_http { Value::Null } else { json!("Disabled") };
        assert_eq!(function["Properties"]["Tracing"], expected, "{name}");
    }
}

/// `sam build` resolves no `Ref` of a public parameter beside an `If`, and refuses it before it builds anything.
#[test]
fn the_layer_of_the_extension_is_named_as_sam_build_resolves_it() {
    let layers = &template()["Globals"]["Function"]["Layers"];
    assert_eq!(layers[0], json!({"Fn::Sub": "${SecretsExtensionArn}"}));
}

/// A schedule invokes a function asynchronously. Lambda would repeat a failed invocation twice, beside the schedule's own next
/// time.
#[test]
fn what_a_schedule_invokes_is_not_repeated() {
    for (name, function) in functions(&template()) {
        let Some(events) = function["Properties"]["Events"].as_object() else { continue };
        assert_eq!(function["Properties"]["EventInvokeConfig"]["MaximumRetryAttempts"], 0, "{name}");
        for (id, event) in events {
            assert_eq!(event["Type"], "ScheduleV2", "{name} {id}");
            assert_eq!(event["Properties"]["RetryPolicy"]["MaximumRetryAttempts"], 0, "{name} {id}");
        }
    }
}

#[test]
fn a_schedule_measures_what_is_held_without_a_record() {
    let template = template();
    let input = text(
        &template["Resources"]["Projector"]["Properties"]["Events"]["EveryFiveMinutes"]["Properties"]["Input"],
    );
    assert_eq!(serde_json::from_str::<Value>(input).unwrap(), json!({"records": {}}));
}

#[test]
fn every_function_writes_to_a_log_that_is_kept_for_a_time() {
    let template = template();
    let logs = resources(&template, "AWS::Logs::LogGroup");
    for (name, function) in functions(&template) {
        let log = text(&function["Properties"]["LoggingConfig"]["LogGroup"]["Ref"]);
        assert_eq!(
            logs[log]["Properties"]["LogGroupName"]["Fn::Sub"],
            format!("/${{AWS::StackName}}/{name}")
        );
    }
    assert!(logs.values().all(|log| log["Properties"]["RetentionInDays"]["Ref"] == "LogRetentionDays"));
}

#[test]
fn every_function_counts_among_the_errors_that_raise_an_alarm() {
    let template = template();
    let metrics = &template["Resources"]["FunctionErrors"]["Properties"]["Metrics"];
    let counted = metrics.as_array().unwrap().iter().filter_map(|metric| {
        let function = &metric["MetricStat"]["Metric"]["Dimensions"][0]["Value"]["Ref"];
        function.as_str().map(|id| function_name(&template, id))
    });
    assert_eq!(counted.collect::<BTreeSet<_>>(), super::functions());
}

/// No function needs an SDK: secrets come by the extension's local HTTP, and AWS IAM of Kafka is only a signature.
#[test]
fn no_function_links_an_sdk_of_aws() {
    for function in super::functions() {
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
        let words = ["tree", "-p", &function, "-e", "normal", "--prefix", "none", "--format", "{p}"];
        let output = Command::new(cargo).args(words).current_dir(root()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let tree = String::from_utf8(output.stdout).unwrap();
        let linked: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
        assert!(linked.contains("lambda_runtime"), "{function} is built as no Lambda: {linked:?}");
        let sdk: Vec<_> =
            linked.iter().filter(|name| name.starts_with("aws-sdk-") || **name == "aws-config").collect();
        assert!(sdk.is_empty(), "{function} links {sdk:?}");
    }
}

/// Callers of the API may be moved to a new version step by step. Mappings and schedules invoke the function itself.
#[tokio::test]
async fn functions_that_answer_http_have_an_alias_and_the_others_none() {
    let template = template();
    let (routes, _) = declared().await;
    for (name, function) in functions(&template) {
        let answers_http = routes.iter().any(|route| route.function == name);
        let properties = &function["Properties"];
        let expected = if answers_http { json!("live") } else { Value::Null };
        assert_eq!(properties["AutoPublishAlias"], expected, "{name}");
        if answers_http {
            assert_eq!(
                properties["DeploymentPreference"]["Enabled"],
                json!({"Ref": "GradualDeployment"}),
                "{name}"
            );
            assert_eq!(properties["VersionDescription"], json!({"Ref": "Release"}), "{name}");
        }
    }
    assert_eq!(template["Parameters"]["GradualDeployment"]["Default"], "false");
}
