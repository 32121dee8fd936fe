//! The database of the original program. Each test has its own, which is dropped with the test's seed.

use std::io::{Write as _, stderr};
use std::sync::Once;

use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Document, doc};
use mongodb::{Client, Collection, Database};

const SERVER: &str = "TEST_MONGODB";

/// A seed, and the database of an event store beside it.
pub(crate) struct Seed {
    url: String,
    events_url: String,
    client: Client,
    databases: [Database; 2],
}

impl Seed {
    /// An empty seed. Without a server it returns `None` and says so on the standard error itself, which the test program does
    /// not capture.
    pub(crate) async fn fresh() -> Option<Self> {
        static SAID: Once = Once::new();
        let Ok(server) = std::env::var(SERVER) else {
            let line = format!("NOT RUN: orders import-seed on a real server, for {SERVER} names none\n");
            SAID.call_once(|| stderr().write_all(line.as_bytes()).unwrap());
            return None;
        };
        let (before, options) = server.split_once('?').unwrap_or((&server, ""));
        let (scheme, hosts) = before.split_once("://").unwrap();
        let hosts = hosts.split('/').next().unwrap();
        let name = format!("orders_test_{:016x}", rand::random::<u64>());
        let names = [name.clone(), format!("{name}_events")];
        let [url, events_url] = names.each_ref().map(|name| format!("{scheme}://{hosts}/{name}?{options}"));
        let client = Client::with_uri_str(&url).await.unwrap();
        let databases = names.each_ref().map(|name| client.database(name));
        Some(Self { url, events_url, client, databases })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The URL of an event store on the same server, in a database of its own.
    pub(crate) fn events_url(&self) -> String {
        self.events_url.clone()
    }

    fn commands(&self) -> Collection<Document> {
        self.databases[0].collection("commands")
    }

    pub(crate) async fn insert(&self, documents: impl IntoIterator<Item = &Document>) {
        self.commands().insert_many(documents).await.unwrap();
    }

    pub(crate) async fn replace(&self, document: Document) {
        let id = doc! { "_id": document.get("_id").unwrap() };
        assert_eq!(self.commands().replace_one(id, document).await.unwrap().matched_count, 1);
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        let runtime = tokio::runtime::Handle::current();
        let dropped = tokio::task::block_in_place(|| {
            runtime.block_on(async {
                for database in &self.databases {
                    database.drop().await?;
                }
                self.client.clone().shutdown().await;
                mongodb::error::Result::Ok(())
            })
        });
        if !std::thread::panicking() {
            dropped.unwrap();
        }
    }
}

/// The id for a number. Ids have the order of their numbers.
pub(crate) fn number(number: u32) -> ObjectId {
    let mut bytes = [0x5f; 12];
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    ObjectId::from_bytes(bytes)
}

pub(crate) fn create(id: u32, order: &str, name: &str) -> Document {
    let data = serde_json::json!({"id": order, "name": name, "status": "new"}).to_string();
    doc! { "_id": number(id), "name": "create_order", "data": data }
}

pub(crate) fn process(id: u32, order: &str) -> Document {
    let data = serde_json::json!({"id": order, "name": "", "status": "new"}).to_string();
    doc! { "_id": number(id), "name": "process_order", "data": data }
}
