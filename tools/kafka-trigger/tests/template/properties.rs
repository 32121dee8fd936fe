//! Properties of mappings: their values, their defaults, and the messages about wrong values.

use std::time::Duration;

use kafka_trigger::template::{Pollers, StartingPosition};

use crate::support::{error, mapping, only, template, with};

fn refused(properties: &str) -> String {
    error(&with("", properties))
}

fn warnings(properties: &str) -> Vec<String> {
    mapping(properties).notes
}

#[test]
fn numbers_within_their_bounds() {
    assert_eq!(mapping("BatchSize: 10000").mapping.batch_size, 10_000);
    assert_eq!(mapping("BatchSize: '1'").mapping.batch_size, 1);
    assert_eq!(mapping("MaximumBatchingWindowInSeconds: 300").mapping.window, Duration::from_secs(300));
    assert_eq!(mapping("MaximumBatchingWindowInSeconds: 0").mapping.window, Duration::ZERO);
    assert_eq!(mapping("StartingPosition: LATEST").mapping.window, Duration::from_millis(500));
    assert_eq!(mapping("MaximumRetryAttempts: 0").mapping.maximum_retry_attempts, Some(0));
    assert_eq!(mapping("MaximumRetryAttempts: -1").mapping.maximum_retry_attempts, None);
    assert_eq!(mapping("MaximumRecordAgeInSeconds: -1").mapping.maximum_record_age, None);
    assert_eq!(
        mapping("MaximumRecordAgeInSeconds: 60").mapping.maximum_record_age,
        Some(Duration::from_secs(60))
    );
    for (property, values, allowed) in [
        ("BatchSize", ["0", "10001", "ten"], "1 to 10,000"),
        ("BatchSize", ["-1", "1.5", "''"], "1 to 10,000"),
        ("MaximumBatchingWindowInSeconds", ["-1", "301", "99999999999999999999"], "0 to 300 seconds"),
        ("MaximumRetryAttempts", ["-2", "10001", "many"], "0 to 10,000, or -1 for retries without end"),
        ("MaximumRecordAgeInSeconds", ["0", "59", "604801"], "60 to 604,800 seconds, or -1 for any age"),
    ] {
        for value in values {
            let shown = if value == "''" { "empty" } else { value };
            let expected = format!("Orders: {property} is {shown}; it must be {allowed}");
            assert_eq!(refused(&format!("{property}: {value}")), expected);
        }
    }
    assert_eq!(refused("BatchSize: [1]"), "Orders: BatchSize is a list of 1; it must be 1 to 10,000");
}

#[test]
fn starting_positions() {
    assert_eq!(mapping("StartingPosition: TRIM_HORIZON").starting_position, StartingPosition::TrimHorizon);
    let at = mapping("StartingPosition: AT_TIMESTAMP\nStartingPositionTimestamp: 1741010400");
    assert_eq!(at.starting_position, StartingPosition::AtTimestamp(1_741_010_400_000));
    assert_eq!(
        refused("StartingPosition: EARLIEST"),
        "Orders: StartingPosition is EARLIEST; it must be TRIM_HORIZON, LATEST or AT_TIMESTAMP"
    );
    assert!(refused("StartingPosition: AT_TIMESTAMP").contains("StartingPositionTimestamp is missing"));
    let late = refused("StartingPosition: AT_TIMESTAMP\nStartingPositionTimestamp: 1741010400000");
    assert!(late.contains("is 1741010400000; it must be the time in seconds since 1970"), "{late}");
    assert!(warnings("StartingPositionTimestamp: 1")[0].contains("StartingPositionTimestamp is passed over"));
    let none = template(&with("", "StartingPosition:"));
    assert_eq!(none.mappings[0].starting_position, StartingPosition::TrimHorizon);
    assert!(none.mappings[0].notes[0].contains("StartingPosition is missing; TRIM_HORIZON is taken"));
}

#[test]
fn exactly_one_topic() {
    for (topics, found) in [("[]", "a list of 0"), ("[a, b]", "a list of 2"), ("orders", "orders")] {
        let expected = format!("Orders: Topics is {found}; it must be a list with exactly one topic");
        assert_eq!(refused(&format!("Topics: {topics}")), expected);
    }
    assert!(refused("Topics: ['a b']").contains("Topics[0] is a b; it must be the name of a topic"));
    assert!(refused("Topics: [{ a: b }]").contains("Topics[0] is a map"));
    let text = with("", "BatchSize: 1").replace("      Topics: [orders]\n", "");
    assert_eq!(error(&text), "Orders: Topics is missing; it must be a list with exactly one topic");
}

