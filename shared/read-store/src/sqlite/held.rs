//! Held events: shown, tried again, dropped.

use std::collections::HashMap;

use domain::{OrderId, Version};
use runtime::{KillPoint, kill_point};
use rusqlite::{Connection, OptionalExtension, params};

use super::rows::{self, HELD_COLUMNS, number};
use super::write::Writer;
use super::{project, schema};
use crate::plan::Verdict;
use crate::{DropRefused, HeldEvent, HeldId, HeldSummary, ReadStoreError, ViewId};

/// How many held events are tried again in one transaction.
const REDRIVE_PAGE: usize = 500;

pub(super) fn summary(connection: &Connection) -> Result<Vec<HeldSummary>, ReadStoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT reason, count(*), count(DISTINCT order_id) FROM held_events
         WHERE view = (SELECT id FROM views WHERE state = 'active') GROUP BY reason ORDER BY reason",
    )?;
    let summary = statement.query_map([], |row| {
        let count = |column| row.get::<_, i64>(column).map(i64::unsigned_abs);
        Ok(HeldSummary { reason: row.get(0)?, events: count(1)?, orders: count(2)? })
    })?;
    Ok(summary.collect::<Result<_, _>>()?)
}

pub(super) fn list(
    connection: &Connection,
    order: Option<&OrderId>,
    after: Option<HeldId>,
    limit: usize,
) -> Result<Vec<HeldEvent>, ReadStoreError> {
    // The plus keeps SQLite from an index that it would have to sort, when all orders are asked for.
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {HELD_COLUMNS} FROM held_events
         WHERE +view = (SELECT id FROM views WHERE state = 'active') AND id > ?1 {} ORDER BY id LIMIT ?2",
        of_order(order)
    ))?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let after = after.map_or(0, |HeldId(id)| id);
    let held = match order {
        None => statement.query_map(params![after, limit], rows::held_event)?,
        Some(order) => statement.query_map(params![after, limit, order.as_str()], rows::held_event)?,
    };
    Ok(held.collect::<Result<_, _>>()?)
}

/// The condition that narrows a read of held events to one order, its id being the third parameter.
fn of_order(order: Option<&OrderId>) -> &'static str {
    if order.is_some() { "AND order_id = ?3" } else { "" }
}

pub(super) fn one(connection: &Connection, HeldId(id): HeldId) -> Result<Option<HeldEvent>, ReadStoreError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {HELD_COLUMNS} FROM held_events
         WHERE id = ?1 AND view = (SELECT id FROM views WHERE state = 'active')"
    ))?;
    Ok(statement.query_row([id], rows::held_event).optional()?)
}

/// How many events the active view holds, of all orders or of one.
pub(super) fn count(connection: &Connection, order: Option<&OrderId>) -> Result<u64, ReadStoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT count(*) FROM held_events
         WHERE view = (SELECT id FROM views WHERE state = 'active') AND (?1 IS NULL OR order_id = ?1)",
    )?;
    let count: i64 = statement.query_row([order.map(OrderId::as_str)], |row| row.get(0))?;
    Ok(count.unsigned_abs())
}

/// What became of a page of held events.
pub(super) struct RedrivenPage {
    pub(super) applied: u64,
    pub(super) removed: u64,
    /// The last of the page; none when there is no further page.
    pub(super) last: Option<HeldId>,
}

impl Writer {
    /// Judges the held events after `after` anew, of every view, and lets those go on that can. That the page is by id and
    /// not by version makes no difference: whatever becomes next is applied, also of pages before.
    pub(super) fn redrive(
        &mut self,
        order: Option<&OrderId>,
        after: HeldId,
    ) -> Result<RedrivenPage, ReadStoreError> {
        let waiters = self.waiters.clone();
        let transaction = self.begin()?;
        let active = schema::active_view(&transaction)?;
        let page = page_of_all_views(&transaction, order, after)?;
        let last = page.last().filter(|_| page.len() == REDRIVE_PAGE).map(|(_, event)| event.id);
        let mut redriven = RedrivenPage { applied: 0, removed: 0, last };
        let mut orders: HashMap<ViewId, Vec<OrderId>> = HashMap::new();
        for (view, event) in page {
            orders.entry(view).or_default().extend(judge_again(&transaction, &event)?);
        }
        let mut rows = Vec::new();
        for (view, mut orders) in orders {
            orders.sort_unstable();
            orders.dedup();
            let plan = project::settle(&transaction, view, &orders)?;
            if view == active {
                redriven.applied = plan.releases.len() as u64;
                redriven.removed = plan.passed.len() as u64;
                rows = plan.upserts;
            }
        }
        kill_point(KillPoint::BeforeRedriveCommit);
        transaction.commit()?;
        kill_point(KillPoint::AfterRedriveCommit);
        waiters.tell(&rows);
        Ok(redriven)
    }

