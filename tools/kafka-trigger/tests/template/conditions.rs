//! Conditions of mappings, and the functions that conditions are made of.

use crate::support::{error, read_with, template, with};

/// Does the mapping exist if this is its condition?
fn holds(condition: &str) -> bool {
    let sections = format!(
        "Parameters:\n  Known: {{ Type: String, Default: a }}\n  Missing: {{ Type: String }}\n{condition}"
    );
    let text =
        with(&sections, "BatchSize: 1").replace("    Properties:", "    Condition: It\n    Properties:");
    !template(&text).mappings.is_empty()
}

fn it(condition: &str) -> bool {
    holds(&format!("Conditions:\n  It: {condition}\n  Sure: !Equals [1, '1']\n  Never: !Equals [1, 2]"))
}

#[test]
fn conditions_are_what_their_functions_say() {
    assert!(it("!Equals [!Ref Known, a]"));
    assert!(!it("!Equals [!Ref Known, b]"));
    assert!(it("!Not [!Condition Never]"));
    assert!(it("!And [!Condition Sure, !Equals [a, a]]"));
    assert!(!it("!And [!Condition Sure, { Condition: Never }]"));
    assert!(it("!Or [!Condition Never, !Condition Sure]"));
    assert!(!it("!Or [!Condition Never, !Not [!Condition Sure]]"));
    assert!(it("{ 'Fn::Not': [{ 'Fn::Equals': [true, 'false'] }] }"));
    // A boolean is compared as a text.
    assert!(it("!Equals [true, 'true']"));
}

#[test]
fn a_condition_that_is_called_as_a_boolean_is_found_by_every_name() {
    for condition in
        ["!Not [!Condition No]", "!Not [{ Condition: No }]", "!And [!Condition Yes, !Equals [a, a]]"]
    {
        assert!(
            holds(&format!("Conditions:\n  It: {condition}\n  Yes: !Equals [1, '1']\n  No: !Equals [1, 2]")),
            "{condition}"
        );
    }
}

#[test]
fn one_condition_decides_whatever_is_not_known_about_the_others() {
    assert!(!it("!And [!Equals [!Ref Missing, a], !Condition Never]"));
    assert!(it("!Or [!Equals [!Ref Missing, a], !Condition Sure]"));
    let sections = "Parameters:\n  Missing: { Type: String }\nConditions:\n  It: !Equals [!Ref Missing, a]";
    let text =
        with(sections, "BatchSize: 1").replace("    Properties:", "    Condition: It\n    Properties:");
    let error = error(&text);
    assert!(
        error.starts_with("Orders: Condition depends on !Ref Missing, a parameter without a value"),
        "{error}"
    );
    assert_eq!(read_with(&text, &[("Missing", "a")]).unwrap().mappings.len(), 1);
    assert_eq!(read_with(&text, &[("Missing", "b")]).unwrap().mappings.len(), 0);
}

#[test]
fn a_condition_that_nothing_needs_may_be_anything() {
    let sections = "Conditions:\n  Unused: !Whatever [1]\n  Cycle: !Not [!Condition Cycle]";
    assert_eq!(template(&with(sections, "BatchSize: 1")).mappings.len(), 1);
}

#[test]
fn wrong_conditions_say_what_is_wrong() {
    let refused = |condition: &str| {
        let sections = format!("Conditions:\n  It: {condition}\n  There: !Condition It");
        let text =
            with(&sections, "BatchSize: 1").replace("    Properties:", "    Condition: It\n    Properties:");
        error(&text)
    };
    assert!(refused("!Condition There").contains("condition It depends on itself"));
    assert!(refused("!Condition None").contains("no condition None; its conditions are: It, There"));
    assert!(refused("true").contains("true is not a condition; it must be Fn::Equals"));
    assert!(refused("!Equals [a]").contains("must be given two values"));
    assert!(refused("!Not [a, b]").contains("one condition, in a list"));
    assert!(refused("!And a").contains("is not a condition"));
}

#[test]
fn events_and_properties_may_hang_on_a_condition() {
    let text = "
Conditions: { Never: !Equals [a, b] }
Resources:
  F:
    Type: AWS::Serverless::Function
    Properties:
      Events:
        Gone: !If [Never, { Type: MSK }, !Ref AWS::NoValue]
        There: !If
          - Never
          - !Ref AWS::NoValue
          - Type: MSK
            Properties: !If [Never, {}, { Stream: 'arn:aws:kafka:x', Topics: [orders], StartingPosition: LATEST }]
";
    let found = template(text);
    assert_eq!(found.mappings.len(), 1);
    assert_eq!(found.mappings[0].logical_id, "FThere");
}