#[test]
fn consumer_groups() {
    let group = |id: &str| format!("SelfManagedKafkaEventSourceConfig: {{ ConsumerGroupId: {id} }}");
    assert_eq!(mapping(&group("a/b:c@d")).consumer_group.as_deref(), Some("a/b:c@d"));
    assert_eq!(mapping("BatchSize: 1").consumer_group, None);
    let error = refused(&group("'a b'"));
    assert!(
        error.contains("SelfManagedKafkaEventSourceConfig.ConsumerGroupId is a b; it must be 1 to 200"),
        "{error}"
    );
    assert!(
        refused("SelfManagedKafkaEventSourceConfig: a").contains("it must be a map with ConsumerGroupId")
    );
}

#[test]
fn brokers_and_clusters() {
    let servers = |servers: &str| {
        format!("SelfManagedEventSource: {{ Endpoints: {{ KafkaBootstrapServers: {servers} }} }}")
    };
    assert_eq!(mapping(&servers("['a:1', 'b:2']")).bootstrap_servers.as_deref(), Some("a:1,b:2"));
    assert!(
        refused(&servers("[]")).contains("KafkaBootstrapServers is missing; it must be a list of brokers")
    );
    assert!(refused(&servers("['a']")).contains("KafkaBootstrapServers[0] is a; it must be host:port"));
    assert!(
        refused("SelfManagedEventSource: { Endpoints: {} }").contains("KafkaBootstrapServers is missing")
    );
    let msk = |arn: &str| {
        with("", "BatchSize: 1").replace(
            "SelfManagedEventSource: { Endpoints: { KafkaBootstrapServers: ['localhost:9092'] } }",
            arn,
        )
    };
    let found = template(&msk("EventSourceArn: arn:aws:kafka:x"));
    assert_eq!(found.mappings[0].cluster_arn.as_deref(), Some("arn:aws:kafka:x"));
    assert_eq!(found.mappings[0].mapping.event_source.name, "aws:kafka");
    assert!(
        error(&msk("Tags: []")).contains("EventSourceArn is missing; it must be the ARN of an MSK cluster")
    );
    // If one of the brokers is not known, none is taken.
    let found = template(&with("", &servers("['a:1', !ImportValue b]")));
    assert_eq!(found.mappings[0].bootstrap_servers, None);
    let notes = &found.mappings[0].notes;
    assert!(notes[0].contains("the brokers are !ImportValue b"), "{notes:?}");
}

