//! `SchemaRegistryConfig`: both ways of writing it, and the mistakes in it.

use event_source_mapping::RecordFormat;
use kafka_trigger::template::{SchemaAttributes, SchemaRegistryConfig, SchemaRegistryUri};

use crate::support::{error, mapping, only, with};

fn properties(config: &str) -> String {
    format!(
        "ProvisionedPollerConfig: {{ MinimumPollers: 1 }}\nSelfManagedKafkaEventSourceConfig: {{ SchemaRegistryConfig: {{ {config} }} }}"
    )
}

fn config(config: &str) -> SchemaRegistryConfig {
    mapping(&properties(config)).schema_registry.unwrap()
}

const VALID: &str = "SchemaRegistryURI: 'https://r', EventRecordFormat: JSON, SchemaValidationConfigs: [{ Attribute: VALUE }]";

#[test]
fn a_mapping_has_one_with_its_format_and_what_is_checked() {
    let expected = SchemaRegistryConfig {
        uri: SchemaRegistryUri::Confluent("https://r".to_owned()),
        format: RecordFormat::Json,
        attributes: SchemaAttributes { key: false, value: true },
        access: Vec::new(),
    };
    assert_eq!(config(VALID), expected);
    let found = mapping(&properties(VALID));
    assert!(found.set.contains("SchemaRegistryConfig") && found.without_effect.is_empty());
    assert!(found.notes.is_empty(), "{:?}", found.notes);
    let source = VALID.replace("JSON", "SOURCE").replace("[{", "[{ Attribute: KEY }, {");
    let found = config(&source);
    assert_eq!(
        (found.format, found.attributes),
        (RecordFormat::Source, SchemaAttributes { key: true, value: true })
    );
    assert_eq!(mapping("BatchSize: 1").schema_registry, None);
}

#[test]
fn both_kinds_of_events_of_sam_have_one() {
    for event in ["MSK", "SelfManagedKafka"] {
        let place = match event {
            "MSK" => "Stream: arn:aws:kafka:eu-west-1:123456789012:cluster/c/1",
            _ => "KafkaBootstrapServers: [b:9092]",
        };
        let found = only(&format!(
            "Transform: AWS::Serverless-2016-10-31
Resources:
  F:
    Type: AWS::Serverless::Function
    Properties:
      Events:
        E:
          Type: {event}
          Properties:
            {place}
            Topics: [t]
            StartingPosition: LATEST
            SchemaRegistryConfig: {{ {VALID} }}
            ProvisionedPollerConfig: {{ MinimumPollers: 1 }}
"
        ));
        assert_eq!(found.schema_registry, Some(config(VALID)), "{event}");
        assert!(found.notes.is_empty(), "{:?}", found.notes);
    }
}

#[test]
fn a_registry_of_glue_is_an_arn_which_may_be_that_of_a_resource() {
    let arn = "arn:aws:glue:eu-west-1:123456789012:registry/r";
    let found = config(&VALID.replace("'https://r'", arn));
    assert_eq!(found.uri, SchemaRegistryUri::Glue(arn.to_owned()));
    for reference in ["!Ref Registry", "!GetAtt Registry.Arn"] {
        let text = with("", &properties(&VALID.replace("'https://r'", reference)))
            + "  Registry: { Type: AWS::Glue::Registry, Properties: { Name: shop } }\n";
        let expected = "arn:aws:glue:us-east-1:123456789012:registry/shop".to_owned();
        assert_eq!(only(&text).schema_registry.unwrap().uri, SchemaRegistryUri::Glue(expected));
    }
    let found = config(&VALID.replace("'https://r'", "!ImportValue registry"));
    assert!(
        matches!(&found.uri, SchemaRegistryUri::Unknown(written) if written.starts_with("!ImportValue registry, ")),
        "{found:?}"
    );
}

#[test]
fn access_is_kept_for_whoever_can_read_it() {
    let access = "AccessConfigs: [{ Type: BASIC_AUTH, URI: 'arn:a' }, { Type: SERVER_ROOT_CA_CERTIFICATE, URI: !GetAtt S.Arn }]";
    let found = config(&format!("{VALID}, {access}"));
    let expected = [("BASIC_AUTH", "arn:a"), ("SERVER_ROOT_CA_CERTIFICATE", "!GetAtt S.Arn")];
    assert_eq!(found.access, expected.map(|(kind, uri)| (kind.to_owned(), uri.to_owned())));
}

#[test]
fn lambda_takes_it_in_provisioned_mode_alone_and_without_anything_to_check_it_does_nothing() {
    let found = mapping(&properties(VALID).replace("ProvisionedPollerConfig: { MinimumPollers: 1 }\n", ""));
    let note =
        "Orders: Lambda takes SchemaRegistryConfig only with ProvisionedPollerConfig; here it is followed";
    assert_eq!(found.notes, [note]);
    let found = mapping(&properties("SchemaRegistryURI: 'https://r', EventRecordFormat: JSON"));
    assert!(found.notes[0].contains("has no SchemaValidationConfigs"), "{:?}", found.notes);
}

#[test]
fn what_is_wrong_says_what_is_allowed() {
    for (from, to, said) in [
        ("JSON", "AVRO", "EventRecordFormat is AVRO; it must be JSON or SOURCE"),
        ("EventRecordFormat: JSON, ", "", "EventRecordFormat is missing; it must be JSON or SOURCE"),
        (
            "SchemaRegistryURI: 'https://r', ",
            "",
            "SchemaRegistryURI is missing; it must be the URL of a registry",
        ),
        ("'https://r'", "registry", "SchemaRegistryURI is registry; it must be the URL of a registry"),
        ("'https://r'", "arn:aws:glue:eu-west-1:1:schema/r", "or the ARN of an AWS Glue registry"),
        ("VALUE", "HEADERS", "SchemaValidationConfigs[0].Attribute is HEADERS; it must be KEY or VALUE"),
        ("Attribute: VALUE", "", "SchemaValidationConfigs[0].Attribute is missing; it must be KEY or VALUE"),
        ("[{", "[{}, {", "SchemaValidationConfigs[0].Attribute is missing"),
        ("Attribute", "Atribute", "did you mean"),
        (
            "EventRecordFormat",
            "AccessConfigs: [{ Type: OAUTH }], EventRecordFormat",
            "AccessConfigs[0].Type is OAUTH; it must be BASIC_AUTH, ",
        ),
    ] {
        let found = error(&with("", &properties(&VALID.replacen(from, to, 1))));
        assert!(found.contains(said), "{found}");
    }
}
