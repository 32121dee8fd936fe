//! The same commits for the event store and, as raw documents, for the driver.

use anyhow::Context;
use domain::{Aggregate, CommandId, EncodedEvent, Event, Order, OrderId, OrderName, Version};
use event_store::{CommandHash, Commit, Metadata};
use jiff::Timestamp;
use mongodb::bson::{RawDocumentBuf, doc};

use super::given::Servers;
use super::mongo::Database;

/// The state of the commits' marks. A commit that is not marked is written as the command handler writes it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outbox {
    Unpublished,
    Published,
}

pub(crate) fn order(number: u64) -> anyhow::Result<OrderId> {
    Ok(OrderId::parse(&format!("order-{number:012}"))?)
}

/// Returns the first commit of an order.
pub(crate) fn created(number: u64, outbox: Outbox) -> anyhow::Result<Commit> {
    let name = OrderName::parse("an order of some length")?;
    commit(number, 1, Event::OrderCreated { name }, outbox)
}

/// Returns the second commit of an order.
pub(crate) fn started(number: u64, outbox: Outbox) -> anyhow::Result<Commit> {
    commit(number, 2, Event::ProcessingStarted, outbox)
}

fn commit(number: u64, version: u64, event: Event, outbox: Outbox) -> anyhow::Result<Commit> {
    Ok(Commit {
        stream: order(number)?,
        version: Version::new(version),
        command_id: CommandId::system(&format!("019ab3c4-5d6e-7f80-9{version:03}-{number:012}"))?,
        command_hash: CommandHash([7; 32]),
        events: vec![EncodedEvent::encode(&event)],
        awaits_outcome: Order::awaits_outcome(&event),
        recorded_at: Timestamp::from_microsecond(Timestamp::now().as_microsecond())?,
        metadata: Metadata {
            correlation_id: "0af7651916cd43dd8448eb211c80319c".to_owned(),
            ..Metadata::default()
        },
        unpublished: outbox == Outbox::Unpublished,
    })
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
