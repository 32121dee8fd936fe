use clap::Parser;
use kafka_trigger::template::{self, Options};

use super::*;

const TEMPLATE: &str = r#"
Transform: AWS::Serverless-2016-10-31
Resources:
  Shipping:
    Type: AWS::Serverless::Function
    Metadata: {BuildMethod: rust-cargolambda, BuildProperties: {Binary: shipping-bin}}
    Properties:
      FunctionName: shipping-prod
      Timeout: 20
      Events:
        Orders:
          Type: SelfManagedKafka
          Properties:
            KafkaBootstrapServers: [one:9092, two:9092]
            Topics: [orders]
            StartingPosition: LATEST
            ConsumerGroupId: shippers
            DestinationConfig: {OnFailure: {Destination: kafka://dead}}
            ProvisionedPollerConfig: {MinimumPollers: 1}
  Billing:
    Type: AWS::Serverless::Function
    Properties:
      Events:
        Orders:
          Type: MSK
          Properties:
            Stream: arn:aws:kafka:eu-west-1:123456789012:cluster/c/1
            Topics: [orders]
            StartingPosition: TRIM_HORIZON
"#;

fn plans_of(template: &str, flags: &[&str]) -> anyhow::Result<Plans> {
    plans_and_notes(template, flags).0
}

/// The plans, and the notes about them.
fn plans_and_notes(template: &str, flags: &[&str]) -> (anyhow::Result<Plans>, Vec<String>) {
    let cli = Cli::try_parse_from(["kafka-trigger"].iter().chain(flags)).unwrap();
    let options = Options { timeout: cli.timeout, ..Options::default() };
    let mut notes = Vec::new();
    let plans = Plans::of(template::read(template, &options).unwrap(), &cli, &mut notes);
    (plans, notes)
}

fn plans(flags: &[&str]) -> anyhow::Result<Plans> {
    plans_of(TEMPLATE, flags)
}

fn ids(plans: &Plans) -> Vec<&str> {
    plans.plans.iter().map(|plan| plan.template.logical_id.as_str()).collect()
}

fn refusal(flags: &[&str]) -> String {
    plans(flags).unwrap_err().to_string()
}

fn plan(flags: &[&str], place: usize) -> Plan {
    plans(&[flags, &["--kafka", "kafka://b:1"]].concat()).unwrap().plans.remove(place)
}

#[test]
fn a_mapping_is_run_as_its_template_says() {
    let shipping = plans(&["--mapping", "Shipping"]).unwrap().plans.remove(0);
    assert_eq!(
        shipping.url("orders").unwrap(),
        "kafka://one:9092,two:9092/orders?create=false&client_id=kafka-trigger&"
    );
    assert_eq!(shipping.mapping.group, "shippers");
    assert_eq!(shipping.beginning, Beginning::Newest);
    assert_eq!(shipping.function.names, ["shipping-bin", "shipping-prod", "Shipping"]);
    assert_eq!(shipping.function.timeout, Duration::from_secs(20));
    assert_eq!(shipping.mapping.window, Duration::from_millis(500));
    assert_eq!(shipping.function_arn, "arn:aws:lambda:us-east-1:123456789012:function:shipping-prod:$LATEST");
}

#[test]
fn flags_go_before_what_the_template_says() {
    let flags =
        ["--window", "0", "--timeout", "5", "--group-prefix", "ann.", "--function-name", "Shipping=function"];
    let shipping = plan(&flags, 1);
    assert_eq!(shipping.template.logical_id, "ShippingOrders");
    assert_eq!(shipping.mapping.window, Duration::ZERO);
    assert_eq!(shipping.function.timeout, Duration::from_secs(5));
    assert_eq!(shipping.mapping.group, "ann.shippers");
    assert_eq!(shipping.function.names, ["function"]);
    assert_eq!(plan(&flags, 0).mapping.group, "ann.kafka-trigger.BillingOrders");
}

#[test]
fn on_aws_a_function_has_no_name_of_its_binary() {
    assert_eq!(plan(&["--invoke", "aws"], 1).function.names, ["shipping-prod", "Shipping"]);
}

#[test]
fn a_destination_bounds_retries_without_end_as_on_lambda() {
    let (plans, notes) = plans_and_notes(TEMPLATE, &["--mapping", "ShippingOrders"]);
    let plan = plans.unwrap().plans.remove(0);
    assert_eq!(plan.mapping.maximum_retry_attempts, Some(10));
    assert!(notes.iter().any(|note| note.contains("MaximumRetryAttempts")), "{notes:?}");
    assert_eq!(plan.destination, Destination::Topic("dead".to_owned()));
    let url = "kafka://one:9092,two:9092/dead?create=false&client_id=kafka-trigger&";
    assert_eq!(plan.url("dead").unwrap(), url);
}

#[test]
fn brokers_that_the_template_does_not_say_are_asked_for() {
    // A plan does not need the brokers.
    let said = plans(&[]).unwrap().plans[0].url("orders").unwrap_err().to_string();
    assert!(said.contains("the brokers of BillingOrders (arn:aws:kafka:eu-west-1"), "{said}");
    assert!(said.contains("--kafka host:port"), "{said}");
    let template = TEMPLATE.replace(
        "            ConsumerGroupId: shippers",
        "            SourceAccessConfigurations: [{Type: SASL_SCRAM_512_AUTH, URI: arn:secret}]",
    );
    let said = plans_of(&template, &["--mapping", "Shipping"]).unwrap().plans[0].url("orders");
    let said = said.unwrap_err().to_string();
    assert!(
        said.contains("SASL_SCRAM_512_AUTH (arn:secret)") && said.contains("user:password@one:9092"),
        "{said}"
    );
}

const QUEUE: &str = "arn:aws:sqs:us-east-1:123456789012:Dead";

/// The template with a queue of its own as the failure destination.
fn with_a_queue() -> String {
    let template = TEMPLATE.replace("kafka://dead", "!GetAtt Dead.Arn");
    format!("{template}  Dead: {{Type: AWS::SQS::Queue}}\n")
}

#[test]
fn a_destination_without_a_url_is_said_before_and_bounds_retries_too() {
    let (plans, notes) = plans_and_notes(&with_a_queue(), &["--mapping", "Shipping"]);
    let note = format!("ShippingOrders has the failure destination {QUEUE}, which has no URL");
    let note = notes.iter().find(|said| said.starts_with(&note)).unwrap();
    assert!(note.ends_with("--destination Dead=URL gives it one"), "{note}");
    let plan = plans.unwrap().plans.remove(0);
    assert_eq!(plan.destination, Destination::OutOfReach(QUEUE.to_owned()));
    assert_eq!(plan.mapping.maximum_retry_attempts, Some(10));
    for (destination, remedy) in [
        ("arn:aws:s3:::letters", "--destination arn:aws:s3:::letters=URL gives it one"),
        ("!ImportValue dead", "--parameter gives it, and --destination ARN=URL where that is"),
    ] {
        let template = TEMPLATE.replace("kafka://dead", destination);
        let (_, notes) = plans_and_notes(&template, &["--mapping", "Shipping"]);
        assert!(notes.iter().any(|note| note.ends_with(remedy)), "{notes:?}");
    }
}

#[test]
fn a_destination_is_given_its_url_by_arn_or_by_logical_id() {
    let expected = Destination::At(QUEUE.parse().unwrap(), "http://a:1".parse().unwrap());
    let by_arn = format!("{QUEUE}=http://a:1");
    for flags in [&[&*by_arn][..], &["Dead=http://a:1/"], &["Dead=http://b:2", &by_arn]] {
        let flags = flags.iter().flat_map(|value| ["--destination", value]);
        let flags = ["--mapping", "Shipping"].into_iter().chain(flags).collect::<Vec<_>>();
        let (plans, notes) = plans_and_notes(&with_a_queue(), &flags);
        assert_eq!(plans.unwrap().plans[0].destination, expected, "{flags:?}");
        assert!(!notes.iter().any(|note| note.contains("no URL")), "{notes:?}");
    }
}

#[test]
fn a_destination_that_nothing_has_is_refused_with_those_that_there_are() {
    let said = |template: &str, destination: &str| {
        let destination = format!("{destination}=http://a:1");
        let flags = ["--mapping", "Shipping", "--destination", &destination];
        format!("{:#}", plans_of(template, &flags).unwrap_err())
    };
    let template = with_a_queue();
    assert_eq!(
        said(&template, "Ded"),
        format!(
            "--destination names Ded, which is not a failure destination of what is run; there is Dead, {QUEUE}"
        )
    );
    assert!(said(TEMPLATE, "kafka://dead").ends_with("there is none that needs a URL"));
    let fifo = TEMPLATE.replace("kafka://dead", "arn:aws:sqs:eu-west-1:1:dead.fifo");
    let said = said(&fifo, "arn:aws:sqs:eu-west-1:1:dead.fifo");
    assert!(said.starts_with("ShippingOrders: arn:aws:sqs:eu-west-1:1:dead.fifo is not a failure"), "{said}");
}

#[test]
fn a_name_that_is_not_there_is_refused_with_those_that_are() {
    let said = refusal(&["--mapping", "Shiping"]);
    assert!(said.contains("--mapping names Shiping") && said.contains("Shipping, ShippingOrders"), "{said}");
    let said = refusal(&["--function-name", "Shiping=x"]);
    assert!(said.contains("--function-name names Shiping"), "{said}");
}

fn disabled() -> String {
    TEMPLATE.replace("StartingPosition: ", "Enabled: false\n            StartingPosition: ")
}

#[test]
fn a_template_without_a_mapping_that_is_enabled_is_refused() {
    let (said, notes) = plans_and_notes(&disabled(), &[]);
    let said = said.unwrap_err().to_string();
    assert!(said.contains("disabled, and run with --mapping NAME: BillingOrders, ShippingOrders"), "{said}");
    assert!(notes.iter().any(|note| note.contains("--mapping ShippingOrders runs it")), "{notes:?}");
}

#[test]
fn a_disabled_mapping_runs_when_it_is_named() {
    let (plans, notes) = plans_and_notes(&disabled(), &["--mapping", "ShippingOrders"]);
    assert_eq!(ids(&plans.unwrap()), ["ShippingOrders"]);
    assert!(
        notes.iter().any(|note| note.starts_with("ShippingOrders is disabled in the template; it runs")),
        "{notes:?}"
    );
    // A function's name selects only those of its mappings that are enabled.
    assert!(plans_of(&disabled(), &["--mapping", "Shipping"]).is_err());
    let wrong = disabled().replace("ConsumerGroupId: shippers", "ConsumerGroupId: 'not one'");
    assert!(
        plans_of(&wrong, &["--mapping", "ShippingOrders"])
            .unwrap_err()
            .to_string()
            .contains("is not one; it must")
    );
    assert!(plans_of(&wrong, &["--mapping", "BillingOrders"]).is_ok());
}

#[test]
fn a_mapping_whose_condition_does_not_hold_is_named() {
    let template = TEMPLATE.replace("  Shipping:\n", "  Shipping:\n    Condition: Prod\n");
    let template = format!("Conditions: {{ Prod: !Equals [a, b] }}\n{template}");
    let (plans, notes) = plans_and_notes(&template, &[]);
    assert_eq!(ids(&plans.unwrap()), ["BillingOrders"]);
    assert!(
        notes.contains(&"ShippingOrders is not run: its condition Prod does not hold".to_owned()),
        "{notes:?}"
    );
    let said = plans_of(&template, &["--mapping", "ShippingOrders"]).unwrap_err().to_string();
    assert!(said.contains("which is not there: its condition Prod does not hold"), "{said}");
}

#[test]
fn when_nothing_runs_the_notes_say_why() {
    let (said, notes) = plans_and_notes(
        "Resources: { Child: { Type: AWS::CloudFormation::Stack, Properties: { TemplateURL: ./child.yaml } } }",
        &[],
    );
    assert!(said.unwrap_err().to_string().contains("the notes say what of it is not followed"));
    assert!(
        notes[0].contains("Child: a nested stack") && notes[0].contains("give ./child.yaml with --template"),
        "{notes:?}"
    );
}

#[test]
fn two_mappings_of_one_group_and_topic_are_warned_of() {
    let template = TEMPLATE.replace(
        "            StartingPosition: TRIM_HORIZON",
        "            StartingPosition: LATEST\n            ConsumerGroupId: shippers",
    );
    let (plans, notes) = plans_and_notes(&template, &[]);
    assert_eq!(plans.unwrap().plans.len(), 2);
    let warning = "BillingOrders and ShippingOrders read the topic orders as one group, shippers";
    assert!(notes.iter().any(|note| note.starts_with(warning)), "{notes:?}");
    assert!(!plans_and_notes(TEMPLATE, &[]).1.iter().any(|note| note.contains("as one group")));
}

#[test]
fn a_registry_that_no_mapping_has_is_said() {
    let note = "--registry has no effect: no mapping that runs has a SchemaRegistryConfig".to_owned();
    let flags = ["--registry", "http://127.0.0.1:8081"];
    assert!(plans_and_notes(TEMPLATE, &flags).1.contains(&note));
    let config = "ConsumerGroupId: shippers\n            SchemaRegistryConfig: {SchemaRegistryURI: !Ref R, EventRecordFormat: JSON}";
    let template = TEMPLATE.replace("ConsumerGroupId: shippers", config)
        + "  R: {Type: AWS::Glue::Registry, Properties: {Name: r}}\n";
    let (plans, notes) = plans_and_notes(&template, &flags);
    assert!(!notes.contains(&note));
    let shipping = plans.unwrap().plans.remove(1);
    let place = shipping.registry.unwrap().place.unwrap();
    assert_eq!(place.to_string(), "arn:aws:glue:us-east-1:123456789012:registry/r at http://127.0.0.1:8081");
}

#[test]
fn a_timeout_that_is_given_need_not_be_known() {
    let template = TEMPLATE.replace("Timeout: 20", "Timeout: !ImportValue timeout");
    assert!(plans_of(&template, &["--mapping", "Shipping"]).is_err());
    let plans = plans_of(&template, &["--mapping", "Shipping", "--timeout", "7"]).unwrap();
    assert_eq!(plans.plans[0].function.timeout, Duration::from_secs(7));
}

#[test]
fn all_mappings_together_invoke_no_more_than_a_local_endpoint_bears() {
    let many = ["--function-concurrency", "1000"];
    assert_eq!(plan(&[&many[..], &["--concurrency", "64"]].concat(), 0).mapping.concurrency, 32);
    assert_eq!(plan(&[&many[..], &["--concurrency", "3"]].concat(), 0).mapping.concurrency, 3);
}

#[test]
fn a_mapping_runs_no_more_at_once_than_its_function_may() {
    assert_eq!(plan(&[], 0).mapping.concurrency, 1);
    assert_eq!(plan(&["--function-concurrency", "2"], 0).mapping.concurrency, 2);
    assert_eq!(plan(&["--invoke", "aws"], 0).mapping.concurrency, 4);
    assert_eq!(plan(&["--invoke", "aws", "--function-concurrency", "2"], 0).mapping.concurrency, 2);
}

/// The template with a topic whose name is not known.
fn with_an_unknown_topic(of: &str) -> String {
    let (before, after) = TEMPLATE.split_once(of).unwrap();
    format!("{before}{of}{}", after.replacen("[orders]", "[!ImportValue topic]", 1))
}

#[test]
fn what_can_not_be_resolved_keeps_nobody_from_running_others() {
    for refused in ["Billing", "Shipping"] {
        let template = with_an_unknown_topic(refused);
        let other = if refused == "Billing" { "Shipping" } else { "Billing" };
        let plans = plans_of(&template, &["--mapping", other, "--kafka", "kafka://b:1"]).unwrap();
        assert_eq!(plans.plans.len(), 1);
        assert_eq!(ids(&plans), [format!("{other}Orders")]);
        for flags in [&[][..], &["--mapping", refused], &["--mapping", &format!("{refused}Orders")]] {
            let said = plans_of(&template, flags).unwrap_err().to_string();
            let expected = format!("template.yaml: {refused}Orders: Topics[0] depends on !ImportValue topic");
            assert!(said.starts_with(&expected), "{said}");
            assert_eq!(said.contains("--mapping NAME"), flags.is_empty(), "{said}");
        }
    }
}

#[test]
fn all_that_can_not_be_resolved_is_said_at_once() {
    let template = TEMPLATE.replace("[orders]", "[!ImportValue topic]");
    let said = plans_of(&template, &[]).unwrap_err().to_string();
    assert!(
        said.contains("BillingOrders: Topics[0]") && said.contains("ShippingOrders: Topics[0]"),
        "{said}"
    );
    assert!(!said.contains("--mapping NAME"), "{said}");
}
