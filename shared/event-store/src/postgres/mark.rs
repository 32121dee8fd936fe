//! Marks: all waiting marks are one statement, and one more if they end reminders.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use event_sourcing::Version;
use sqlx::query;

use super::connections::Connections;
use super::failure::Failure;
use super::reminders;
use crate::columns::number;
use crate::jobs::on_server::MarkJob;
use crate::{ReminderPolicy, StoreError};

/// The most commits that one statement names.
const STATEMENT: usize = 1_000;

/// A commit's stream and first version.
type CommitPlace<'a> = (&'a str, Version);

/// A mark sets a reminder only if it takes the commit out of the outbox. So a repeated mark leaves a reminder as it is, and a
/// commit gets none if the mark of the next one was first: that mark takes both commits out. A stream that has moved on already
/// needs no reminder. If a receiver has set the commit aside before the mark, that reminder stays.
///
/// Nobody waits for the disk. If the server stops before the mark is on it, mark and reminder are lost together: the commit is in the
/// outbox again, and a relay publishes it once more.
const MARK: &str = "
    WITH marked AS (
        DELETE FROM {namespace}_outbox AS unpublished
        USING UNNEST($1::text[], $2::bigint[], $3::boolean[]) AS mark (stream, version, remind)
        WHERE unpublished.stream = mark.stream AND unpublished.version = mark.version
            AND (SELECT set_config('synchronous_commit', 'off', true)) = 'off'
        RETURNING mark.stream, mark.version, mark.remind
    )
    INSERT INTO {namespace}_reminders (stream, version, since)
    SELECT stream, version, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint FROM marked
    WHERE remind AND NOT EXISTS (
        SELECT FROM {namespace}_commits AS later WHERE later.stream = marked.stream AND later.version > marked.version)
    ON CONFLICT (stream) DO UPDATE SET version = excluded.version, since = excluded.since, sent = NULL, problem = NULL
    WHERE excluded.version > {namespace}_reminders.version";

pub(super) async fn work(connections: Arc<Connections>, jobs: Vec<MarkJob>) {
    let marked = mark(&connections, &jobs).await.map_err(StoreError::from);
    for job in jobs {
        // The caller may no longer wait, so a failed send is ignored.
        let _ = job.answer.send(marked.clone());
    }
}

async fn mark(connections: &Connections, jobs: &[MarkJob]) -> Result<(), Failure> {
    let marks = || jobs.iter().flat_map(|job| &job.marks);
    let ended: BTreeSet<CommitPlace<'_>> =
        marks().filter_map(|mark| Some((mark.commit.stream.as_str(), mark.ends?))).collect();
    // In the order of the keys, statements of several processes wait for each other, but not in a circle. A commit whose
    // successor is marked too gets no reminder.
    let mut outbox: BTreeMap<CommitPlace<'_>, bool> = ended.iter().map(|place| (*place, false)).collect();
    for mark in marks() {
        let place = (mark.commit.stream.as_str(), mark.commit.version);
        let remind = mark.remind == ReminderPolicy::UntilFollowed && !ended.contains(&place);
        *outbox.entry(place).or_default() |= remind;
    }
    let outbox: Vec<(CommitPlace<'_>, bool)> = outbox.into_iter().collect();
    for commits in outbox.chunks(STATEMENT) {
        let statement = || {
            query(connections.sql(MARK))
                .bind(commits.iter().map(|((stream, _), _)| *stream).collect::<Vec<_>>())
                .bind(commits.iter().map(|((_, version), _)| number(*version)).collect::<Vec<_>>())
                .bind(commits.iter().map(|(_, remind)| *remind).collect::<Vec<_>>())
        };
        connections.rows(statement).await?;
    }
    // This comes second: whoever has taken an ended commit out of the outbox has set its reminder by then, and nobody sets one
    // any more. If the process dies in between, a relay meets a reminder of a stream that has moved on, and ends it.
    reminders::end(connections, ended.into_iter()).await
}