#[test]
fn filters() {
    let filters = |filters: &str| format!("FilterCriteria: {{ Filters: {filters} }}");
    let text = r#"[{ Pattern: '{"value": {"type": ["a"]}}' }, { Pattern: '{"value": {"type": ["b"]}}' }]"#;
    let filter = mapping(&filters(text)).mapping.filter;
    assert!(filter.matches(Some(br#"{"type": "b"}"#)) && !filter.matches(Some(br#"{"type": "c"}"#)));
    assert!(mapping(&filters("[]")).mapping.filter.is_empty());
    assert!(mapping("FilterCriteria: {}").mapping.filter.is_empty());
    let error = refused(&filters("[{ Pattern: '{\"key\": [\"a\"]}' }]"));
    assert!(error.starts_with("Orders: FilterCriteria: filter 1, at key: "), "{error}");
    assert!(refused(&filters("[{ Pattern: nope }]")).contains("not JSON"));
    assert!(
        refused(&filters("[{ Pattern: { value: [a] } }]"))
            .contains("Pattern is a map; it must be JSON, as a text")
    );
    assert!(refused(&filters("[{}]")).contains("FilterCriteria.Filters[0].Pattern is missing"));
    let eleven = ["{ Pattern: '{\"value\": [\"a\"]}' }"; 11].join(", ");
    assert!(refused(&filters(&format!("[{eleven}]"))).contains("there are 11 filters; at most 10"));
}

#[test]
fn destinations() {
    let to =
        |destination: &str| format!("DestinationConfig: {{ OnFailure: {{ Destination: {destination} }} }}");
    for kept in
        ["arn:aws:sns:eu-west-1:1:t", "arn:aws:sqs:eu-west-1:1:q", "arn:aws:s3:::bucket", "kafka://failed"]
    {
        assert_eq!(mapping(&to(kept)).on_failure.as_deref(), Some(kept));
    }
    assert_eq!(mapping(&to("!GetAtt Orders.Arn")).on_failure.as_deref(), Some("!GetAtt Orders.Arn"));
    assert_eq!(mapping("DestinationConfig: {}").on_failure, None);
    assert_eq!(mapping(&to("arn:aws:sqs:us-east-1:123456789012:q")).on_failure_resource, None);
    for not_one in ["failed", "kafka://", "kafka://a b", "https://x"] {
        assert!(refused(&to(not_one)).contains("it must be kafka://TOPIC, or the ARN of"), "{not_one}");
    }
    assert!(refused(&to("kafka://orders")).contains("must be another topic than the one that is read"));
}

#[test]
fn a_destination_of_the_template_is_known_by_its_logical_id_however_it_is_referred_to() {
    let resources =
        "  Dead: { Type: AWS::SQS::Queue, Properties: { QueueName: !Sub '${AWS::StackName}-dead' } }
  Other: { Type: AWS::SQS::Queue }
  Told: { Type: AWS::SNS::Topic }
  Letters: { Type: AWS::S3::Bucket, Properties: { BucketName: letters } }
  Gone: { Type: AWS::S3::Bucket, Condition: Never, Properties: { BucketName: gone } }
";
    for (destination, expected) in [
        ("!GetAtt Dead.Arn", Some("Dead")),
        ("!Sub '${Dead.Arn}'", Some("Dead")),
        ("!Sub 'arn:aws:sqs:${AWS::Region}:${AWS::AccountId}:local-dead'", Some("Dead")),
        ("!If [Never, kafka://x, !Ref Told]", Some("Told")),
        ("!GetAtt Letters.Arn", Some("Letters")),
        ("!Sub 'arn:aws:s3:::letters'", Some("Letters")),
        ("arn:aws:s3:::gone", None),
        ("arn:aws:sqs:eu-west-1:123456789012:Other", None),
        ("!ImportValue dead", None),
        ("kafka://Dead", None),
    ] {
        let properties = format!("DestinationConfig: {{ OnFailure: {{ Destination: {destination} }} }}");
        let text = with("Conditions: { Never: !Equals [a, b] }", &properties) + resources;
        assert_eq!(only(&text).on_failure_resource.as_deref(), expected, "{destination}");
    }
}

#[test]
fn a_failure_destination_bounds_the_retries_as_in_lambda() {
    let to = "DestinationConfig: { OnFailure: { Destination: 'kafka://failed' } }";
    let found = template(&with("", to));
    assert_eq!(found.mappings[0].mapping.maximum_retry_attempts, Some(10));
    let notes = &found.mappings[0].notes;
    assert!(notes[0].contains("there are 10 retries, as on Lambda"), "{notes:?}");
    assert_eq!(notes.len(), 1);
    let set = mapping(&format!("{to}\nMaximumRetryAttempts: 2"));
    assert_eq!(set.mapping.maximum_retry_attempts, Some(2));
    for other in ["arn:aws:sqs:x", "arn:aws:s3:::bucket", "!GetAtt Queue.Arn"] {
        let to = format!("DestinationConfig: {{ OnFailure: {{ Destination: {other} }} }}");
        assert_eq!(mapping(&to).mapping.maximum_retry_attempts, Some(10), "{other}");
    }
    assert_eq!(mapping("BatchSize: 1").mapping.maximum_retry_attempts, None);
}

#[test]
fn pollers() {
    let pollers = |config: &str| mapping(&format!("ProvisionedPollerConfig: {config}")).pollers;
    assert_eq!(
        pollers("{ MinimumPollers: 2, MaximumPollers: 4, PollerGroupName: g }"),
        Some(Pollers { minimum: 2, maximum: 4 })
    );
    assert_eq!(pollers("{ MinimumPollers: 3 }"), Some(Pollers { minimum: 3, maximum: 200 }));
    assert_eq!(mapping("BatchSize: 1").pollers, None);
    assert!(
        refused("ProvisionedPollerConfig: { MinimumPollers: 201 }")
            .contains("MinimumPollers is 201; it must be 1 to 200")
    );
    let error = refused("ProvisionedPollerConfig: { MinimumPollers: 5, MaximumPollers: 4 }");
    assert!(error.contains("MaximumPollers is 4; it must be at least MinimumPollers, 5"), "{error}");
}

#[test]
fn what_lambda_takes_in_provisioned_mode_alone_is_told() {
    let set = "BisectBatchOnFunctionError: true\nFunctionResponseTypes: [ReportBatchItemFailures]\nMaximumRetryAttempts: 2";
    let found = template(&with("", set));
    assert_eq!(
        found.mappings[0].notes,
        [
            "Orders: Lambda takes BisectBatchOnFunctionError, FunctionResponseTypes, MaximumRetryAttempts only with \
          ProvisionedPollerConfig; here it is followed"
        ]
    );
    assert!(found.mappings[0].mapping.bisect_on_function_error);
    assert!(warnings(&format!("{set}\nProvisionedPollerConfig: {{ MinimumPollers: 1 }}")).is_empty());
    assert!(
        warnings("BisectBatchOnFunctionError: false\nMaximumRetryAttempts: -1\nFunctionResponseTypes: []")
            .is_empty()
    );
    assert!(
        refused("FunctionResponseTypes: [Other]")
            .contains("is Other; it must be ReportBatchItemFailures, in a list")
    );
    assert!(refused("BisectBatchOnFunctionError: maybe").contains("is maybe; it must be true or false"));
}

#[test]
fn every_key_is_followed_or_noted_or_refused() {
    let found = mapping(
        "ParallelizationFactor: 2\nMetricsConfig: {}\nTags: []\nProvisionedPollerConfig: { PollerGroupName: g }\n\
         DestinationConfig: { OnSuccess: { Destination: a } }",
    );
    let without_effect = [
        "DestinationConfig.OnSuccess",
        "MetricsConfig",
        "ParallelizationFactor",
        "ProvisionedPollerConfig.PollerGroupName",
        "Tags",
    ];
    assert_eq!(found.without_effect, without_effect);
    assert_eq!(found.notes, [format!("Orders: without effect here: {}", without_effect.join(", "))]);
    for (properties, misspelt, meant) in [
        ("BatchSizes: 5", "BatchSizes", "did you mean BatchSize?"),
        ("batchSize: 5", "batchSize", "did you mean BatchSize?"),
        ("FilterCriteria: { Filter: [] }", "FilterCriteria.Filter", "did you mean FilterCriteria.Filters?"),
        (
            "FilterCriteria: { Filters: [{ Patern: '{}' }] }",
            "FilterCriteria.Filters[0].Patern",
            "did you mean FilterCriteria.Filters[0].Pattern?",
        ),
        (
            "DestinationConfig: { OnFailure: { DestinationArn: a } }",
            "DestinationConfig.OnFailure.DestinationArn",
            "did you mean DestinationConfig.OnFailure.Destination?",
        ),
        (
            "SelfManagedKafkaEventSourceConfig: { ConsumerGroupID: g }",
            "SelfManagedKafkaEventSourceConfig.ConsumerGroupID",
            "did you mean SelfManagedKafkaEventSourceConfig.ConsumerGroupId?",
        ),
        (
            "SelfManagedKafkaEventSourceConfig: { SchemaRegistryConfig: { SchemaRegistryUri: u } }",
            "SelfManagedKafkaEventSourceConfig.SchemaRegistryConfig.SchemaRegistryUri",
            "did you mean SelfManagedKafkaEventSourceConfig.SchemaRegistryConfig.SchemaRegistryURI?",
        ),
        ("Xyzzy: 5", "Xyzzy", "known are: BatchSize"),
    ] {
        let error = refused(properties);
        assert!(error.starts_with(&format!("Orders: {misspelt} is not a known key; {meant}")), "{error}");
    }
    let text = with("", "BatchSize: 1").replace("    Properties:", "    Conditon: A\n    Properties:");
    assert_eq!(error(&text), "Orders: Conditon is not a known key; did you mean Condition?");
    let two = refused("Topcs: [a]\nFilterCriteria: { Filter: [] }");
    assert!(two.contains("FilterCriteria.Filter is not") && two.contains("; Topcs is not"), "{two}");
    assert!(
        mapping("'Fn::Transform': { Name: AWS::Include }").notes[0]
            .contains("Fn::Transform (it is not followed)")
    );
}

#[test]
fn a_mapping_that_is_not_enabled_is_apart() {
    for no in ["false", "'false'", "False", "no"] {
        let found = template(&with("", &format!("Enabled: {no}\nBatchSize: 7")));
        assert!(found.mappings.is_empty());
        assert_eq!(found.disabled[0].logical_id, "Orders");
        assert_eq!(found.disabled[0].mapping.as_ref().unwrap().mapping.batch_size, 7);
        // A mistake in it is an error only for a caller who needs this mapping.
        let found = template(&with("", &format!("Enabled: {no}\nBatchSize: none")));
        let error = found.disabled[0].mapping.as_ref().unwrap_err().to_string();
        assert!(error.contains("BatchSize is none"), "{error}");
    }
    assert!(template(&with("", "Enabled: true")).disabled.is_empty());
    assert!(refused("Enabled: 2").contains("Enabled is 2; it must be true or false"));
}

#[test]
fn access_is_kept_as_it_stands() {
    let access =
        mapping("SourceAccessConfigurations: [{ Type: VPC_SUBNET, URI: !Sub 'subnet:${Subnet}' }]").access;
    assert_eq!(access, [("VPC_SUBNET".to_owned(), "${Subnet} in !Sub subnet:${Subnet}".to_owned())]);
    assert!(
        refused("SourceAccessConfigurations: { Type: a }").contains("must be a list, each with Type and URI")
    );
    assert!(
        refused("SourceAccessConfigurations: [{ URI: a }]")
            .contains("SourceAccessConfigurations[0].Type is missing")
    );
}

#[test]
fn sources_that_are_not_kafka_are_passed_over() {
    let text = "
Resources:
  F:
    Type: AWS::Serverless::Function
    Condition: NotEvenThere
    Properties:
      Timeout: never
      Events:
        Queue: { Type: SQS, Properties: { Queue: !GetAtt Q.Arn, BatchSize: -1 } }
        Stream: { Type: Kinesis, Properties: { Stream: s } }
  Queue:
    Type: AWS::Lambda::EventSourceMapping
    Properties: { EventSourceArn: !GetAtt Q.Arn, FunctionName: !Ref F, BatchSize: -1 }
  Odd: { Type: 'Custom::Thing' }
  G:
    Type: AWS::Serverless::Function
    Properties:
      Events: !If [NotEvenThere, { Queue: { Type: SQS } }, !Ref AWS::NoValue]
  H:
    Type: AWS::Serverless::Function
    Properties:
      Events: { Queue: !If [NotEvenThere, { Type: SQS }, { Type: SNS }] }
  Other:
    Type: AWS::Lambda::EventSourceMapping
    Properties: !If [NotEvenThere, { EventSourceArn: a }, { EventSourceArn: b }]
  Modul: { Type: 'My::Kafka::MODULE' }
  'Fn::Transform': { Name: AWS::Include }
";
    let found = template(text);
    assert!(found.mappings.is_empty() && found.disabled.is_empty());
    assert_eq!(
        found.warnings,
        [
            "Resources.Fn::Transform: what an include or a macro adds is not read",
            "Modul: what the module My::Kafka::MODULE makes is not read"
        ]
    );
}

#[test]
fn a_sam_event_lacks_what_it_must_have() {
    let event = |event: &str| {
        error(&format!(
            "Resources: {{ F: {{ Type: 'AWS::Serverless::Function', Properties: {{ Events: {{ E: {event} }} }} }} }}"
        ))
    };
    assert_eq!(event("{ Type: MSK }"), "FE: Properties is missing; it must be a map");
    assert_eq!(event("{ Type: MSK, Properties: a }"), "FE: Properties is a; it must be a map");
    assert!(event("{ Type: MSK, Properties: { Topics: [a] } }").starts_with("FE: Stream is missing"));
    assert!(
        event("{ Type: SelfManagedKafka, Properties: { Topics: [a] } }")
            .starts_with("FE: KafkaBootstrapServers is missing")
    );
}

#[test]
fn a_sam_event_may_name_the_key_of_its_secret() {
    for event in [
        "Type: MSK, Properties: { Stream: 'arn:aws:kafka:eu-west-1:123456789012:cluster/c/1'",
        "Type: SelfManagedKafka, Properties: { KafkaBootstrapServers: ['b:9092']",
    ] {
        let found = only(&format!(
            "Transform: AWS::Serverless-2016-10-31\nResources:\n  F:\n    Type: AWS::Serverless::Function\n    Properties:\n      \
             Events:\n        E: {{ {event}, Topics: [t], StartingPosition: LATEST, SecretsManagerKmsKeyId: k }} }}\n"
        ));
        assert_eq!(found.without_effect, ["SecretsManagerKmsKeyId"], "{event}");
    }
    assert!(refused("SecretsManagerKmsKeyId: k").contains("SecretsManagerKmsKeyId is not a known key"));
}
