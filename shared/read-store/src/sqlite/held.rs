//! Held events: the list, the redrive and the drop.

use std::collections::HashMap;

use event_sourcing::{EventType, StreamId, Version, View};
use runtime::{KillPoint, kill_point};
use rusqlite::{Connection, OptionalExtension, params};

use super::rows::{self, HELD_COLUMNS};
use super::write::Writer;
use super::{parts, project, schema};
use crate::plan::Verdict;
use crate::shape::{Shape, Table, version};
use crate::{DropRefused, HeldEvent, HeldId, HeldSummary, ReadStoreError, ViewId};

/// The number of held events that one transaction redrives.
const REDRIVE_PAGE: usize = 500;

pub(super) fn summary(connection: &Connection, shape: Shape) -> Result<Vec<HeldSummary>, ReadStoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT reason, count(*), count(DISTINCT stream) FROM read_store_held
         WHERE view = ?1 GROUP BY reason ORDER BY reason",
    )?;
    let summary = statement.query_map([schema::active_view(connection, shape)?.id.0], |row| {
        let count = |column| row.get::<_, i64>(column).map(i64::unsigned_abs);
        Ok(HeldSummary { reason: row.get(0)?, events: count(1)?, streams: count(2)? })
    })?;
    Ok(summary.collect::<Result<_, _>>()?)
}

pub(super) fn list(
    connection: &Connection,
    shape: Shape,
    stream: Option<&StreamId>,
    after: Option<HeldId>,
    limit: usize,
) -> Result<Vec<HeldEvent>, ReadStoreError> {
    // If all streams are asked for, the plus keeps SQLite from an index whose rows it would have to sort.
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {HELD_COLUMNS} FROM read_store_held
         WHERE +view = ?3 AND id > ?1 {} ORDER BY id LIMIT ?2",
        of_stream(stream)
    ))?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let (after, view) = (after.map_or(0, |HeldId(id)| id), schema::active_view(connection, shape)?.id.0);
    let held = match stream {
        None => statement.query_map(params![after, limit, view], rows::held_event)?,
        Some(stream) => {
            statement.query_map(params![after, limit, view, stream.as_str()], rows::held_event)?
        }
    };
    Ok(held.collect::<Result<_, _>>()?)
}

/// The condition that narrows a read of held events to one stream, its id being the fourth parameter.
fn of_stream(stream: Option<&StreamId>) -> &'static str {
    if stream.is_some() { "AND stream = ?4" } else { "" }
}

pub(super) fn one(
    connection: &Connection,
    shape: Shape,
    HeldId(id): HeldId,
) -> Result<Option<HeldEvent>, ReadStoreError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {HELD_COLUMNS} FROM read_store_held
         WHERE id = ?1 AND view = ?2"
    ))?;
    Ok(statement
        .query_row([id, schema::active_view(connection, shape)?.id.0], rows::held_event)
        .optional()?)
}

/// Counts the held events of the active view, of all streams or of one.
pub(super) fn count(
    connection: &Connection,
    shape: Shape,
    stream: Option<&StreamId>,
) -> Result<u64, ReadStoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT count(*) FROM read_store_held
         WHERE view = ?2 AND (?1 IS NULL OR stream = ?1)",
    )?;
    let values = params![stream.map(StreamId::as_str), schema::active_view(connection, shape)?.id.0];
    let count: i64 = statement.query_row(values, |row| row.get(0))?;
    Ok(count.unsigned_abs())
}

/// The result of a redrive of one page.
pub(super) struct RedrivenPage {
    pub(super) applied: u64,
    pub(super) removed: u64,
    /// The last event of the page; none if no page follows.
    pub(super) last: Option<HeldId>,
}

impl<V: View> Writer<V> {
    /// Judges the held events after `after` anew, of the active view and of one that is being built, and applies those that have
    /// become next. Pages are by id and not by version. That makes no difference: an event that becomes next is applied, also if
    /// it is of an earlier page.
    pub(super) fn redrive(
        &mut self,
        stream: Option<&StreamId>,
        after: HeldId,
    ) -> Result<RedrivenPage, ReadStoreError> {
        let (waiters, shape) = (self.waiters.clone(), self.shape);
        let transaction = self.begin()?;
        let active = schema::active_view(&transaction, shape)?;
        let page = page_of_views(&transaction, shape, stream, after)?;
        let last = page.last().filter(|_| page.len() == REDRIVE_PAGE).map(|(_, event)| event.id);
        let mut redriven = RedrivenPage { applied: 0, removed: 0, last };
        let mut streams: HashMap<ViewId, Vec<StreamId>> = HashMap::new();
        for (view, event) in page {
            streams.entry(view).or_default().extend(judge_again::<V::Event>(&transaction, &event)?);
        }
        let mut written = Vec::new();
        for (view, mut streams) in streams {
            streams.sort_unstable();
            streams.dedup();
            let plan = parts::settle::<V>(&transaction, shape.table(view), &streams)?;
            if view == active.id {
                redriven.applied = plan.releases.len() as u64;
                redriven.removed = plan.passed.len() as u64;
                written = plan.upserts;
            }
        }
        kill_point(KillPoint::BeforeRedriveCommit);
        transaction.commit()?;
        kill_point(KillPoint::AfterRedriveCommit);
        waiters.tell(&written);
        Ok(redriven)
    }

