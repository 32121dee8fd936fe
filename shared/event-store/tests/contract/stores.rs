//! The stores of the scenarios: how to open one again, and how to damage its content.

use event_sourcing::{StreamId, Version};
use event_store::{CommitId, EventStore, Namespace};

use crate::build::namespace;

/// One store, new and empty. The drop deletes it.
pub(crate) trait Stores: Sized {
    /// The variant's name, which is also the name of its module in `main.rs`.
    const NAME: &'static str;

    /// Creates a store. Returns `None` if there is no server for it, and says so.
    async fn fresh() -> Option<Self>;

    /// The store's URL.
    fn url(&self) -> String;

    /// Deletes a commit. No program of ours does that.
    async fn lose(&self, stream: &StreamId, version: Version);

    /// Replaces the stored events of a commit with this JSON array.
    async fn overwrite_events(&self, stream: &StreamId, version: Version, events: &str);

    /// Moves a reminder's time ten years ahead, as a wrong clock would.
    async fn put_reminder_ahead(&self, commit: &CommitId);

    /// Changes the text of all of a stream's snapshots.
    async fn damage_snapshots(&self, stream: &StreamId);

    /// Deletes all the small records that expire, as their age will.
    async fn expire_records(&self);

    /// Opens a handle that shares nothing with any other, as another process would.
    async fn open(&self) -> EventStore {
        self.open_namespace(&namespace()).await
    }

    /// Opens another namespace, as [`Stores::open`] does.
    async fn open_namespace(&self, namespace: &Namespace) -> EventStore {
        EventStore::open(self.url(), namespace).await.unwrap()
    }
}

/// A SQLite file in a folder of its own.
#[cfg(feature = "embedded")]
pub(crate) struct Sqlite(tempfile::TempDir);

#[cfg(feature = "embedded")]
impl Sqlite {
    fn tamper(&self, statement: &str, values: impl rusqlite::Params) {
        let connection = rusqlite::Connection::open(self.0.path().join("events.db")).unwrap();
        assert_eq!(connection.execute(statement, values).unwrap(), 1);
    }
}

#[cfg(feature = "embedded")]
impl Stores for Sqlite {
    const NAME: &'static str = "sqlite";

    async fn fresh() -> Option<Self> {
        Some(Self(tempfile::tempdir().unwrap()))
    }

    fn url(&self) -> String {
        format!("sqlite:{}", self.0.path().join("events.db").display())
    }

    async fn lose(&self, stream: &StreamId, version: Version) {
        let place = (stream.as_str(), i64::try_from(version.get()).unwrap());
        self.tamper("DELETE FROM tasks_task_commits WHERE stream = ?1 AND key = ?2", place);
    }

    async fn overwrite_events(&self, stream: &StreamId, version: Version, events: &str) {
        let values = (stream.as_str(), i64::try_from(version.get()).unwrap(), events);
        self.tamper("UPDATE tasks_task_commits SET events = ?3 WHERE stream = ?1 AND key = ?2", values);
    }

    async fn put_reminder_ahead(&self, commit: &CommitId) {
        let ten_years = 10 * 365 * 24 * 3_600 * 1_000_000_i64;
        let values = (commit.stream.as_str(), ten_years);
        self.tamper("UPDATE tasks_task_reminders SET since = since + ?2 WHERE stream = ?1", values);
    }

    async fn damage_snapshots(&self, stream: &StreamId) {
        let connection = rusqlite::Connection::open(self.0.path().join("events.db")).unwrap();
        let damage =
            "UPDATE tasks_task_snapshots SET content = replace(content, 'läwp', 'lüwp') WHERE stream = ?1";
        assert!(connection.execute(damage, [stream.as_str()]).unwrap() > 0);
    }

    async fn expire_records(&self) {
        self.open().await.forget_answered(jiff::Timestamp::MAX).await.unwrap();
    }
}

/// A database of its own on the server that the environment names.
#[cfg(feature = "mongodb")]
pub(crate) struct MongoDb {
    url: String,
    pub(crate) database: mongodb::Database,
}

