//! One stream's line of events while a view takes in a batch: its entry, and the records that wait behind it.

use std::borrow::Cow;
use std::collections::btree_map::Entry as Place;
use std::collections::{BTreeMap, BTreeSet, HashSet};

use event_sourcing::{
    Entry, EventType, NotApplied, Recorded, Refused, Row, Rows, StreamId, Version, View, is_by_stream,
};

use super::part::Part;
use super::slice::{HeldRow, held_event};
use super::verdict::Verdict;
use super::writes::{Outcome, Release, Upsert};
use crate::types::{HeldId, HeldReason};

pub(super) struct Line<'a, V: View> {
    /// The version of the entry in the view.
    from: Version,
    entry: Entry<V::Row>,
    /// By version. Within a version, a record that may turn out to be an event comes first.
    waiting: BTreeMap<(Version, HeldReason), Waiter<'a, V::Event>>,
    /// True if a record without a version is held for the stream.
    beside: bool,
    /// The event whose row the database refuses.
    refused: Option<(Version, Refused)>,
}

/// The rows that the lines share, in a view whose key is not the stream.
pub(super) struct SharedRows<V: View> {
    before: Rows<V>,
    now: Rows<V>,
    touched: BTreeSet<V::Key>,
}

impl<V: View> SharedRows<V> {
    pub(super) fn new(rows: Rows<V>) -> Self {
        Self { before: rows.clone(), now: rows, touched: BTreeSet::new() }
    }

    /// Applies the next event of a stream to the stream's entry and to the rows of its keys.
    fn apply(&mut self, entry: &mut Entry<V::Row>, event: &Recorded<V::Event>) -> Result<(), NotApplied> {
        if !is_by_stream::<V>() && event.version == entry.version.next() {
            self.touched.extend(self.now.apply(event)?);
        }
        entry.apply::<V>(event)
    }

    pub(super) fn changed(self) -> BTreeMap<V::Key, Option<V::Row>> {
        let Self { before, now, touched } = self;
        let has_changed =
            |key: &V::Key| now.get(key).map(V::Row::values) != before.get(key).map(V::Row::values);
        let changed = touched.into_iter().filter(has_changed);
        changed.map(|key| (key.clone(), now.get(&key).cloned())).collect()
    }
}

/// The decisions so far.
pub(super) struct Decisions<V: View> {
    pub(super) rows: SharedRows<V>,
    pub(super) outcomes: Vec<Outcome>,
    pub(super) releases: Vec<Release>,
    pub(super) passed: Vec<HeldId>,
    pub(super) rejudged: Vec<(HeldId, Verdict)>,
}

/// A record that can't be applied yet.
pub(super) enum Waiter<'a, E> {
    /// Held in the view.
    Held { id: HeldId, value: Option<Vec<u8>> },
    /// An event of this batch.
    Event { index: usize, event: &'a Recorded<E> },
    /// A record of this batch that is not an event, or that this program can't apply.
    Poison { index: usize, verdict: Verdict },
}

impl<'a, E: EventType> Waiter<'a, E> {
    /// Returns the event, if the record is one.
    fn event(&self, stream: &StreamId, version: Version) -> Option<Cow<'a, Recorded<E>>> {
        match self {
            Self::Held { value, .. } => held_event(value.as_deref(), stream, version).map(Cow::Owned),
            Self::Event { event, .. } => Some(Cow::Borrowed(event)),
            Self::Poison { .. } => None,
        }
    }

    const fn reason(&self) -> HeldReason {
        match self {
            Self::Held { .. } | Self::Event { .. } => HeldReason::Gap,
            Self::Poison { verdict, .. } => verdict.reason,
        }
    }
}

impl<'a, V: View> Line<'a, V> {
    pub(super) fn start(
        entry: Entry<V::Row>,
        part: &Part<'_>,
        held: Vec<HeldRow>,
        by: Option<usize>,
        done: &mut Decisions<V>,
    ) -> Self {
        let refused = part.refused().cloned();
        let mut line = Self { from: entry.version, entry, waiting: BTreeMap::new(), beside: false, refused };
        for HeldRow { id, version, reason, value } in held {
            let Some(version) = version else {
                line.beside = true;
                continue;
            };
            match line.waiting.entry((version, reason)) {
                Place::Vacant(place) => {
                    place.insert(Waiter::Held { id, value });
                }
                // The event is held twice, after one of the two was judged anew.
                Place::Occupied(_) => done.passed.push(id),
            }
        }
        line.go_on(by, done);
        line
    }

