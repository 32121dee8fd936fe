//! Snapshots as rows of a table. Each has its own text.

use event_sourcing::{StreamId, Version};
use sqlx::{Row, query};

use super::connections::Connections;
use super::failure::Failure;
use crate::columns::{number, version};
use crate::snapshots::SnapshotRow;

const LAST: &str = "
    SELECT version, content FROM {namespace}_snapshots WHERE stream = $1 AND revision = $2 AND version <= $3
    ORDER BY version DESC LIMIT 1";

const PUT: &str = "
    INSERT INTO {namespace}_snapshots (stream, revision, version, content)
    SELECT * FROM UNNEST($1::text[], $2::integer[], $3::bigint[], $4::text[])
    ON CONFLICT (stream, revision, version) DO UPDATE SET content = excluded.content";

pub(super) async fn last(
    connections: &Connections,
    stream: &StreamId,
    revision: u32,
    until: Version,
) -> Result<Option<SnapshotRow>, Failure> {
    let statement =
        || query(connections.sql(LAST)).bind(stream.as_str()).bind(column(revision)).bind(number(until));
    let rows = connections.rows(statement).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let (version, content) = (version(row.try_get(0)?), row.try_get(1)?);
    Ok(Some(SnapshotRow { stream: stream.clone(), revision, version, content }))
}

pub(super) async fn put(connections: &Connections, rows: &[SnapshotRow]) -> Result<(), Failure> {
    let statement = || {
        query(connections.sql(PUT))
            .bind(rows.iter().map(|row| row.stream.as_str()).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| column(row.revision)).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| number(row.version)).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.content.as_str()).collect::<Vec<_>>())
    };
    connections.rows(statement).await.map(drop)
}

/// Returns a revision in the type of its column.
fn column(revision: u32) -> i32 {
    i32::try_from(revision).unwrap_or(i32::MAX)
}
