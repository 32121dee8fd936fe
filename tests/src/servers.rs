//! Real servers, named by `TEST_MONGODB=mongodb://host:port`, `TEST_KAFKA=kafka://host:port` and
//! `TEST_POSTGRES=postgres://user:password@host:port/database`; options may follow a question mark. `deploy/test` starts
//! them and sets the three.

use std::env;
use std::sync::Once;
use std::thread;

use mongodb::Client;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::types::RDKafkaErrorCode;
use sqlx::{AssertSqlSafe, Connection, PgConnection, raw_sql};
use uuid::Uuid;

use crate::report::not_run;

const NAMES: [&str; 3] = ["TEST_MONGODB", "TEST_KAFKA", "TEST_POSTGRES"];

/// The number of a topic's partitions: few enough that each has records soon, and enough for two replicas to share.
pub const PARTITIONS: usize = 4;

/// The place of one system: a database, a topic with groups of its own, and a schema, all of the same name. They are deleted when
/// it is dropped.
#[derive(Debug)]
pub struct Servers {
    name: String,
    mongodb: Place,
    kafka: Place,
    postgres: Place,
}

/// A server's URL in parts.
#[derive(Debug)]
struct Place {
    /// The URL up to where a path would begin.
    server: String,
    /// The text after the first `/`.
    path: String,
    /// The text after the `?`.
    options: String,
}

impl Servers {
    /// Returns a place that nobody else has. Returns `None` when servers are not named, and prints that once, even if the test
    /// program captures output.
    ///
    /// # Panics
    /// When PostgreSQL is not there.
    #[must_use]
    pub fn fresh() -> Option<Self> {
        static SAID: Once = Once::new();
        let urls = NAMES.map(|name| env::var(name).ok());
        let [Some(mongodb), Some(kafka), Some(postgres)] = urls else {
            let what = format!("the whole system on real servers; {} name them", NAMES.join(", "));
            SAID.call_once(|| not_run(&what));
            return None;
        };
        Some(Self::on([&mongodb, &kafka, &postgres]))
    }

    /// Returns a place that nobody else has on these servers: a MongoDB, a Kafka and a PostgreSQL.
    ///
    /// # Panics
    /// When PostgreSQL is not there.
    #[must_use]
    pub fn on(urls: [&str; 3]) -> Self {
        let [mongodb, kafka, postgres] = urls.map(Place::parse);
        let name = format!("orders_test_{}", Uuid::new_v4().simple());
        let servers = Self { name, mongodb, kafka, postgres };
        servers.sql(&format!("CREATE SCHEMA {}", servers.name));
        servers
    }

    /// The URL of the event store.
    #[must_use]
    pub fn event_store(&self) -> String {
        self.mongodb.url(&self.name, "")
    }

    /// The URL of the channel.
    #[must_use]
    pub fn channel(&self) -> String {
        let name = &self.name;
        self.kafka.url(name, &format!("partitions={PARTITIONS}&replication=1&group_prefix={name}."))
    }

    /// The URL of the read store.
    #[must_use]
    pub fn read_store(&self) -> String {
        self.postgres.url(&self.postgres.path, &format!("options[search_path]={}", self.name))
    }

    /// The brokers' address: `host:port`.
    #[must_use]
    pub fn brokers(&self) -> &str {
        self.kafka.server.trim_start_matches("kafka://")
    }

    /// The name of the database.
    #[must_use]
    pub fn database(&self) -> &str {
        &self.name
    }

    /// The number of the views in the read store, of all shapes.
    ///
    /// # Panics
    /// When PostgreSQL does not answer.
    pub async fn views(&self) -> i64 {
        let mut connection = PgConnection::connect(&self.read_store()).await.expect("PostgreSQL is there");
        let views = sqlx::query_scalar("SELECT count(*) FROM read_store_views");
        views.fetch_one(&mut connection).await.expect("the list of views")
    }

    fn sql(&self, statement: &str) {
        let url = self.read_store();
        apart(async move {
            let mut connection = PgConnection::connect(&url).await.expect("PostgreSQL is there");
            raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await.expect(statement);
        });
    }

    fn drop_database(&self) {
        apart(async {
            let client = Client::with_uri_str(self.event_store()).await.expect("the URL of a MongoDB");
            client.database(&self.name).drop().await.expect("the database is dropped");
        });
    }

    /// Deletes the topic. Groups without members go with the last topic that they read.
    fn drop_topic(&self) {
        apart(async {
            let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
                .set("bootstrap.servers", self.brokers())
                .create()
                .expect("an admin client");
            let deleted = admin.delete_topics(&[&self.name], &AdminOptions::new()).await;
            // Not every test gets so far that a topic is created.
            let is_gone = |outcome: &Result<String, (String, RDKafkaErrorCode)>| {
                matches!(outcome, Ok(_) | Err((_, RDKafkaErrorCode::UnknownTopicOrPartition)))
            };
            let deleted = deleted.expect("the brokers answer");
            assert!(deleted.iter().all(is_gone), "{deleted:?}");
        });
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.drop_database();
        self.drop_topic();
        self.sql(&format!("DROP SCHEMA {} CASCADE", self.name));
    }
}

impl Place {
    fn parse(url: &str) -> Self {
        let (url, options) = url.split_once('?').unwrap_or((url, ""));
        let (scheme, rest) = url.split_once("://").expect("the URL of a server has ://");
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        Self { server: format!("{scheme}://{authority}"), path: path.to_owned(), options: options.to_owned() }
    }

    /// Returns the URL with these options before those that were given.
    fn url(&self, path: &str, options: &str) -> String {
        let options: Vec<_> = [options, &self.options].into_iter().filter(|part| !part.is_empty()).collect();
        format!("{}/{path}?{}", self.server, options.join("&"))
    }
}

/// Runs `work` to its end on a thread of its own, because a test can't block on its own runtime. If a test is failing already, an
/// error here does not replace that failure.
fn apart(work: impl Future<Output = ()> + Send) {
    let outcome = thread::scope(|scope| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        scope.spawn(move || runtime.block_on(work)).join()
    });
    assert!(outcome.is_ok() || thread::panicking(), "the servers did not do what they were asked");
}
