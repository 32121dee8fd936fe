//! The transform `AWS::LanguageExtensions`: loops, and functions that only this transform has.

use crate::support::{mapping, only, read_with, template, topic, topic_error, with};

fn ids(text: &str) -> Vec<(String, String, String)> {
    let found = template(text).mappings.into_iter();
    found.map(|one| (one.logical_id, one.function.logical_id, one.topic)).collect()
}

fn expected(rows: &[[&str; 3]]) -> Vec<(String, String, String)> {
    rows.iter().map(|[id, function, topic]| ((*id).into(), (*function).into(), (*topic).into())).collect()
}

/// A template with a loop over this collection. The loop makes mappings.
fn loop_over(sections: &str, collection: &str) -> String {
    format!(
        "Transform: AWS::LanguageExtensions
{sections}
Resources:
  Fn::ForEach::Mappings:
    - Name
    - {collection}
    - Mapping&{{Name}}:
        Type: AWS::Lambda::EventSourceMapping
        Properties:
          FunctionName: !Ref Name
          StartingPosition: LATEST
          SelfManagedEventSource: {{ Endpoints: {{ KafkaBootstrapServers: ['b:1'] }} }}
          Topics: [!Sub 'topic.${{Name}}']
"
    )
}

#[test]
fn a_loop_makes_a_mapping_for_each_value() {
    let two = expected(&[["Mappinga", "a", "topic.a"], ["Mappingb1", "b-1", "topic.b-1"]]);
    assert_eq!(ids(&loop_over("", "[a, b-1]")), two);
    let parameters = "Parameters: { Names: { Type: CommaDelimitedList, Default: 'a,b-1' } }";
    assert_eq!(ids(&loop_over(parameters, "!Ref Names")), two);
    let mappings = "Mappings: { Shops: { eu: { Names: [a, b-1] } } }";
    assert_eq!(ids(&loop_over(mappings, "!FindInMap [Shops, eu, Names]")), two);
}

#[test]
fn loops_stand_in_loops_and_under_events_and_in_lists() {
    let text = "
Transform: [AWS::LanguageExtensions, AWS::Serverless-2016-10-31]
Resources:
  'Fn::ForEach::Functions':
    - Shop
    - [eu, us]
    - 'Reader${Shop}':
        Type: AWS::Serverless::Function
        Properties:
          Events:
            'Fn::ForEach::Events':
              - Topic
              - [paid, sent]
              - 'On${Topic}':
                  Type: SelfManagedKafka
                  Properties:
                    KafkaBootstrapServers:
                      - 'Fn::ForEach::Brokers': [Broker, [one, two], '${Broker}.${Shop}:9092']
                    Topics: ['${Shop}.${Topic}']
                    StartingPosition: LATEST
";
    let found = template(text);
    let topics: Vec<&str> = found.mappings.iter().map(|one| one.topic.as_str()).collect();
    assert_eq!(topics, ["eu.paid", "eu.sent", "us.paid", "us.sent"]);
    assert_eq!(found.mappings[0].logical_id, "ReadereuOnpaid");
    assert_eq!(found.mappings[0].bootstrap_servers.as_deref(), Some("one.eu:9092,two.eu:9092"));
    assert!(found.warnings.is_empty(), "{:?}", found.warnings);
}

#[test]
fn a_loop_over_what_is_not_known_stops_nobody_and_is_noted() {
    let text = loop_over("Parameters: { Names: { Type: CommaDelimitedList } }", "!Ref Names");
    let other = with("", "BatchSize: 1");
    let other = other.split_once("Resources:\n").unwrap().1;
    let found = read_with(&format!("{text}{other}"), &[]).unwrap();
    assert_eq!(found.mappings.len(), 1);
    let note = &found.warnings[0];
    assert!(
        note.starts_with("Fn::ForEach::Mappings: it is over !Ref Names, a parameter without a value"),
        "{note}"
    );
    assert_eq!(read_with(&text, &[("Names", "a,b")]).unwrap().mappings.len(), 2);
    let wrong = loop_over("", "a");
    assert!(template(&wrong).warnings[0].contains("a must be a list"), "{:?}", template(&wrong).warnings);
}

#[test]
fn without_the_transform_a_loop_is_followed_and_noted() {
    let text = loop_over("", "[a]").replace("Transform: AWS::LanguageExtensions\n", "");
    let found = template(&text);
    assert_eq!(found.mappings.len(), 1);
    assert_eq!(
        found.warnings,
        ["Fn::ForEach is followed here; on AWS it needs Transform: AWS::LanguageExtensions"]
    );
}

#[test]
fn loops_that_multiply_are_bounded() {
    let values = format!("[{}]", (0..100).map(|value| format!("v{value}")).collect::<Vec<_>>().join(", "));
    let mut body = "x".to_owned();
    for level in 0..6 {
        body = format!("{{ 'Fn::ForEach::L{level}': [V{level}, {values}, {{ 'A${{V{level}}}': {body} }}] }}");
    }
    let text = with(&format!("Metadata: {body}"), "BatchSize: 1");
    let found = template(&text);
    assert!(
        found.warnings.iter().any(|note| note.contains("evaluates to more than 64 MiB")),
        "{:?}",
        found.warnings
    );
}

#[test]
fn length_counts_elements() {
    let sections = "Parameters: { Names: { Type: CommaDelimitedList, Default: 'a,b,c' } }";
    assert_eq!(topic(sections, "!Sub ['t${N}', { N: !Length [a, !Ref Names] }]"), "t2");
    assert_eq!(topic(sections, "{ 'Fn::Length': !Ref Names }"), "3");
    assert!(topic_error(sections, "!Length a").contains("a must be a list, and is a"));
}

#[test]
fn a_part_becomes_json_with_its_types() {
    let filter = "FilterCriteria: { Filters: [{ Pattern: !ToJsonString { value: { amount: [{ numeric: ['>', 100] }], \
        paid: [true], name: [!Ref AWS::Region, '5'], gone: !Ref AWS::NoValue } } }] }";
    let found = mapping(filter);
    assert_eq!(
        found.filters,
        [r#"{"value":{"amount":[{"numeric":[">",100]}],"name":["us-east-1","5"],"paid":[true]}}"#]
    );
    let matches = |value: &str| found.mapping.filter.matches(Some(value.as_bytes()));
    assert!(matches(r#"{"amount": 101, "paid": true, "name": "5"}"#));
    assert!(!matches(r#"{"amount": 100, "paid": true, "name": "5"}"#));
    let unknown = "Topics: [!ToJsonString [!ImportValue a]]";
    let text = with("", unknown);
    assert!(crate::support::error(&text).contains("depends on !ImportValue a"));
}

#[test]
fn a_default_stands_in_for_what_a_mapping_lacks() {
    let sections = "Mappings: { M: { a: { b: c } } }";
    for keys in ["N, a, b", "M, x, b", "M, a, x"] {
        assert_eq!(topic(sections, &format!("!FindInMap [{keys}, {{ DefaultValue: d }}]")), "d", "{keys}");
    }
    let absent = "BatchSize: !FindInMap [M, a, x, { DefaultValue: !Ref AWS::NoValue }]";
    assert_eq!(only(&with(sections, absent)).mapping.batch_size, 100);
}
