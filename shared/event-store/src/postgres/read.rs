//! The reader: it answers all waiting loads from one statement, and so from one snapshot.

use std::sync::Arc;

use event_sourcing::{CommandId, EncodedEvent, StreamId, Version};
use runtime::postgres;
use sqlx::postgres::PgRow;
use sqlx::{Row, query};

use super::connections::Connections;
use super::failure::Failure;
use crate::columns::{number, time, version};
use crate::cursor::{follows, unreadable, unreadable_at};
use crate::jobs::{LoadJob, Streams};
use crate::{
    AnsweredCommand, CommandHash, CommandResult, Commit, Load, StoreError, Stream, UnreadableStream, json,
};

/// The commits of every load, and the answers to the commands that the loads name. `place` is the load's, from 1.
const LOAD: &str = "
    SELECT load.place, false, c.version, c.last_version, c.command_hash, c.command_id, c.recorded_at, c.awaits_outcome,
        c.metadata, c.events,
        EXISTS (SELECT FROM {namespace}_outbox AS u WHERE u.stream = c.stream AND u.version = c.version), NULL::text
    FROM UNNEST($1::text[], $2::bigint[], $4::bigint[]) WITH ORDINALITY AS load (stream, after, until, place)
    JOIN {namespace}_commits AS c ON c.stream = load.stream AND c.version > load.after AND c.version <= load.until
    UNION ALL
    SELECT load.place, true, c.version, c.last_version, c.command_hash, NULL, NULL, NULL, NULL, NULL, NULL, c.rejection
    FROM UNNEST($1::text[], $3::text[]) WITH ORDINALITY AS load (stream, command, place)
    JOIN {namespace}_commits AS c ON c.stream = load.stream AND c.command_id = load.command";

/// Asks the server itself. A former primary may still answer, but not this: it takes no writes any more, and says so.
const IS_CURRENT: &str = "
    SELECT current_setting('transaction_read_only')::boolean,
        NOT EXISTS (SELECT FROM {namespace}_commits WHERE stream = $1 AND version > $2)";

pub(super) async fn work(connections: Arc<Connections>, mut jobs: Vec<LoadJob>) {
    jobs.retain(|job| !job.answer.is_closed());
    let loads: Vec<&Load> = jobs.iter().flat_map(|job| &job.loads).collect();
    let mut streams = load(&connections, &loads).await.map_err(StoreError::from).map(Vec::into_iter);
    for LoadJob { loads, answer } in jobs {
        let found = match &mut streams {
            Ok(streams) => Ok(streams.by_ref().take(loads.len()).collect()),
            Err(error) => Err(error.clone()),
        };
        // The caller may no longer wait, so a failed send is ignored.
        let _ = answer.send(found);
    }
}

async fn load(connections: &Connections, loads: &[&Load]) -> Result<Streams, Failure> {
    if loads.is_empty() {
        return Ok(Vec::new());
    }
    let statement = || {
        query(connections.sql(LOAD))
            .bind(loads.iter().map(|load| load.stream.as_str()).collect::<Vec<_>>())
            .bind(loads.iter().map(|load| number(load.after)).collect::<Vec<_>>())
            .bind(loads.iter().map(|load| load.command.as_ref().map(CommandId::as_str)).collect::<Vec<_>>())
            .bind(loads.iter().map(|load| number(load.until())).collect::<Vec<_>>())
    };
    let rows = connections.rows(statement).await?;
    let mut found: Vec<FoundRows<'_>> = loads.iter().map(|_| FoundRows::default()).collect();
    for row in &rows {
        let place = usize::try_from(row.try_get::<i64, _>(0)? - 1).ok();
        let Some(of_load) = place.and_then(|place| found.get_mut(place)) else { continue };
        if row.try_get(1)? {
            of_load.answer = Some(row);
        } else {
            of_load.commits.push((row.try_get(2)?, row));
        }
    }
    Ok(loads.iter().zip(found).map(|(load, rows)| rows.read(load)).collect())
}

/// The rows of one load.
#[derive(Default)]
struct FoundRows<'a> {
    /// The commits, each with its first version.
    commits: Vec<(i64, &'a PgRow)>,
    answer: Option<&'a PgRow>,
}

impl FoundRows<'_> {
    fn read(mut self, load: &Load) -> Result<Stream, UnreadableStream> {
        let in_row = |error: sqlx::Error| unreadable(&load.stream, &error.to_string());
        let answered = self.answer.map(|row| read_answer(row).map_err(in_row)).transpose()?;
        self.commits.sort_unstable_by_key(|(version, _)| *version);
        let mut commits = Vec::with_capacity(self.commits.len());
        let mut last = load.after;
        for (version, row) in self.commits {
            let version = follows(&load.stream, last, version)?;
            let commit = read_commit(&load.stream, version, row)
                .map_err(|problem| unreadable_at(&load.stream, version, &problem))?;
            last = commit.last_version();
            commits.push(commit);
        }
        Ok(Stream { commits, answered })
    }
}

fn read_answer(row: &PgRow) -> Result<AnsweredCommand, sqlx::Error> {
    let result = match row.try_get::<Option<i64>, _>(2)? {
        Some(_) => CommandResult::Events,
        None => CommandResult::without_events(row.try_get::<Option<String>, _>(11)?.map(Into::into)),
    };
    Ok(AnsweredCommand { result, version: version(row.try_get(3)?), command_hash: read_hash(row)? })
}

pub(super) fn read_hash(row: &PgRow) -> Result<CommandHash, sqlx::Error> {
    let bytes: &[u8] = row.try_get(4)?;
    bytes.try_into().map(CommandHash).map_err(|_| sqlx::Error::Decode("command_hash has not 32 bytes".into()))
}

pub(super) fn read_commit(stream: &StreamId, version: Version, row: &PgRow) -> Result<Commit, String> {
    let in_row = |error: sqlx::Error| error.to_string();
    let events = json::read_events(row.try_get(9).map_err(in_row)?, encoded)?;
    let metadata = serde_json::from_str(row.try_get(8).map_err(in_row)?)
        .map_err(|error| format!("no metadata: {error}"))?;
    Ok(Commit {
        stream: stream.clone(),
        version,
        command_id: CommandId::parse(row.try_get(5).map_err(in_row)?).map_err(|error| error.to_string())?,
        command_hash: read_hash(row).map_err(in_row)?,
        events,
        awaits_outcome: row.try_get(7).map_err(in_row)?,
        recorded_at: time(row.try_get(6).map_err(in_row)?)?,
        metadata,
        unpublished: row.try_get(10).map_err(in_row)?,
    })
}

fn encoded(event: json::StoredEvent<'_>) -> Result<EncodedEvent, String> {
    let data = event.data.to_owned();
    Ok(EncodedEvent { kind: event.kind.into(), schema: event.schema, data })
}

/// Returns true if no commit comes after this version, on a server that takes writes.
pub(super) async fn is_current(
    connections: &Connections,
    stream: &StreamId,
    version: Version,
) -> Result<bool, Failure> {
    let statement = || query(connections.sql(IS_CURRENT)).bind(stream.as_str()).bind(number(version));
    let found = connections.row(statement).await?;
    if found.try_get(0)? {
        return Err(postgres::Error::ReadOnly.into());
    }
    Ok(found.try_get(1)?)
}
