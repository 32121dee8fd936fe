//! Reads the part of a view that a plan needs and writes the plan, within the caller's transaction.
//!
//! Two transactions may touch the same stream:
//! - If the stream has an entry, the second waits for the entry's lock, and then reads the events that are held for the stream.
//! - If it has none, the second waits for the first one's insert, and then goes by the entry that it finds. So a transaction that
//!   holds an event for such a stream inserts an entry too, at version 0.

use std::collections::{BTreeSet, HashMap, HashSet};

use event_sourcing::{Entry, Row, StreamId, View, is_by_stream};
use sqlx::{AssertSqlSafe, PgConnection, Row as _, query};

use super::failure::Failure;
use super::{keyed, rows, upsert};
use crate::plan::{self, HeldRow, Part, Plan, UnaddressedRecord, Upsert, ViewSlice};
use crate::shape::{self, Table};
use crate::{HeldId, Incoming, Origin};

/// Takes records into a view.
///
/// # Errors
/// [`Failure::Refused`] when the server refuses a row. Then the caller begins anew, and uses [`in_parts`](super::parts).
pub(super) async fn take_in<'a, V: View>(
    connection: &mut PgConnection,
    view: Table,
    incoming: &'a [Incoming<V::Event>],
) -> Result<Plan<'a, V>, Failure> {
    let streams = plan::touched_streams(incoming);
    if !is_by_stream::<V>() {
        lock_streams::<V::Row>(connection, view, &streams).await?;
        return take_in_part(connection, view, &streams, incoming, &Part::WHOLE).await;
    }
    let entries = lock_entries(connection, view, &streams).await?;
    // After the locks, and in a statement of its own: the transaction that had the locks may have held an event.
    let held = held_of(connection, view, &streams).await?;
    let unaddressed = unaddressed(connection, view, incoming.iter()).await?;
    plan_and_write(
        connection,
        view,
        ViewSlice { entries, held, unaddressed, ..ViewSlice::default() },
        incoming,
    )
    .await
}

/// Takes a part of the records into a view: those of these streams. All of the streams have an entry, and it is locked.
pub(super) async fn take_in_part<'a, V: View>(
    connection: &mut PgConnection,
    view: Table,
    streams: &[StreamId],
    incoming: &'a [Incoming<V::Event>],
    part: &Part<'_>,
) -> Result<Plan<'a, V>, Failure> {
    let mut known = known(connection, view, streams).await?;
    known.unaddressed =
        unaddressed(connection, view, incoming.iter().filter(|record| part.has(record))).await?;
    let mut keys = BTreeSet::new();
    if !is_by_stream::<V>() {
        keys = plan::reach(&known, incoming, part).keys;
        known.rows = keyed::lock(connection, view, &keys).await?;
    }
    let plan = plan::plan(known.clone(), incoming, part);
    write_known(connection, view, &plan, &known.entries).await?;
    keyed::write(connection, view, &keys, &known.rows, &plan).await?;
    Ok(plan)
}

/// Returns the entries of these streams and their held events. The entries are locked already.
pub(super) async fn known<V: View>(
    connection: &mut PgConnection,
    view: Table,
    streams: &[StreamId],
) -> Result<ViewSlice<V>, Failure> {
    let entries = lock_entries(connection, view, streams).await?;
    let held = held_of(connection, view, streams).await?;
    Ok(ViewSlice { entries, held, ..ViewSlice::default() })
}

/// Locks the entries of these streams, which are sorted, and inserts one for each stream that has none. Does not read their
/// values, which may be garbled and about to be repaired.
pub(super) async fn lock_streams<R: Row>(
    connection: &mut PgConnection,
    view: Table,
    streams: &[StreamId],
) -> Result<(), Failure> {
    let there = lock_ids(connection, view, streams).await?;
    let absent: Vec<Entry<R>> =
        streams.iter().filter(|stream| !there.contains(*stream)).cloned().map(Entry::absent).collect();
    let absent: Vec<&Entry<R>> = absent.iter().collect();
    let overtaken = upsert::insert(connection, view.streams(), &absent).await?;
    if overtaken > 0 {
        lock_entries_of_others(connection, view, &absent, overtaken).await?;
    }
    Ok(())
}

/// Locks the entries of these streams, which are sorted. Returns the streams that have one.
pub(super) async fn lock_ids(
    connection: &mut PgConnection,
    view: Table,
    streams: &[StreamId],
) -> Result<HashSet<StreamId>, Failure> {
    let sql = format!("SELECT id FROM {} WHERE id = ANY($1) ORDER BY id FOR UPDATE", view.streams());
    let found = query(AssertSqlSafe(sql)).bind(rows::texts(streams)).fetch_all(connection).await?;
    found.iter().map(|row| rows::stream_id(row, 0)).collect()
}

type Entries<R> = HashMap<StreamId, Entry<R>>;

