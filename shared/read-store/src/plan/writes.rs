//! The writes that a plan consists of.

use std::collections::BTreeMap;
use std::ops::Range;

use event_sourcing::{Entry, EventType, Version, View};

use super::verdict::Verdict;
use crate::types::{HeldId, Incoming, ProjectionCounts};

/// The writes of one transaction.
#[derive(Debug)]
pub struct Plan<'a, V: View> {
    /// The entries, by id, one a stream.
    pub upserts: Vec<Upsert<V::Row>>,
    /// The rows that have changed, in a view whose key is not the stream; none for a row to delete.
    pub rows: BTreeMap<V::Key, Option<V::Row>>,
    /// The records to hold, in the order in which they came.
    pub holds: Vec<Hold<'a, V::Event>>,
    /// Held events that are held for another reason from now on.
    pub rejudged: Vec<(HeldId, Verdict)>,
    /// Held events that were applied. They are held no longer.
    pub releases: Vec<Release>,
    /// Held events that are not needed any more: the row has passed them, or they are held twice. They are held no longer.
    pub passed: Vec<HeldId>,
    pub(super) outcomes: Vec<Outcome>,
}

/// An entry to write.
#[derive(Debug, PartialEq, Eq)]
pub struct Upsert<R> {
    /// The version at which the view must still have the stream; 0 if it has applied none of its events.
    pub from: Version,
    /// The entry.
    pub entry: Entry<R>,
    /// True if an event is held for the stream after this.
    pub held: bool,
}

/// A record to hold.
#[derive(Debug)]
pub struct Hold<'a, E> {
    /// The record.
    pub record: &'a Incoming<E>,
    /// The verdict on it.
    pub verdict: Verdict,
    pub(super) index: usize,
}

impl<E: EventType> Hold<'_, E> {
    /// The value to store: the record's, or that of an event that came without a record.
    #[must_use]
    pub fn value(&self) -> Option<Vec<u8>> {
        match (&self.record.value, &self.record.event) {
            (Some(value), _) => Some(value.clone()),
            (None, Ok(event)) => Some(event.encode()),
            (None, Err(_)) => None,
        }
    }
}

/// A held event that was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Release {
    /// The held event.
    pub id: HeldId,
    pub(super) by: Option<usize>,
}

/// What becomes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Applied,
    Ignored,
    Held,
    /// The record is not in the part of the batch that was planned.
    Elsewhere,
}

impl<V: View> Plan<'_, V> {
    /// Counts the outcomes of the records with these indexes, and the held events that they released. So each caller gets its own
    /// counts when the batches of several callers are one plan. A record that waited for a later one of the same plan counts as
    /// applied.
    #[must_use]
    pub fn counts(&self, records: Range<usize>) -> ProjectionCounts {
        let mut counts = ProjectionCounts::default();
        for outcome in &self.outcomes[records.clone()] {
            match outcome {
                Outcome::Applied => counts.applied += 1,
                Outcome::Ignored => counts.ignored += 1,
                Outcome::Held => counts.held += 1,
                Outcome::Elsewhere => {}
            }
        }
        let released = |release: &&Release| release.by.is_some_and(|by| records.contains(&by));
        counts.released = self.releases.iter().filter(released).count();
        counts
    }

    /// Adds the plan of another part of the same batch, which was written after this one.
    pub fn join(&mut self, other: Self) {
        self.upserts.extend(other.upserts);
        self.rows.extend(other.rows);
        self.holds.extend(other.holds);
        self.rejudged.extend(other.rejudged);
        self.releases.extend(other.releases);
        self.passed.extend(other.passed);
        for (outcome, of_other) in self.outcomes.iter_mut().zip(other.outcomes) {
            if *outcome == Outcome::Elsewhere {
                *outcome = of_other;
            }
        }
    }
}
