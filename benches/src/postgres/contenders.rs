//! The running systems on PostgreSQL, each in a schema of its own.

use std::path::Path;

use anyhow::ensure;
use sqlx::{Row, query};

use crate::server::{Server, Stores};
use crate::servers::bench::Bench;
use crate::servers::postgres::Schema;

/// `orders` with both stores in one schema and the channel in memory.
pub(super) struct Alone {
    pub(super) server: Server,
    stores: Stores,
    schema: Schema,
}

impl Alone {
    pub(super) async fn start(bench: &Bench) -> anyhow::Result<Self> {
        let orders = bench.orders().await?;
        let schema = Schema::with_tables(&bench.servers, async |url| {
            orders.run_well(&["migrate", "--event-store", url, "--read-store", url]).await
        });
        Self::on(bench, schema.await?).await
    }

    /// Starts `orders` on tables that are there.
    pub(super) async fn on(bench: &Bench, schema: Schema) -> anyhow::Result<Self> {
        let url = || schema.url.clone();
        let stores = Stores { event_store: url(), channel: "memory:".to_owned(), read_store: url() };
        let server = Server::orders_on(&bench.orders().await?.binary, &stores).await?;
        Ok(Self { server, stores, schema })
    }

    /// Checks that the view agrees with the events.
    pub(super) async fn verify(&self, bench: &Bench) -> anyhow::Result<()> {
        let flags = self.stores.event_and_read_store();
        let words: Vec<_> = std::iter::once("verify").chain(flags.iter().map(String::as_str)).collect();
        bench.orders().await?.run_well(&words).await
    }

    pub(super) fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Stops the system, and keeps its tables.
    pub(super) fn stop(self) -> Schema {
        self.schema
    }

    /// Stops the system, notes how large it was, and deletes its tables.
    pub(super) async fn end(self, bench: &Bench) -> anyhow::Result<()> {
        let Self { server, schema, .. } = self;
        bench.note_memory("PostgreSQL alone", server.memory()?.peak);
        drop(server);
        schema.remove().await
    }
}

/// The service on cqrs-es.
pub(super) struct Peer {
    pub(super) server: Server,
    schema: Schema,
}

impl Peer {
    pub(super) async fn start(bench: &Bench, binary: &Path) -> anyhow::Result<Self> {
        let schema = Schema::empty(&bench.servers).await?;
        let server = Server::peer(binary, &schema.url).await?;
        Ok(Self { server, schema })
    }

    /// Checks that its view has every event. It answers a command with success when the view can't be written.
    pub(super) async fn verify(&self) -> anyhow::Result<()> {
        let mut connection = self.schema.connect().await?;
        let counts = "SELECT (SELECT count(*) FROM events), (SELECT sum(version)::bigint FROM order_view)";
        let row = query(counts).fetch_one(&mut connection).await?;
        let (events, seen): (i64, Option<i64>) = (row.try_get(0)?, row.try_get(1)?);
        ensure!(Some(events) == seen, "cqrs-es has {events} events, and its view has {seen:?}");
        Ok(())
    }

    pub(super) async fn end(self) -> anyhow::Result<()> {
        drop(self.server);
        self.schema.remove().await
    }
}
