//! The SQL of a swap, as every variant runs it.

use crate::shape::Table;

/// Finds the streams that forbid a swap. A reader would see a stream go back that is behind in the new view. A stream would
/// stop that waits for a missing event there but not in the active view. Neither counts if the event store can't read the
/// stream's next event ([`SET_ASIDE`]): that would forbid every swap.
///
/// Yields one row, if there is such a stream: the first one, its version in the old view and in the new one, and their number.
pub(crate) fn behind(old: Table, new: Table) -> String {
    let version_in = |view: Table| format!("coalesce((SELECT version FROM {view} WHERE id = gap.stream), 0)");
    let (in_old, in_new) = (version_in(old), version_in(new));
    let (old_id, new_id) = (old.id.0, new.id.0);
    let is_aside = |stream: &str, version: &str| {
        format!(
            "EXISTS (SELECT 1 FROM read_store_held AS aside WHERE aside.view = {new_id} AND aside.stream = {stream}
                 AND aside.version = {version} + 1 AND {SET_ASIDE})"
        )
    };
    let (behind_aside, gap_aside) =
        (is_aside("has.id", "coalesce(gets.version, 0)"), is_aside("gap.stream", &in_new));
    // UNION, so that a stream which is both counts once.
    format!(
        "SELECT id, active, building, count(*) OVER () FROM (
             SELECT has.id AS id, has.version AS active, coalesce(gets.version, 0) AS building
             FROM {old} AS has LEFT JOIN {new} AS gets ON gets.id = has.id
             WHERE coalesce(gets.version, 0) < has.version AND NOT {behind_aside}
             UNION
             SELECT DISTINCT gap.stream, {in_old}, {in_new} FROM read_store_held AS gap
             WHERE gap.view = {new_id} AND gap.reason = 'gap' AND NOT {gap_aside} AND NOT EXISTS (
                 SELECT 1 FROM read_store_held AS same
                 WHERE same.view = {old_id} AND same.stream = gap.stream AND same.version > {in_old})
         ) AS found ORDER BY id LIMIT 1"
    )
}

/// The condition for an event that a rebuild holds because the event store can't read it.
pub(crate) const SET_ASIDE: &str =
    "aside.reason = 'undecodable' AND aside.topic = '' AND aside.partition = -1 AND aside.value IS NULL";

/// Moves the held events of the active view that the new one does not hold, so that nothing is lost. These are events that the
/// new view's row has not passed, and all records without a stream or a version. They keep their numbers.
///
/// Yields the streams of the moved events; NULL for records without a stream.
pub(crate) fn carry_over(active: Table, view: Table) -> String {
    let (old, new) = (active.id.0, view.id.0);
    let same = |column: &str| format!("same.{column} IS NOT DISTINCT FROM held.{column}");
    let (stream, version, key, value) = (same("stream"), same("version"), same("key"), same("value"));
    format!(
        "UPDATE read_store_held AS held SET view = {new}
         WHERE view = {old}
           AND (stream IS NULL OR version IS NULL
               OR version > coalesce((SELECT version FROM {view} WHERE id = held.stream), 0))
           AND NOT EXISTS (
               SELECT 1 FROM read_store_held AS same
               WHERE same.view = {new} AND {stream} AND {version} AND same.reason = held.reason
                 AND ((same.stream IS NOT NULL AND same.version IS NOT NULL)
                     OR (same.topic = held.topic AND same.partition = held.partition
                         AND same.record_offset = held.record_offset AND {key} AND {value})))
         RETURNING stream"
    )
}

/// Finds the streams that have another version in the two views: their ids, the versions in the old view and in the new one.
pub(crate) fn other_versions(old: Table, new: Table, limit: usize) -> String {
    let (old, new) = (old.streams(), new.streams());
    format!(
        "SELECT id, active, building FROM (
             SELECT id, max(active) AS active, max(building) AS building FROM (
                 SELECT id, version AS active, 0 AS building FROM {old} UNION ALL SELECT id, 0, version FROM {new}
             ) AS both_views GROUP BY id
         ) AS by_stream WHERE active <> building ORDER BY id LIMIT {limit}"
    )
}

/// Finds the keys of the rows that differ in the two views.
pub(crate) fn other_rows(old: Table, new: Table, limit: usize) -> String {
    let (columns, key) = (old.shape.row_list(), old.shape.key_column().name);
    let only_in = |one: Table, other: Table| {
        format!(
            "SELECT CAST({key} AS text) AS key FROM (SELECT {columns} FROM {one} EXCEPT SELECT {columns} FROM {other}) AS differing"
        )
    };
    format!("{} UNION {} ORDER BY key LIMIT {limit}", only_in(old, new), only_in(new, old))
}
