//! The event source mappings are those that the functions declare.

use std::collections::BTreeSet;

use event_source_mapping::FilterCriteria;
use serde_json::{Value, json};

use super::system::orders;
use super::{consumers, declared, function_name, policies_of, resources, template, text};

/// The properties of a function's mappings: on Amazon MSK, and on any other Kafka.
fn mappings(template: &Value, function: &str) -> [Value; 2] {
    let mut mappings = resources(template, "AWS::Lambda::EventSourceMapping");
    mappings.retain(|_, mapping| {
        function_name(template, text(&mapping["Properties"]["FunctionName"]["Ref"])) == function
    });
    let of = |condition: &str| {
        let found: Vec<_> = mappings.values().filter(|mapping| mapping["Condition"] == condition).collect();
        assert_eq!(found.len(), 1, "mappings of {function} under {condition}");
        found[0]["Properties"].clone()
    };
    assert_eq!(mappings.len(), 2, "mappings of {function}");
    [of("UsesMsk"), of("UsesSelfManagedKafka")]
}

#[test]
fn mappings_differ_in_where_kafka_is_and_in_nothing_else() {
    let template = template();
    for function in consumers(&template) {
        let [mut msk, mut other] = mappings(&template, &function);
        let group = &msk["AmazonManagedKafkaEventSourceConfig"]["ConsumerGroupId"];
        assert_eq!(group, &other["SelfManagedKafkaEventSourceConfig"]["ConsumerGroupId"]);
        for place in ["EventSourceArn", "AmazonManagedKafkaEventSourceConfig"] {
            assert!(msk.as_object_mut().unwrap().remove(place).is_some());
        }
        let places =
            ["SelfManagedEventSource", "SelfManagedKafkaEventSourceConfig", "SourceAccessConfigurations"];
        for place in places {
            assert!(other.as_object_mut().unwrap().remove(place).is_some());
        }
        assert_eq!(msk, other);
    }
}

#[test]
fn nothing_is_ever_given_up() {
    let template = template();
    for properties in consumers(&template).iter().flat_map(|function| mappings(&template, function)) {
        for limit in ["MaximumRetryAttempts", "MaximumRecordAgeInSeconds", "BisectBatchOnFunctionError"] {
            assert_eq!(properties[limit], Value::Null);
        }
        assert_eq!(properties["StartingPosition"], "TRIM_HORIZON");
        // With a failure destination, Lambda bounds the retries even if nobody sets a bound.
        let destination = json!({"OnFailure": {"Destination": {"Ref": "FailureDestinationArn"}}});
        let only_if_asked_for = json!(["HasFailureDestination", destination, {"Ref": "AWS::NoValue"}]);
        assert_eq!(properties["DestinationConfig"]["Fn::If"], only_if_asked_for);
    }
    assert_eq!(template["Parameters"]["FailureDestinationArn"]["Default"], "");
}

/// Lambda accepts partial answers only with provisioned pollers. Our functions give none.
#[test]
fn no_mapping_asks_for_partial_answers() {
    let template = template();
    for properties in consumers(&template).iter().flat_map(|function| mappings(&template, function)) {
        assert_eq!(properties["FunctionResponseTypes"], Value::Null);
    }
}

/// Provisioned pollers cost by the hour, whatever happens. In one group, those of the second function cost nothing more.
#[test]
fn pollers_are_on_demand_unless_they_are_asked_for_and_then_share_a_group() {
    let template = template();
    for properties in consumers(&template).iter().flat_map(|function| mappings(&template, function)) {
        let pollers = &properties["ProvisionedPollerConfig"]["Fn::If"];
        assert_eq!(*pollers, json!(["HasPollers", pollers[1], {"Ref": "AWS::NoValue"}]));
        assert_eq!(pollers[1]["PollerGroupName"], json!({"Ref": "AWS::StackName"}));
        assert_eq!(pollers[1]["MinimumPollers"], json!({"Ref": "MinimumPollers"}));
    }
    assert_eq!(template["Parameters"]["Pollers"]["Default"], "on-demand");
    assert_eq!(
        template["Conditions"]["HasPollers"]["Fn::Equals"],
        json!([{"Ref": "Pollers"}, "provisioned"])
    );
    assert_eq!(template["Parameters"]["MinimumPollers"]["MinValue"], 1);
}

