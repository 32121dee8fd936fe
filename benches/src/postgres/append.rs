//! Appends with their marks, against single statements on a table of the same columns and indexes.

use std::sync::Arc;

use anyhow::Context;
use event_store::{Commit, EventStore};
use parking_lot::Mutex;
use sqlx::{AssertSqlSafe, PgConnection, query, raw_sql};

use crate::servers::append::{Marking, appends};
use crate::servers::bench::Bench;
use crate::servers::commits::{Outbox, created, namespace};
use crate::servers::postgres::Schema;
use crate::servers::rounds::{Numbers, medians, nothing, warm_rate};
use crate::table::{Bound, Table};

#[derive(Clone, Copy)]
enum Contender {
    Store(Marking),
    /// A row a statement, over a connection a caller.
    Inserted,
    /// The same, and then the mark, by a second statement.
    InsertedAndUpdated,
}

use Contender::{Inserted, InsertedAndUpdated, Store};

/// The event store's own table of commits with the mark as a column. Its partial index is for those that are not marked.
fn raw_table() -> anyhow::Result<String> {
    let namespace = namespace()?;
    Ok(format!(
        "CREATE TABLE raw_commits (LIKE {namespace}_commits INCLUDING ALL, unpublished boolean NOT NULL);
         CREATE INDEX raw_unpublished ON raw_commits (recorded_at) WHERE unpublished"
    ))
}

const INSERT: &str = "
    INSERT INTO raw_commits (stream, version, last_version, recorded_at, awaits_outcome, command_hash, command_id, metadata,
        events, unpublished)
    VALUES ($1, 1, 1, $2, $3, $4, $5, $6, $7, true)";

const UPDATE: &str = "UPDATE raw_commits SET unpublished = false WHERE stream = $1 AND version = 1";

pub(super) async fn measure(bench: &Bench, table: &mut Table) -> anyhow::Result<()> {
    let one = [Store(Marking::Awaited), InsertedAndUpdated, Store(Marking::Absent), Inserted];
    let figures = medians(bench.pace, &one, async |contender| rate(bench, contender, 1).await).await?;
    if let [marked, inserted_and_updated, appended, inserted] = figures[..] {
        table.compared(
            "append and mark at 1 caller : INSERT and UPDATE",
            marked,
            inserted_and_updated,
            "a second",
        );
        table.bound(Bound::Ratio(0.9));
        table.compared("append alone at 1 caller : INSERT", appended, inserted, "a second");
    }
    let many = [Store(Marking::Behind), Inserted];
    let figures = medians(bench.pace, &many, async |contender| rate(bench, contender, 64).await).await?;
    if let [marked, inserted] = figures[..] {
        let what = "append with its mark at 64 callers : INSERT, 64 connections";
        table.compared(what, marked, inserted, "a second");
        table.bound(Bound::Ratio(1.5));
    }
    Ok(())
}

async fn rate(bench: &Bench, contender: Contender, callers: usize) -> anyhow::Result<f64> {
    let schema = Schema::empty(&bench.servers).await?;
    let store = EventStore::open(schema.url.as_str(), &namespace()?).await?;
    store.ping().await?;
    let rate = match contender {
        Store(marking) => appends(bench.pace, &store, callers, marking).await?,
        Inserted => statements(bench, &schema, callers, None).await?,
        InsertedAndUpdated => statements(bench, &schema, callers, Some(UPDATE)).await?,
    };
    drop(store);
    schema.remove().await?;
    Ok(rate)
}

/// Returns the inserts a second, each followed by `mark` if there is one.
async fn statements(
    bench: &Bench,
    schema: &Schema,
    callers: usize,
    mark: Option<&'static str>,
) -> anyhow::Result<f64> {
    raw_sql(AssertSqlSafe(raw_table()?)).execute(&mut schema.connect().await?).await?;
    let mut connections = Vec::with_capacity(callers);
    for _ in 0..callers {
        connections.push(schema.connect().await?);
    }
    // There is one for each caller, so none waits for another.
    let idle = Arc::new(Mutex::new(connections));
    let call = move |number| {
        let idle = Arc::clone(&idle);
        async move {
            let taken = idle.lock().pop();
            let mut connection = taken.context("more callers than connections")?;
            let commit = created(number, Outbox::Unpublished)?;
            insert(&mut connection, &commit).await?;
            if let Some(mark) = mark {
                query(mark).bind(commit.stream.as_str()).execute(&mut connection).await?;
            }
            idle.lock().push(connection);
            Ok(())
        }
    };
    warm_rate(callers, bench.pace, &Numbers::endless(), call, nothing).await
}

async fn insert(connection: &mut PgConnection, commit: &Commit) -> anyhow::Result<()> {
    query(INSERT)
        .bind(commit.stream.as_str())
        .bind(commit.recorded_at.as_microsecond())
        .bind(commit.awaits_outcome)
        .bind(&commit.command_hash.0[..])
        .bind(commit.command_id.as_str())
        .bind(serde_json::to_string(&commit.metadata)?)
        .bind(serde_json::to_string(&commit.events)?)
        .execute(connection)
        .await?;
    Ok(())
}
