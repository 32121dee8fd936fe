//! Parameters: their defaults, the caller's values, and the rules of the template.

use crate::support::{read_with, with};

/// The topic that a parameter of this declaration gives, by its default or by a value.
fn topic(declaration: &str, given: Option<&str>) -> Result<String, String> {
    let text = with(&format!("Parameters:\n  P: {{ {declaration} }}"), "Topics: [!Ref P]");
    let given: Vec<(&str, &str)> = given.map(|value| ("P", value)).into_iter().collect();
    let found = read_with(&text, &given).map_err(|error| error.to_string())?;
    Ok(found.mappings[0].topic.clone())
}

/// The reason why a value is refused. The mapping that needs it reports it.
fn refused(declaration: &str, given: &str) -> String {
    let error = topic(declaration, Some(given)).unwrap_err();
    error.strip_prefix("Orders: Topics: ").unwrap_or_else(|| panic!("{error}")).to_owned()
}

#[test]
fn a_parameter_that_no_mapping_needs_may_be_anything() {
    let sections = "Parameters:\n  Password: { Type: String, Default: '', MinLength: 8 }\n  Odd: { Type: Text }\n  Bare: {}\n\
        Conditions:\n  Unused: !Equals [!Ref Password, a]\n  Decided: !Or [!Equals [!Ref Password, a], !Equals [a, a]]";
    let found = read_with(&with(sections, "Topics: [!If [Decided, orders, !Ref Odd]]"), &[]).unwrap();
    assert_eq!(found.mappings[0].topic, "orders");
    assert!(read_with(&with(sections, "Topics: [!Ref Bare]"), &[]).is_err());
}

#[test]
fn a_value_comes_from_the_caller_or_else_from_the_default() {
    assert_eq!(topic("Type: String, Default: a", None).unwrap(), "a");
    assert_eq!(topic("Type: String, Default: a", Some("b")).unwrap(), "b");
    // Texts stay as they are written, and the caller's values are texts.
    assert_eq!(topic("Type: String, Default: '012'", None).unwrap(), "012");
    assert_eq!(topic("Type: Number", Some("1.50")).unwrap(), "1.50");
    assert_eq!(topic("Type: Number, Default: 1.50", None).unwrap(), "1.5");
    assert_eq!(topic("Type: AWS::EC2::VPC::Id, Default: vpc-1", None).unwrap(), "vpc-1");
    assert!(topic("Type: String", None).unwrap_err().contains("--parameter P=VALUE"));
}

#[test]
fn a_parameter_in_ssm_is_not_its_default() {
    let kind = "Type: 'AWS::SSM::Parameter::Value<String>', Default: /topic";
    let error = topic(kind, None).unwrap_err();
    assert!(error.contains("looked up in SSM; give it a value with --parameter P=VALUE"), "{error}");
    assert_eq!(topic(kind, Some("orders")).unwrap(), "orders");
}

#[test]
fn lists_are_split_at_commas() {
    for kind in ["CommaDelimitedList", "List<String>", "List<AWS::EC2::Subnet::Id>"] {
        let text = with(&format!("Parameters:\n  P: {{ Type: '{kind}' }}"), "Topics: !Ref P");
        let found = read_with(&text, &[("P", " orders ")]).unwrap();
        assert_eq!(found.mappings[0].topic, "orders");
        let error = read_with(&text, &[("P", "a,b")]).unwrap_err().to_string();
        assert_eq!(error, "Orders: Topics is a list of 2; it must be a list with exactly one topic");
        let error = read_with(&text, &[("P", "")]).unwrap_err().to_string();
        assert!(error.contains("a list of 0"), "{error}");
    }
}

#[test]
fn values_that_the_template_does_not_allow_are_refused() {
    let allowed = "Type: String, AllowedValues: [dev, prod]";
    assert_eq!(refused(allowed, "test"), "parameter P: test is not one of: dev, prod");
    assert_eq!(topic(allowed, Some("prod")).unwrap(), "prod");
    let pattern = "Type: String, AllowedPattern: '[a-z]+', ConstraintDescription: letters";
    assert_eq!(refused(pattern, "a1"), "parameter P: a1 does not match the AllowedPattern [a-z]+ (letters)");
    assert_eq!(topic(pattern, Some("abc")).unwrap(), "abc");
    assert_eq!(refused("Type: Number", "ten"), "parameter P: ten is not a number");
    assert_eq!(refused("Type: Number", "NaN"), "parameter P: NaN is not a number");
    assert_eq!(refused("Type: Number, MinValue: 1", "0"), "parameter P: 0 is less than its MinValue 1");
    assert_eq!(refused("Type: Number, MaxValue: 9", "9.5"), "parameter P: 9.5 is more than its MaxValue 9");
    assert_eq!(refused("Type: 'List<Number>'", "1,b"), "parameter P: b is not a number");
    assert_eq!(
        refused("Type: CommaDelimitedList, AllowedValues: [a, b]", "a,c"),
        "parameter P: c is not one of: a, b"
    );
    assert_eq!(refused("Type: String, MinLength: 2", "a"), "parameter P: a is shorter than its MinLength 2");
    assert_eq!(
        refused("Type: String, MaxLength: 2", "äöü"),
        "parameter P: äöü is longer than its MaxLength 2"
    );
    assert!(refused("Type: String", &"a".repeat(5000)).contains("5000 bytes; at most 4096"));
    assert!(refused("Type: Text", "a").contains("its Type is Text; it must be String, Number"));
    assert!(refused("Description: none", "a").contains("it has no Type"));
    // A default that is not allowed is refused too.
    assert!(topic("Type: Number, Default: a", None).unwrap_err().contains("a is not a number"));
}

#[test]
fn a_secret_is_not_shown() {
    let error = refused("Type: String, NoEcho: true, AllowedPattern: '[a-z]+'", "hunter2");
    assert_eq!(error, "parameter P: its value does not match the AllowedPattern [a-z]+");
}

#[test]
fn a_pattern_that_can_not_be_checked_is_told() {
    let text = with(
        "Parameters:\n  P: { Type: String, AllowedPattern: '(?!x).*', Default: orders }",
        "Topics: [!Ref P]",
    );
    let found = read_with(&text, &[]).unwrap();
    assert_eq!(found.mappings[0].topic, "orders");
    assert_eq!(
        found.mappings[0].notes,
        [
            "parameter P: its AllowedPattern uses syntax that is not supported here, so its value was not checked"
        ]
    );
}

#[test]
fn a_value_for_nothing_is_refused_with_what_there_is() {
    let text = with(
        "Parameters:\n  Stage: { Type: String, Default: a }\n  Topic: { Type: String, Default: a }",
        "BatchSize: 1",
    );
    let error = read_with(&text, &[("Stag", "b")]).unwrap_err().to_string();
    assert_eq!(
        error,
        "Stag was given, but the template has no such parameter or resource; its parameters are: Stage, Topic"
    );
    let error = read_with(&with("", "BatchSize: 1"), &[("Stage", "b")]).unwrap_err().to_string();
    assert!(error.ends_with("its parameters are: (none)"), "{error}");
}
