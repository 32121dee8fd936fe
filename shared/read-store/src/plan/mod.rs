//! The rules of the projection, as pure functions: from the state of a view and incoming records to a plan of writes.
//!
//! - An event is applied only when its version is the row's plus one. An event that is not newer is ignored.
//! - Any other record is held once, with its reason, and blocks its own stream only.
//! - When a row moves on, held events that have become next are applied, and those that the row has passed are removed. So a gap
//!   heals by itself, in whatever order its events arrive.
//! - In a view whose key is not the stream, an event changes the rows of all its keys or none of them.
//! - If the database refuses a row, the event that made it counts as refused by the fold (see [`Part`]).
//!
//! Knows nothing of databases and transactions. The caller reads the rows and writes the plan, in one transaction, so that each
//! event has its effect exactly once.

mod line;
mod part;
mod reach;
mod slice;
#[cfg(test)]
mod tests;
mod verdict;
mod writes;

use std::collections::{HashMap, HashSet};

use event_sourcing::{Entry, StreamId, View};

use self::line::{Decisions, Line, LineResult, SharedRows, Waiter};
pub use self::part::{Part, Search};
pub use self::reach::{Reach, reach};
pub use self::slice::{HeldRow, UnaddressedRecord, ViewSlice};
pub use self::verdict::Verdict;
use self::writes::Outcome;
pub use self::writes::{Hold, Plan, Release, Upsert};
use crate::types::Incoming;

/// Returns the streams whose entries and held events a plan for these records needs, by id, each once.
#[must_use]
pub fn touched_streams<E>(incoming: &[Incoming<E>]) -> Vec<StreamId> {
    let mut streams: Vec<&StreamId> = incoming.iter().filter_map(Incoming::stream).collect();
    streams.sort_unstable();
    streams.dedup();
    streams.into_iter().cloned().collect()
}

/// Plans the writes for records that come to a view in this order, or for a part of them. Without records, it plans for the held
/// events of the known streams. That is for after an entry was written by other means, or a held event was judged anew.
#[must_use]
pub fn plan<'a, V: View>(
    known: ViewSlice<V>,
    incoming: &'a [Incoming<V::Event>],
    part: &Part<'_>,
) -> Plan<'a, V> {
    let mut planner = Planner::new(known, incoming.len(), part);
    for (index, record) in incoming.iter().enumerate() {
        if part.has(record) {
            let outcome = planner.take(index, record);
            planner.done.outcomes[index] = outcome;
        }
    }
    planner.finish(incoming)
}

struct Planner<'a, 'p, V: View> {
    known: ViewSlice<V>,
    part: &'p Part<'p>,
    lines: HashMap<StreamId, Line<'a, V>>,
    holds: Vec<Hold<'a, V::Event>>,
    done: Decisions<V>,
}

impl<'a, 'p, V: View> Planner<'a, 'p, V> {
    fn new(mut known: ViewSlice<V>, records: usize, part: &'p Part<'p>) -> Self {
        Self {
            lines: HashMap::with_capacity(known.entries.len()),
            part,
            holds: Vec::new(),
            done: Decisions {
                rows: SharedRows::new(std::mem::take(&mut known.rows)),
                outcomes: vec![Outcome::Elsewhere; records],
                releases: Vec::new(),
                passed: Vec::new(),
                rejudged: Vec::new(),
            },
            known,
        }
    }

    fn take(&mut self, index: usize, record: &'a Incoming<V::Event>) -> Outcome {
        match &record.event {
            Ok(event) => {
                let (line, done) = self.line(&event.stream, Some(index));
                line.take(event.version, Waiter::Event { index, event }, done)
            }
            Err(problem) => {
                let verdict = Verdict::of(problem, record.key.as_deref());
                let Some((stream, version)) = verdict.address() else {
                    return self.hold_unaddressed(index, record, verdict);
                };
                let (line, done) = self.line(&stream.clone(), Some(index));
                line.take(version, Waiter::Poison { index, verdict }, done)
            }
        }
    }

    /// The line of a stream. A new line first applies the held events that are next, on behalf of the record `by`.
    fn line(&mut self, stream: &StreamId, by: Option<usize>) -> (&mut Line<'a, V>, &mut Decisions<V>) {
        let Self { known, part, lines, done, .. } = self;
        let line = lines.entry(stream.clone()).or_insert_with(|| {
            let entry = known.entries.remove(stream).unwrap_or_else(|| Entry::absent(stream.clone()));
            Line::start(entry, part, known.held.remove(stream).unwrap_or_default(), by, done)
        });
        (line, done)
    }

    fn hold_unaddressed(
        &mut self,
        index: usize,
        record: &'a Incoming<V::Event>,
        verdict: Verdict,
    ) -> Outcome {
        if !self.known.unaddressed.insert(UnaddressedRecord::from(record)) {
            return Outcome::Ignored;
        }
        self.holds.push(Hold { record, verdict, index });
        Outcome::Held
    }

    fn finish(mut self, incoming: &'a [Incoming<V::Event>]) -> Plan<'a, V> {
        let untouched: Vec<StreamId> = self.known.held.keys().cloned().collect();
        for stream in &untouched {
            self.line(stream, None);
        }
        let Self { lines, mut holds, done, .. } = self;
        let mut upserts = Vec::with_capacity(lines.len());
        // So far `holds` has only records without a stream or a version.
        let beside: HashSet<StreamId> = holds.iter().filter_map(|hold| hold.verdict.stream.clone()).collect();
        for line in lines.into_values() {
            let LineResult { upsert, held } = line.finish(&beside);
            upserts.extend(upsert);
            holds.extend(held.into_iter().map(|(index, verdict)| Hold {
                record: &incoming[index],
                verdict,
                index,
            }));
        }
        // By id, because a table takes neighbouring rows faster than scattered ones.
        upserts.sort_unstable_by(|a, b| a.entry.id.cmp(&b.entry.id));
        holds.sort_unstable_by_key(|hold| hold.index);
        let Decisions { rows, outcomes, releases, passed, rejudged } = done;
        Plan { upserts, rows: rows.changed(), holds, rejudged, releases, passed, outcomes }
    }
}
