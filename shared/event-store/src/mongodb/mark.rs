//! Marks: all waiting marks are one update, and those that set reminders are another.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use event_sourcing::{StreamId, Version};
use mongodb::bson::{Bson, Document, doc};
use parking_lot::Mutex;

use super::connection::{Connection, Topology, within};
use super::document::id;
use super::failure::unavailable;
use crate::jobs::on_server::MarkJob;
use crate::{CommitId, Mark, ReminderPolicy, StoreError};

/// The most commits that one update names.
const UPDATE: usize = 1_000;

/// The time for which the next update waits for more marks, if this one had marks of several callers. No answered command waits
/// for its mark. At 500 commands a second, an update for each commit cost the server as much as the commits, and everything
/// behind it waited. A caller that marks alone never waits.
const GATHER: Duration = Duration::from_millis(10);

/// The time for which a mark that sets a reminder waits for the mark of the stream's next commit, when many commits are marked.
/// The next mark makes the reminder needless, and most outcomes come within this time. That saves the server an update of the
/// commit and two of an index: setting and ending each reminder cost it a fifth of all that an order costs. The processor of
/// another replica does not need the mark: it knows that a commit which it has read is published (`CommandRequest::published`).
const HOLD: Duration = Duration::from_millis(500);

impl MarkJob {
    /// Returns the commit that gets a reminder, if exactly one does.
    fn reminded(&self) -> Option<&CommitId> {
        let mut reminded = self.marks.iter().filter(|mark| mark.remind == ReminderPolicy::UntilFollowed);
        match (reminded.next(), reminded.next()) {
            (Some(mark), None) => Some(&mark.commit),
            _ => None,
        }
    }

    /// Returns the commits whose reminders end.
    fn ended(&self) -> impl Iterator<Item = CommitId> {
        let ended = |mark: &Mark| Some(CommitId { stream: mark.commit.stream.clone(), version: mark.ends? });
        self.marks.iter().filter_map(ended)
    }
}

/// The jobs that wait for the marks of their streams' next commits. The key is the commit that gets the reminder.
#[derive(Default)]
struct HeldJobs(HashMap<CommitId, MarkJob>);

impl HeldJobs {
    /// Takes new jobs. Returns the jobs to do now, some of which were held before, and the commits whose jobs wait from now on. A
    /// job that is alone never waits.
    fn exchange(&mut self, jobs: Vec<MarkJob>) -> (Vec<MarkJob>, Vec<CommitId>) {
        let several = jobs.len() > 1;
        let (mut now, mut waiting) = (Vec::with_capacity(jobs.len()), Vec::new());
        for job in jobs {
            match job.reminded().cloned() {
                Some(commit) if several => {
                    waiting.push(commit.clone());
                    now.extend(self.0.insert(commit, job));
                }
                _ => now.push(job),
            }
        }
        let ended: Vec<CommitId> = now.iter().flat_map(MarkJob::ended).collect();
        now.extend(ended.iter().filter_map(|commit| self.0.remove(commit)));
        waiting.retain(|commit| self.0.contains_key(commit));
        (now, waiting)
    }
}

pub(super) struct Marker {
    connection: Arc<Connection>,
    held: Mutex<HeldJobs>,
}

/// A commit's stream and first version.
type CommitPlace<'a> = (&'a StreamId, Version);

/// The commits of several marks, by the update that they need.
struct MarkBatch<'a> {
    /// The commits that are marked, lose a reminder, or both.
    plain: BTreeSet<CommitPlace<'a>>,
    ends_reminders: bool,
    /// The commits that are marked and get a reminder.
    reminded: BTreeSet<CommitPlace<'a>>,
}

impl<'a> MarkBatch<'a> {
    fn of(marks: impl Iterator<Item = &'a Mark> + Clone) -> Self {
        let ended = marks.clone().filter_map(|mark| Some((&mark.commit.stream, mark.ends?)));
        let mut batch = Self { plain: ended.collect(), ends_reminders: false, reminded: BTreeSet::new() };
        batch.ends_reminders = !batch.plain.is_empty();
        for mark in marks {
            let place = (&mark.commit.stream, mark.commit.version);
            // A commit whose successor is marked too gets no reminder.
            if mark.remind == ReminderPolicy::UntilFollowed && !batch.plain.contains(&place) {
                batch.reminded.insert(place);
            } else {
                batch.plain.insert(place);
            }
        }
        batch
    }

