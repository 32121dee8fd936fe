//! The event source mappings are the dispatcher's triggers.

use serde_json::{Value, json};
use tests::system::System;

use super::{function_name, read, resources, template, text};

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
        assert_eq!(group, function);
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
        assert_ne!(properties["DestinationConfig"]["OnFailure"]["Destination"], Value::Null);
    }
}

/// Where Lambda takes partial answers, it is told so, and has the pollers without which it would take them for successes.
#[test]
fn partial_answers_have_pollers_of_their_own() {
    let template = template();
    for processor in mappings(&template, "processor") {
        assert_eq!(processor["FunctionResponseTypes"], json!(["ReportBatchItemFailures"]));
        assert_eq!(processor["ProvisionedPollerConfig"]["MinimumPollers"], json!({"Ref": "MinimumPollers"}));
    }
    for projector in mappings(&template, "projector") {
        assert_eq!(projector["FunctionResponseTypes"], Value::Null);
    }
    assert_eq!(template["Parameters"]["MinimumPollers"]["MinValue"], 1);
}

#[test]
fn the_dispatcher_has_the_same_triggers() {
    let template = template();
    let source = read("dispatcher/src/serve/triggers.rs");
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
    assert_eq!(source.matches("report_batch_item_failures: true").count(), 1);
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
    let system = System::start().await;
    let help = system.orders(&["serve", "--help"]).await;
    let topic = format!("topic={}", text(&template()["Parameters"]["KafkaTopic"]["Default"]));
    assert!(help.stdout.contains(&topic), "{topic} is not in {}", help.stdout);
}

#[test]
fn who_consumes_may_use_the_groups_of_the_mappings() {
    let template = template();
    let policy = template["Resources"]["Consume"]["Properties"]["PolicyDocument"].to_string();
    for function in ["projector", "processor"] {
        assert!(policy.contains(&format!("${{Groups}}/{function}\"")), "{policy}");
    }
}
