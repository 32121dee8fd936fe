//! `--plan` shows the mappings that a template would run, without a broker or an endpoint.

use std::fs;
use std::process::{Command, Output};

use serde_json::Value;

const BROKERS: &str =
    "SelfManagedEventSource: { Endpoints: { KafkaBootstrapServers: ['b.example.com:9092'] } }";

/// A template with a mapping to `ledger` that has these further properties.
fn template(sections: &str, properties: &str) -> String {
    format!(
        "{sections}\nResources:\n  Mapping:\n    Type: AWS::Lambda::EventSourceMapping\n    Properties:\n      FunctionName: ledger\n      \
         StartingPosition: LATEST\n      {BROKERS}\n      Topics: [movements]\n      {}\n",
        properties.replace('\n', "\n      ")
    )
}

fn run(template: &str, samconfig: &str, flags: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("template.yaml");
    fs::write(&file, template).unwrap();
    if !samconfig.is_empty() {
        fs::write(folder.path().join("samconfig.toml"), samconfig).unwrap();
    }
    Command::new(env!("CARGO_BIN_EXE_kafka-trigger"))
        .args(["--plan", "--template"])
        .arg(&file)
        .args(flags)
        .output()
        .unwrap()
}

/// The plan of a template as JSON.
fn plan(template: &str, samconfig: &str, flags: &[&str]) -> Vec<Value> {
    let output = run(template, samconfig, &[&["--json"], flags].concat());
    assert!(output.status.success(), "{output:?}");
    let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
    plan["mappings"].as_array().unwrap().clone()
}