    /// The change for plain commits. It removes the field `unpublished`, so a marked commit leaves the outbox's index.
    fn plain_change(&self) -> Document {
        let mut fields = doc! { "unpublished": "" };
        if self.ends_reminders {
            fields.insert("reminder", "");
        }
        doc! { "$unset": fields }
    }
}

impl Marker {
    pub(super) fn new(connection: Arc<Connection>) -> Self {
        Self { connection, held: Mutex::default() }
    }

    pub(super) async fn work(self: Arc<Self>, jobs: Vec<MarkJob>) {
        let several = jobs.len() > 1;
        let (now, waiting) = self.held.lock().exchange(jobs);
        if !waiting.is_empty() {
            tokio::spawn(Arc::clone(&self).release(waiting));
        }
        self.end(now).await;
        if several {
            tokio::time::sleep(GATHER).await;
        }
    }

    /// Waits for [`HOLD`], then does those of these jobs that are still held.
    async fn release(self: Arc<Self>, waiting: Vec<CommitId>) {
        tokio::time::sleep(HOLD).await;
        let late = waiting.iter().filter_map(|commit| self.held.lock().0.remove(commit)).collect();
        self.end(late).await;
    }

    async fn end(&self, jobs: Vec<MarkJob>) {
        let marked = self.mark(&MarkBatch::of(jobs.iter().flat_map(|job| &job.marks))).await;
        for job in jobs {
            // The caller may no longer wait, so a failed send is ignored.
            let _ = job.answer.send(marked.clone());
        }
    }

    /// Does both updates at once: they have no commit in common.
    async fn mark(&self, batch: &MarkBatch<'_>) -> Result<(), StoreError> {
        tokio::try_join!(self.mark_plain(batch), self.mark_reminded(batch)).map(drop)
    }

    async fn mark_plain(&self, batch: &MarkBatch<'_>) -> Result<(), StoreError> {
        self.update_all(&batch.plain, &doc! {}, batch.plain_change()).await.map(drop)
    }

    /// Marks commits and sets their reminders. A commit that already has a reminder was set aside by a receiver that was faster
    /// than the mark. It keeps that reminder, which is due sooner. A commit that another process has marked meanwhile, with the
    /// next commit of its stream, gets no reminder.
    async fn mark_reminded(&self, batch: &MarkBatch<'_>) -> Result<(), StoreError> {
        let (places, change) = (&batch.reminded, setting());
        let without = doc! { "unpublished": true, "reminder": { "$exists": false } };
        let changed = self.update_all(places, &without, change).await?;
        if changed == places.len() as u64 {
            return Ok(());
        }
        self.update_all(places, &doc! { "unpublished": true }, doc! { "$unset": { "unpublished": "" } })
            .await
            .map(drop)
    }

    /// Returns the number of commits that the update has changed.
    async fn update_all(
        &self,
        places: &BTreeSet<CommitPlace<'_>>,
        condition: &Document,
        change: Document,
    ) -> Result<u64, StoreError> {
        let places: Vec<CommitPlace<'_>> = places.iter().copied().collect();
        let mut changed = 0;
        for places in places.chunks(UPDATE) {
            changed += within(self.update(places, condition.clone(), change.clone())).await?;
        }
        Ok(changed)
    }

