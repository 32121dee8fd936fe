//! YAML and JSON, as templates are written in them.

use event_source_mapping::template::{Options, TemplateError, read};

use crate::support::{error, mapping, only, template, with};

#[test]
fn json_and_yaml_of_one_template_read_alike() {
    let json = r#"{"Resources": {"Orders": {"Type": "AWS::Lambda::EventSourceMapping", "Properties": {
        "FunctionName": "f", "SelfManagedEventSource": {"Endpoints": {"KafkaBootstrapServers": ["a:1"]}},
        "Topics": ["caf\u00e9".x], "BatchSize": 7, "Enabled": true, "StartingPosition": "LATEST", "Tags": null}}}}"#;
    let json = json.replace(r#""caf\u00e9".x"#, r#"{"Fn::Sub": "${AWS::Region}\u002ex"}"#);
    let flow = "{Resources: {Orders: {Type: 'AWS::Lambda::EventSourceMapping', Properties: {
        FunctionName: f, SelfManagedEventSource: {Endpoints: {KafkaBootstrapServers: ['a:1']}},
        Topics: [!Sub '${AWS::Region}.x'], BatchSize: 7, Enabled: true, StartingPosition: LATEST, Tags: ~}}}}";
    for text in [json.as_str(), flow] {
        let kafka = only(text);
        assert_eq!((kafka.topic.as_str(), kafka.mapping.batch_size), ("us-east-1.x", 7), "{text}");
    }
}

#[test]
fn scalars_of_every_style() {
    for topic in
        ["orders", "'orders'", "\"ord\\u0065rs\"", "!!str orders", "|-\n    orders", ">-\n    orders"]
    {
        assert_eq!(mapping(&format!("Topics:\n  - {topic}")).topic, "orders", "{topic}");
    }
    // What other readers of YAML take for numbers and times stays a text.
    for topic in ["0123", "1_000", "2025-01-01", "1e3", "0x1F", "yes"] {
        assert_eq!(mapping(&format!("Topics: [{topic}]")).topic, topic);
    }
    assert_eq!(mapping("Topics: [!!str 123]").topic, "123");
}

#[test]
fn comments_marks_and_line_ends_do_no_harm() {
    let text = with("# a template", "BatchSize: 3 # three").replace('\n', "\r\n");
    assert_eq!(only(&format!("\u{feff}---\r\n{text}\r\n...\r\n")).mapping.batch_size, 3);
}

#[test]
fn aliases_and_merges() {
    let properties =
        "Tags: &tags { ConsumerGroupId: g, Other: x }\nSelfManagedKafkaEventSourceConfig: { <<: *tags }";
    assert_eq!(mapping(properties).consumer_group.as_deref(), Some("g"));
    let own = properties.replace("{ <<: *tags }", "{ ConsumerGroupId: own, <<: [*tags] }");
    assert_eq!(mapping(&own).consumer_group.as_deref(), Some("own"));
    assert!(error(&with("", "Tags: { <<: a }")).contains("<< merges maps, and a is none"));
}

#[test]
fn of_a_name_that_stands_twice_the_last_counts_and_it_is_told() {
    let yaml = template(&with("", "BatchSize: 1\nBatchSize: 2"));
    let json = template(
        r#"{"Resources": {"Orders": {"Type": "AWS::Lambda::EventSourceMapping", "Properties": {"FunctionName": "f",
            "EventSourceArn": "arn:aws:kafka:x", "Topics": ["t"], "StartingPosition": "LATEST", "BatchSize": 1, "BatchSize": 2}}}}"#,
    );
    for found in [yaml, json] {
        assert_eq!(found.mappings[0].mapping.batch_size, 2);
        assert_eq!(found.warnings, ["BatchSize stands twice in one map; the last counts"]);
    }
}

#[test]
fn what_is_no_template_is_refused() {
    for text in
        ["", "~", "just a text", "- a\n- b", "{}", "Resources:", "Resources: []", "a: b", "---\n# nothing"]
    {
        let error = error(text);
        assert!(
            error.contains("not a SAM or CloudFormation template: it must have a map Resources"),
            "{text}: {error}"
        );
    }
    assert!(error("Parameters: [a]\nResources: {}").contains("Parameters must be a map"));
}

#[test]
fn an_error_of_syntax_has_its_place() {
    let Err(TemplateError::Syntax { line, column, .. }) =
        read("Resources:\n  A: [1, 2\nB: c", &Options::default())
    else {
        panic!("it was read");
    };
    assert_eq!(line, 3, "column {column}");
    let Err(TemplateError::Syntax { line, .. }) = read("{\n\"Resources\": {,}\n}", &Options::default())
    else {
        panic!("it was read");
    };
    assert_eq!(line, 2);
    assert!(error("Resources: {}\n---\nResources: {}").contains("a second document begins here"));
    assert!(error("Resources: { ? [a] : b }").contains("[a] stands where a name must be"));
    assert!(error("Resources: { A: *nowhere }").contains("can't be read at line 1"));
    assert!(error("Resources:\n\t- a").contains("can't be read at line 2"));
}
