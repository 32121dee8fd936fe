//! The rules of the projection, pure: what a view has and what comes in, to what is to be written.
//!
//! - An event is applied exactly when its version is the row's plus one. What is not newer is ignored.
//! - Anything else is held with its reason, once, and blocks nobody but its own order.
//! - Whenever a row moves on, held events that have become next are applied, and those that it has passed are removed.
//!   So a gap heals by itself, whatever the order of arrival.
//!
//! Knows nothing of databases and transactions: whoever asks reads the rows, and writes what the plan says, in one
//! transaction, so that the effect of an event is exactly once.

mod line;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Range;

use domain::UnknownEvent;
use domain::wire::{self, Undecodable};
use domain::{Event, OrderId, Snapshot, Version};

use self::line::{Line, Waiter};
use crate::types::{HeldId, HeldReason, Incoming, Origin, Projected};

/// What a view has of what a batch touches (see [`touched_orders`] and [`Stray::of`]).
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The rows. An order that is not here has none.
    pub rows: HashMap<OrderId, Snapshot>,
    /// What is held for these orders.
    pub held: HashMap<OrderId, Vec<HeldRow>>,
    /// Held records without an order or a version, of those that the batch may bring again.
    pub strays: BTreeSet<Stray>,
}

/// A held event whose order is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldRow {
    /// Its number.
    pub id: HeldId,
    /// Its version, where that can be told.
    pub version: Option<Version>,
    /// Why it is held.
    pub reason: HeldReason,
    /// The record's value: what is decoded when the event becomes next. Not needed where there is no version.
    pub value: Option<Vec<u8>>,
}

/// What identifies a record that tells no version: its place and its bytes. Not the place alone, because a topic that
/// was made anew counts its offsets from 0 again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stray {
    /// Where it was.
    pub origin: Origin,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Option<Vec<u8>>,
}

impl Stray {
    /// The record as a stray, when it tells no order or no version.
    #[must_use]
    pub fn of(record: &Incoming) -> Option<Self> {
        let problem = record.event.as_ref().err()?;
        let verdict = Verdict::of(problem, record.key.as_deref());
        verdict.address().is_none().then(|| Self::from(record))
    }
}

impl From<&Incoming> for Stray {
    fn from(record: &Incoming) -> Self {
        Self { origin: record.origin.clone(), key: record.key.clone(), value: record.value.clone() }
    }
}

/// What a record that can't be applied says of itself, and why it can't.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The order that it is of: by its value, else by its key.
    pub order: Option<OrderId>,
    /// Its version, where that can be told.
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
        let by_key = || OrderId::parse(std::str::from_utf8(key?).ok()?).ok();
        let (order, version, reason) = match undecodable {
            Undecodable::Malformed(_) => (by_key(), None, HeldReason::Undecodable),
            Undecodable::NoValidStream(_) => (by_key(), None, HeldReason::NoValidOrder),
            Undecodable::BadVersion { stream, .. } => (Some(stream.clone()), None, HeldReason::Undecodable),
            Undecodable::Unknown { stream, version, problem } => {
                (Some(stream.clone()), Some(*version), unknown_reason(problem))
            }
        };
        Self { order, version, reason, problem: shortened(undecodable.to_string()) }
    }

    /// The verdict on a kept record, decoded again. An event is at a gap until it turns out to be next.
    #[must_use]
    pub fn again(key: Option<&[u8]>, value: Option<&[u8]>) -> Self {
        match wire::decode::<Event>(value.unwrap_or_default()) {
            Ok(event) => Self::gap(event.stream, event.version),
            Err(problem) => Self::of(&problem, key),
        }
    }

    fn gap(order: OrderId, version: Version) -> Self {
        let problem = format!("version {version} waits for an earlier one");
        Self { order: Some(order), version: Some(version), reason: HeldReason::Gap, problem }
    }

    fn address(&self) -> Option<(&OrderId, Version)> {
        Some((self.order.as_ref()?, self.version?))
    }
}

/// How much of a problem is kept, in bytes. It quotes the record, which may be of any size and is kept whole beside it.
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

/// The orders whose rows and held events a plan for these records needs, by id, each once.
#[must_use]
pub fn touched_orders(incoming: &[Incoming]) -> Vec<OrderId> {
    let mut orders: Vec<&OrderId> = incoming.iter().filter_map(Incoming::order).collect();
    orders.sort_unstable();
    orders.dedup();
    orders.into_iter().cloned().collect()
}

/// What is to be written, all of it in one transaction.
#[derive(Debug)]
pub struct Plan<'a> {
    /// The rows, by id, one an order.
    pub upserts: Vec<Upsert>,
    /// The records to hold, in the order in which they came.
    pub holds: Vec<Hold<'a>>,
    /// The held events that were applied; they are held no longer.
    pub releases: Vec<Release>,
    /// Held events that are not needed any more, because the row has passed them; they are held no longer.
    pub passed: Vec<HeldId>,
    outcomes: Vec<Outcome>,
}

