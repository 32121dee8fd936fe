//! Every intrinsic function, as the name of a topic.

use crate::support::{error, mapping, only, read_with, topic, topic_error, with};

const SECTIONS: &str = "
Parameters:
  Name: { Type: String, Default: orders }
  Names: { Type: CommaDelimitedList, Default: 'a, b ,c' }
  Index: { Type: Number, Default: 2 }
  Missing: { Type: String }
  Other: { Type: String }
Mappings:
  Topics:
    eu-west-1: { orders: eu.orders, list: [one, two] }
    us-east-1: { orders: us.orders }
Conditions:
  Sure: !Equals [a, a]
  Never: !Equals [a, b]
  Depends: !Equals [!Ref Missing, x]
";

#[test]
fn ref_gives_parameters_and_pseudo_parameters() {
    assert_eq!(topic(SECTIONS, "!Ref Name"), "orders");
    assert_eq!(topic(SECTIONS, "{ Ref: Name }"), "orders");
    assert_eq!(topic(SECTIONS, "!Ref AWS::Region"), "us-east-1");
    assert_eq!(topic(SECTIONS, "!Ref AWS::AccountId"), "123456789012");
    assert_eq!(topic(SECTIONS, "!Ref 'AWS::StackName'"), "local");
    assert_eq!(topic(SECTIONS, "!Ref AWS::URLSuffix"), "amazonaws.com");
    let text = with(SECTIONS, "Topics: [!Ref AWS::Region]");
    let found = read_with(&text, &[("AWS::Region", "eu-west-1")]).unwrap();
    assert_eq!(found.mappings[0].topic, "eu-west-1");
}

#[test]
fn no_value_takes_an_element_or_a_property_away() {
    assert_eq!(only(&with(SECTIONS, "Topics: [!Ref AWS::NoValue, orders]")).topic, "orders");
    assert_eq!(mapping("BatchSize: !Ref AWS::NoValue").mapping.batch_size, 100);
    assert_eq!(mapping("BatchSize:").mapping.batch_size, 100);
    let group = "SelfManagedKafkaEventSourceConfig: { ConsumerGroupId: !Ref 'AWS::NoValue' }";
    assert_eq!(mapping(group).consumer_group, None);
}

#[test]
fn sub_replaces_names_attributes_and_its_own_variables() {
    assert_eq!(topic(SECTIONS, "!Sub '${Name}.${AWS::Region}-v1'"), "orders.us-east-1-v1");
    assert_eq!(topic(SECTIONS, "{ 'Fn::Sub': 'a-${Name}' }"), "a-orders");
    assert_eq!(topic(SECTIONS, "!Sub ['${V}.${Name}', { V: !Ref Index }]"), "2.orders");
    assert_eq!(topic(SECTIONS, "!Sub ['${Name}', { Name: own }]"), "own");
    assert_eq!(
        topic(SECTIONS, "!Join ['', !Split ['}', !Join ['', !Split ['${', !Sub '${!Literal}']]]]"),
        "Literal"
    );
    assert!(
        topic_error(SECTIONS, "!Sub '${Names}'")
            .contains("${Names} in !Sub ${Names} must be a text, and is a list of 3")
    );
    assert!(topic_error(SECTIONS, "!Sub '${Not this}'").contains("${Not this}"));
    assert!(topic_error(SECTIONS, "!Sub [a]").contains("a text and a map of variables"));
}

#[test]
fn if_takes_the_branch_that_its_condition_says() {
    assert_eq!(topic(SECTIONS, "!If [Sure, a, b]"), "a");
    assert_eq!(topic(SECTIONS, "!If [Never, a, !If [Sure, !Ref Name, c]]"), "orders");
    // The branch that is not taken need not be known.
    assert_eq!(topic(SECTIONS, "!If [Sure, a, !Ref Missing]"), "a");
    let nothing_left = error(&with(SECTIONS, "Topics:\n  - !If [Never, a, !Ref AWS::NoValue]"));
    assert_eq!(nothing_left, "Orders: Topics is a list of 0; it must be a list with exactly one topic");
    assert!(
        topic_error(SECTIONS, "!If [None, a, b]")
            .contains("no condition None; its conditions are: Depends, Never, Sure")
    );
    assert!(topic_error(SECTIONS, "!If [Sure, a]").contains("a condition and two values"));
    assert!(
        topic_error(SECTIONS, "!If [Depends, a, b]")
            .contains("Topics[0] depends on !Ref Missing, a parameter without")
    );
}

#[test]
fn find_in_map_takes_keys_that_are_evaluated() {
    assert_eq!(topic(SECTIONS, "!FindInMap [Topics, !Ref AWS::Region, !Ref Name]"), "us.orders");
    assert_eq!(topic(SECTIONS, "!Select [1, !FindInMap [Topics, eu-west-1, list]]"), "two");
    let default = "{ DefaultValue: !Ref Name }";
    assert_eq!(topic(SECTIONS, &format!("!FindInMap [Topics, elsewhere, orders, {default}]")), "orders");
    let error = topic_error(SECTIONS, "!FindInMap [Topics, elsewhere, orders]");
    assert!(error.contains("no elsewhere there, but: eu-west-1, us-east-1"), "{error}");
    let error = topic_error(SECTIONS, "!FindInMap [Topics, us-east-1, list]");
    assert!(error.contains("no list there, but: orders"), "{error}");
    assert!(topic_error("", "!FindInMap [Topics, a, b]").contains("no Topics there, but: (none)"));
    assert!(topic_error(SECTIONS, "!FindInMap [Topics, a]").contains("a map and two keys"));
}