    pub(super) fn drop_held(&mut self, id: HeldId) -> Result<(), DropRefused> {
        let transaction = self.begin()?;
        let event = one(&transaction, id)?.ok_or(DropRefused::NotHeld(id))?;
        if let (Some(order), Some(version)) = (&event.order, event.version) {
            let have = version_of(&transaction, schema::active_view(&transaction)?, order)?;
            if version > have {
                return Err(DropRefused::Needed { id, order: order.clone(), version, have });
            }
        }
        delete_everywhere(&transaction, &event)?;
        transaction.commit().map_err(ReadStoreError::from)?;
        Ok(())
    }
}

fn page_of_all_views(
    connection: &Connection,
    order: Option<&OrderId>,
    HeldId(after): HeldId,
) -> Result<Vec<(ViewId, HeldEvent)>, ReadStoreError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {HELD_COLUMNS}, view FROM held_events
         WHERE id > ?1 AND (?2 IS NULL OR order_id = ?2) ORDER BY id LIMIT {REDRIVE_PAGE}"
    ))?;
    let held = statement.query_map(params![after, order.map(OrderId::as_str)], |row| {
        Ok((ViewId(row.get(11)?), rows::held_event(row)?))
    })?;
    Ok(held.collect::<Result<_, _>>()?)
}

/// Writes down what a held event is by the judgement of today; the order that this may have freed.
fn judge_again(connection: &Connection, event: &HeldEvent) -> Result<Option<OrderId>, ReadStoreError> {
    let today = Verdict::again(event.key.as_deref(), event.value.as_deref());
    let HeldEvent { order, version, reason, problem, .. } = event;
    let Verdict { order: order_today, version: version_today, .. } = &today;
    if (order, version, reason, problem) == (order_today, version_today, &today.reason, &today.problem) {
        return Ok(today.order);
    }
    let mut statement = connection.prepare_cached(
        "UPDATE held_events SET order_id = ?2, version = ?3, reason = ?4, problem = ?5 WHERE id = ?1",
    )?;
    statement.execute(params![
        event.id.0,
        today.order.as_ref().map(OrderId::as_str),
        today.version.map(number),
        today.reason.as_str(),
        today.problem,
    ])?;
    Ok(today.order)
}

/// The version of an order in a view; 0 where it has none.
pub(super) fn version_of(
    connection: &Connection,
    ViewId(view): ViewId,
    order: &OrderId,
) -> Result<Version, ReadStoreError> {
    let mut statement =
        connection.prepare_cached(&format!("SELECT version FROM orders_{view} WHERE id = ?1"))?;
    let found = statement.query_row([order.as_str()], |row| row.get(0)).optional()?;
    Ok(found.map_or(Version::NONE, rows::version))
}

/// Deletes a held event, and a record without a version also from a view that is being built, which holds a copy. One with
/// a version may be next there; else it goes when the row has passed it.
fn delete_everywhere(connection: &Connection, event: &HeldEvent) -> Result<(), ReadStoreError> {
    connection.prepare_cached("DELETE FROM held_events WHERE id = ?1")?.execute([event.id.0])?;
    if event.version.is_some() && event.order.is_some() {
        return Ok(());
    }
    let mut statement = connection.prepare_cached(
        "DELETE FROM held_events
         WHERE topic = ?1 AND partition = ?2 AND offset = ?3 AND key IS ?4 AND value IS ?5
           AND (version IS NULL OR order_id IS NULL)",
    )?;
    let origin = &event.origin;
    statement.execute(params![origin.topic, origin.partition, origin.offset, event.key, event.value])?;
    Ok(())
}
