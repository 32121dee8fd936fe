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
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Range;

use event_sourcing::{
    Entry, EventType, Recorded, Refused, Rows, StreamId, Undecodable, UnknownEvent, Version, View, wire,
};

use self::line::{Finished, Line, SharedRows, Waiter};
pub use self::part::{Part, Search};
pub use self::reach::{Reach, reach};
use crate::types::{HeldId, HeldReason, Incoming, Origin, Projected};

/// The part of a view that a batch touches (see [`touched_streams`] and [`Stray::of`]).
#[derive(Clone, Debug)]
pub struct Known<V: View> {
    /// The entries. A stream that is not here has none.
    pub entries: HashMap<StreamId, Entry<V::Row>>,
    /// The rows of a view whose key is not the stream: those of the keys that [`reach`] names.
    pub rows: Rows<V>,
    /// The held events of these streams.
    pub held: HashMap<StreamId, Vec<HeldRow>>,
    /// The held records without a stream or a version that the batch may bring again.
    pub strays: BTreeSet<Stray>,
}

impl<V: View> Default for Known<V> {
    fn default() -> Self {
        Self { entries: HashMap::new(), rows: Rows::default(), held: HashMap::new(), strays: BTreeSet::new() }
    }
}

impl<V: View> Known<V> {
    /// The version of a stream in the view.
    #[must_use]
    pub fn version(&self, stream: &StreamId) -> Version {
        self.entries.get(stream).map_or(Version::NONE, |entry| entry.version)
    }
}

/// A held event whose stream is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldRow {
    /// Its number.
    pub id: HeldId,
    /// Its version, if known.
    pub version: Option<Version>,
    /// Why it is held.
    pub reason: HeldReason,
    /// The record's value, which is decoded when the event becomes next. Not needed if there is no version.
    pub value: Option<Vec<u8>>,
}

/// Decodes a held record anew, whatever the reason for which it is held. Returns the event if it is this one.
fn held_event<E: EventType>(
    value: Option<&[u8]>,
    stream: &StreamId,
    version: Version,
) -> Option<Recorded<E>> {
    let event: Recorded<E> = wire::decode(value?).ok()?;
    (event.stream == *stream && event.version == version).then_some(event)
}

/// The identity of a record without a stream or a version: its place and its bytes. The place alone is not enough, because a
/// topic that was made anew counts its offsets from 0 again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stray {
    /// Its place in the channel.
    pub origin: Origin,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Option<Vec<u8>>,
}

impl Stray {
    /// Returns the record as a stray, if its stream or its version is unknown.
    #[must_use]
    pub fn of<E>(record: &Incoming<E>) -> Option<Self> {
        let problem = record.event.as_ref().err()?;
        let verdict = Verdict::of(problem, record.key.as_deref());
        verdict.address().is_none().then(|| Self::from(record))
    }
}

impl<E> From<&Incoming<E>> for Stray {
    fn from(record: &Incoming<E>) -> Self {
        Self { origin: record.origin.clone(), key: record.key.clone(), value: record.value.clone() }
    }
}

/// The stream and the version of a record that can't be applied, and the reason why it can't.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Its stream, if known: by its value, else by its key.
    pub stream: Option<StreamId>,
    /// Its version, if known.
    pub version: Option<Version>,
    /// Why it is held.
    pub reason: HeldReason,
    /// The reason in words.
    pub problem: String,
}

impl Verdict {
    /// The verdict on a record that is not an event.
    #[must_use]
    pub fn of(undecodable: &Undecodable, key: Option<&[u8]>) -> Self {
        let by_key = || StreamId::parse(std::str::from_utf8(key?).ok()?).ok();
        let (stream, version, reason) = match undecodable {
            Undecodable::Malformed(_) => (by_key(), None, HeldReason::Undecodable),
            Undecodable::NoValidStream(_) => (by_key(), None, HeldReason::NoValidStream),
            Undecodable::BadVersion { stream, .. } => (Some(stream.clone()), None, HeldReason::Undecodable),
            Undecodable::Unknown { stream, version, problem } => {
                (Some(stream.clone()), Some(*version), unknown_reason(problem))
            }
            Undecodable::Unreadable { stream, version, .. } => {
                (Some(stream.clone()), Some(*version), HeldReason::Undecodable)
            }
        };
        Self { stream, version, reason, problem: shortened(undecodable.to_string()) }
    }