#[tokio::test]
async fn the_dispatcher_has_the_same_triggers() {
    let template = template();
    let (_, declared) = declared().await;
    let functions: BTreeSet<String> = declared.iter().map(|mapping| mapping.function.clone()).collect();
    assert_eq!(functions, consumers(&template));
    let timeouts = resources(&template, "AWS::Serverless::Function").into_iter();
    let timeouts: Vec<_> = timeouts
        .map(|(id, function)| (function_name(&template, &id), function["Properties"]["Timeout"].clone()))
        .collect();
    for mapping in declared {
        let function = &mapping.function;
        let [properties, _] = mappings(&template, function);
        let group = &properties["AmazonManagedKafkaEventSourceConfig"]["ConsumerGroupId"]["Fn::Sub"];
        assert_eq!(*group, format!("${{GroupPrefix}}{}", mapping.group));
        let filter = match properties.get("FilterCriteria") {
            Some(filter) => serde_json::from_value(filter.clone()).unwrap(),
            None => FilterCriteria::default(),
        };
        assert_eq!(filter, mapping.filter, "{function}");
        assert_eq!(properties["BatchSize"], mapping.batch_size, "{function}");
        let window = text(&properties["MaximumBatchingWindowInSeconds"]["Ref"]);
        assert_eq!(template["Parameters"][window]["Default"], mapping.window.as_secs(), "{function}");
        // The template sets none of these: see the tests above.
        assert!(!mapping.report_batch_item_failures && !mapping.bisect_on_function_error, "{function}");
        assert_eq!((mapping.maximum_retry_attempts, mapping.maximum_record_age), (None, None), "{function}");
        let timeout = json!(mapping.invocation_timeout.as_secs());
        assert!(timeouts.contains(&(function.clone(), timeout)), "{function}: {timeouts:?}");
    }
}

#[test]
fn the_topic_is_the_one_of_the_system() {
    let template = template();
    for mapping in consumers(&template).iter().flat_map(|function| mappings(&template, function)) {
        assert_eq!(mapping["Topics"], json!([{"Ref": "KafkaTopic"}]));
    }
    // The functions publish to the same topic, unless a secret says otherwise.
    let channel = template["Globals"]["Function"]["Environment"]["Variables"]["ORDERS_CHANNEL"].to_string();
    assert_eq!(channel.matches("\"kafka://").count(), 3, "{channel}");
    assert_eq!(channel.matches("${KafkaBootstrapServers}/${KafkaTopic}").count(), 3, "{channel}");

    let help = orders(&["serve", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let topic = format!("topic={}", text(&template["Parameters"]["KafkaTopic"]["Default"]));
    assert!(help.contains(&topic), "{topic} is not in {help}");
}

#[tokio::test]
async fn who_consumes_may_use_the_group_of_its_mapping_and_no_other() {
    let template = template();
    let (_, declared) = declared().await;
    for (id, function) in resources(&template, "AWS::Serverless::Function") {
        let name = function_name(&template, &id);
        let consumes = consumers(&template).contains(&name);
        let policies = policies_of(&template, &function);
        let of_groups: Vec<_> =
            policies.iter().filter(|policy| policy.contains("kafka-cluster:AlterGroup")).collect();
        assert_eq!(of_groups.len(), usize::from(consumes), "{name}: {of_groups:?}");
        for policy in of_groups {
            assert_eq!(policy.matches("${Groups}/").count(), 1, "{policy}");
            let group = &declared.iter().find(|mapping| mapping.function == name).unwrap().group;
            assert!(policy.contains(&format!("${{Groups}}/${{GroupPrefix}}{group}\"")), "{policy}");
        }
    }
}

/// A message in the failure destination is an event that its order lacks.
#[test]
fn what_is_given_up_raises_an_alarm_where_it_goes_to_a_queue() {
    let template = template();
    let alarm = &template["Resources"]["GivenUp"];
    assert_eq!(alarm["Condition"], "FailureDestinationIsQueue");
    assert_eq!(alarm["Properties"]["MetricName"], "ApproximateNumberOfMessagesVisible");
    let queue = &alarm["Properties"]["Dimensions"][0]["Value"]["Fn::Select"][1]["Fn::Split"][1];
    assert_eq!(queue["Ref"], "FailureDestinationArn");
}
