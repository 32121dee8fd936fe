//! Reads the part of a view that a plan needs and writes the plan, within the caller's transaction.

use std::collections::{BTreeSet, HashMap, HashSet};

use event_sourcing::{Entry, EventType, Row, StreamId, View, is_by_stream};
use rusqlite::types::ToSql;
use rusqlite::{Connection, OptionalExtension, params};

use super::keyed;
use super::rows::{self, Column, Time};
use crate::plan::{self, HeldRow, Hold, Part, Plan, UnaddressedRecord, Upsert, Verdict, ViewSlice};
use crate::shape::{self, Shape, Table, number};
use crate::{HeldId, Incoming, ReadStoreError};

/// Takes records into a view.
///
/// # Errors
/// [`ReadStoreError::Refused`] when the database refuses a row. Then the caller rolls back, and uses [`in_parts`](super::parts).
pub(super) fn take_in<'a, V: View>(
    connection: &Connection,
    view: Table,
    incoming: &'a [Incoming<V::Event>],
) -> Result<Plan<'a, V>, ReadStoreError> {
    take_in_part(connection, view, &plan::touched_streams(incoming), incoming, &Part::WHOLE)
}

/// Takes a part of the records into a view: those of these streams.
pub(super) fn take_in_part<'a, V: View>(
    connection: &Connection,
    view: Table,
    streams: &[StreamId],
    incoming: &'a [Incoming<V::Event>],
    part: &Part<'_>,
) -> Result<Plan<'a, V>, ReadStoreError> {
    let mut known = known(connection, view, streams)?;
    known.unaddressed = unaddressed(connection, view, incoming.iter().filter(|record| part.has(record)))?;
    if !is_by_stream::<V>() {
        let keys = plan::reach(&known, incoming, part).keys;
        known.rows = keyed::rows(connection, view, &keys)?;
    }
    let plan = plan::plan(known, incoming, part);
    write(connection, view, &plan)?;
    Ok(plan)
}

pub(super) fn known<V: View>(
    connection: &Connection,
    view: Table,
    streams: &[StreamId],
) -> Result<ViewSlice<V>, ReadStoreError> {
    let entries = entries_of(connection, view.streams(), streams)?;
    let held = held_of(connection, view, streams)?;
    Ok(ViewSlice { entries, held, ..ViewSlice::default() })
}

/// The statement that reads an entry. A lookup for each stream, in one transaction, costs SQLite no more than one statement with
/// all ids.
pub(super) fn entry_sql(view: Table) -> String {
    format!("SELECT {} FROM {view} WHERE id = ?1", view.shape.column_list())
}

fn entries_of<R: Row>(
    connection: &Connection,
    view: Table,
    streams: &[StreamId],
) -> Result<HashMap<StreamId, Entry<R>>, ReadStoreError> {
    let mut statement = connection.prepare_cached(&entry_sql(view))?;
    let mut found = HashMap::with_capacity(streams.len());
    for stream in streams {
        if let Some(entry) =
            statement.query_row([stream.as_str()], |row| rows::entry(row, view.shape)).optional()?
        {
            found.insert(stream.clone(), entry);
        }
    }
    Ok(found)
}

/// The statement that reads a stream's held events. The value is read only if it can become an event. Any other value may be
/// large, and is of no use here.
pub(super) const HELD_ROWS: &str = "SELECT id, version, reason, CASE WHEN version IS NOT NULL THEN value END
     FROM read_store_held WHERE view = ?1 AND stream = ?2";

/// Asks if an event is held for any stream. Mostly none is, and then nobody need ask stream by stream.
pub(super) const ANY_HELD: &str =
    "SELECT EXISTS (SELECT 1 FROM read_store_held WHERE view = ?1 AND stream >= '')";

/// Asks if an event is held for a stream.
pub(super) const HELD_FOR: &str =
    "SELECT EXISTS (SELECT 1 FROM read_store_held WHERE view = ?1 AND stream = ?2)";

/// Returns those of these streams for which an event is held.
pub(super) fn held_for<'o>(
    connection: &Connection,
    view: Table,
    streams: impl IntoIterator<Item = &'o StreamId>,
) -> Result<HashSet<&'o StreamId>, ReadStoreError> {
    let mut held = HashSet::new();
    if !connection.prepare_cached(ANY_HELD)?.query_row([view.id.0], |row| row.get(0))? {
        return Ok(held);
    }
    let mut statement = connection.prepare_cached(HELD_FOR)?;
    for stream in streams {
        if statement.query_row(params![view.id.0, stream.as_str()], |row| row.get(0))? {
            held.insert(stream);
        }
    }
    Ok(held)
}

fn held_of(
    connection: &Connection,
    view: Table,
    streams: &[StreamId],
) -> Result<HashMap<StreamId, Vec<HeldRow>>, ReadStoreError> {
    let mut found = HashMap::new();
    if !connection.prepare_cached(ANY_HELD)?.query_row([view.id.0], |row| row.get(0))? {
        return Ok(found);
    }
    let mut statement = connection.prepare_cached(HELD_ROWS)?;
    for stream in streams {
        let held = statement.query_map(params![view.id.0, stream.as_str()], |row| {
            let version = row.get::<_, Option<i64>>(1)?.map(shape::version);
            Ok(HeldRow { id: HeldId(row.get(0)?), version, reason: row.get(2)?, value: row.get(3)? })
        })?;
        let held = held.collect::<Result<Vec<_>, _>>()?;
        if !held.is_empty() {
            found.insert(stream.clone(), held);
        }
    }
    Ok(found)
}

