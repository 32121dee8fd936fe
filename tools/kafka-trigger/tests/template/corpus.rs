//! The templates of `tests/templates`, as a user would deploy each of them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use kafka_trigger::template::{KafkaMapping, Options, Pollers, StartingPosition, Template, read};

use crate::support::read_with;

const READ_HERE: [&str; 5] =
    ["cfn-msk.json", "cfn-self-managed.yaml", "sam-msk.yaml", "sam-self-managed.yaml", "shop.yaml"];

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/templates"))
}

fn file(name: &str, parameters: &[(&str, &str)]) -> Template {
    assert!(READ_HERE.contains(&name));
    let text = fs::read_to_string(folder().join(name)).unwrap();
    read_with(&text, parameters).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn named<'a>(found: &'a Template, id: &str) -> &'a KafkaMapping {
    found.mappings.iter().find(|mapping| mapping.logical_id == id).unwrap()
}

fn disabled(found: &Template) -> Vec<&str> {
    found.disabled.iter().map(|one| one.logical_id.as_str()).collect()
}

fn ids(found: &Template) -> Vec<&str> {
    found.mappings.iter().map(|mapping| mapping.logical_id.as_str()).collect()
}

#[test]
fn every_template_is_read_by_a_test() {
    let names =
        fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.collect::<BTreeSet<_>>(), READ_HERE.map(str::to_owned).into());
}

#[test]
fn an_msk_event_of_sam() {
    let found = file("sam-msk.yaml", &[]);
    assert_eq!(ids(&found), ["ReaderMSKEvent"]);
    assert!(found.warnings.is_empty() && found.disabled.is_empty(), "{found:?}");
    assert!(found.mappings[0].notes.is_empty(), "{found:?}");
    let KafkaMapping { function, topic, mapping, .. } = &found.mappings[0];
    let arn =
        Some("arn:aws:kafka:us-east-1:012345678012:cluster/mycluster/6cc0432b-8618-4f44-bccc-e1fbd8fb7c4d-2");
    assert_eq!(found.mappings[0].cluster_arn.as_deref(), arn);
    assert_eq!(found.mappings[0].starting_position, StartingPosition::Latest);
    assert_eq!((topic.as_str(), function.invoke_name()), ("MyTopic", "Reader"));
    assert_eq!(
        (function.code_uri.as_deref(), function.handler.as_deref()),
        (Some("src/"), Some("app.handler"))
    );
    assert_eq!((mapping.function.as_str(), mapping.event_source.name.as_str()), ("Reader", "aws:kafka"));
    assert_eq!(mapping.event_source.arn.as_deref(), arn);
    assert_eq!((mapping.batch_size, mapping.window), (100, Duration::from_millis(500)));
    assert_eq!((mapping.maximum_retry_attempts, mapping.maximum_record_age), (None, None));
    assert_eq!(mapping.invocation_timeout, Duration::from_secs(3));
}