#[test]
fn join_split_and_select() {
    assert_eq!(topic(SECTIONS, "!Join ['.', [a, !Ref Name, !Ref AWS::NoValue, c]]"), "a.orders.c");
    assert_eq!(topic(SECTIONS, "!Join ['-', !Ref Names]"), "a-b-c");
    assert_eq!(topic(SECTIONS, "!Select [!Ref Index, !Ref Names]"), "c");
    assert_eq!(topic(SECTIONS, "!Select ['0', [a, b]]"), "a");
    assert_eq!(topic(SECTIONS, "!Select [1, !Split ['/', 'x/y/z']]"), "y");
    // An element that is not taken need not be known.
    assert_eq!(topic(SECTIONS, "!Select [0, [a, !Ref Missing]]"), "a");
    assert!(topic_error(SECTIONS, "!Select [1, [a, !Ref Missing]]").contains("depends on !Ref Missing"));
    assert!(
        topic_error(SECTIONS, "!Select [3, !Ref Names]")
            .contains("the index is 3, and the list has 3 elements")
    );
    assert!(topic_error(SECTIONS, "!Select [-1, !Ref Names]").contains("the index is -1"));
    assert!(topic_error(SECTIONS, "!Split ['', a]").contains("must not be empty"));
    assert!(topic_error(SECTIONS, "!Join ['-', a]").contains("a must be a list, and is a"));
    assert!(topic_error(SECTIONS, "!Join ['-', [!Ref Missing]]").contains("depends on !Ref Missing"));
    // A function gives the list as a whole.
    assert_eq!(only(&with(SECTIONS, "Topics: !Split [',', orders]")).topic, "orders");
}

#[test]
fn what_only_a_stack_knows_is_named_with_how_to_give_it() {
    let sections = "Description: x";
    let cases = [
        ("!Ref Orders", "--parameter Orders=VALUE", "Orders"),
        ("!GetAtt Orders.Id", "--parameter Orders.Id=VALUE", "Orders.Id"),
        ("!GetAtt [Orders, Id]", "--parameter Orders.Id=VALUE", "Orders.Id"),
        (
            "{ 'Fn::GetAtt': Orders.Outputs.Topic }",
            "--parameter Orders.Outputs.Topic=VALUE",
            "Orders.Outputs.Topic",
        ),
        ("!Sub '${Orders.Id}'", "--parameter Orders.Id=VALUE", "Orders.Id"),
        ("!ImportValue the-topic", "--parameter ImportValue.the-topic=VALUE", "ImportValue.the-topic"),
        (
            "!ImportValue { 'Fn::Sub': '${AWS::StackName}-topic' }",
            "ImportValue.local-topic=VALUE",
            "ImportValue.local-topic",
        ),
        ("'{{resolve:ssm:/topic}}'", "--parameter '{{resolve:ssm:/topic}}=VALUE'", "{{resolve:ssm:/topic}}"),
    ];
    for (written, how, name) in cases {
        let error = topic_error(sections, written);
        assert!(
            error.starts_with("Orders: Topics[0] depends on ") && error.contains(how),
            "{written}: {error}"
        );
        let text = with(sections, &format!("Topics:\n  - {written}"));
        let found = read_with(&text, &[(name, "given")]).unwrap();
        assert_eq!(found.mappings[0].topic, "given", "{written}");
    }
    let error = topic_error(SECTIONS, "!Ref Typo");
    assert_eq!(
        error,
        "Orders: Topics[0] depends on !Ref Typo, and the template has no such parameter or resource"
    );
    let error = topic_error(SECTIONS, "!Ref Missing");
    assert!(error.ends_with("--parameter Missing=VALUE (without a value are also: Other)"), "{error}");
    let error = topic_error(SECTIONS, "!Cidr a");
    assert!(error.contains("depends on !Cidr a, a function that is not followed here"), "{error}");
}

#[test]
fn dynamic_references_within_a_text() {
    let text = with("", "Topics: ['a.{{resolve:ssm:/x}}.{{resolve:ssm:/y:1}}']");
    let found = read_with(&text, &[("{{resolve:ssm:/x}}", "b"), ("{{resolve:ssm:/y:1}}", "c")]).unwrap();
    assert_eq!(found.mappings[0].topic, "a.b.c");
    let error = read_with(&text, &[("{{resolve:ssm:/x}}", "b")]).unwrap_err().to_string();
    assert!(error.contains("depends on {{resolve:ssm:/y:1}}"), "{error}");
}

#[test]
fn functions_that_are_given_the_wrong_thing_say_so() {
    for written in ["!Ref [a]", "!GetAtt a", "!Sub { a: b }", "!Join [a]", "!Select [a]", "!Split a", "!If a"]
    {
        let error = topic_error(SECTIONS, written);
        assert!(error.contains("must be given"), "{written}: {error}");
    }
}
