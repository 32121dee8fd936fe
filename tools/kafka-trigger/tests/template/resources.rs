//! The values of references to resources of the template, and the resources that SAM makes of its functions.

use crate::support::{error, only, read_with, with};

const RESOURCES: &str = "
  Fun: { Type: AWS::Lambda::Function, Properties: { FunctionName: fun } }
  Bare: { Type: AWS::Lambda::Function, Properties: {} }
  Live: { Type: AWS::Lambda::Alias, Properties: { FunctionName: !GetAtt Fun.Arn, FunctionVersion: !GetAtt One.Version, Name: live } }
  One: { Type: AWS::Lambda::Version, Properties: { FunctionName: !Ref Fun } }
  Sam: { Type: AWS::Serverless::Function, Properties: { AutoPublishAlias: prod } }
  Msk: { Type: AWS::MSK::Cluster, Properties: { ClusterName: c } }
  Less: { Type: AWS::MSK::ServerlessCluster, Properties: {} }
  Queue: { Type: AWS::SQS::Queue, Properties: { QueueName: !Sub '${AWS::StackName}-q' } }
  Topic: { Type: AWS::SNS::Topic }
  Bucket: { Type: AWS::S3::Bucket, Properties: { BucketName: b } }
  Stream: { Type: AWS::Kinesis::Stream }
  Elsewhere: { Type: AWS::Lambda::Alias, Properties: { FunctionName: !ImportValue f, Name: live } }
";

/// Evaluates a text, in a property that takes any text.
fn value(written: &str, parameters: &[(&str, &str)]) -> String {
    let access = format!("SourceAccessConfigurations:\n  - Type: VPC_SUBNET\n    URI: {written}");
    let text = format!("{}{RESOURCES}", with("", &access));
    read_with(&text, parameters).unwrap().mappings[0].access[0].1.clone()
}

/// The expected values are those under "Return values" on the pages of the resource types.
#[test]
fn references_give_what_cloudformation_gives() {
    let lambda = "arn:aws:lambda:us-east-1:123456789012:function:";
    let cluster = "arn:aws:kafka:us-east-1:123456789012:cluster/";
    let end = "/00000000-0000-0000-0000-000000000000-1";
    for (written, expected) in [
        ("!Ref Fun", "fun".to_owned()),
        ("!GetAtt Fun.Arn", format!("{lambda}fun")),
        ("!Sub '${Fun}/${Fun.Arn}'", format!("fun/{lambda}fun")),
        ("!Ref Bare", "Bare".to_owned()),
        ("!Ref Live", format!("{lambda}fun:live")),
        ("!GetAtt Live.AliasArn", format!("{lambda}fun:live")),
        ("!Ref One", format!("{lambda}fun:$LATEST")),
        ("!GetAtt One.FunctionArn", format!("{lambda}fun:$LATEST")),
        ("!GetAtt One.Version", "$LATEST".to_owned()),
        ("!Ref Sam.Alias", format!("{lambda}Sam:prod")),
        ("!Ref SamAliasprod", format!("{lambda}Sam:prod")),
        ("!Ref SamRole", "SamRole".to_owned()),
        ("!GetAtt SamRole.Arn", "arn:aws:iam::123456789012:role/SamRole".to_owned()),
        ("!Ref Msk", format!("{cluster}c{end}")),
        ("!GetAtt Msk.Arn", format!("{cluster}c{end}")),
        ("!GetAtt Less.Arn", format!("{cluster}Less{end}")),
        ("!Ref Queue", "https://sqs.us-east-1.amazonaws.com/123456789012/local-q".to_owned()),
        ("!GetAtt Queue.Arn", "arn:aws:sqs:us-east-1:123456789012:local-q".to_owned()),
        ("!GetAtt Queue.QueueName", "local-q".to_owned()),
        ("!Ref Topic", "arn:aws:sns:us-east-1:123456789012:Topic".to_owned()),
        ("!GetAtt Topic.TopicName", "Topic".to_owned()),
        ("!Ref Bucket", "b".to_owned()),
        ("!GetAtt Bucket.Arn", "arn:aws:s3:::b".to_owned()),
        ("!Ref Stream", "Stream".to_owned()),
        ("!GetAtt Stream.Arn", "arn:aws:kinesis:us-east-1:123456789012:stream/Stream".to_owned()),
    ] {
        assert_eq!(value(written, &[]), expected, "{written}");
    }
}

#[test]
fn arns_have_the_region_and_the_account_of_the_pseudo_parameters() {
    let parameters = [("AWS::Region", "eu-west-1"), ("AWS::AccountId", "1"), ("AWS::Partition", "aws-cn")];
    assert_eq!(value("!GetAtt Queue.Arn", &parameters), "arn:aws-cn:sqs:eu-west-1:1:local-q");
    // The caller's value goes first.
    assert_eq!(value("!GetAtt Queue.Arn", &[("Queue.Arn", "mine")]), "mine");
    assert_eq!(value("!Ref Topic", &[("Topic", "mine")]), "mine");
    assert_eq!(value("!GetAtt Fun.Arn", &[("Fun", "f")]), "arn:aws:lambda:us-east-1:123456789012:function:f");
}

#[test]
fn what_does_not_follow_from_a_name_is_asked_for() {
    for written in ["!Ref Elsewhere", "!GetAtt Msk.BootstrapBrokers", "!GetAtt Queue.Nothing"] {
        let text = format!("{}{RESOURCES}", with("", &format!("FunctionName: {written}")));
        let error = error(&text);
        assert!(error.contains("which only the deployed stack knows"), "{written}: {error}");
    }
}

/// The shape that CDK writes for `alias.addEventSource`.
#[test]
fn a_mapping_on_an_alias_leads_to_its_function() {
    for named in ["!Ref Live", "!Join ['', [!Select [6, !Split [':', !Ref Live]], ':live']]"] {
        let text = format!("{}{RESOURCES}", with("", &format!("FunctionName: {named}")));
        let function = only(&text).function;
        assert_eq!((function.logical_id.as_str(), function.invoke_name()), ("Fun", "fun"), "{named}");
        assert_eq!(function.qualifier.as_deref(), Some("live"), "{named}");
    }
}

#[test]
fn a_cluster_of_the_template_is_where_events_come_from() {
    for cluster in ["!GetAtt Msk.Arn", "!Ref Msk"] {
        let mapping = with("", &format!("EventSourceArn: {cluster}"));
        let mapping = mapping.replace(
            "      SelfManagedEventSource: { Endpoints: { KafkaBootstrapServers: ['localhost:9092'] } }\n",
            "",
        );
        let arn = "arn:aws:kafka:us-east-1:123456789012:cluster/c/00000000-0000-0000-0000-000000000000-1";
        let found = only(&format!("{mapping}{RESOURCES}"));
        assert_eq!(found.mapping.event_source.arn.as_deref(), Some(arn));
        // Only the cluster shows that this is a mapping of Kafka.
        let without_topics = mapping.replace("      Topics: [orders]\n", "");
        let error = error(&format!("{without_topics}{RESOURCES}"));
        assert_eq!(error, "Orders: Topics is missing; it must be a list with exactly one topic");
    }
}
