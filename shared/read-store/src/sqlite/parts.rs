//! Takes records into a view part by part, so that a row which the database refuses holds its stream alone: see
//! [`Part`](crate::plan::Part).

use event_sourcing::{Refused, StreamId, Version, View};
use rusqlite::Connection;

use super::project;
use crate::plan::{self, Part, Plan, Search};
use crate::shape::Table;
use crate::{Incoming, ReadStoreError};

/// Takes records into a view. It costs a savepoint a part, so it is for batches of which the database has refused a row.
pub(super) fn in_parts<'a, V: View>(
    connection: &Connection,
    view: Table,
    incoming: &'a [Incoming<V::Event>],
) -> Result<Plan<'a, V>, ReadStoreError> {
    take_in(connection, view, &plan::touched_streams(incoming), incoming)
}

/// Applies the held events of these streams, which are sorted, that have become next, after something else has changed an entry or
/// a held event.
pub(super) fn settle<V: View>(
    connection: &Connection,
    view: Table,
    streams: &[StreamId],
) -> Result<Plan<'static, V>, ReadStoreError> {
    take_in(connection, view, streams, &[])
}

fn take_in<'a, V: View>(
    connection: &Connection,
    view: Table,
    streams: &[StreamId],
    incoming: &'a [Incoming<V::Event>],
) -> Result<Plan<'a, V>, ReadStoreError> {
    let mut plan = project::take_in_part(connection, view, &[], incoming, &Part::UNADDRESSED)?;
    let mut parts = vec![streams];
    while let Some(streams) = parts.pop() {
        if streams.is_empty() {
            continue;
        }
        match kept(connection, view, streams, incoming, &Part::of(streams)) {
            Ok(part) => plan.join(part),
            Err(ReadStoreError::Refused(why)) if streams.len() == 1 => {
                plan.join(up_to_refused(connection, view, streams, incoming, why)?);
            }
            Err(ReadStoreError::Refused(_)) => {
                let (first, later) = streams.split_at(streams.len() / 2);
                parts.extend([later, first]);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(plan)
}

/// Takes in the records of one stream up to the event whose row the database refuses, and holds that event.
fn up_to_refused<'a, V: View>(
    connection: &Connection,
    view: Table,
    streams: &[StreamId],
    incoming: &'a [Incoming<V::Event>],
    mut why: String,
) -> Result<Plan<'a, V>, ReadStoreError> {
    let known = project::known::<V>(connection, view, streams)?;
    let reach = plan::reach(&known, incoming, &Part::of(streams)).versions;
    let (from, to) = (known.version(&streams[0]), reach.get(&streams[0]).copied().unwrap_or(Version::NONE));
    let Some(mut search) = Search::between(from, to) else { return Err(ReadStoreError::Refused(why)) };
    let refusing = |version, why: &str| Part::refusing(streams, version, Refused(why.to_owned()));
    while let Some(version) = search.next() {
        match tried::<V>(connection, view, streams, incoming, &refusing(version.next(), "")) {
            Ok(()) => search.tried(version, true),
            Err(ReadStoreError::Refused(new)) => {
                search.tried(version, false);
                why = new;
            }
            Err(error) => return Err(error),
        }
    }
    kept(connection, view, streams, incoming, &refusing(search.refused(), &why))
}

/// Takes in a part. If the database refuses a row of it, nothing of the part is left.
fn kept<'a, V: View>(
    connection: &Connection,
    view: Table,
    streams: &[StreamId],
    incoming: &'a [Incoming<V::Event>],
    part: &Part<'_>,
) -> Result<Plan<'a, V>, ReadStoreError> {
    connection.execute_batch("SAVEPOINT part")?;
    let done = project::take_in_part(connection, view, streams, incoming, part);
    match &done {
        Ok(_) => connection.execute_batch("RELEASE part")?,
        Err(ReadStoreError::Refused(_)) => connection.execute_batch("ROLLBACK TO part; RELEASE part")?,
        Err(_) => {}
    }
    done
}

/// Takes in a part, and takes it back.
fn tried<V: View>(
    connection: &Connection,
    view: Table,
    streams: &[StreamId],
    incoming: &[Incoming<V::Event>],
    part: &Part<'_>,
) -> Result<(), ReadStoreError> {
    connection.execute_batch("SAVEPOINT part")?;
    let done = project::take_in_part::<V>(connection, view, streams, incoming, part).map(drop);
    connection.execute_batch("ROLLBACK TO part; RELEASE part")?;
    done
}