#[test]
fn a_plan_says_what_is_in_force_and_where_it_comes_from() {
    let text = template(
        "",
        "BatchSize: 7\nMaximumRetryAttempts: 2\nTags: []\nSelfManagedKafkaEventSourceConfig: { ConsumerGroupId: g }\n\
         FilterCriteria: { Filters: [{ Pattern: '{\"value\": [\"a\"]}' }] }\n\
         DestinationConfig: { OnFailure: { Destination: 'kafka://dead' } }",
    );
    let plan = plan(&text, "", &["--window", "20", "--timeout", "9", "--group-prefix", "me."]).remove(0);
    for (name, value, from) in [
        ("function", serde_json::json!(["ledger"]), "template"),
        ("topic", "movements".into(), "template: Topics"),
        ("group", "me.g".into(), "template: ConsumerGroupId, --group-prefix"),
        ("brokers", "b.example.com:9092".into(), "template"),
        ("starting_position", "LATEST".into(), "template: StartingPosition"),
        ("batch_size", 7.into(), "template: BatchSize"),
        ("window", 0.02.into(), "--window"),
        ("filters", serde_json::json!([r#"{"value": ["a"]}"#]), "template: FilterCriteria"),
        ("retries", 2.into(), "template: MaximumRetryAttempts"),
        ("record_age", Value::Null, "default"),
        ("bisect", false.into(), "default"),
        ("partial_responses", false.into(), "default"),
        ("on_failure", "kafka://dead".into(), "template: DestinationConfig"),
        ("failures_at", "b.example.com:9092".into(), "the mapping's brokers"),
        ("timeout", 9.0.into(), "--timeout"),
        ("concurrency", 1.into(), "--concurrency, bounded by --function-concurrency"),
    ] {
        assert_eq!(plan[name], serde_json::json!({"value": value, "from": from}), "{name}");
    }
    assert_eq!(plan["mapping"], "Mapping");
    assert_eq!(plan["without_effect"], serde_json::json!(["Tags"]));
    let output = run(&text, "", &[]);
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.starts_with("Mapping\n") && table.contains("  without effect     Tags"), "{table}");
    let batch = table.lines().find(|line| line.contains("batch size")).unwrap();
    assert_eq!(
        batch.split_whitespace().collect::<Vec<_>>(),
        ["batch", "size", "7", "template:", "BatchSize"]
    );
}

#[test]
fn a_plan_says_where_failures_go() {
    let queue = "  Dead: { Type: AWS::SQS::Queue, Properties: { QueueName: dead } }\n";
    let text = template("", "DestinationConfig: { OnFailure: { Destination: !GetAtt Dead.Arn } }") + queue;
    let arn = "arn:aws:sqs:us-east-1:123456789012:dead";
    let at = |flags: &[&str]| {
        let plan = plan(&text, "", flags).remove(0);
        assert_eq!(
            plan["on_failure"],
            serde_json::json!({"value": arn, "from": "template: DestinationConfig"})
        );
        plan["failures_at"].clone()
    };
    let url = "http://127.0.0.1:4566";
    let given = serde_json::json!({"value": url, "from": "--destination"});
    assert_eq!(at(&["--destination", &format!("Dead={url}/")]), given);
    assert_eq!(at(&["--destination", &format!("{arn}={url}")]), given);
    assert_eq!(at(&[]), serde_json::json!({"value": null, "from": "give it a URL with --destination"}));
    let table = |flags: &[&str]| String::from_utf8(run(&text, "", flags).stdout).unwrap();
    assert!(table(&[]).contains("\n  failures at        nowhere: printed"), "{}", table(&[]));
    let said = table(&["--destination", &format!("Dead={url}")]);
    assert!(said.contains(&format!("\n  on failure         {arn}")), "{said}");
    assert!(said.contains(&format!("\n  failures at        {url}")), "{said}");
    let none = plan(&template("", ""), "", &[]).remove(0);
    assert_eq!(none["failures_at"], Value::Null);
}

#[test]
fn brokers_need_not_be_known_for_a_plan() {
    let text = template("", "").replace(BROKERS, "EventSourceArn: !Ref Cluster")
        + "  Cluster: { Type: AWS::MSK::Cluster, Properties: { ClusterName: c } }\n";
    let plan = plan(&text, "", &[]).remove(0);
    assert_eq!(plan["brokers"]["value"], Value::Null);
    let arn = plan["event_source_arn"]["value"].as_str().unwrap();
    assert!(arn.starts_with("arn:aws:kafka:us-east-1:123456789012:cluster/c/"), "{arn}");
}

#[test]
fn samconfig_sets_parameters_unless_it_is_passed_over() {
    let sections = "Parameters: { Group: { Type: String, Default: d } }";
    let text = template(sections, "SelfManagedKafkaEventSourceConfig: { ConsumerGroupId: !Ref Group }");
    // A parameter that this template does not have belongs to another template.
    let samconfig = "version = 0.1\n[default.deploy.parameters]\nparameter_overrides = 'Group=s Other=o'\n";
    let group =
        |flags: &[&str]| plan(&text, samconfig, flags)[0]["group"]["value"].as_str().unwrap().to_owned();
    assert_eq!(group(&[]), "s");
    assert_eq!(group(&["--no-samconfig"]), "d");
    assert_eq!(group(&["--parameter", "Group=p"]), "p");
    let output = run(&text, "[", &[]);
    assert_eq!(output.status.code(), Some(2));
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("samconfig.toml can't be read; --no-samconfig passes over it"), "{errors}");
}

#[test]
fn a_disabled_mapping_is_planned_when_it_is_named() {
    let text = template("", "Enabled: false");
    let output = run(&text, "", &[]);
    assert_eq!(output.status.code(), Some(2));
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("note: Mapping is disabled and not run; --mapping Mapping runs it"), "{errors}");
    assert!(errors.contains("kafka-trigger: nothing to run"), "{errors}");
    assert_eq!(plan(&text, "", &["--mapping", "Mapping"]).len(), 1);
}

