//! Alarms and dashboard read metrics that exist, and each metric that is paid for is read.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use runtime::settings::{METRICS, METRICS_DIMENSION, METRICS_NAMESPACE, variable};
use serde_json::{Value, json};

use super::system::{System, call};
use super::{resources, template, text};

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
    assert_eq!(variables[variable("orders", METRICS_NAMESPACE)], json!({"Ref": "AWS::StackName"}));
    let reported =
        text(&variables[variable("orders", METRICS)]).split(',').map(|name| name.trim().to_owned());
    assert_eq!(reported.collect::<BTreeSet<_>>(), own_metrics(&template));
}

/// After one command, the dispatcher's `/metrics` has the same names.
#[test]
fn what_alarms_read_is_counted_somewhere() {
    const PATIENCE: Duration = Duration::from_secs(30);
    let system = System::start();
    let order = r#"{"id":"an-order","name":"a lamp"}"#;
    call(&system.api, "POST /", &[("content-type", "application/json")], order);
    let names = own_metrics(&template());
    let began = Instant::now();
    loop {
        let metrics = call(&system.admin, "GET /metrics", &[], "").body;
        let counted: BTreeSet<&str> =
            metrics.lines().filter_map(|line| line.split(['{', ' ']).next()).collect();
        let lacking: Vec<_> = names.iter().filter(|name| !counted.contains(name.as_str())).collect();
        if lacking.is_empty() {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "nothing counts {lacking:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn own_metrics_are_asked_for_by_the_dimension_that_functions_give_them() {
    let dimensions = json!([{"Name": METRICS_DIMENSION, "Value": "orders"}]);
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
        assert!(
            shown.contains(&format!("\"{name}\",\"{METRICS_DIMENSION}\",\"orders\"")),
            "{name} is not shown"
        );
    }
}
