//! Takes records into a view part by part, so that a row which the server refuses holds its stream alone: see
//! [`Part`](crate::plan::Part).

use event_sourcing::{Refused, StreamId, Version, View};
use sqlx::{PgConnection, raw_sql};

use super::failure::Failure;
use super::project;
use crate::Incoming;
use crate::plan::{self, Part, Plan, Search};
use crate::shape::Table;

/// Takes records into a view. It costs a savepoint a part, so it is for batches of which the server has refused a row.
pub(super) async fn in_parts<'a, V: View>(
    connection: &mut PgConnection,
    view: Table,
    incoming: &'a [Incoming<V::Event>],
) -> Result<Plan<'a, V>, Failure> {
    take_in(connection, view, &plan::touched_streams(incoming), incoming).await
}

/// Applies the held events of these streams, which are sorted, that have become next, after something else has changed an entry or
/// a held event.
pub(super) async fn settle<V: View>(
    connection: &mut PgConnection,
    view: Table,
    streams: &[StreamId],
) -> Result<Plan<'static, V>, Failure> {
    take_in(connection, view, streams, &[]).await
}

async fn take_in<'a, V: View>(
    connection: &mut PgConnection,
    view: Table,
    streams: &[StreamId],
    incoming: &'a [Incoming<V::Event>],
) -> Result<Plan<'a, V>, Failure> {
    // Before any savepoint: who inserted an entry is told by its transaction, and a savepoint counts as another one.
    project::lock_streams::<V::Row>(connection, view, streams).await?;
    let mut plan = project::take_in_part(connection, view, &[], incoming, &Part::UNADDRESSED).await?;
    let mut parts = vec![streams];
    while let Some(streams) = parts.pop() {
        if streams.is_empty() {
            continue;
        }
        match kept(connection, view, streams, incoming, &Part::of(streams)).await {
            Ok(part) => plan.join(part),
            Err(Failure::Refused(why)) if streams.len() == 1 => {
                plan.join(up_to_refused(connection, view, streams, incoming, why).await?);
            }
            Err(Failure::Refused(_)) => {
                let (first, later) = streams.split_at(streams.len() / 2);
                parts.extend([later, first]);
            }
            Err(failed) => return Err(failed),
        }
    }
    Ok(plan)
}

/// Takes in the records of one stream up to the event whose row the server refuses, and holds that event.
async fn up_to_refused<'a, V: View>(
    connection: &mut PgConnection,
    view: Table,
    streams: &[StreamId],
    incoming: &'a [Incoming<V::Event>],
    mut why: String,
) -> Result<Plan<'a, V>, Failure> {
    let known = project::known::<V>(connection, view, streams).await?;
    let reach = plan::reach(&known, incoming, &Part::of(streams)).versions;
    let (from, to) = (known.version(&streams[0]), reach.get(&streams[0]).copied().unwrap_or(Version::NONE));
    let Some(mut search) = Search::between(from, to) else { return Err(Failure::Refused(why)) };
    let refusing = |version, why: &str| Part::refusing(streams, version, Refused(why.to_owned()));
    while let Some(version) = search.next() {
        match tried::<V>(connection, view, streams, incoming, &refusing(version.next(), "")).await {
            Ok(()) => search.tried(version, true),
            Err(Failure::Refused(new)) => {
                search.tried(version, false);
                why = new;
            }
            Err(failed) => return Err(failed),
        }
    }
    kept(connection, view, streams, incoming, &refusing(search.refused(), &why)).await
}

/// Takes in a part. If the server refuses a row of it, nothing of the part is left.
async fn kept<'a, V: View>(
    connection: &mut PgConnection,
    view: Table,
    streams: &[StreamId],
    incoming: &'a [Incoming<V::Event>],
    part: &Part<'_>,
) -> Result<Plan<'a, V>, Failure> {
    raw_sql("SAVEPOINT part").execute(&mut *connection).await?;
    let done = project::take_in_part(connection, view, streams, incoming, part).await;
    let end = match &done {
        Ok(_) => "RELEASE part",
        Err(Failure::Refused(_)) => "ROLLBACK TO part; RELEASE part",
        Err(_) => return done,
    };
    raw_sql(end).execute(connection).await?;
    done
}

/// Takes in a part, and takes it back.
async fn tried<V: View>(
    connection: &mut PgConnection,
    view: Table,
    streams: &[StreamId],
    incoming: &[Incoming<V::Event>],
    part: &Part<'_>,
) -> Result<(), Failure> {
    raw_sql("SAVEPOINT part").execute(&mut *connection).await?;
    let done = project::take_in_part::<V>(connection, view, streams, incoming, part).await.map(drop);
    if matches!(done, Ok(()) | Err(Failure::Refused(_))) {
        raw_sql("ROLLBACK TO part; RELEASE part").execute(connection).await?;
    }
    done
}
