//! The view in PostgreSQL, and the event store in MongoDB.

use mongodb::bson::{Document, doc};
use mongodb::{Client, Collection};
use sqlx::{AssertSqlSafe, Connection, PgConnection, query, query_scalar};

use crate::servers::Servers;

/// A connection to the view's schema.
pub(super) struct PostgresView {
    connection: PgConnection,
}

impl PostgresView {
    pub(super) async fn of(servers: &Servers) -> Self {
        Self { connection: PgConnection::connect(&servers.read_store()).await.unwrap() }
    }

    pub(super) async fn active(&mut self) -> i64 {
        self.number("SELECT id FROM read_store_views WHERE state = 'active'").await
    }

    pub(super) async fn building(&mut self) -> i64 {
        self.number("SELECT count(*) FROM read_store_views WHERE state = 'building'").await
    }

    pub(super) async fn tables(&mut self) -> i64 {
        let views = "schemaname = current_schema AND tablename ~ '^orders_[0-9]+$'";
        self.number(&format!("SELECT count(*) FROM pg_tables WHERE {views}")).await
    }

    async fn number(&mut self, sql: &str) -> i64 {
        query_scalar(AssertSqlSafe(sql)).fetch_one(&mut self.connection).await.unwrap()
    }

    /// Runs a statement, and returns the number of rows that it changed.
    pub(super) async fn execute(&mut self, sql: &str) -> u64 {
        query(AssertSqlSafe(sql)).execute(&mut self.connection).await.unwrap().rows_affected()
    }

    pub(super) async fn add_ghost(&mut self, table: &str, id: &str, version: u64) {
        self.execute(&format!(
            "INSERT INTO {table} (id, version, status, name, created_at, updated_at)
             VALUES ('{id}', {version}, 'new', 'boo', to_timestamp(0), to_timestamp(0))"
        ))
        .await;
    }

    pub(super) async fn teach(&mut self, name: &str, known: &str) -> u64 {
        let value = format!("replace(convert_from(value, 'UTF8'), '{name}', '{known}')");
        let unknown = "reason = 'unknown-type'";
        self.execute(&format!(
            "UPDATE read_store_held SET value = convert_to({value}, 'UTF8') WHERE {unknown}"
        ))
        .await
    }

    pub(super) async fn hold(
        &mut self,
        view: i64,
        order: Option<&str>,
        version: Option<i64>,
        reason: &str,
        value: &str,
    ) {
        let sql = "INSERT INTO read_store_held
            (view, stream, version, reason, problem, topic, partition, record_offset, key, value, held_at)
            VALUES ($1, $2, $3, $4, 'by a test', 'orders.events', 0, 7, NULL, $5, to_timestamp(0))";
        let row = query(sql).bind(view).bind(order).bind(version).bind(reason).bind(value.as_bytes());
        row.execute(&mut self.connection).await.unwrap();
    }
}

async fn commits(servers: &Servers) -> Collection<Document> {
    let client = Client::with_uri_str(servers.event_store()).await.unwrap();
    client.database(servers.database()).collection("orders_order")
}

pub(super) async fn lose_commit(servers: &Servers, id: &str, version: i64) {
    let commit = doc! { "stream": id, "version": version };
    let lost = commits(servers).await.delete_one(commit).await.unwrap();
    assert_eq!(lost.deleted_count, 1);
}

pub(super) async fn mark_unpublished(servers: &Servers, id: &str, version: i64) {
    change(servers, id, version, doc! { "unpublished": true }).await;
}

pub(super) async fn leave_unpublished_in_the_future(servers: &Servers, id: &str, version: i64) {
    let fields = doc! { "unpublished": true, "recorded_at": "2100-01-01T00:00:00.000000Z" };
    change(servers, id, version, fields).await;
}

async fn change(servers: &Servers, id: &str, version: i64, fields: Document) {
    let commit = doc! { "stream": id, "version": version };
    let changed = commits(servers).await.update_one(commit, doc! { "$set": fields }).await.unwrap();
    assert_eq!(changed.modified_count, 1);
}

pub(super) async fn set_schema(servers: &Servers, id: &str, version: i64, schema: u32) {
    change(servers, id, version, doc! { "events.0.schema": i64::from(schema) }).await;
}