/// Locks the entries of these streams, by id, and returns them, also those at version 0.
async fn lock_entries<R: Row>(
    connection: &mut PgConnection,
    view: Table,
    streams: &[StreamId],
) -> Result<Entries<R>, Failure> {
    let sql = format!("{} ORDER BY id FOR UPDATE", entries_sql(view));
    entries_by(connection, view, &sql, &rows::texts(streams)).await
}

/// Returns the entries that the statement finds by these ids.
async fn entries_by<R: Row>(
    connection: &mut PgConnection,
    view: Table,
    sql: &str,
    ids: &[&str],
) -> Result<Entries<R>, Failure> {
    let mut found = Entries::with_capacity(ids.len());
    for ids in ids.chunks(upsert::ROWS) {
        for row in &query(AssertSqlSafe(sql)).bind(ids).fetch_all(&mut *connection).await? {
            let entry = rows::entry(row, view.streams().shape)?;
            found.insert(entry.id.clone(), entry);
        }
    }
    Ok(found)
}

/// The statement that reads entries by their ids, the first parameter.
pub(super) fn entries_sql(view: Table) -> String {
    let streams = view.streams();
    format!("SELECT {} FROM {streams} WHERE id = ANY($1)", streams.shape.column_list())
}

/// The statement that reads held events. Mostly nothing is held at all, which the condition at its end finds first. Otherwise it
/// looks the streams up one by one.
///
/// The problem: while little is held, the server would choose to read all that the view holds, and keep to that plan. The trick:
/// each lookup sorts by `version`, an order that only its own index has. A test shows it:
/// `what_is_held_is_found_by_its_own_index_however_much_it_is`.
///
/// The value is read only if it can become an event. Any other value may be large, and is of no use here.
pub(super) const HELD_ROWS: &str = "SELECT held.* FROM UNNEST($2::text[]) AS asked (id)
     CROSS JOIN LATERAL (
         SELECT stream, id, version, reason, CASE WHEN version IS NOT NULL THEN value END FROM read_store_held
         WHERE view = $1 AND stream = asked.id ORDER BY version OFFSET 0
     ) AS held
     WHERE (SELECT true FROM read_store_held WHERE view = $1 AND stream IS NOT NULL ORDER BY stream LIMIT 1)";

async fn held_of(
    connection: &mut PgConnection,
    view: Table,
    streams: &[StreamId],
) -> Result<HashMap<StreamId, Vec<HeldRow>>, Failure> {
    let mut held: HashMap<StreamId, Vec<HeldRow>> = HashMap::new();
    let found = query(HELD_ROWS).bind(view.id.0).bind(rows::texts(streams)).fetch_all(connection).await?;
    for row in &found {
        held.entry(rows::stream_id(row, 0)?).or_default().push(HeldRow {
            id: HeldId(row.try_get(1)?),
            version: row.try_get::<Option<i64>, _>(2)?.map(shape::version),
            reason: rows::reason(row, 3)?,
            value: row.try_get(4)?,
        });
    }
    Ok(held)
}

/// Records without a stream or a version have no row that could be locked. So that each is held once, those of a partition are
/// written one batch at a time. A lock for all partitions would let no two batches with poison be written side by side.
const LOCK_UNADDRESSED: &str = "SELECT pg_advisory_xact_lock(key) FROM (
         SELECT DISTINCT hashtextextended(concat_ws(' ', $1::bigint, partition, topic), 'read_store_held'::regclass::oid::bigint)
         FROM UNNEST($2::text[], $3::int[]) AS place (topic, partition) ORDER BY 1
     ) AS locks (key)";

/// Looks the records up one by one, sorted by `record_offset`, an order that only their own index has. Otherwise, while there
/// were few, the server would choose to read all that the view holds, and keep to that plan.
pub(super) const UNADDRESSED: &str =
    "SELECT kept.* FROM UNNEST($2::text[], $3::int[], $4::bigint[]) AS place (topic, partition, at)
     CROSS JOIN LATERAL (
         SELECT topic, partition, record_offset, key, value FROM read_store_held AS held
         WHERE view = $1 AND (version IS NULL OR stream IS NULL) AND held.topic = place.topic
             AND held.partition = place.partition AND record_offset BETWEEN place.at AND place.at
         ORDER BY record_offset OFFSET 0
     ) AS kept";

