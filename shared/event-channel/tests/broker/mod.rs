//! A real broker for tests, named by `TEST_KAFKA=kafka://host:port`. Every test has a topic of its own, so that all tests can run
//! at the same time. The topic is deleted after its test, also when the test fails.

use std::future::Future;
use std::io::{Write as _, stderr};
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use event_channel::EventChannel;
use futures_util::FutureExt as _;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::{Offset, TopicPartitionList};

const VARIABLE: &str = "TEST_KAFKA";
const PATIENCE: Duration = Duration::from_secs(30);

/// A topic that only one test uses.
pub(crate) struct Topic {
    brokers: String,
    name: String,
}

/// Runs a test with a topic that does not exist yet. Without a broker the test is not run. That is written to stderr directly,
/// because the test harness hides the output of a test.
pub(crate) async fn with_topic<T: Future<Output = ()>>(test: impl FnOnce(Topic) -> T) {
    static SAID: Once = Once::new();
    let Ok(url) = std::env::var(VARIABLE) else {
        let said = "NOT RUN: the tests on a real Kafka broker; set TEST_KAFKA=kafka://host:port\n";
        SAID.call_once(|| stderr().write_all(said.as_bytes()).unwrap());
        return;
    };
    let brokers = url.strip_prefix("kafka://").expect("TEST_KAFKA is kafka://host:port");
    let brokers = brokers.split('/').next().unwrap().to_owned();
    let topic = Topic { brokers, name: name() };
    let (name, admin) = (topic.name.clone(), topic.admin());
    let outcome = AssertUnwindSafe(test(topic)).catch_unwind().await;
    let deleted = admin.delete_topics(&[&name], &AdminOptions::new()).await;
    if let Err(panic) = outcome {
        resume_unwind(panic);
    }
    deleted.unwrap();
}

/// A topic name that no other test, process or run has.
fn name() -> String {
    static TOPICS: AtomicU32 = AtomicU32::new(0);
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    format!("test.{started}.{}.{}", std::process::id(), TOPICS.fetch_add(1, Ordering::Relaxed))
}

#[allow(dead_code, reason = "each test target uses its part")]
impl Topic {
    /// Opens the channel on this topic, with group names of its own. `options` are the options after the question mark.
    pub(crate) fn open(&self, options: &str) -> EventChannel {
        let Self { brokers, name } = self;
        EventChannel::open(format!("kafka://{brokers}/{name}?group_prefix={name}.&{options}")).unwrap()
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn admin(&self) -> AdminClient<DefaultClientContext> {
        ClientConfig::new().set("bootstrap.servers", &self.brokers).create().unwrap()
    }

    /// Creates the topic, as another program would.
    pub(crate) async fn create(&self, partitions: i32, settings: &[(&str, &str)]) {
        let topic = NewTopic::new(&self.name, partitions, TopicReplication::Fixed(1));
        let topic = settings.iter().fold(topic, |topic, (name, value)| topic.set(name, value));
        let created = self.admin().create_topics([&topic], &AdminOptions::new()).await.unwrap();
        created.into_iter().next().unwrap().unwrap();
    }

    /// Changes a setting of the topic.
    pub(crate) async fn set(&self, name: &str, value: &str) {
        let config = AlterConfig::new(ResourceSpecifier::Topic(&self.name)).set(name, value);
        let altered = self.admin().alter_configs([&config], &AdminOptions::new()).await.unwrap();
        altered.into_iter().next().unwrap().unwrap();
    }

    pub(crate) fn brokers(&self) -> &str {
        &self.brokers
    }

    /// Deletes the topic, and waits until it is gone.
    pub(crate) async fn delete(&self) {
        let deleted = self.admin().delete_topics(&[&self.name], &AdminOptions::new()).await.unwrap();
        deleted.into_iter().next().unwrap().unwrap();
        while self.is_there() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn is_there(&self) -> bool {
        let metadata = self.admin().inner().fetch_metadata(Some(&self.name), PATIENCE).unwrap();
        metadata.topics().iter().any(|topic| !topic.partitions().is_empty())
    }

    /// Deletes the records of partition 0 before this offset.
    pub(crate) async fn delete_records(&self, before: i64) {
        let mut gone = TopicPartitionList::new();
        gone.add_partition_offset(&self.name, 0, Offset::Offset(before)).unwrap();
        self.admin().delete_records(&gone, &AdminOptions::new()).await.unwrap();
    }

    /// The number of partitions of the topic.
    pub(crate) fn partitions(&self) -> usize {
        let metadata = self.admin().inner().fetch_metadata(Some(&self.name), PATIENCE).unwrap();
        metadata.topics()[0].partitions().len()
    }
}