    async fn update(
        &self,
        places: &[CommitPlace<'_>],
        condition: Document,
        change: Document,
    ) -> Result<u64, StoreError> {
        let mut filter = filter(places, self.connection.topology().await?);
        filter.extend(condition);
        let collection = self.connection.commits().await?;
        let updated = match places {
            // Servers have a short path to one document by its id.
            [_] => collection.update_one(filter, change).await,
            _ => collection.update_many(filter, change).await,
        };
        updated.map(|updated| updated.modified_count).map_err(|error| unavailable(&error))
    }
}

/// Returns the update that marks a commit and sets its reminder.
fn setting() -> Document {
    doc! { "$unset": { "unpublished": "" }, "$currentDate": { "reminder.since": true } }
}

/// Returns the filter for these commits. It names the streams for a router only, which finds the shards by them. Any other server
/// does not need them, and some take a longer path with them.
pub(super) fn filter(places: &[CommitPlace<'_>], topology: Topology) -> Document {
    let ids = places.iter().map(|(stream, version)| id(stream.as_str(), *version));
    let mut filter = doc! { "_id": any(ids) };
    if topology == Topology::Sharded {
        filter.insert("stream", any(places.iter().map(|(stream, _)| stream.to_string())));
    }
    filter
}

fn any(values: impl ExactSizeIterator<Item = String>) -> Bson {
    let mut values: Vec<String> = values.collect();
    match values.len() {
        1 => values.remove(0).into(),
        _ => doc! { "$in": values }.into(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    fn mark(stream: &str, version: u64, remind: ReminderPolicy, ends: Option<u64>) -> Mark {
        let (stream, version) = (StreamId::parse(stream).unwrap(), Version::new(version));
        Mark { commit: CommitId { stream, version }, remind, ends: ends.map(Version::new) }
    }

    #[test]
    fn a_commit_whose_successor_is_marked_with_it_gets_no_reminder_and_one_update_does_all_else() {
        let marks = [
            mark("a", 2, ReminderPolicy::UntilFollowed, None),
            mark("a", 3, ReminderPolicy::Never, Some(2)),
            mark("b", 2, ReminderPolicy::UntilFollowed, None),
            mark("c", 3, ReminderPolicy::Never, Some(2)),
            mark("d", 1, ReminderPolicy::Never, None),
        ];
        let batch = MarkBatch::of(marks.iter());
        let places = |places: &BTreeSet<CommitPlace<'_>>| -> Vec<String> {
            places.iter().map(|(stream, version)| format!("{stream}{version}")).collect()
        };
        assert_eq!(places(&batch.plain), ["a2", "a3", "c2", "c3", "d1"]);
        assert_eq!(places(&batch.reminded), ["b2"]);
        assert_eq!(batch.plain_change(), doc! { "$unset": { "unpublished": "", "reminder": "" } });
        let plain = MarkBatch::of(marks[4..].iter());
        assert_eq!(plain.plain_change(), doc! { "$unset": { "unpublished": "" } });
    }

    #[test]
    fn of_many_marks_those_that_set_reminders_wait_for_their_streams_next() {
        let job = |marks: &[Mark]| MarkJob { marks: marks.to_vec(), answer: oneshot::channel().0 };
        let start = |stream| job(&[mark(stream, 2, ReminderPolicy::UntilFollowed, None)]);
        let outcome = |stream| job(&[mark(stream, 3, ReminderPolicy::Never, Some(2))]);
        let mut held = HeldJobs::default();
        let mut done = |jobs: Vec<MarkJob>| -> Vec<String> {
            let marks = held.exchange(jobs).0.into_iter().flat_map(|job| job.marks);
            let mut done: Vec<_> =
                marks.map(|mark| format!("{}{}", mark.commit.stream, mark.commit.version)).collect();
            done.sort();
            done
        };
        assert_eq!(done(vec![start("alone")]), ["alone2"]);
        assert_eq!(
            done(vec![start("a"), start("b"), job(&[mark("c", 1, ReminderPolicy::Never, None)])]),
            ["c1"]
        );
        assert_eq!(done(vec![outcome("a")]), ["a2", "a3"]);
        assert_eq!(done(vec![outcome("d"), start("d")]), ["d2", "d3"], "in whatever sequence");
        // A relay sends this one again. The first job must not get lost.
        assert_eq!(done(vec![start("b"), start("e")]), ["b2"]);
        assert_eq!(done(vec![outcome("b"), outcome("e")]), ["b2", "b3", "e2", "e3"]);
        assert!(held.0.is_empty());
    }

    #[test]
    fn a_router_is_told_the_streams_and_any_other_server_only_the_ids() {
        let (a, b) = (StreamId::parse("a").unwrap(), StreamId::parse("b").unwrap());
        let (one, other) = ((&a, Version::new(3)), (&b, Version::new(12)));
        let (a3, b12) = ("a@0000000000000000003", "b@0000000000000000012");
        assert_eq!(filter(&[one], Topology::Whole), doc! { "_id": a3 });
        assert_eq!(filter(&[one], Topology::Sharded), doc! { "_id": a3, "stream": "a" });
        let both = doc! { "_id": { "$in": [a3, b12] } };
        assert_eq!(filter(&[one, other], Topology::Whole), both);
        let both = doc! { "_id": { "$in": [a3, b12] }, "stream": { "$in": ["a", "b"] } };
        assert_eq!(filter(&[one, other], Topology::Sharded), both);
    }
}
