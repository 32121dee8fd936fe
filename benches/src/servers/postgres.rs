//! Schemas of their own on the PostgreSQL server, and sqlx as the raw limit.

use std::str::FromStr;

use anyhow::Context;
use domain::OrdersView;
use read_store::ReadStore;
use sqlx::encode::{Encode, IsNull};
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgConnectOptions, PgHasArrayType, PgTypeInfo};
use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection, Postgres, Row, Type, query, raw_sql};

use super::given::{Servers, fresh_name};

/// A schema that nobody else has.
pub(crate) struct Schema {
    /// The URL, as that of a store.
    pub(crate) url: String,
    name: String,
    server: String,
}

/// The settings that the read store gives its sessions too: every statement finds its rows by an index.
const SESSION: &str = "
SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off";

impl Schema {
    /// Makes a schema with the tables of this program's read store.
    pub(crate) async fn fresh(servers: &Servers) -> anyhow::Result<Self> {
        Self::with_tables(servers, async |url| {
            Ok(ReadStore::<OrdersView>::open(url).await?.migrate().await?)
        })
        .await
    }

    /// Makes a schema with the tables that `make` creates at its URL.
    pub(crate) async fn with_tables(
        servers: &Servers,
        make: impl AsyncFnOnce(&str) -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        let schema = Self::empty(servers).await?;
        make(&schema.url).await?;
        Ok(schema)
    }

    /// Makes a schema without tables.
    pub(crate) async fn empty(servers: &Servers) -> anyhow::Result<Self> {
        let name = fresh_name();
        let (url, server) = (servers.postgres_schema(&name), servers.postgres().to_owned());
        let mut connection = connect(&server).await?;
        raw_sql(AssertSqlSafe(format!("CREATE SCHEMA {name}"))).execute(&mut connection).await?;
        Ok(Self { url, name, server })
    }

    /// Returns the table of its active view.
    pub(crate) async fn view(&self) -> anyhow::Result<String> {
        let mut connection = connect(&self.url).await?;
        let active = query("SELECT id FROM read_store_views WHERE state = 'active'")
            .fetch_one(&mut connection)
            .await?;
        Ok(format!("orders_{}", active.try_get::<i64, _>(0)?))
    }

    /// Returns a connection to it, with the settings of the read store's connections.
    pub(crate) async fn connect(&self) -> anyhow::Result<PgConnection> {
        let mut connection = connect(&self.url).await?;
        raw_sql(SESSION).execute(&mut connection).await?;
        Ok(connection)
    }

    /// Returns how many orders of a view are at this version at least, and how many are processed.
    pub(crate) async fn progress(
        connection: &mut PgConnection,
        view: &str,
        version: i64,
    ) -> anyhow::Result<(u64, u64)> {
        let sql = format!(
            "SELECT count(*) FILTER (WHERE version >= $1), count(*) FILTER (WHERE status = 'processed') FROM {view}"
        );
        let row = query(AssertSqlSafe(sql)).bind(version).fetch_one(connection).await?;
        Ok((row.try_get::<i64, _>(0)?.unsigned_abs(), row.try_get::<i64, _>(1)?.unsigned_abs()))
    }

    /// Deletes the schema.
    pub(crate) async fn remove(self) -> anyhow::Result<()> {
        let mut connection = connect(&self.server).await?;
        raw_sql(AssertSqlSafe(format!("DROP SCHEMA {} CASCADE", self.name))).execute(&mut connection).await?;
        Ok(())
    }

    /// Returns the server's version, as the server tells it.
    pub(crate) async fn version(servers: &Servers) -> anyhow::Result<String> {
        let mut connection = connect(servers.postgres()).await?;
        let row = query("SELECT current_setting('server_version')").fetch_one(&mut connection).await?;
        Ok(format!("PostgreSQL {}", row.try_get::<&str, _>(0)?))
    }
}

async fn connect(url: &str) -> anyhow::Result<PgConnection> {
    let options = PgConnectOptions::from_str(url)?.disable_statement_logging();
    options.connect().await.context("no connection to PostgreSQL")
}

/// A time: microseconds since the beginning of 2000, as `timestamptz` is sent.
#[derive(Clone, Copy)]
pub(crate) struct Micros(pub(crate) i64);

impl Type<Postgres> for Micros {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(1184))
    }
}

impl PgHasArrayType for Micros {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(1185))
    }
}

impl Encode<'_, Postgres> for Micros {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.extend(self.0.to_be_bytes());
        Ok(IsNull::No)
    }
}
