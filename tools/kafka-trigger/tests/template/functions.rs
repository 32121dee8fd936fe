//! The function that a mapping invokes, and its properties.

use std::time::Duration;

use kafka_trigger::template::{Function, Options, read};

use crate::support::{error, only, read_with, with};

/// The function of a mapping whose `FunctionName` is `named`, beside the resources in `others`.
fn function(named: &str, others: &str) -> Function {
    only(&format!("{}\n{others}", with("", &format!("FunctionName: {named}")))).function
}

const CONSUMER: &str = "
  Consumer:
    Type: AWS::Serverless::Function
    Properties: { Timeout: 7, FunctionName: the-consumer, AutoPublishAlias: live }
  Plain:
    Type: AWS::Lambda::Function
    Properties: { Timeout: 8 }
  Released:
    Type: AWS::Lambda::Version
    Properties: { FunctionName: !GetAtt Plain.Arn }
  Blue:
    Type: AWS::Lambda::Alias
    Properties: { FunctionName: !Ref Plain, FunctionVersion: !GetAtt Released.Version, Name: blue }
";

#[test]
fn a_function_of_the_template_is_found_however_it_is_named() {
    for named in [
        "!Ref Consumer",
        "!GetAtt Consumer.Arn",
        "!Sub '${Consumer}'",
        "!Sub '${Consumer.Arn}'",
        "the-consumer",
        "arn:aws:lambda:eu-west-1:123456789012:function:the-consumer",
        "123456789012:function:the-consumer",
        "Consumer",
    ] {
        let function = function(named, CONSUMER);
        assert_eq!(function.logical_id, "Consumer", "{named}");
        assert_eq!(
            (function.invoke_name(), function.timeout),
            ("the-consumer", Duration::from_secs(7)),
            "{named}"
        );
        assert_eq!(function.qualifier, None, "{named}");
    }
    assert_eq!(function("!Ref Plain", CONSUMER).invoke_name(), "Plain");
}

#[test]
fn an_alias_or_a_version_leads_to_its_function() {
    for named in [
        "!Ref Consumer.Alias",
        "!Ref ConsumerAliaslive",
        "!GetAtt ConsumerAliaslive.AliasArn",
        "!Sub '${Consumer.Alias}'",
        "the-consumer:live",
        "!Sub '${Consumer.Arn}:live'",
    ] {
        let function = function(named, CONSUMER);
        assert_eq!(
            (function.logical_id.as_str(), function.qualifier.as_deref()),
            ("Consumer", Some("live")),
            "{named}"
        );
    }
    let version = function("!Ref Consumer.Version", CONSUMER);
    assert_eq!((version.logical_id.as_str(), version.qualifier), ("Consumer", None));
    let blue = function("!Ref Blue", CONSUMER);
    assert_eq!((blue.logical_id.as_str(), blue.qualifier.as_deref()), ("Plain", Some("blue")));
    let released = function("!Ref Released", CONSUMER);
    assert_eq!((released.logical_id.as_str(), released.timeout), ("Plain", Duration::from_secs(8)));
}

#[test]
fn a_function_of_elsewhere_has_the_longest_time_there_is() {
    let function = function("arn:aws:lambda:eu-west-1:123456789012:function:elsewhere:3", "");
    assert_eq!(function.invoke_name(), "elsewhere");
    assert_eq!(function.qualifier.as_deref(), Some("3"));
    assert_eq!(function.timeout, Duration::from_secs(900));
}

#[test]
fn a_name_that_is_not_known_leaves_the_logical_id() {
    let others = "
  Consumer:
    Type: AWS::Lambda::Function
    Properties: { FunctionName: !ImportValue name }";
    let consumer = function("!Ref Consumer", others);
    assert_eq!((consumer.invoke_name(), consumer.name.as_deref()), ("Consumer", None));
    // The caller may know the name.
    let text = format!("{}\n{others}", with("", "FunctionName: !Ref Consumer"));
    let found = read_with(&text, &[("Consumer", "stack-Consumer-1A2B")]).unwrap();
    assert_eq!(found.mappings[0].function.invoke_name(), "stack-Consumer-1A2B");
    assert_eq!(found.mappings[0].mapping.function, "stack-Consumer-1A2B");
}

