//! Databases of their own on the MongoDB server, and the driver as the raw limit.

use std::time::Duration;

use anyhow::Context;
use event_store::EventStore;
use mongodb::bson::RawDocumentBuf;
use mongodb::options::{Acknowledgment, ClientOptions, ReadConcern, WriteConcern};
use mongodb::{Client, Collection};

use super::commits::{Outbox, Template, created};
use super::given::Servers;

/// The number of documents in one insert of [`Database::fill`].
const FILL: u64 = 1_000;

/// A database that nobody else has.
pub(crate) struct Database {
    /// The URL, as that of an event store.
    pub(crate) url: String,
    name: String,
    client: Client,
}

impl Database {
    pub(crate) async fn fresh(servers: &Servers) -> anyhow::Result<Self> {
        let name = super::given::fresh_name();
        let url = servers.mongodb(&name);
        let client = client(&url, None).await?;
        Ok(Self { url, name, client })
    }

    /// Returns the event store there; connected, with its collection and indexes.
    pub(crate) async fn store(&self) -> anyhow::Result<EventStore> {
        let store = EventStore::open(&self.url).await?;
        store.ping().await?;
        Ok(store)
    }

    /// Returns the event store's own collection by the raw driver, with its indexes. Its write and read concern are the event
    /// store's: majority and journaled. If no number of connections is given, it has the driver's own number.
    pub(crate) async fn commits(
        &self,
        connections: Option<u32>,
    ) -> anyhow::Result<Collection<RawDocumentBuf>> {
        self.store().await?;
        Ok(client(&self.url, connections).await?.database(&self.name).collection("commits"))
    }

    /// Writes the first commit of so many orders, published.
    pub(crate) async fn fill(&self, template: &Template, orders: u64) -> anyhow::Result<()> {
        let commits = self.commits(None).await?;
        for first in (0..orders).step_by(usize::try_from(FILL)?) {
            let numbers = first..(first + FILL).min(orders);
            let documents = numbers.map(|number| template.document(&created(number, Outbox::Published)?));
            let documents = documents.collect::<anyhow::Result<Vec<_>>>()?;
            commits.insert_many(documents).ordered(false).await?;
        }
        Ok(())
    }

    /// Deletes the database.
    pub(crate) async fn remove(self) -> anyhow::Result<()> {
        self.client.database(&self.name).drop().await.with_context(|| format!("database {}", self.name))
    }

    /// Returns the server's name and version, as the server tells them.
    pub(crate) async fn version(servers: &Servers) -> anyhow::Result<String> {
        let client = client(&servers.mongodb("admin"), None).await?;
        let info = client.database("admin").run_command(mongodb::bson::doc! { "buildInfo": 1 }).await?;
        let version = info.get_str("version").context("buildInfo without a version")?;
        let ferret = info.get_document("ferretdb").and_then(|ferret| ferret.get_str("version"));
        Ok(match ferret {
            Ok(ferret) => format!("FerretDB {ferret} (as MongoDB {version})"),
            Err(_) => format!("MongoDB {version}"),
        })
    }
}

async fn client(url: &str, connections: Option<u32>) -> anyhow::Result<Client> {
    let mut options = ClientOptions::parse(url).await?;
    options.server_selection_timeout = Some(Duration::from_secs(5));
    options.write_concern = Some(WriteConcern::builder().w(Acknowledgment::Majority).journal(true).build());
    options.read_concern = Some(ReadConcern::majority());
    options.max_pool_size = connections.or(options.max_pool_size);
    Ok(Client::with_options(options)?)
}
