//! Databases of their own on the MongoDB server, the driver as the raw limit, and commits as the driver writes them.

use std::time::{Duration, Instant};

use anyhow::Context;
use event_store::{Commit, EventStore};
use mongodb::bson::{RawDocumentBuf, doc};
use mongodb::options::{Acknowledgment, ClientOptions, ReadConcern, WriteConcern};
use mongodb::{Client, Collection};

use super::commits::{Outbox, created, namespace, started};
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
        let store = EventStore::open(&self.url, &namespace()?).await?;
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
        Ok(client(&self.url, connections).await?.database(&self.name).collection(namespace()?.as_str()))
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

    /// Returns the milliseconds that a new client takes to connect and to insert one document, as durably as the event store does.
    pub(crate) async fn connect_and_insert(&self) -> anyhow::Result<f64> {
        let began = Instant::now();
        let client = client(&self.url, Some(1)).await?;
        client.database(&self.name).collection("raw").insert_one(doc! { "name": "a lamp" }).await?;
        Ok(began.elapsed().as_secs_f64() * 1e3)
    }

    /// Deletes the database.
    pub(crate) async fn remove(self) -> anyhow::Result<()> {
        self.client.database(&self.name).drop().await.with_context(|| format!("database {}", self.name))
    }

    /// Returns the server's name and version, as the server tells them.
    pub(crate) async fn version(servers: &Servers) -> anyhow::Result<String> {
        let client = client(&servers.mongodb("admin"), None).await?;
        let info = client.database("admin").run_command(doc! { "buildInfo": 1 }).await?;
        let version = info.get_str("version").context("buildInfo without a version")?;
        let ferret = info.get_document("ferretdb").and_then(|ferret| ferret.get_str("version"));
        Ok(match ferret {
            Ok(ferret) => format!("FerretDB {ferret} (as MongoDB {version})"),
            Err(_) => format!("MongoDB {version}"),
        })
    }
}

/// A commit's document as the event store itself wrote it; the raw documents are copies of it under other ids.
#[derive(Clone)]
pub(crate) struct Template {
    document: RawDocumentBuf,
    stream: String,
}

impl Template {
    /// Returns the templates of the first and of the second commit of an order.
    pub(crate) async fn both(servers: &Servers, outbox: Outbox) -> anyhow::Result<[Self; 2]> {
        let database = Database::fresh(servers).await?;
        let store = database.store().await?;
        let commits = [created(0, outbox)?, started(0, outbox)?];
        let stream = commits[0].stream.to_string();
        for commit in commits {
            store.append(commit.into()).await?;
        }
        let mut templates = Vec::new();
        for version in [1_i64, 2] {
            let found = database
                .commits(None)
                .await?
                .find_one(doc! { "stream": &stream, "version": version })
                .await?;
            let document = found.context("the event store has not written a commit that it took")?;
            templates.push(Self { document, stream: stream.clone() });
        }
        database.remove().await?;
        templates.try_into().map_err(|_| anyhow::anyhow!("two templates"))
    }

    /// Returns the document of another order's commit.
    pub(crate) fn document(&self, commit: &Commit) -> anyhow::Result<RawDocumentBuf> {
        let mut document = RawDocumentBuf::new();
        for field in &self.document {
            let (key, value) = field?;
            match key.as_str() {
                "_id" => {
                    let id = value.as_str().context("_id is not text")?;
                    document.append(key, id.replacen(&self.stream, commit.stream.as_str(), 1));
                }
                "stream" => document.append(key, commit.stream.as_str()),
                "command_id" => document.append(key, commit.command_id.as_str()),
                _ => document.append(key, value),
            }
        }
        Ok(document)
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