#[test]
fn misspelt_keys_are_refused_with_the_right_spelling() {
    let text = template(
        "",
        "SelfManagedKafkaEventSourceConfig: { ConsumerGroupID: l, SchemaRegistryConfig: { SchemaRegistryUri: 'https://r' } }\nTags: []\n\
         DestinationConfig: { OnFailure: { DestinationArn: 'arn:aws:sqs:us-east-1:1:q' } }\nFilterCriteria: { Filter: [] }",
    );
    let output = run(&text, "", &[]);
    assert_eq!(output.status.code(), Some(2));
    let errors = String::from_utf8(output.stderr).unwrap();
    for meant in [
        "DestinationConfig.OnFailure.Destination?",
        "FilterCriteria.Filters?",
        "SelfManagedKafkaEventSourceConfig.ConsumerGroupId?",
        "SelfManagedKafkaEventSourceConfig.SchemaRegistryConfig.SchemaRegistryURI?",
    ] {
        assert!(errors.contains(&format!("did you mean {meant}")), "{errors}");
    }
    assert!(errors.contains("without effect here: Tags"), "{errors}");
}

const WITH_REGISTRY: &str = "ProvisionedPollerConfig: { MinimumPollers: 1 }\n\
    SelfManagedKafkaEventSourceConfig: { SchemaRegistryConfig: { SchemaRegistryURI: 'https://ann:s3cret@r.example.com', \
    EventRecordFormat: SOURCE, SchemaValidationConfigs: [{ Attribute: KEY }, { Attribute: VALUE }] } }";

#[test]
fn a_plan_says_how_records_are_decoded_and_no_password() {
    let text = template("", WITH_REGISTRY);
    let from = "template: SchemaRegistryConfig";
    for (flags, place, place_from) in [
        (&[][..], "https://…@r.example.com", from),
        (&["--registry", "http://bob:s3cret@127.0.0.1:8081"], "http://…@127.0.0.1:8081", "--registry"),
    ] {
        let plan = plan(&text, "", flags).remove(0);
        for (name, value, from) in [
            ("schema_registry", serde_json::json!(place), place_from),
            ("record_format", "SOURCE".into(), from),
            ("schema_validation", serde_json::json!(["KEY", "VALUE"]), from),
        ] {
            assert_eq!(plan[name], serde_json::json!({"value": value, "from": from}), "{name}");
        }
        let output = run(&text, "", flags);
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(said.contains("schema validation  KEY, VALUE") && !said.contains("s3cret"), "{said}");
    }
    let plan = plan(&template("", ""), "", &[]).remove(0);
    assert_eq!(plan["schema_registry"], serde_json::json!({"value": null, "from": "default"}));
}

#[test]
fn a_registry_that_is_not_known_or_wants_a_login_is_asked_for_when_it_is_needed() {
    let unknown = WITH_REGISTRY.replace("'https://ann:s3cret@r.example.com'", "!ImportValue registry");
    let login = WITH_REGISTRY.replace(
        "EventRecordFormat",
        "AccessConfigs: [{ Type: BASIC_AUTH, URI: 'arn:secret' }], EventRecordFormat",
    );
    for (properties, said) in [
        (unknown.as_str(), "SchemaRegistryURI depends on !ImportValue registry"),
        (
            login.as_str(),
            "logs in to its schema registry by BASIC_AUTH (arn:secret), which is not read from here",
        ),
    ] {
        let text = template("", properties);
        assert_eq!(plan(&text, "", &[])[0]["schema_registry"]["value"], Value::Null);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("template.yaml");
        fs::write(&file, &text).unwrap();
        let output =
            Command::new(env!("CARGO_BIN_EXE_kafka-trigger")).arg("--template").arg(&file).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(errors.contains(said) && errors.contains("--registry"), "{errors}");
    }
}

#[test]
fn what_is_no_url_of_a_registry_is_refused_and_not_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("template.yaml");
    fs::write(&file, template("", WITH_REGISTRY)).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_kafka-trigger"))
        .args(["--registry", "ann:s3cret@host", "--template"])
        .arg(&file)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(
        errors.contains("it must be http://[USER:PASSWORD@]HOST") && !errors.contains("s3cret"),
        "{errors}"
    );
}