/// A row to write.
#[derive(Debug, PartialEq, Eq)]
pub struct Upsert {
    /// The version that the row must still be at; 0 where there must be none.
    pub from: Version,
    /// The row.
    pub row: Snapshot,
    /// Whether anything is held for the order after this.
    pub held: bool,
}

/// A record to hold.
#[derive(Debug)]
pub struct Hold<'a> {
    /// The record.
    pub record: &'a Incoming,
    /// Why.
    pub verdict: Verdict,
    index: usize,
}

impl Hold<'_> {
    /// The value to keep: the record's, or that of an event that came without a record.
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
}

impl Plan<'_> {
    /// What became of the records with these indexes, and which held events they released: when several callers' batches
    /// are one plan, each caller's own counts. A record that waited for a later one of the same plan counts as applied.
    #[must_use]
    pub fn counts(&self, records: Range<usize>) -> Projected {
        let mut counts = Projected::default();
        for outcome in &self.outcomes[records.clone()] {
            match outcome {
                Outcome::Applied => counts.applied += 1,
                Outcome::Ignored => counts.ignored += 1,
                Outcome::Held => counts.held += 1,
            }
        }
        let released = |release: &&Release| release.by.is_some_and(|by| records.contains(&by));
        counts.released = self.releases.iter().filter(released).count();
        counts
    }
}

/// What to write when these records come to a view in this order. Without records: what the held events of the known
/// orders come to, after a row was written by other means or a held event was judged anew.
#[must_use]
pub fn plan(known: Known, incoming: &[Incoming]) -> Plan<'_> {
    let mut planner = Planner::new(known, incoming.len());
    for (index, record) in incoming.iter().enumerate() {
        let outcome = planner.take(index, record);
        planner.done.outcomes[index] = outcome;
    }
    planner.finish(incoming)
}

struct Planner<'a> {
    known: Known,
    lines: HashMap<OrderId, Line<'a>>,
    holds: Vec<Hold<'a>>,
    done: Done,
}

/// What was decided on the way.
struct Done {
    outcomes: Vec<Outcome>,
    releases: Vec<Release>,
    passed: Vec<HeldId>,
}

impl<'a> Planner<'a> {
    fn new(known: Known, records: usize) -> Self {
        Self {
            lines: HashMap::with_capacity(known.rows.len()),
            known,
            holds: Vec::new(),
            done: Done {
                outcomes: vec![Outcome::Ignored; records],
                releases: Vec::new(),
                passed: Vec::new(),
            },
        }
    }

    fn take(&mut self, index: usize, record: &'a Incoming) -> Outcome {
        match &record.event {
            Ok(event) => {
                let (line, done) = self.line(&event.stream, Some(index));
                line.take(event.version, Waiter::Event { index, event }, done)
            }
            Err(problem) => {
                let verdict = Verdict::of(problem, record.key.as_deref());
                let Some((order, version)) = verdict.address() else {
                    return self.hold_stray(index, record, verdict);
                };
                let (line, done) = self.line(&order.clone(), Some(index));
                line.take(version, Waiter::Poison { index, verdict }, done)
            }
        }
    }

    /// The line of an order; what is held for it and can go on, does so first, on behalf of the record `by`.
    fn line(&mut self, order: &OrderId, by: Option<usize>) -> (&mut Line<'a>, &mut Done) {
        let Self { known, lines, done, .. } = self;
        let line = lines.entry(order.clone()).or_insert_with(|| {
            let row = known.rows.remove(order).unwrap_or_else(|| Snapshot::absent(order.clone()));
            Line::start(row, known.held.remove(order).unwrap_or_default(), by, done)
        });
        (line, done)
    }

    fn hold_stray(&mut self, index: usize, record: &'a Incoming, verdict: Verdict) -> Outcome {
        if !self.known.strays.insert(Stray::from(record)) {
            return Outcome::Ignored;
        }
        self.holds.push(Hold { record, verdict, index });
        Outcome::Held
    }

    fn finish(mut self, incoming: &'a [Incoming]) -> Plan<'a> {
        let untouched: Vec<OrderId> = self.known.held.keys().cloned().collect();
        for order in &untouched {
            self.line(order, None);
        }
        let Self { lines, mut holds, done, .. } = self;
        let mut upserts = Vec::with_capacity(lines.len());
        // So far these are those without a version.
        let beside: HashSet<OrderId> = holds.iter().filter_map(|hold| hold.verdict.order.clone()).collect();
        for line in lines.into_values() {
            let (upsert, newly_held) = line.finish(&beside);
            upserts.extend(upsert);
            holds.extend(newly_held.into_iter().map(|(index, verdict)| Hold {
                record: &incoming[index],
                verdict,
                index,
            }));
        }
        // By id, because neighbours in a table are written faster than rows here and there.
        upserts.sort_unstable_by(|a, b| a.row.id.cmp(&b.row.id));
        holds.sort_unstable_by_key(|hold| hold.index);
        Plan { upserts, holds, releases: done.releases, passed: done.passed, outcomes: done.outcomes }
    }
}
