//! A store for a scenario: how it is opened again, and how its content is damaged.

use domain::{OrderId, Version};
use event_store::EventStore;

/// One store, fresh and empty, that is gone when this is dropped.
pub(crate) trait Stores: Sized {
    /// The variant's name, which is also that of its module in `main.rs`.
    const NAME: &'static str;

    /// Makes it.
    async fn fresh() -> Self;

    /// Where it is.
    fn url(&self) -> String;

    /// Deletes a commit, which no program of ours does.
    async fn lose(&self, stream: &OrderId, version: Version);

    /// Replaces what is recorded as a commit's events: an array as JSON.
    async fn overwrite_events(&self, stream: &OrderId, version: Version, events: &str);

    /// A handle that shares nothing with any other, as another process would have it.
    async fn open(&self) -> EventStore {
        EventStore::open(&self.url()).await.unwrap()
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

    async fn fresh() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn url(&self) -> String {
        format!("sqlite:{}", self.0.path().join("events.db").display())
    }

    async fn lose(&self, stream: &OrderId, version: Version) {
        let place = (stream.as_str(), i64::try_from(version.get()).unwrap());
        self.tamper("DELETE FROM streams WHERE stream = ?1 AND key = ?2", place);
    }

    async fn overwrite_events(&self, stream: &OrderId, version: Version, events: &str) {
        let values = (stream.as_str(), i64::try_from(version.get()).unwrap(), events);
        self.tamper("UPDATE streams SET events = ?3 WHERE stream = ?1 AND key = ?2", values);
    }
}
