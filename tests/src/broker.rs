//! Changes that somebody makes to a system's topic, past the system: deletes it or its records, creates it again, changes its
//! settings.

use std::time::Duration;

use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::poll::until;
use crate::servers::Servers;

/// The time limit for one request to the brokers.
const ANSWER: Duration = Duration::from_secs(20);

/// A system's topic, as its operator sees it.
pub struct Broker {
    admin: AdminClient<DefaultClientContext>,
    topic: String,
    brokers: String,
}

impl Broker {
    /// Returns access to the topic of a system on these servers.
    ///
    /// # Panics
    /// When no client can be made.
    #[must_use]
    pub fn of(servers: &Servers) -> Self {
        let mut config = ClientConfig::new();
        let admin = config.set("bootstrap.servers", servers.brokers()).create().expect("an admin client");
        Self { admin, topic: servers.database().to_owned(), brokers: servers.brokers().to_owned() }
    }

    /// Deletes the topic, and waits until it is gone.
    ///
    /// # Panics
    /// When the brokers refuse that.
    pub async fn delete_topic(&self) {
        let deleted = self.admin.delete_topics(&[&self.topic], &AdminOptions::new()).await;
        assert!(deleted.expect("an answer").iter().all(Result::is_ok));
    }

    /// Creates the topic with so many partitions. Returns `false` when somebody else was quicker.
    ///
    /// # Panics
    /// When the brokers do not answer.
    pub async fn create_topic(&self, partitions: i32) -> bool {
        let topic = NewTopic::new(&self.topic, partitions, TopicReplication::Fixed(1));
        let created = self.admin.create_topics([&topic], &AdminOptions::new()).await;
        created.expect("an answer").iter().all(Result::is_ok)
    }

    /// Raises the number of the topic's partitions to this.
    ///
    /// # Panics
    /// When the brokers refuse that.
    pub async fn add_partitions(&self, partitions: usize) {
        let wanted = [NewPartitions::new(&self.topic, partitions)];
        let added = self.admin.create_partitions(&wanted, &AdminOptions::new()).await;
        assert!(added.expect("an answer").iter().all(Result::is_ok));
    }

    /// Returns the number of the topic's partitions; 0 when there is no topic.
    ///
    /// # Panics
    /// When the brokers do not answer.
    #[must_use]
    pub fn partitions(&self) -> i32 {
        let metadata = self.admin.inner().fetch_metadata(Some(&self.topic), ANSWER).expect("an answer");
        metadata.topics().first().map_or(0, |topic| i32::try_from(topic.partitions().len()).expect("few"))
    }

    /// Returns, for each partition, the offset that a function's group has committed, and the partition's end.
    ///
    /// # Panics
    /// When the brokers do not answer.
    #[must_use]
    pub fn positions(&self, group: &str) -> Vec<(i64, i64)> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set("group.id", self.group_of(group));
        let outsider: BaseConsumer = config.create().expect("a consumer");
        let mut asked = TopicPartitionList::new();
        for partition in 0..self.partitions() {
            asked.add_partition(&self.topic, partition);
        }
        let known = outsider.committed_offsets(asked, ANSWER).expect("positions");
        let known = known.elements().into_iter().map(|element| {
            let end = outsider.fetch_watermarks(&self.topic, element.partition(), ANSWER).expect("ends").1;
            (element.offset().to_raw().expect("an offset").max(0), end)
        });
        known.collect()
    }

    /// Returns the whole name of a group. A group that projects has the digest of its view's shape behind its name.
    fn group_of(&self, group: &str) -> String {
        let begins = format!("{}.{group}", self.topic);
        let groups = self.admin.inner().fetch_group_list(None, ANSWER).expect("groups");
        let is_group = |name: &&str| {
            name.strip_prefix(&*begins).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        };
        groups.groups().iter().map(|group| group.name()).find(is_group).expect("a group").to_owned()
    }

    /// Deletes all records, as `kafka-delete-records` does, and as retention does in time. Returns their number.
    ///
    /// # Panics
    /// When the brokers refuse that.
    pub async fn delete_records(&self) -> i64 {
        let mut all = TopicPartitionList::new();
        let mut records = 0;
        for partition in 0..self.partitions() {
            let ends = self.admin.inner().fetch_watermarks(&self.topic, partition, ANSWER).expect("ends");
            records += ends.1 - ends.0;
            all.add_partition_offset(&self.topic, partition, Offset::End).expect("an offset");
        }
        self.admin.delete_records(&all, &AdminOptions::new()).await.expect("they are deleted");
        records
    }

    /// Sets the largest batch of records that the topic takes.
    ///
    /// # Panics
    /// When the brokers refuse that.
    pub async fn limit(&self, bytes: usize) {
        let bytes = bytes.to_string();
        let alteration =
            AlterConfig::new(ResourceSpecifier::Topic(&self.topic)).set("max.message.bytes", &bytes);
        let altered = self.admin.alter_configs([&alteration], &AdminOptions::new()).await;
        assert!(altered.expect("an answer").iter().all(Result::is_ok));
    }

    /// Waits until the topic is there.
    pub async fn until_there(&self) {
        until("the topic to be there", async || (self.partitions() > 0).then_some(())).await;
    }
}
