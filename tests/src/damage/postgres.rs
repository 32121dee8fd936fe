//! The view in PostgreSQL, and the event store there.

use sqlx::{AssertSqlSafe, Connection, PgConnection, query, query_scalar};

use crate::servers::Schema;

async fn connect(schema: &Schema) -> PgConnection {
    PgConnection::connect(&schema.url()).await.unwrap()
}

/// A connection to the view's schema.
pub(super) struct PostgresView {
    connection: PgConnection,
}

impl PostgresView {
    pub(super) async fn of(schema: &Schema) -> Self {
        Self { connection: connect(schema).await }
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

/// Runs a statement that must change one row of the event store. It has the stream, the version and this number as values.
async fn change(schema: &Schema, sql: &'static str, id: &str, version: i64, number: i64) {
    let change = query(sql).bind(id).bind(version).bind(number);
    let changed = change.execute(&mut connect(schema).await).await.unwrap();
    assert_eq!(changed.rows_affected(), 1, "{sql}");
}

pub(super) async fn lose_commit(schema: &Schema, id: &str, version: i64) {
    let lose = "DELETE FROM orders_order_commits WHERE stream = $1 AND version = $2 AND recorded_at > $3";
    change(schema, lose, id, version, 0).await;
}

const ADD_TO_OUTBOX: &str =
    "INSERT INTO orders_order_outbox (stream, version, recorded_at) VALUES ($1, $2, $3)";

pub(super) async fn mark_unpublished(schema: &Schema, id: &str, version: i64) {
    change(schema, ADD_TO_OUTBOX, id, version, 0).await;
}

pub(super) async fn leave_unpublished_in_the_future(schema: &Schema, id: &str, version: i64) {
    // 2100, in microseconds.
    change(schema, ADD_TO_OUTBOX, id, version, 4_102_444_800_000_000).await;
}

pub(super) async fn set_schema(schema: &Schema, id: &str, version: i64, number: u32) {
    let set =
        "UPDATE orders_order_commits SET events = jsonb_set(events::jsonb, '{0,schema}', to_jsonb($3))::text
        WHERE stream = $1 AND version = $2";
    change(schema, set, id, version, number.into()).await;
}
