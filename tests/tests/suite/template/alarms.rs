//! Alarms and dashboard read metrics that exist, and each metric that is paid for is read.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{read, resources, root, rust_files, template, text};

/// Each pair of namespace and name of metric below a value, as alarms have them.
fn metrics_in(value: &Value) -> Vec<(Value, Value)> {
    let here = value.get("MetricName").map(|name| (value["Namespace"].clone(), name.clone()));
    let below: Vec<&Value> = match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(members) => members.values().collect(),
        _ => vec![],
    };
    here.into_iter().chain(below.into_iter().flat_map(metrics_in)).collect()
}

fn own_metrics(template: &Value) -> BTreeSet<String> {
    let alarms = resources(template, "AWS::CloudWatch::Alarm");
    let metrics = alarms.values().flat_map(metrics_in);
    let own = metrics.filter(|(namespace, _)| *namespace == json!({"Ref": "AWS::StackName"}));
    own.map(|(_, name)| text(&name).to_owned()).collect()
}

#[test]
fn functions_report_what_alarms_read_and_nothing_else() {
    let template = template();
    let variables = &template["Globals"]["Function"]["Environment"]["Variables"];
    assert_eq!(variables["ORDERS_METRICS_NAMESPACE"], json!({"Ref": "AWS::StackName"}));
    let reported = text(&variables["ORDERS_METRICS"]).split(',').map(|name| name.trim().to_owned());
    assert_eq!(reported.collect::<BTreeSet<_>>(), own_metrics(&template));
}

/// By the names that the dispatcher's `/metrics` has too. The application's name is put in front of them at run time.
#[test]
fn what_alarms_read_is_counted_somewhere() {
    let folders = ["functions", "shared"].iter().map(|folder| root().join(folder));
    let sources: Vec<String> = folders.flat_map(|folder| rust_files(&folder)).collect();
    for name in own_metrics(&template()) {
        let own = name.strip_prefix("orders_").unwrap();
        let counted = [format!("counter!(\"{own}\""), format!("gauge!(\"{own}\"")];
        let is_counted = |source: &String| counted.iter().any(|call| source.contains(call));
        assert!(sources.iter().any(is_counted), "nothing counts {name}");
    }
}

#[test]
fn own_metrics_are_asked_for_by_the_dimension_that_functions_give_them() {
    let source = read("shared/runtime/src/function/metrics.rs");
    assert!(source.contains("const DIMENSION: &str = \"service\";"), "functions have another dimension");
    let dimensions = json!([{"Name": "service", "Value": "orders"}]);
    fn check(value: &Value, dimensions: &Value) {
        if value.get("MetricName").is_some() && value["Namespace"] == json!({"Ref": "AWS::StackName"}) {
            assert_eq!(value["Dimensions"], *dimensions, "{value}");
        }
        match value {
            Value::Array(items) => items.iter().for_each(|item| check(item, dimensions)),
            Value::Object(members) => members.values().for_each(|member| check(member, dimensions)),
            _ => {}
        }
    }
    for alarm in resources(&template(), "AWS::CloudWatch::Alarm").into_values() {
        check(&alarm, &dimensions);
    }
}

/// A dead mapping has no lag, and a relay or a projector that never runs measures nothing.
#[test]
fn silence_raises_an_alarm() {
    let template = template();
    let alarms = resources(&template, "AWS::CloudWatch::Alarm");
    for (alarm, missing) in [
        ("RelayBacklog", "breaching"),
        ("HeldEvents", "breaching"),
        ("ProjectorLag", "missing"),
        ("ProcessorLag", "missing"),
    ] {
        assert_eq!(alarms[alarm]["Properties"]["TreatMissingData"], missing, "{alarm}");
    }
    for alarm in ["ProjectorSilent", "ProcessorSilent"] {
        let metrics = alarms[alarm]["Properties"]["Metrics"].as_array().unwrap();
        let expression = text(&metrics[0]["Expression"]);
        let ids: Vec<&str> = metrics[1..].iter().map(|metric| text(&metric["Id"])).collect();
        assert!(expression.contains("SUM([delivered, beat]) == beat"), "{alarm}: {expression}");
        assert!(
            ids.iter().all(|id| expression.contains(id)),
            "{alarm}: {expression} reads not all of {ids:?}"
        );
    }
}

#[test]
fn every_alarm_tells_whoever_is_named() {
    for (id, alarm) in resources(&template(), "AWS::CloudWatch::Alarm") {
        let told = json!([{"Fn::If": ["HasAlarmTopic", {"Ref": "AlarmTopicArn"}, {"Ref": "AWS::NoValue"}]}]);
        assert_eq!(alarm["Properties"]["AlarmActions"], told, "{id}");
        assert_eq!(alarm["Properties"]["OKActions"], told, "{id}");
    }
}

#[test]
fn the_dashboard_is_json_and_shows_every_own_metric() {
    let template = template();
    let dashboard = &template["Resources"]["StackDashboard"];
    assert_eq!(dashboard["Condition"], "HasDashboard");
    let body: Value =
        serde_json::from_str(text(&dashboard["Properties"]["DashboardBody"]["Fn::Sub"])).unwrap();
    let shown = body.to_string();
    for name in own_metrics(&template) {
        assert!(shown.contains(&format!("\"{name}\",\"service\",\"orders\"")), "{name} is not shown");
    }
}
