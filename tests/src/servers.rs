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

const POSTGRES: &str = "TEST_POSTGRES";
const NAMES: [&str; 3] = ["TEST_MONGODB", "TEST_KAFKA", POSTGRES];

/// The number of a topic's partitions: few enough that each has records soon, and enough for two replicas to share.
pub const PARTITIONS: usize = 4;

/// The place of one system: a database, a topic with groups of its own, and a schema, all of the same name. They are deleted when
/// it is dropped.
#[derive(Debug)]
pub struct Servers {
    schema: Schema,
    mongodb: Place,
    kafka: Place,
}

/// The place of one system on PostgreSQL alone: a schema. It is deleted when it is dropped.
#[derive(Debug)]
pub struct Schema {
    name: String,
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
        let [mongodb, kafka] = [urls[0], urls[1]].map(Place::parse);
        Self { schema: Schema::on(urls[2]), mongodb, kafka }
    }

    /// The URL of the event store.
    #[must_use]
    pub fn event_store(&self) -> String {
        self.mongodb.url(&self.schema.name, "")
    }

    /// The URL of the channel.
    #[must_use]
    pub fn channel(&self) -> String {
        let name = &self.schema.name;
        self.kafka.url(name, &format!("partitions={PARTITIONS}&replication=1&group_prefix={name}."))
    }

    /// The URL of the read store.
    #[must_use]
    pub fn read_store(&self) -> String {
        self.schema.url()
    }

    /// The brokers' address: `host:port`.
    #[must_use]
    pub fn brokers(&self) -> &str {
        self.kafka.server.trim_start_matches("kafka://")
    }

    /// The name of the database.
    #[must_use]
    pub fn database(&self) -> &str {
        &self.schema.name
    }

    /// The schema of the read store.
    #[must_use]
    pub const fn schema(&self) -> &Schema {
        &self.schema
    }

    fn drop_database(&self) {
        apart(async {
            let client = Client::with_uri_str(self.event_store()).await.expect("the URL of a MongoDB");
            client.database(self.database()).drop().await.expect("the database is dropped");
        });
    }

    /// Deletes the topic. Groups without members go with the last topic that they read.
    fn drop_topic(&self) {
        apart(async {
            let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
                .set("bootstrap.servers", self.brokers())
                .create()
                .expect("an admin client");
            let deleted = admin.delete_topics(&[self.database()], &AdminOptions::new()).await;
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
    }
}

impl Schema {
    /// Returns a place that nobody else has. Returns `None` when no PostgreSQL is named, and prints that once, even if the test
    /// program captures output.
    ///
    /// # Panics
    /// When PostgreSQL is not there.
    #[must_use]
    pub fn fresh() -> Option<Self> {
        static SAID: Once = Once::new();
        let Ok(url) = env::var(POSTGRES) else {
            SAID.call_once(|| not_run(&format!("the whole system on PostgreSQL alone; {POSTGRES} names it")));
            return None;
        };
        Some(Self::on(&url))
    }

    /// Returns a place that nobody else has on this server.
    ///
    /// # Panics
    /// When it is not there.
    #[must_use]
    pub fn on(url: &str) -> Self {
        let name = format!("orders_test_{}", Uuid::new_v4().simple());
        let schema = Self { name, postgres: Place::parse(url) };
        schema.sql(&format!("CREATE SCHEMA {}", schema.name));
        schema
    }

    /// The URL of the database, with this schema.
    #[must_use]
    pub fn url(&self) -> String {
        self.postgres.url(&self.postgres.path, &format!("options[search_path]={}", self.name))
    }

    /// The number of the views in the read store, of all shapes.
    ///
    /// # Panics
    /// When PostgreSQL does not answer.
    pub async fn views(&self) -> i64 {
        let mut connection = PgConnection::connect(&self.url()).await.expect("PostgreSQL is there");
        let views = sqlx::query_scalar("SELECT count(*) FROM read_store_views");
        views.fetch_one(&mut connection).await.expect("the list of views")
    }

    /// Makes the server take no writes in this database, as a former primary does after a failover.
    ///
    /// # Panics
    /// When PostgreSQL is not there.
    #[must_use]
    pub fn make_read_only(&self) -> ReadOnly<'_> {
        self.set_and_end_sessions("SET default_transaction_read_only = on");
        ReadOnly(self)
    }

    /// Changes a setting of the database, and ends all other sessions, which would keep the former one.
    fn set_and_end_sessions(&self, change: &str) {
        self.sql(&format!("ALTER DATABASE {} {change}", self.postgres.path));
        let others = "datname = current_database() AND pid <> pg_backend_pid()";
        self.sql(&format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}"));
    }

    /// Runs a statement, in a session that may write whatever the database says.
    fn sql(&self, statement: &str) {
        let url = format!("{}&options[default_transaction_read_only]=off", self.url());
        apart(async move {
            let mut connection = PgConnection::connect(&url).await.expect("PostgreSQL is there");
            raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await.expect(statement);
        });
    }
}

/// A database that takes no writes until this value is dropped.
#[derive(Debug)]
pub struct ReadOnly<'a>(&'a Schema);

impl Drop for ReadOnly<'_> {
    fn drop(&mut self) {
        self.0.set_and_end_sessions("RESET default_transaction_read_only");
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
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
