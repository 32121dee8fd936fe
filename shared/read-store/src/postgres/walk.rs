//! The comparison with the event store: see [`crate::walk`].

use event_sourcing::View;
use jiff::Timestamp;
use sqlx::postgres::PgRow;
use sqlx::{Row, query};

use super::failure::Failure;
use super::shared::Shared;
use crate::walk::{Step, Walk, Walker, sql};

pub(super) async fn read<V: View>(shared: &Shared<V>) -> Result<Walk, Failure> {
    let found = shared.connections.rows(|| query(sql::READ).bind(shared.connections.shape.key)).await?;
    found.first().map_or_else(|| Ok(Walk::default()), walk)
}

pub(super) async fn take<V: View>(shared: &Shared<V>, walker: &Walker) -> Result<Option<Walk>, Failure> {
    let (until, now) = (walker.until.as_millisecond(), walker.now.as_millisecond());
    let take =
        || query(sql::TAKE).bind(&walker.name).bind(until).bind(now).bind(shared.connections.shape.key);
    shared.connections.rows(take).await?.first().map(walk).transpose()
}

pub(super) async fn step<V: View>(
    shared: &Shared<V>,
    walker: &Walker,
    step: &Step,
) -> Result<Option<Walk>, Failure> {
    let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let take_step = || {
        query(sql::STEP)
            .bind(&walker.name)
            .bind(walker.until.as_millisecond())
            .bind(step.position.as_deref())
            .bind(step.ended.map(Timestamp::as_millisecond))
            .bind(count(step.found))
            .bind(count(step.filled))
            .bind(step.settled)
            .bind(step.settling)
            .bind(shared.connections.shape.key)
    };
    shared.connections.rows(take_step).await?.first().map(walk).transpose()
}

pub(super) async fn doubt<V: View>(shared: &Shared<V>, why: &str, now: Timestamp) -> Result<(), Failure> {
    shared
        .connections
        .rows(|| query(sql::DOUBT).bind(why).bind(now.as_millisecond()).bind(shared.connections.shape.key))
        .await
        .map(drop)
}

pub(super) async fn leave<V: View>(shared: &Shared<V>, name: &str) -> Result<(), Failure> {
    shared
        .connections
        .rows(|| query(sql::LEAVE).bind(name).bind(shared.connections.shape.key))
        .await
        .map(drop)
}

fn walk(row: &PgRow) -> Result<Walk, Failure> {
    let values = (
        row.try_get(0)?,
        row.try_get(1)?,
        row.try_get(2)?,
        row.try_get(3)?,
        row.try_get(4)?,
        row.try_get(5)?,
        row.try_get(6)?,
        row.try_get(7)?,
    );
    Ok(Walk::from(values))
}