/// The server that the scenarios run on, such as `mongodb://127.0.0.1:27017`.
#[cfg(feature = "mongodb")]
const MONGODB: &str = "TEST_MONGODB";

#[cfg(feature = "mongodb")]
impl MongoDb {
    /// Returns the store's URL with another host.
    pub(crate) fn url_at(&self, host: std::net::SocketAddr) -> String {
        format!("mongodb://{host}/{}?directConnection=true", self.database.name())
    }

    /// Returns the server's host and port.
    pub(crate) fn host(&self) -> String {
        let rest = self.url.split_once("://").unwrap().1;
        rest.split('/').next().unwrap().to_owned()
    }

    pub(crate) fn commits(&self) -> mongodb::Collection<mongodb::bson::Document> {
        self.database.collection(namespace().as_str())
    }
}

/// Says once that there is no server. It writes to the process's own stderr, because the test program captures the tests' output.
#[cfg(feature = "mongodb")]
fn say_that_there_is_no_server() {
    use std::io::Write;
    static SAID: std::sync::Once = std::sync::Once::new();
    SAID.call_once(|| {
        let line =
            format!("mongodb: NOT TESTED, for {MONGODB} names no server; each mongodb::… is skipped\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
    });
}

#[cfg(feature = "mongodb")]
impl Stores for MongoDb {
    const NAME: &'static str = "mongodb";

    async fn fresh() -> Option<Self> {
        let Ok(server) = std::env::var(MONGODB) else {
            say_that_there_is_no_server();
            return None;
        };
        let (before, options) =
            server.split_once('?').map_or((&*server, ""), |(url, options)| (url, options));
        let (scheme, hosts) = before.split_once("://").unwrap();
        let hosts = hosts.split('/').next().unwrap();
        let database = format!("events_test_{:016x}", rand::random::<u64>());
        let url = format!("{scheme}://{hosts}/{database}?{options}");
        let client = mongodb::Client::with_uri_str(&url).await.unwrap();
        Some(Self { url, database: client.database(&database) })
    }

    fn url(&self) -> String {
        self.url.clone()
    }

    async fn lose(&self, stream: &StreamId, version: Version) {
        let place = mongodb::bson::doc! { "stream": stream.as_str(), "version": version.get() as i64 };
        assert_eq!(self.commits().delete_one(place).await.unwrap().deleted_count, 1);
    }

    async fn overwrite_events(&self, stream: &StreamId, version: Version, events: &str) {
        use mongodb::bson::{Bson, Document, doc, serialize_to_bson};
        use serde_json::{Value, value::RawValue};
        type Fields = std::collections::BTreeMap<String, Box<RawValue>>;
        let events: Vec<Fields> = serde_json::from_str(events).unwrap();
        // An event's data is stored as text, its other fields as they are.
        let field = |name: &str, value: &RawValue| match name {
            "data" => Bson::from(value.get()),
            _ => serialize_to_bson(&serde_json::from_str::<Value>(value.get()).unwrap()).unwrap(),
        };
        let fields = |event: &Fields| -> Document {
            event.iter().map(|(name, value)| (name.clone(), field(name, value))).collect()
        };
        let events: Vec<Document> = events.iter().map(fields).collect();
        let place = doc! { "stream": stream.as_str(), "version": version.get() as i64 };
        let overwritten = self.commits().update_one(place, doc! { "$set": { "events": events } }).await;
        assert_eq!(overwritten.unwrap().matched_count, 1);
    }

    async fn put_reminder_ahead(&self, commit: &CommitId) {
        use mongodb::bson::{DateTime, doc};
        let place = doc! { "stream": commit.stream.as_str(), "version": commit.version.get() as i64 };
        let ten_years = 10 * 365 * 24 * 3_600 * 1_000;
        let ahead = DateTime::from_millis(DateTime::now().timestamp_millis() + ten_years);
        let changed = self.commits().update_one(place, doc! { "$set": { "reminder.since": ahead } }).await;
        assert_eq!(changed.unwrap().modified_count, 1);
    }

    async fn damage_snapshots(&self, stream: &StreamId) {
        use mongodb::bson::{Document, doc};
        let snapshots = self.database.collection::<Document>(&format!("{}_snapshots", namespace()));
        let of_stream = doc! { "_id": { "$gt": format!("{stream}@"), "$lt": format!("{stream}A") } };
        let mut found = snapshots.find(of_stream).await.unwrap();
        let mut damaged = 0;
        while found.advance().await.unwrap() {
            let mut snapshot: Document = found.deserialize_current().unwrap();
            let content = snapshot.get_str("content").unwrap().replace("läwp", "lüwp");
            snapshot.insert("content", content);
            let id = doc! { "_id": snapshot.get_str("_id").unwrap() };
            damaged += snapshots.replace_one(id, snapshot).await.unwrap().modified_count;
        }
        assert!(damaged > 0);
    }

    /// The server deletes what is in the index `forget`, some time after the time that it names.
    async fn expire_records(&self) {
        let expiring = mongodb::bson::doc! { "forget_at": { "$exists": true } };
        self.commits().delete_many(expiring).await.unwrap();
    }
}

#[cfg(feature = "mongodb")]
impl Drop for MongoDb {
    fn drop(&mut self) {
        let runtime = tokio::runtime::Handle::current();
        let dropped = tokio::task::block_in_place(|| runtime.block_on(self.database.drop().into_future()));
        if !std::thread::panicking() {
            dropped.unwrap();
        }
    }
}

/// A schema of its own on the server that the environment names.
#[cfg(feature = "postgres")]
pub(crate) struct Postgres(pub(crate) crate::database::Database);

#[cfg(feature = "postgres")]
impl Postgres {
    /// Runs a statement past every store.
    pub(crate) async fn tamper(&self, statement: &'static str, commit: (&StreamId, Version), value: &str) {
        let tampered = sqlx::query(statement)
            .bind(commit.0.as_str())
            .bind(i64::try_from(commit.1.get()).unwrap())
            .bind(value)
            .execute(&mut self.0.connect().await)
            .await;
        assert_eq!(tampered.unwrap().rows_affected(), 1);
    }
}

#[cfg(feature = "postgres")]
impl Stores for Postgres {
    const NAME: &'static str = "postgres";

    async fn fresh() -> Option<Self> {
        crate::database::Database::fresh().await.map(Self)
    }

    fn url(&self) -> String {
        self.0.url()
    }

    async fn lose(&self, stream: &StreamId, version: Version) {
        let lose = "DELETE FROM tasks_task_commits WHERE stream = $1 AND version = $2 AND events <> $3";
        self.tamper(lose, (stream, version), "").await;
    }

    async fn overwrite_events(&self, stream: &StreamId, version: Version, events: &str) {
        let overwrite = "UPDATE tasks_task_commits SET events = $3 WHERE stream = $1 AND version = $2";
        self.tamper(overwrite, (stream, version), events).await;
    }

    async fn put_reminder_ahead(&self, commit: &CommitId) {
        let ten_years = (10 * 365 * 24 * 3_600 * 1_000_000_i64).to_string();
        let ahead = "UPDATE tasks_task_reminders SET since = since + $3::text::bigint WHERE stream = $1 AND version = $2";
        self.tamper(ahead, (&commit.stream, commit.version), &ten_years).await;
    }

    async fn damage_snapshots(&self, stream: &StreamId) {
        let damage =
            "UPDATE tasks_task_snapshots SET content = replace(content, 'läwp', 'lüwp') WHERE stream = $1";
        let damaged = sqlx::query(damage).bind(stream.as_str()).execute(&mut self.0.connect().await).await;
        assert!(damaged.unwrap().rows_affected() > 0);
    }

    async fn expire_records(&self) {
        let age = "UPDATE tasks_task_commits SET answered_at = now() - interval '25 hours' WHERE answered_at IS NOT NULL";
        sqlx::query(age).execute(&mut self.0.connect().await).await.unwrap();
        self.open().await.forget_answered(jiff::Timestamp::MAX).await.unwrap();
    }
}
