//! The event source mappings are the dispatcher's triggers.

use serde_json::{Value, json};
use tests::system::System;

use super::{function_name, policies_of, read, resources, template, text};

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
    for function in ["projector", "processor"] {
        let [mut msk, mut other] = mappings(&template, function);
        let group = &msk["AmazonManagedKafkaEventSourceConfig"]["ConsumerGroupId"];
        assert_eq!(group, &other["SelfManagedKafkaEventSourceConfig"]["ConsumerGroupId"]);
        assert_eq!(*group, json!({"Fn::Sub": format!("${{GroupPrefix}}{function}")}));
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
    for properties in ["projector", "processor"].iter().flat_map(|function| mappings(&template, function)) {
        for limit in ["MaximumRetryAttempts", "MaximumRecordAgeInSeconds", "BisectBatchOnFunctionError"] {
            assert_eq!(properties[limit], Value::Null);
        }
        assert_eq!(properties["StartingPosition"], "TRIM_HORIZON");
        // With a failure destination, Lambda bounds retries that nobody has bounded.
        let destination = json!({"OnFailure": {"Destination": {"Ref": "FailureDestinationArn"}}});
        let only_if_asked_for = json!(["HasFailureDestination", destination, {"Ref": "AWS::NoValue"}]);
        assert_eq!(properties["DestinationConfig"]["Fn::If"], only_if_asked_for);
    }
    assert_eq!(template["Parameters"]["FailureDestinationArn"]["Default"], "");
}

/// Lambda takes partial answers with provisioned pollers alone. Our functions give none.
#[test]
fn no_mapping_asks_for_partial_answers() {
    let template = template();
    for properties in ["projector", "processor"].iter().flat_map(|function| mappings(&template, function)) {
        assert_eq!(properties["FunctionResponseTypes"], Value::Null);
    }
}

/// Pollers cost by the hour, whatever happens; in one group those of the second function cost nothing more.
#[test]
fn pollers_are_on_demand_unless_they_are_asked_for_and_then_share_a_group() {
    let template = template();
    for properties in ["projector", "processor"].iter().flat_map(|function| mappings(&template, function)) {
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

#[test]
fn the_dispatcher_has_the_same_triggers() {
    let template = template();
    let source = read("dispatcher/src/serve/triggers.rs");
    // However its lines are broken.
    let source = source.split_whitespace().collect::<Vec<_>>().join(" ");
    let says = |what: String| assert!(source.contains(&what), "triggers.rs does not say {what}");
    let [projector, _] = mappings(&template, "projector");
    let [processor, _] = mappings(&template, "processor");
    for function in ["projector", "processor"] {
        says(format!("mapping(\"{function}\""));
        says(format!("group: \"{function}\""));
    }
    let filters = processor["FilterCriteria"]["Filters"].as_array().unwrap();
    assert_eq!((filters.len(), &projector["FilterCriteria"]), (1, &Value::Null));
    says(format!("r#\"{}\"#", text(&filters[0]["Pattern"])));
    assert_eq!(source.matches("report_batch_item_failures").count(), 0);
    assert_eq!(source.matches("batch_size:").count(), 1);
    assert_eq!(projector["BatchSize"], 1_000);
    says("batch_size: 1_000, ..mapping(\"projector\"".to_owned());
    // The processor's is Lambda's default.
    assert_eq!(processor["BatchSize"], 100);
    assert!(read("shared/event-source-mapping/src/mapping.rs").contains("batch_size: 100,"));
    for function in ["Projector", "Processor"] {
        says(format!(
            "const TIMEOUT: Duration = Duration::from_secs({});",
            template["Resources"][function]["Properties"]["Timeout"]
        ));
    }
}

#[tokio::test]
async fn the_topic_is_the_one_of_the_system() {
    let template = template();
    for mapping in ["projector", "processor"].iter().flat_map(|function| mappings(&template, function)) {
        assert_eq!(mapping["Topics"], json!([{"Ref": "KafkaTopic"}]));
    }
    // And what is published to, unless a secret says so.
    let channel = template["Globals"]["Function"]["Environment"]["Variables"]["ORDERS_CHANNEL"].to_string();
    assert_eq!(channel.matches("\"kafka://").count(), 3, "{channel}");
    assert_eq!(channel.matches("${KafkaBootstrapServers}/${KafkaTopic}").count(), 3, "{channel}");

    let system = System::start().await;
    let help = system.orders(&["serve", "--help"]).await;
    let topic = format!("topic={}", text(&template["Parameters"]["KafkaTopic"]["Default"]));
    assert!(help.stdout.contains(&topic), "{topic} is not in {}", help.stdout);
}

#[test]
fn who_consumes_may_use_the_group_of_its_mapping_and_no_other() {
    let template = template();
    for (id, function) in resources(&template, "AWS::Serverless::Function") {
        let name = function_name(&template, &id);
        let consumes = ["projector", "processor"].contains(&&*name);
        let policies = policies_of(&template, &function);
        let of_groups: Vec<_> =
            policies.iter().filter(|policy| policy.contains("kafka-cluster:AlterGroup")).collect();
        assert_eq!(of_groups.len(), usize::from(consumes), "{name}: {of_groups:?}");
        for policy in of_groups {
            assert_eq!(policy.matches("${Groups}/").count(), 1, "{policy}");
            assert!(policy.contains(&format!("${{Groups}}/${{GroupPrefix}}{name}\"")), "{policy}");
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
