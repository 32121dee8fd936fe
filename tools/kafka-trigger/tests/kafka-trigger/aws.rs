//! A server that stands in for S3, SQS and SNS: moto's, named by `TEST_AWS=http://host:port`. Each test names its resources as no
//! other test does. The server forgets them when it ends.

use std::future::Future;
use std::io::{Write as _, stderr};
use std::sync::Once;

use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};

use crate::broker::{Topic, with_topic};

const VARIABLE: &str = "TEST_AWS";
/// moto's account. Templates are read with the same account.
const ACCOUNT: &str = "123456789012";

#[derive(Clone)]
pub(crate) struct Aws {
    client: Client,
    url: String,
}

/// Runs a test with a Kafka topic that does not exist yet. Without a server, the test is not run, and a line says so once.
pub(crate) async fn with_aws<T: Future<Output = ()>>(test: impl FnOnce(Aws, Topic) -> T) {
    static SAID: Once = Once::new();
    let Ok(url) = std::env::var(VARIABLE) else {
        let said =
            "NOT RUN: the tests on S3, SQS and SNS; set TEST_AWS=http://host:port (deploy/checks/moto)\n";
        SAID.call_once(|| stderr().write_all(said.as_bytes()).unwrap());
        return;
    };
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder().no_proxy().build().unwrap();
    with_topic(|topic| test(Aws { client, url }, topic)).await;
}

impl Aws {
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn queue_arn(name: &str) -> String {
        format!("arn:aws:sqs:us-east-1:{ACCOUNT}:{name}")
    }

    pub(crate) async fn create_queue(&self, name: &str) {
        self.sqs("CreateQueue", &json!({"QueueName": name})).await;
    }

    /// Returns the messages that wait in a queue: at most ten.
    pub(crate) async fn messages(&self, queue: &str) -> Vec<Value> {
        let queue = format!("{}/{ACCOUNT}/{queue}", self.url);
        let wanted = json!({"QueueUrl": queue, "MaxNumberOfMessages": 10, "VisibilityTimeout": 0});
        let received = self.sqs("ReceiveMessage", &wanted).await;
        let messages = received["Messages"].as_array().cloned().unwrap_or_default();
        messages
            .iter()
            .map(|message| serde_json::from_str(message["Body"].as_str().unwrap()).unwrap())
            .collect()
    }

    /// Creates a topic whose messages go to a queue, and returns its ARN.
    pub(crate) async fn create_topic(&self, name: &str, queue: &str) -> String {
        let created = self.sns(&[("Action", "CreateTopic"), ("Name", name)]).await;
        let arn = element(&created, "TopicArn").unwrap().to_owned();
        let endpoint = Self::queue_arn(queue);
        let subscribe =
            [("Action", "Subscribe"), ("TopicArn", &*arn), ("Protocol", "sqs"), ("Endpoint", &*endpoint)];
        self.sns(&subscribe).await;
        arn
    }

    pub(crate) async fn create_bucket(&self, name: &str) {
        self.send("s3", self.client.put(format!("{}/{name}", self.url))).await;
    }

    /// Returns the keys and the contents of a bucket's objects.
    pub(crate) async fn objects(&self, bucket: &str) -> Vec<(String, Value)> {
        let listed = self.send("s3", self.client.get(format!("{}/{bucket}?list-type=2", self.url))).await;
        let mut objects = Vec::new();
        for part in listed.split("<Contents>").skip(1) {
            let key = element(part, "Key").unwrap();
            let object = self.send("s3", self.client.get(format!("{}/{bucket}/{key}", self.url))).await;
            objects.push((key.to_owned(), serde_json::from_str(&object).unwrap()));
        }
        objects
    }

    async fn sqs(&self, action: &str, body: &Value) -> Value {
        let request = self
            .client
            .post(&self.url)
            .header("content-type", "application/x-amz-json-1.0")
            .header("x-amz-target", format!("AmazonSQS.{action}"))
            .body(body.to_string());
        serde_json::from_str(&self.send("sqs", request).await).unwrap()
    }

    async fn sns(&self, parameters: &[(&str, &str)]) -> String {
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
        let request = self.client.post(&self.url).header("content-type", "application/x-www-form-urlencoded");
        self.send("sns", request.body(form)).await
    }

    /// Sends a request, and returns the answer's text. The server reads the service in the signature, and nothing else of it.
    async fn send(&self, service: &str, request: RequestBuilder) -> String {
        let scope = format!("test/20260101/us-east-1/{service}/aws4_request");
        let signature = format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0");
        let answer = request.header("authorization", signature).send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{status}: {text}");
        text
    }
}

/// Returns the content of the first XML element with this name.
fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    Some(rest.split_once(&format!("</{name}>"))?.0)
}