    pub(super) fn take(
        &mut self,
        version: Version,
        waiter: Waiter<'a, V::Event>,
        done: &mut Decisions<V>,
    ) -> Outcome {
        if version <= self.entry.version {
            return Outcome::Ignored;
        }
        let waiter = match waiter {
            Waiter::Event { index, event } => match self.apply(event, done) {
                Ok(()) => {
                    self.go_on(Some(index), done);
                    return Outcome::Applied;
                }
                Err(NotApplied::Gap(_)) => waiter,
                Err(NotApplied::Refused(refused)) => {
                    let verdict = Verdict::refused(event.stream.clone(), version, &refused);
                    Waiter::Poison { index, verdict }
                }
            },
            other => other,
        };
        match self.waiting.entry((version, waiter.reason())) {
            Place::Occupied(_) => Outcome::Ignored,
            Place::Vacant(place) => {
                place.insert(waiter);
                Outcome::Held
            }
        }
    }

    fn apply(&mut self, event: &Recorded<V::Event>, done: &mut Decisions<V>) -> Result<(), NotApplied> {
        match &self.refused {
            Some((version, refused))
                if *version == event.version && *version == self.entry.version.next() =>
            {
                Err(refused.clone().into())
            }
            _ => done.rows.apply(&mut self.entry, event),
        }
    }

    /// Applies waiting events as long as one of them is next, and removes those that the entry has passed.
    fn go_on(&mut self, by: Option<usize>, done: &mut Decisions<V>) {
        while !self.waiting.is_empty() {
            let next = self.entry.version.next();
            let of_next = (next, HeldReason::Gap)..(next.next(), HeldReason::Gap);
            let event_of = |waiter: &Waiter<'a, V::Event>| waiter.event(&self.entry.id, next);
            let ready = self.waiting.range(of_next).find_map(|(key, waiter)| Some((*key, event_of(waiter)?)));
            let Some((key, event)) = ready else { break };
            match self.apply(&event, done) {
                Ok(()) => {}
                Err(NotApplied::Gap(_)) => break,
                Err(NotApplied::Refused(refused)) => {
                    self.refuse(key, Verdict::refused(self.entry.id.clone(), next, &refused), done);
                    break;
                }
            }
            match self.waiting.remove(&key) {
                Some(Waiter::Held { id, .. }) => done.releases.push(Release { id, by }),
                Some(Waiter::Event { index, .. }) => done.outcomes[index] = Outcome::Applied,
                Some(Waiter::Poison { .. }) | None => {}
            }
        }
        self.drop_passed(done);
    }

    /// Holds a waiting event for another reason: it became next, but the fold refused it. Now it waits for another program.
    fn refuse(&mut self, key: (Version, HeldReason), verdict: Verdict, done: &mut Decisions<V>) {
        let refused = (key.0, HeldReason::Refused);
        if key == refused {
            return;
        }
        let Some(waiter) = self.waiting.remove(&key) else { return };
        match (self.waiting.entry(refused), waiter) {
            (Place::Vacant(place), Waiter::Held { id, value }) => {
                done.rejudged.push((id, verdict));
                place.insert(Waiter::Held { id, value });
            }
            (Place::Vacant(place), Waiter::Event { index, .. } | Waiter::Poison { index, .. }) => {
                place.insert(Waiter::Poison { index, verdict });
            }
            // The event is held for that already.
            (Place::Occupied(_), Waiter::Held { id, .. }) => done.passed.push(id),
            (Place::Occupied(_), Waiter::Event { index, .. } | Waiter::Poison { index, .. }) => {
                done.outcomes[index] = Outcome::Ignored;
            }
        }
    }

    fn drop_passed(&mut self, done: &mut Decisions<V>) {
        if self.waiting.is_empty() {
            return;
        }
        let later = self.waiting.split_off(&(self.entry.version.next(), HeldReason::Gap));
        for waiter in std::mem::replace(&mut self.waiting, later).into_values() {
            match waiter {
                Waiter::Held { id, .. } => done.passed.push(id),
                Waiter::Event { index, .. } | Waiter::Poison { index, .. } => {
                    done.outcomes[index] = Outcome::Ignored;
                }
            }
        }
    }

    /// Returns the entry, if it has changed, and the records to hold from now on. `beside` has the streams for which the batch
    /// brought records without a version.
    pub(super) fn finish(self, beside: &HashSet<StreamId>) -> LineResult<V::Row> {
        let held_for_it = self.beside || !self.waiting.is_empty() || beside.contains(&self.entry.id);
        let held = self.waiting.into_iter().filter_map(|((version, _), waiter)| match waiter {
            Waiter::Held { .. } => None,
            Waiter::Event { index, .. } => Some((index, Verdict::gap(self.entry.id.clone(), version))),
            Waiter::Poison { index, verdict } => Some((index, verdict)),
        });
        let held = held.collect();
        let changed = self.entry.version != self.from;
        let upsert = changed.then_some(Upsert { from: self.from, entry: self.entry, held: held_for_it });
        LineResult { upsert, held }
    }
}

/// The result of a line in one plan.
pub(super) struct LineResult<R> {
    /// The entry to write, if it has changed.
    pub(super) upsert: Option<Upsert<R>>,
    /// The records to hold, by their indexes.
    pub(super) held: Vec<(usize, Verdict)>,
}
