//! The YAML and the JSON of templates.

use kafka_trigger::template::{Options, TemplateError, read};

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
    assert_eq!(mapping("Topics: [!!str 123]").topic, "123");
    assert_eq!(mapping("Topics: ['0144']").topic, "0144");
}

/// Plain scalars, their texts, and the source of each:
/// - A: "CloudFormation template format" (AWS): it "supports the YAML Version 1.1 specification", without the timestamp tag.
///   <https://yaml.org/type/bool.html>, int.html and float.html have the forms.
/// - B: "YAML booleans in cloudformation templates" (ljmc.bearblog.dev): it lists the words that are true and false in a
///   function's environment.
/// - C: aws-cloudformation/cloudformation-coverage-roadmap#745: CloudFormation sees 012345670123 as 1402433619.
/// - D: PyYAML 6.0, `yaml/resolver.py` and `yaml/constructor.py`, with which the SAM CLI and cfn-lint read templates.
#[rustfmt::skip]
const SCALARS: &[(&str, &str, &str)] = &[
    ("true", "true", "B"), ("True", "true", "B"), ("TRUE", "true", "B"), ("yes", "true", "B"), ("Yes", "true", "B"),
    ("YES", "true", "B"), ("on", "true", "B"), ("On", "true", "B"), ("ON", "true", "B"),
    ("false", "false", "B"), ("False", "false", "B"), ("FALSE", "false", "B"), ("no", "false", "B"), ("No", "false", "B"),
    ("NO", "false", "B"), ("off", "false", "B"), ("Off", "false", "B"), ("OFF", "false", "B"),
    ("y", "y", "B"), ("Y", "Y", "B"), ("n", "n", "B"), ("N", "N", "B"), ("tRUE", "tRUE", "A"),
    ("0144", "100", "A"), ("012345670123", "1402433619", "C"), ("012345678901", "012345678901", "D"), ("089", "089", "D"),
    ("1_000", "1000", "A"), ("0x1F", "31", "A"), ("0b101", "5", "A"), ("-0144", "-100", "A"), ("190:20:30", "685230", "A"),
    ("+12", "12", "D"), ("123456789012", "123456789012", "D"), ("0o17", "0o17", "D"), ("00", "0", "D"),
    ("1.50", "1.5", "A"), ("1.0", "1.0", "D"), ("6.8523015e+5", "685230.15", "A"), ("685_230.15", "685230.15", "A"),
    ("1e3", "1e3", "D"), (".5", "0.5", "D"), ("1.2.3", "1.2.3", "D"), (".inf", ".inf", "D"),
    ("2010-09-09", "2010-09-09", "A"), ("orders", "orders", "A"), ("nULL", "nULL", "A"),
];

#[test]
fn plain_scalars_are_those_of_yaml_1_1() {
    for (plain, expected, source) in SCALARS {
        // The scalar is a default, an allowed value, and a value of its own.
        let sections = format!(
            "Parameters: {{ P: {{ Type: String, Default: {plain}, AllowedValues: [{plain}] }} }}\n\
             Conditions: {{ It: !Equals [!Ref P, {plain}] }}"
        );
        assert_eq!(text_of(&sections, "!Ref P"), *expected, "{plain} ({source})");
        assert_eq!(
            text_of(&sections, &format!("!If [It, {plain}, differs]")),
            *expected,
            "{plain} ({source})"
        );
    }
    for null in ["", "~", "null", "Null", "NULL"] {
        assert_eq!(only(&with("", &format!("BatchSize: {null}"))).mapping.batch_size, 100, "{null}");
    }
}

/// The text that a scalar becomes, in a property that takes any text: an access URI.
fn text_of(sections: &str, value: &str) -> String {
    let access = format!("SourceAccessConfigurations:\n  - Type: VPC_SUBNET\n    URI: {value}");
    only(&with(sections, &access)).access[0].1.clone()
}

#[test]
fn json_scalars_are_texts_too() {
    let json = |value: &str| {
        let json = format!(
            r#"{{"Resources": {{"Orders": {{"Type": "AWS::Lambda::EventSourceMapping", "Properties": {{"FunctionName": "f",
            "EventSourceArn": "arn:aws:kafka:x", "Topics": [{value}], "StartingPosition": "LATEST"}}}}}}}}"#
        );
        only(&json).topic
    };
    for (value, expected) in
        [("true", "true"), ("144", "144"), ("1.50", "1.5"), ("1.0", "1.0"), ("\"0144\"", "0144")]
    {
        assert_eq!(json(value), expected);
    }
}

#[test]
fn comments_marks_and_line_ends_do_no_harm() {
    let text = with("# a template", "BatchSize: 3 # three").replace('\n', "\r\n");
    assert_eq!(only(&format!("\u{feff}---\r\n{text}\r\n...\r\n")).mapping.batch_size, 3);
}

#[test]
fn aliases_and_merges() {
    let properties = "Tags: &tags { ConsumerGroupId: g }\nSelfManagedKafkaEventSourceConfig: { <<: *tags }";
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
        assert_eq!(found.warnings, ["BatchSize stands twice in one map; the last one counts"]);
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

#[test]
fn what_libyaml_takes_is_read() {
    // First in a resource that has nothing to do with Kafka, then in mappings.
    let other = "  Host:\n    Type: AWS::EC2::Instance\n    Properties:\n      UserData: \"one\n      two\"\n      A: 'x'# y\n";
    let text = with("", "BatchSize: 1").replace("Resources:\n", &format!("Resources:\n{other}"));
    assert_eq!(only(&text).topic, "orders");
    assert_eq!(mapping("Topics: [\n  \"movements\"\n]").topic, "movements");
    let found = mapping(
        "FilterCriteria:\n  Filters:\n  - Pattern: '{\n    \"value\": {\"kind\": [\"paid\"]}\n    }'",
    );
    assert_eq!(found.filters, ["{ \"value\": {\"kind\": [\"paid\"]} }"]);
    assert!(found.mapping.filter.matches(Some(br#"{"kind": "paid"}"#)));
}

#[test]
fn another_tools_configuration_is_named() {
    let error = error("service: shop\nprovider: { name: aws }\nresources: {}");
    assert!(
        error.contains("Serverless Framework; `serverless package` compiles it to .serverless/"),
        "{error}"
    );
}