    pub(super) fn drop_held(&mut self, id: HeldId) -> Result<(), DropRefused> {
        let shape = self.shape;
        let transaction = self.begin()?;
        let event = one(&transaction, shape, id)?.ok_or(DropRefused::NotHeld(id))?;
        if let (Some(stream), Some(version)) = (&event.stream, event.version) {
            let view = schema::active_view(&transaction, shape)?;
            let have = version_of(&transaction, view, stream)?;
            if version > have {
                return Err(DropRefused::Needed { id, stream: stream.clone(), version, have });
            }
        }
        delete_everywhere(&transaction, shape, &event)?;
        transaction.commit().map_err(ReadStoreError::from)?;
        Ok(())
    }
}

fn page_of_views(
    connection: &Connection,
    shape: Shape,
    stream: Option<&StreamId>,
    HeldId(after): HeldId,
) -> Result<Vec<(ViewId, HeldEvent)>, ReadStoreError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {HELD_COLUMNS}, view FROM read_store_held
         WHERE id > ?1 AND (?2 IS NULL OR stream = ?2)
           AND view IN (SELECT id FROM read_store_views WHERE shape = ?3)
         ORDER BY id LIMIT {REDRIVE_PAGE}"
    ))?;
    let held = statement.query_map(params![after, stream.map(StreamId::as_str), shape.key], |row| {
        Ok((ViewId(row.get(11)?), rows::held_event(row)?))
    })?;
    Ok(held.collect::<Result<_, _>>()?)
}

/// Judges a held event anew, and stores the verdict if it has changed. Returns the stream that this may have freed.
fn judge_again<E: EventType>(
    connection: &Connection,
    event: &HeldEvent,
) -> Result<Option<StreamId>, ReadStoreError> {
    // A record without a value is none today either, and a rebuild may know more of it than its key.
    if event.value.is_none() {
        return Ok(event.stream.clone());
    }
    let today = Verdict::again::<E>(event.key.as_deref(), event.value.as_deref());
    let HeldEvent { stream, version, reason, problem, .. } = event;
    let Verdict { stream: stream_today, version: version_today, .. } = &today;
    if (stream, version, reason, problem) == (stream_today, version_today, &today.reason, &today.problem) {
        return Ok(today.stream);
    }
    project::rejudge(connection, event.id, &today)?;
    Ok(today.stream)
}

/// Returns the version of a stream in a view; 0 if it has none.
pub(super) fn version_of(
    connection: &Connection,
    view: Table,
    stream: &StreamId,
) -> Result<Version, ReadStoreError> {
    let mut statement =
        connection.prepare_cached(&format!("SELECT version FROM {} WHERE id = ?1", view.streams()))?;
    let found = statement.query_row([stream.as_str()], |row| row.get(0)).optional()?;
    Ok(found.map_or(Version::NONE, version))
}

/// Deletes a held event. A record without a stream or a version is also deleted from a view that is being built, which holds a
/// copy. An event with a version may be next there; otherwise it is removed when the row has passed it.
fn delete_everywhere(connection: &Connection, shape: Shape, event: &HeldEvent) -> Result<(), ReadStoreError> {
    connection.prepare_cached("DELETE FROM read_store_held WHERE id = ?1")?.execute([event.id.0])?;
    if event.version.is_some() && event.stream.is_some() {
        return Ok(());
    }
    let mut statement = connection.prepare_cached(
        "DELETE FROM read_store_held
         WHERE topic = ?1 AND partition = ?2 AND record_offset = ?3 AND key IS ?4 AND value IS ?5
           AND (version IS NULL OR stream IS NULL)
           AND view IN (SELECT id FROM read_store_views WHERE shape = ?6)",
    )?;
    let origin = &event.origin;
    statement.execute(params![
        origin.topic,
        origin.partition,
        origin.offset,
        event.key,
        event.value,
        shape.key
    ])?;
    Ok(())
}