pub(super) const UNADDRESSED: &str = "SELECT key, value FROM read_store_held
     WHERE view = ?1 AND topic = ?2 AND partition = ?3 AND record_offset = ?4
       AND (version IS NULL OR stream IS NULL)";

/// Returns the held records at the places of incoming records without a stream or a version.
fn unaddressed<'i, E: 'i>(
    connection: &Connection,
    view: Table,
    incoming: impl Iterator<Item = &'i Incoming<E>>,
) -> Result<BTreeSet<UnaddressedRecord>, ReadStoreError> {
    let mut found = BTreeSet::new();
    for UnaddressedRecord { origin, .. } in incoming.filter_map(UnaddressedRecord::of) {
        let mut statement = connection.prepare_cached(UNADDRESSED)?;
        let place = params![view.id.0, origin.topic, origin.partition, origin.offset];
        let records = statement.query_map(place, |row| {
            Ok(UnaddressedRecord { origin: origin.clone(), key: row.get(0)?, value: row.get(1)? })
        })?;
        for record in records {
            found.insert(record?);
        }
    }
    Ok(found)
}

fn write<V: View>(connection: &Connection, view: Table, plan: &Plan<'_, V>) -> Result<(), ReadStoreError> {
    upsert(connection, view.streams(), &plan.upserts)?;
    keyed::write(connection, view, plan)?;
    for (id, verdict) in &plan.rejudged {
        rejudge(connection, *id, verdict)?;
    }
    hold(connection, view, &plan.holds)?;
    let gone = plan.releases.iter().map(|release| release.id).chain(plan.passed.iter().copied());
    for HeldId(id) in gone {
        connection.prepare_cached("DELETE FROM read_store_held WHERE id = ?1")?.execute([id])?;
    }
    Ok(())
}

/// Stores the verdict on a held event.
pub(super) fn rejudge(connection: &Connection, id: HeldId, verdict: &Verdict) -> Result<(), ReadStoreError> {
    let mut statement = connection.prepare_cached(
        "UPDATE read_store_held SET stream = ?2, version = ?3, reason = ?4, problem = ?5 WHERE id = ?1",
    )?;
    statement.execute(params![
        id.0,
        verdict.stream.as_ref().map(StreamId::as_str),
        verdict.version.map(number),
        verdict.reason.as_str(),
        verdict.problem,
    ])?;
    Ok(())
}

/// The statement that writes an entry under a guard. `?1` and `?2` are the entry's id and version; the row's values follow.
pub(super) fn upsert_sql(view: Table, guard: &str) -> String {
    let columns = view.shape.columns.iter().map(|column| column.name);
    let set = ["version"].into_iter().chain(columns).map(|name| format!("{name} = excluded.{name}"));
    let set = set.collect::<Vec<_>>().join(", ");
    let values = (1..=view.shape.columns.len() + 2).map(|number| format!("?{number}"));
    let values = values.collect::<Vec<_>>().join(", ");
    format!(
        "INSERT INTO {view} AS has ({}) VALUES ({values}) ON CONFLICT (id) DO UPDATE SET {set} WHERE {guard}",
        view.shape.column_list()
    )
}

/// Writes an entry by [`upsert_sql`]. Returns the number of written rows.
pub(super) fn execute_upsert<R: Row>(
    statement: &mut rusqlite::Statement<'_>,
    shape: Shape,
    entry: &Entry<R>,
    guard: Option<i64>,
) -> Result<usize, ReadStoreError> {
    let (id, version) = (entry.id.as_str(), number(entry.version));
    let values = if shape.columns.is_empty() { Vec::new() } else { shape::values(entry) };
    let values: Vec<Column<'_>> = values.into_iter().map(Column).collect();
    let mut parameters: Vec<&dyn ToSql> = vec![&id, &version];
    parameters.extend(values.iter().map(|value| value as &dyn ToSql));
    parameters.extend(guard.as_ref().map(|guard| guard as &dyn ToSql));
    Ok(statement.execute(&parameters[..])?)
}

fn upsert<R: Row>(connection: &Connection, view: Table, upserts: &[Upsert<R>]) -> Result<(), ReadStoreError> {
    // Exactly once: an entry is only ever written over the version from which it was folded.
    let guard = format!("has.version = ?{}", view.shape.columns.len() + 3);
    let mut statement = connection.prepare_cached(&upsert_sql(view, &guard))?;
    for Upsert { from, entry, .. } in upserts {
        if execute_upsert(&mut statement, view.shape, entry, Some(number(*from)))? != 1 {
            let problem = format!("the row of {} changed while it was written", entry.id);
            return Err(ReadStoreError::Unavailable(problem));
        }
    }
    Ok(())
}

fn hold<E: EventType>(
    connection: &Connection,
    view: Table,
    holds: &[Hold<'_, E>],
) -> Result<(), ReadStoreError> {
    for hold in holds {
        let mut statement = connection.prepare_cached(
            "INSERT INTO read_store_held
                 (view, stream, version, reason, problem, topic, partition, record_offset, key, value, held_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )?;
        let (verdict, origin) = (&hold.verdict, &hold.record.origin);
        statement.execute(params![
            view.id.0,
            verdict.stream.as_ref().map(StreamId::as_str),
            verdict.version.map(number),
            verdict.reason.as_str(),
            verdict.problem,
            origin.topic,
            origin.partition,
            origin.offset,
            hold.record.key,
            hold.value(),
            Time(hold.record.received_at),
        ])?;
    }
    Ok(())
}
