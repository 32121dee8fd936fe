use clap::Parser;
use event_source_mapping::template::{self, Options};

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
    let cli = Cli::try_parse_from(["kafka-trigger"].iter().chain(flags)).unwrap();
    Plans::of(template::read(template, &Options::default()).unwrap(), &cli)
}

fn plans(flags: &[&str]) -> anyhow::Result<Plans> {
    plans_of(TEMPLATE, flags)
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
    assert_eq!(shipping.url, "kafka://one:9092,two:9092/orders?create=false&client_id=kafka-trigger&");
    assert_eq!(shipping.group, "shippers");
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
    assert_eq!(shipping.logical_id, "ShippingOrders");
    assert_eq!(shipping.mapping.window, Duration::ZERO);
    assert_eq!(shipping.function.timeout, Duration::from_secs(5));
    assert_eq!(shipping.group, "ann.shippers");
    assert_eq!(shipping.function.names, ["function"]);
    assert_eq!(plan(&flags, 0).group, "ann.kafka-trigger.BillingOrders");
}

#[test]
fn on_aws_a_function_has_no_name_of_its_binary() {
    assert_eq!(plan(&["--invoke", "aws"], 1).function.names, ["shipping-prod", "Shipping"]);
}

#[test]
fn a_destination_bounds_retries_without_end_as_on_lambda() {
    let plans = plans(&["--mapping", "ShippingOrders"]).unwrap();
    assert_eq!(plans.plans[0].mapping.maximum_retry_attempts, Some(10));
    assert!(plans.notes.iter().any(|note| note.contains("MaximumRetryAttempts")), "{:?}", plans.notes);
    let url = "kafka://one:9092,two:9092/dead?create=false&client_id=kafka-trigger&".to_owned();
    assert_eq!(plans.plans[0].destination, Destination::Topic { name: "dead".to_owned(), url });
}

#[test]
fn brokers_that_the_template_does_not_say_are_asked_for() {
    let said = refusal(&[]);
    assert!(said.contains("the brokers of BillingOrders (arn:aws:kafka:eu-west-1"), "{said}");
    assert!(said.contains("--kafka kafka://host:port"), "{said}");
    let template = TEMPLATE.replace(
        "            ConsumerGroupId: shippers",
        "            SourceAccessConfigurations: [{Type: SASL_SCRAM_512_AUTH, URI: arn:secret}]",
    );
    let said = plans_of(&template, &["--mapping", "Shipping"]).unwrap_err().to_string();
    assert!(
        said.contains("SASL_SCRAM_512_AUTH (arn:secret)") && said.contains("user:password@one:9092"),
        "{said}"
    );
}

#[test]
fn a_destination_out_of_reach_is_said_before_and_bounds_retries_too() {
    let template = TEMPLATE.replace("kafka://dead", "arn:aws:sqs:eu-west-1:123456789012:dead");
    let plans = plans_of(&template, &["--mapping", "Shipping"]).unwrap();
    assert!(plans.notes.iter().any(|note| note.contains("is not reached from here")), "{:?}", plans.notes);
    assert_eq!(plans.plans[0].mapping.maximum_retry_attempts, Some(10));
}

#[test]
fn a_name_that_is_not_there_is_refused_with_those_that_are() {
    let said = refusal(&["--mapping", "Shiping"]);
    assert!(said.contains("--mapping names Shiping") && said.contains("Shipping, ShippingOrders"), "{said}");
    let said = refusal(&["--function-name", "Shiping=x"]);
    assert!(said.contains("--function-name names Shiping"), "{said}");
}

#[test]
fn a_template_without_a_mapping_that_is_enabled_is_refused() {
    let template = TEMPLATE.replace("StartingPosition: ", "Enabled: false\n            StartingPosition: ");
    let said = plans_of(&template, &[]).unwrap_err().to_string();
    assert!(said.contains("disabled are: ") && said.contains("ShippingOrders"), "{said}");
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

/// The template with a topic that nobody knows.
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
        assert_eq!(plans.plans[0].logical_id, format!("{other}Orders"));
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