    /// Decodes a held record again and returns the verdict on it. An event is at a gap until it turns out to be next.
    #[must_use]
    pub fn again<E: EventType>(key: Option<&[u8]>, value: Option<&[u8]>) -> Self {
        match wire::decode::<E>(value.unwrap_or_default()) {
            Ok(event) => Self::gap(event.stream, event.version),
            Err(problem) => Self::of(&problem, key),
        }
    }

    fn refused(stream: StreamId, version: Version, refused: &Refused) -> Self {
        let problem = shortened(format!("the view refused it: {refused}"));
        Self { stream: Some(stream), version: Some(version), reason: HeldReason::Refused, problem }
    }

    fn gap(stream: StreamId, version: Version) -> Self {
        let problem = format!("version {version} waits for an earlier one");
        Self { stream: Some(stream), version: Some(version), reason: HeldReason::Gap, problem }
    }

    fn address(&self) -> Option<(&StreamId, Version)> {
        Some((self.stream.as_ref()?, self.version?))
    }
}

/// The maximum length of a stored problem, in bytes. A problem quotes the record, which may be of any size and is stored whole
/// beside it.
const PROBLEM: usize = 500;

fn shortened(mut problem: String) -> String {
    if problem.len() > PROBLEM {
        problem.truncate(problem.floor_char_boundary(PROBLEM));
        problem.push('…');
    }
    problem
}

const fn unknown_reason(problem: &UnknownEvent) -> HeldReason {
    match problem {
        UnknownEvent::Type(_) | UnknownEvent::Schema { .. } => HeldReason::UnknownType,
        UnknownEvent::Data { .. } => HeldReason::Undecodable,
    }
}

/// Returns the streams whose entries and held events a plan for these records needs, by id, each once.
#[must_use]
pub fn touched_streams<E>(incoming: &[Incoming<E>]) -> Vec<StreamId> {
    let mut streams: Vec<&StreamId> = incoming.iter().filter_map(Incoming::stream).collect();
    streams.sort_unstable();
    streams.dedup();
    streams.into_iter().cloned().collect()
}

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
    outcomes: Vec<Outcome>,
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
    index: usize,
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
    by: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
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
    pub fn counts(&self, records: Range<usize>) -> Projected {
        let mut counts = Projected::default();
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

/// Plans the writes for records that come to a view in this order, or for a part of them. Without records, it plans for the held
/// events of the known streams. That is for after an entry was written by other means, or a held event was judged anew.
#[must_use]
pub fn plan<'a, V: View>(
    known: Known<V>,
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
    known: Known<V>,
    part: &'p Part<'p>,
    lines: HashMap<StreamId, Line<'a, V>>,
    holds: Vec<Hold<'a, V::Event>>,
    done: Done<V>,
}

/// The decisions so far.
struct Done<V: View> {
    rows: SharedRows<V>,
    outcomes: Vec<Outcome>,
    releases: Vec<Release>,
    passed: Vec<HeldId>,
    rejudged: Vec<(HeldId, Verdict)>,
}

impl<'a, 'p, V: View> Planner<'a, 'p, V> {
    fn new(mut known: Known<V>, records: usize, part: &'p Part<'p>) -> Self {
        Self {
            lines: HashMap::with_capacity(known.entries.len()),
            part,
            holds: Vec::new(),
            done: Done {
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
                    return self.hold_stray(index, record, verdict);
                };
                let (line, done) = self.line(&stream.clone(), Some(index));
                line.take(version, Waiter::Poison { index, verdict }, done)
            }
        }
    }

    /// The line of a stream. A new line first applies the held events that are next, on behalf of the record `by`.
    fn line(&mut self, stream: &StreamId, by: Option<usize>) -> (&mut Line<'a, V>, &mut Done<V>) {
        let Self { known, part, lines, done, .. } = self;
        let line = lines.entry(stream.clone()).or_insert_with(|| {
            let entry = known.entries.remove(stream).unwrap_or_else(|| Entry::absent(stream.clone()));
            Line::start(entry, part, known.held.remove(stream).unwrap_or_default(), by, done)
        });
        (line, done)
    }

    fn hold_stray(&mut self, index: usize, record: &'a Incoming<V::Event>, verdict: Verdict) -> Outcome {
        if !self.known.strays.insert(Stray::from(record)) {
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
            let Finished { upsert, held } = line.finish(&beside);
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
        let Done { rows, outcomes, releases, passed, rejudged } = done;
        Plan { upserts, rows: rows.changed(), holds, rejudged, releases, passed, outcomes }
    }
}