/// Locks the partitions of incoming records without a stream or a version, and returns the held records at their places.
async fn unaddressed<'i, E: 'i>(
    connection: &mut PgConnection,
    view: Table,
    incoming: impl Iterator<Item = &'i Incoming<E>>,
) -> Result<BTreeSet<UnaddressedRecord>, Failure> {
    let mut found = BTreeSet::new();
    let places: Vec<Origin> =
        incoming.filter_map(UnaddressedRecord::of).map(|record| record.origin).collect();
    if places.is_empty() {
        return Ok(found);
    }
    let topics: Vec<&str> = places.iter().map(|place| place.topic.as_str()).collect();
    let partitions: Vec<i32> = places.iter().map(|place| place.partition).collect();
    let offsets: Vec<i64> = places.iter().map(|place| place.offset).collect();
    query(LOCK_UNADDRESSED).bind(view.id.0).bind(&topics).bind(&partitions).execute(&mut *connection).await?;
    let statement = query(UNADDRESSED).bind(view.id.0).bind(topics).bind(partitions).bind(offsets);
    let records = statement.fetch_all(connection).await?;
    for row in &records {
        let origin = Origin { topic: row.try_get(0)?, partition: row.try_get(1)?, offset: row.try_get(2)? };
        found.insert(UnaddressedRecord { origin, key: row.try_get(3)?, value: row.try_get(4)? });
    }
    Ok(found)
}

/// Makes the plan from the known state, and writes it.
async fn plan_and_write<'a, V: View>(
    connection: &mut PgConnection,
    view: Table,
    mut known: ViewSlice<V>,
    incoming: &'a [Incoming<V::Event>],
) -> Result<Plan<'a, V>, Failure> {
    let mut plan = plan::plan(known.clone(), incoming, &Part::WHOLE);
    let placeholders = placeholders(&plan, &known.entries);
    let planned = plan.upserts.iter().map(|upsert| &upsert.entry);
    let mut new: Vec<&Entry<V::Row>> =
        planned.filter(|entry| !known.entries.contains_key(&entry.id)).chain(&placeholders).collect();
    // New entries are locks too, so they are inserted by id.
    new.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    let overtaken = upsert::insert(connection, view, &new).await?;
    if overtaken > 0 {
        // For all other streams the plan stays as before.
        let entries = lock_entries_of_others(connection, view, &new, overtaken).await?;
        let streams: Vec<StreamId> = entries.keys().cloned().collect();
        known.held.extend(held_of(connection, view, &streams).await?);
        known.entries.extend(entries);
        plan = plan::plan(known.clone(), incoming, &Part::WHOLE);
    }
    write_known(connection, view, &plan, &known.entries).await?;
    Ok(plan)
}

/// Locks the entries that other transactions have inserted instead of these, `count` of them.
///
/// # Errors
/// [`Failure::Overtaken`] when one of them is locked or gone already. To wait for it could mean to wait in a circle.
async fn lock_entries_of_others<R: Row>(
    connection: &mut PgConnection,
    view: Table,
    new: &[&Entry<R>],
    count: usize,
) -> Result<Entries<R>, Failure> {
    let ids: Vec<&str> = new.iter().map(|entry| entry.id.as_str()).collect();
    let found = entries_by(connection, view, &entries_of_others_sql(view), &ids).await?;
    if found.len() == count { Ok(found) } else { Err(Failure::Overtaken) }
}

/// The statement that locks, of the entries with these ids, those that another transaction has inserted.
pub(super) fn entries_of_others_sql(view: Table) -> String {
    format!("{} AND xmin <> pg_current_xact_id()::xid ORDER BY id FOR UPDATE SKIP LOCKED", entries_sql(view))
}

/// Writes the plan, except for new entries: they are inserted already.
async fn write_known<V: View>(
    connection: &mut PgConnection,
    view: Table,
    plan: &Plan<'_, V>,
    there: &Entries<V::Row>,
) -> Result<(), Failure> {
    let known: Vec<&Upsert<V::Row>> =
        plan.upserts.iter().filter(|upsert| there.contains_key(&upsert.entry.id)).collect();
    upsert::update(connection, view.streams(), &known).await?;
    for (id, verdict) in &plan.rejudged {
        upsert::rejudge(connection, *id, verdict).await?;
    }
    upsert::hold(connection, view, &plan.holds).await?;
    let gone: Vec<i64> = plan.releases.iter().map(|release| release.id.0).chain(passed(plan)).collect();
    if !gone.is_empty() {
        query("DELETE FROM read_store_held WHERE id = ANY($1)").bind(gone).execute(connection).await?;
    }
    Ok(())
}

fn passed<V: View>(plan: &Plan<'_, V>) -> impl Iterator<Item = i64> {
    plan.passed.iter().map(|HeldId(id)| *id)
}

/// Entries at version 0 for streams that have none and get none, but for which an event is held from now on.
fn placeholders<V: View>(plan: &Plan<'_, V>, there: &Entries<V::Row>) -> Vec<Entry<V::Row>> {
    let held = plan.holds.iter().filter(|hold| hold.verdict.version.is_some());
    let mut absent: HashSet<&StreamId> = held
        .filter_map(|hold| hold.verdict.stream.as_ref())
        .filter(|stream| !there.contains_key(*stream))
        .collect();
    for upsert in &plan.upserts {
        absent.remove(&upsert.entry.id);
    }
    absent.into_iter().cloned().map(Entry::absent).collect()
}