#[test]
fn a_self_managed_event_of_sam_with_everything() {
    let found = file("sam-self-managed.yaml", &[]);
    assert_eq!(ids(&found), ["ReaderKafkaEvent"]);
    let kafka = &found.mappings[0];
    assert_eq!(kafka.notes, ["ReaderKafkaEvent: without effect here: LoggingConfig"]);
    assert_eq!(kafka.bootstrap_servers.as_deref(), Some("abc.xyz.com:9092,def.xyz.com:9092"));
    assert_eq!(kafka.cluster_arn, None);
    assert_eq!(kafka.consumer_group.as_deref(), Some("readers"));
    assert_eq!(kafka.starting_position, StartingPosition::AtTimestamp(1_741_010_400_500));
    assert_eq!(kafka.on_failure.as_deref(), Some("kafka://readers.failed"));
    assert_eq!(kafka.pollers, Some(Pollers { minimum: 2, maximum: 10 }));
    let secret = "arn:aws:secretsmanager:us-west-2:123456789012:secret:my-path/my-secret-name-1a2b3c";
    assert_eq!(kafka.access, [("BASIC_AUTH".to_owned(), secret.to_owned())]);
    let mapping = &kafka.mapping;
    assert_eq!(mapping.event_source.name, "SelfManagedKafka");
    assert_eq!(mapping.event_source.bootstrap_servers, kafka.bootstrap_servers);
    assert_eq!((mapping.batch_size, mapping.window), (1000, Duration::from_secs(5)));
    assert_eq!(mapping.maximum_retry_attempts, Some(3));
    assert_eq!(mapping.maximum_record_age, Some(Duration::from_secs(3600)));
    assert!(mapping.bisect_on_function_error && mapping.report_batch_item_failures);
    assert!(mapping.filter.matches(Some(br#"{"device_ID": "AB1234"}"#)));
    assert!(!mapping.filter.matches(Some(br#"{"device_ID": "XY"}"#)));
    assert_eq!(mapping.invocation_timeout, Duration::from_secs(60));
}

#[test]
fn mappings_of_a_plain_stack_in_json() {
    let found = file("cfn-msk.json", &[("Cluster.Arn", "arn:aws:kafka:eu-west-1:1:cluster/c/2")]);
    assert_eq!((ids(&found), disabled(&found)), (vec!["Payments"], vec!["Refunds"]));
    let kafka = &found.mappings[0];
    assert_eq!((kafka.topic.as_str(), kafka.mapping.batch_size), ("payments", 250));
    assert_eq!(kafka.consumer_group.as_deref(), Some("local-payments"));
    assert_eq!(kafka.cluster_arn.as_deref(), Some("arn:aws:kafka:eu-west-1:1:cluster/c/2"));
    assert_eq!(kafka.function.logical_id, "Consumer");
    assert_eq!(kafka.function.name.as_deref(), Some("local-consumer"));
    assert_eq!(kafka.function.qualifier.as_deref(), Some("live"));
    assert_eq!(kafka.function.timeout, Duration::from_secs(120));
    assert_eq!(kafka.notes, ["Payments: without effect here: Tags"]);
    assert_eq!(kafka.without_effect, ["Tags"]);
}

#[test]
fn a_cluster_of_the_template_has_an_arn() {
    let found = file("cfn-msk.json", &[("AWS::StackName", "shop"), ("AWS::Region", "eu-west-1")]);
    assert_eq!(
        found.mappings[0].cluster_arn.as_deref(),
        Some(
            "arn:aws:kafka:eu-west-1:123456789012:cluster/shop-events/00000000-0000-0000-0000-000000000000-1"
        )
    );
    assert_eq!(found.mappings[0].function.invoke_name(), "shop-consumer");
}

#[test]
fn self_managed_mappings_of_their_own_by_environment() {
    let dev = file("cfn-self-managed.yaml", &[]);
    assert_eq!(ids(&dev), ["Audit"]);
    let audit = &dev.mappings[0];
    assert_eq!(audit.function.invoke_name(), "audit-dev");
    assert_eq!((audit.mapping.batch_size, audit.mapping.window), (10, Duration::ZERO));
    assert_eq!(audit.starting_position, StartingPosition::TrimHorizon);
    let secret = "arn:aws:secretsmanager:us-east-1:123456789012:secret:Secret-000000";
    assert_eq!(audit.access, [("SASL_SCRAM_512_AUTH".to_owned(), secret.to_owned())]);
    assert_eq!(audit.on_failure.as_deref(), Some("arn:aws:sqs:us-east-1:123456789012:Failed"));
    assert_eq!(audit.bootstrap_servers, None);
    assert!(audit.notes[0].contains("--parameter ImportValue.kafka-brokers=VALUE"), "{:?}", audit.notes);
    assert!(audit.notes[0].contains("--kafka"), "{:?}", audit.notes);
    let excluded: Vec<_> =
        dev.excluded.iter().map(|one| (one.logical_id.as_str(), one.condition.as_str())).collect();
    assert_eq!(excluded, [("ProdOnly", "IsProd")]);

    let brokers = ("ImportValue.kafka-brokers", "k1:9092,k2:9092");
    let prod = file("cfn-self-managed.yaml", &[("Environment", "prod"), brokers]);
    assert_eq!(ids(&prod), ["Audit", "ProdOnly"]);
    let audit = &prod.mappings[0];
    assert_eq!(audit.bootstrap_servers.as_deref(), Some("k1:9092,k2:9092"));
    assert_eq!((audit.mapping.batch_size, audit.mapping.window), (5000, Duration::from_secs(5)));
    assert_eq!(
        audit.access[1],
        ("SERVER_ROOT_CA_CERTIFICATE".to_owned(), "!ImportValue kafka-ca".to_owned())
    );
    assert_eq!(audit.notes.len(), 1, "{:?}", audit.notes);
    assert!(audit.notes[0].contains("with OnFailure and no MaximumRetryAttempts"), "{:?}", audit.notes);
}

#[test]
fn a_shop() {
    let found = file("shop.yaml", &[("MailTopic", "mails")]);
    assert_eq!(ids(&found), ["MailerMails", "ProjectorOrders"]);
    assert_eq!(disabled(&found), ["RetiredOrders"]);
    assert_eq!(found.warnings.len(), 1, "{:?}", found.warnings);
    assert_eq!(
        found.warnings[0],
        "Network: a nested stack (AWS::CloudFormation::Stack) is not followed; to run its mappings, give network.yaml with \
         --template"
    );

    let projector = named(&found, "ProjectorOrders");
    assert_eq!((projector.topic.as_str(), projector.function.invoke_name()), ("orders.test", "Projector"));
    assert_eq!(projector.function.binary.as_deref(), Some("projector"));
    assert_eq!(projector.function.build_method.as_deref(), Some("rust-cargolambda"));
    assert_eq!(projector.function.qualifier.as_deref(), Some("live"));
    assert_eq!(projector.function.timeout, Duration::from_secs(20));
    assert_eq!(projector.consumer_group.as_deref(), Some("local-projector"));
    assert_eq!(projector.bootstrap_servers.as_deref(), Some("b-1.kafka:9096,b-2.kafka:9096"));
    assert_eq!(projector.access[0].1, "{{resolve:ssm:/kafka/secret-arn}}");
    assert_eq!(projector.mapping.window, Duration::from_secs(1));
    assert!(projector.mapping.filter.matches(Some(br#"{"type": "OrderCreated"}"#)));
    assert!(!projector.mapping.filter.matches(Some(br#"{"type": "OrderCancelled"}"#)));

    let mailer = named(&found, "MailerMails");
    assert_eq!((mailer.topic.as_str(), mailer.function.invoke_name()), ("mails", "local-mailer"));
    assert_eq!(mailer.function.binary.as_deref(), Some("mailer"));
    assert_eq!(
        (mailer.function.qualifier.as_deref(), mailer.function.timeout),
        (None, Duration::from_secs(300))
    );
    assert_eq!(mailer.mapping.batch_size, 1);
    assert!(mailer.mapping.filter.is_empty());
}

#[test]
fn a_shop_in_production_has_statistics() {
    let found = file("shop.yaml", &[("MailTopic", "mails"), ("Stage", "prod"), ("AWS::StackName", "shop")]);
    assert_eq!(ids(&found), ["MailerMails", "ProjectorOrders", "StatisticsOrders"]);
    let statistics = named(&found, "StatisticsOrders");
    assert_eq!(statistics.function.binary.as_deref(), Some("statistics"));
    assert_eq!(
        (statistics.topic.as_str(), statistics.consumer_group.as_deref()),
        ("orders.prod", Some("statistics"))
    );
    assert_eq!(named(&found, "MailerMails").function.invoke_name(), "shop-mailer");
}

#[test]
fn a_shop_without_a_parameter_that_is_needed_names_it() {
    let text = fs::read_to_string(folder().join("shop.yaml")).unwrap();
    let error = read_with(&text, &[]).unwrap_err().to_string();
    assert_eq!(
        error,
        "MailerMails: Topics[0] depends on !Ref MailTopic, a parameter without a value; give it one with --parameter \
         MailTopic=VALUE"
    );
    // The other mapping is read all the same.
    let found = read(&text, &Options::default()).unwrap();
    assert_eq!(ids(&found), ["ProjectorOrders"]);
    assert_eq!(found.refused[0].logical_id, "MailerMails");
    assert_eq!(found.refused[0].function.as_deref(), Some("Mailer"));
    let error = read_with(&text, &[("MailTopic", "mails"), ("Stage", "Prod1")]).unwrap_err().to_string();
    assert_eq!(
        error,
        "ProjectorOrders: Topics: parameter Stage: Prod1 does not match the AllowedPattern [a-z]{2,10} (lower-case letters)"
    );
}