#[test]
fn names_that_refer_to_each_other_are_no_circle() {
    let others = "
  A:
    Type: AWS::Lambda::Function
    Properties: { FunctionName: !Ref B }
  B:
    Type: AWS::Lambda::Function
    Properties: { FunctionName: !Sub '${A}' }";
    assert_eq!(function("!Ref A", others).invoke_name(), "A");
}

#[test]
fn globals_hold_for_serverless_functions_alone() {
    let sections = "Globals: { Function: { Timeout: 33, Handler: main, CodeUri: target/lambda/all } }";
    let others = "
  S:
    Type: AWS::Serverless::Function
    Properties: { Handler: own }
  P:
    Type: AWS::Lambda::Function
    Properties: { Code: ./target/lambda/p }";
    let function = |id: &str| {
        only(&format!("{}\n{others}", with(sections, &format!("FunctionName: !Ref {id}")))).function
    };
    let serverless = function("S");
    assert_eq!((serverless.timeout, serverless.handler.as_deref()), (Duration::from_secs(33), Some("own")));
    assert_eq!(
        (serverless.binary.as_deref(), serverless.code_uri.as_deref()),
        (Some("all"), Some("target/lambda/all"))
    );
    let plain = function("P");
    assert_eq!((plain.timeout, plain.handler.as_deref()), (Duration::from_secs(3), None));
    assert_eq!(plain.binary.as_deref(), Some("p"));
}

#[test]
fn a_mapping_to_a_function_that_is_not_there_is_refused() {
    let others = "
  Consumer:
    Type: AWS::Lambda::Function
    Condition: Never
    Properties: {}";
    let sections = "Conditions: { Never: !Equals [a, b] }";
    let refused = error(&format!("{}\n{others}", with(sections, "FunctionName: !Ref Consumer")));
    assert_eq!(
        refused,
        "Orders: FunctionName depends on !Ref Consumer, a resource that is not there, since its Condition Never does not hold"
    );
    assert_eq!(
        error(&with("", "FunctionName: ''")),
        "Orders: FunctionName is missing; it must be the name or ARN of a function, or a Ref to it"
    );
    for nobody in [":", ":live", "consumer:", "arn:aws:lambda:eu-west-1:1:function::live"] {
        assert_eq!(
            error(&with("", &format!("FunctionName: '{nobody}'"))),
            format!(
                "Orders: FunctionName is {nobody}; it must be the name or ARN of a function, or a Ref to it"
            )
        );
    }
}

#[test]
fn a_timeout_that_is_none_is_refused_where_it_matters() {
    let others = |timeout: &str| {
        format!(
            "
  Consumer:
    Type: AWS::Lambda::Function
    Properties: {{ Timeout: {timeout} }}"
        )
    };
    let refused = error(&format!("{}{}", with("", "FunctionName: !Ref Consumer"), others("901")));
    assert_eq!(refused, "Consumer: Timeout is 901; it must be 1 to 900 seconds");
    assert_eq!(
        only(&format!("{}{}", with("", "FunctionName: other"), others("901"))).function.invoke_name(),
        "other"
    );
}

#[test]
fn a_mapping_that_is_refused_still_says_whose_it_is() {
    let refused = |properties: &str| {
        let text = format!("{}\n{CONSUMER}", with("", properties));
        let mut found = read(&text, &Options::default()).unwrap();
        assert!(found.mappings.is_empty());
        found.refused.remove(0).function
    };
    assert_eq!(refused("FunctionName: !Ref Consumer\nBatchSize: 0").as_deref(), Some("Consumer"));
    assert_eq!(refused("FunctionName: !ImportValue function"), None);
}
