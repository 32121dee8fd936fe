//! The messages before Kafka can be read, and the end of that wait.

use std::fs::{self, File};
use std::net::TcpListener;
use std::process::{Command, Stdio};

use crate::broker::with_topic;
use crate::function::Function;
use crate::support::{Place, until};

const TEMPLATE: &str = "Resources:
  Mapping:
    Type: AWS::Lambda::EventSourceMapping
    Properties:
      FunctionName: f
      SelfManagedEventSource: { Endpoints: { KafkaBootstrapServers: ['broker.example.com:9092'] } }
      StartingPosition: LATEST
      Topics: [payments]
";

#[tokio::test]
async fn brokers_out_of_reach_are_said_in_one_line_and_an_interrupt_ends_the_wait() {
    let folder = tempfile::tempdir().unwrap();
    let (template, errors) = (folder.path().join("template.yaml"), folder.path().join("errors"));
    fs::write(&template, TEMPLATE).unwrap();
    // Nobody listens on this port, because its listener was just dropped.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut trigger = Command::new(env!("CARGO_BIN_EXE_kafka-trigger"))
        .args(["--kafka", &address.to_string(), "--template"])
        .arg(&template)
        .stdout(Stdio::null())
        .stderr(File::create(&errors).unwrap())
        .spawn()
        .unwrap();
    let said = async || fs::read_to_string(&errors).unwrap();
    let line = format!("kafka-trigger: no broker takes a connection at {address}: Connection refused");
    until(async || said().await.contains(&line).then_some(())).await;
    assert!(Command::new("kill").args(["-INT", &trigger.id().to_string()]).status().unwrap().success());
    let status = until(async || trigger.try_wait().unwrap()).await;
    assert_eq!(status.code(), Some(0));
    // Three lines: the announced mapping, the unreachable brokers, and the stop.
    assert_eq!(said().await.lines().count(), 3, "{}", said().await);
}

#[tokio::test]
async fn a_topic_that_is_not_there_is_said_once_and_waited_for() {
    with_topic(|topic| async move {
        let folder = tempfile::tempdir().unwrap();
        let place = Place { function: Function::start(folder.path()), folder, topic };
        let trigger = place.start("f", "StartingPosition: TRIM_HORIZON", &[]);
        let missing = "is not there; create it, or let ?create=true in the URL create it";
        until(async || trigger.errors().contains(missing).then_some(())).await;
        place.topic.create(1, &[]).await;
        let channel = place.channel();
        until(async || channel.publish(vec![]).await.ok()).await;
        place.publish(0..1).await;
        place.until(|notes| notes.len() == 1).await;
        assert_eq!(trigger.errors().matches("is not there").count(), 1, "{}", trigger.errors());
        trigger.stop().await;
    })
    .await;
}
