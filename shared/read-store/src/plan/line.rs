//! One order's line of events in a view while a batch is taken in: its row, and what waits behind it.

use std::borrow::Cow;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashSet};

use domain::{OrderId, Snapshot, Version};
use domain::{RecordedEvent, wire};

use super::{Done, HeldRow, Outcome, Release, Upsert, Verdict};
use crate::types::{HeldId, HeldReason};

pub(super) struct Line<'a> {
    /// The version of the row as the view has it.
    from: Version,
    row: Snapshot,
    /// By version, and within one, what may turn out to be an event first.
    waiting: BTreeMap<(Version, HeldReason), Waiter<'a>>,
    /// Whether a record without a version is held for the order.
    beside: bool,
}

/// An event that is not next.
pub(super) enum Waiter<'a> {
    /// Held in the view.
    Kept { id: HeldId, value: Option<Vec<u8>> },
    /// Of this batch.
    Event { index: usize, event: &'a RecordedEvent },
    /// Of this batch, and not an event that this program knows.
    Poison { index: usize, verdict: Verdict },
}

impl<'a> Waiter<'a> {
    /// The event, if it is one. A kept record is decoded by the program of today, whatever it was held for.
    fn event(&self, order: &OrderId, version: Version) -> Option<Cow<'a, RecordedEvent>> {
        match self {
            Self::Kept { value, .. } => {
                let event: RecordedEvent = wire::decode(value.as_deref()?).ok()?;
                (event.stream == *order && event.version == version).then_some(Cow::Owned(event))
            }
            Self::Event { event, .. } => Some(Cow::Borrowed(event)),
            Self::Poison { .. } => None,
        }
    }

    const fn reason(&self) -> HeldReason {
        match self {
            Self::Kept { .. } | Self::Event { .. } => HeldReason::Gap,
            Self::Poison { verdict, .. } => verdict.reason,
        }
    }
}

impl<'a> Line<'a> {
    pub(super) fn start(row: Snapshot, held: Vec<HeldRow>, by: Option<usize>, done: &mut Done) -> Self {
        let mut line = Self { from: row.version, row, waiting: BTreeMap::new(), beside: false };
        for HeldRow { id, version, reason, value } in held {
            let Some(version) = version else {
                line.beside = true;
                continue;
            };
            match line.waiting.entry((version, reason)) {
                Entry::Vacant(place) => {
                    place.insert(Waiter::Kept { id, value });
                }
                // Held twice, after one of them was judged anew.
                Entry::Occupied(_) => done.passed.push(id),
            }
        }
        line.go_on(by, done);
        line
    }

    pub(super) fn take(&mut self, version: Version, waiter: Waiter<'a>, done: &mut Done) -> Outcome {
        if version <= self.row.version {
            return Outcome::Ignored;
        }
        if let Waiter::Event { index, event } = waiter
            && self.apply(event)
        {
            self.go_on(Some(index), done);
            return Outcome::Applied;
        }
        match self.waiting.entry((version, waiter.reason())) {
            Entry::Occupied(_) => Outcome::Ignored,
            Entry::Vacant(place) => {
                place.insert(waiter);
                Outcome::Held
            }
        }
    }

    /// Applies an event exactly when it is the next one. One that can't follow the order's state changes nothing but
    /// the version, as in every fold of the stream.
    fn apply(&mut self, event: &RecordedEvent) -> bool {
        self.row.apply(event.version, event.time, &event.event).is_ok()
    }

    /// Applies what waits and is next, as far as that goes, and removes what the row has passed.
    fn go_on(&mut self, by: Option<usize>, done: &mut Done) {
        while !self.waiting.is_empty() {
            let next = self.row.version.next();
            let of_next = (next, HeldReason::Gap)..(next.next(), HeldReason::Gap);
            let event_of = |waiter: &Waiter<'a>| waiter.event(&self.row.id, next);
            let ready = self.waiting.range(of_next).find_map(|(key, waiter)| Some((*key, event_of(waiter)?)));
            let Some((key, event)) = ready else { break };
            if !self.apply(&event) {
                break;
            }
            match self.waiting.remove(&key) {
                Some(Waiter::Kept { id, .. }) => done.releases.push(Release { id, by }),
                Some(Waiter::Event { index, .. }) => done.outcomes[index] = Outcome::Applied,
                Some(Waiter::Poison { .. }) | None => {}
            }
        }
        self.drop_passed(done);
    }

    fn drop_passed(&mut self, done: &mut Done) {
        if self.waiting.is_empty() {
            return;
        }
        let later = self.waiting.split_off(&(self.row.version.next(), HeldReason::Gap));
        for waiter in std::mem::replace(&mut self.waiting, later).into_values() {
            match waiter {
                Waiter::Kept { id, .. } => done.passed.push(id),
                Waiter::Event { index, .. } | Waiter::Poison { index, .. } => {
                    done.outcomes[index] = Outcome::Ignored;
                }
            }
        }
    }

    /// The row, if it has changed, and what is to be held from now on; `beside` are the orders for which the batch brought
    /// records without a version.
    pub(super) fn finish(self, beside: &HashSet<OrderId>) -> (Option<Upsert>, Vec<(usize, Verdict)>) {
        let held_for_it = self.beside || !self.waiting.is_empty() || beside.contains(&self.row.id);
        let held = self.waiting.into_iter().filter_map(|((version, _), waiter)| match waiter {
            Waiter::Kept { .. } => None,
            Waiter::Event { index, .. } => Some((index, Verdict::gap(self.row.id.clone(), version))),
            Waiter::Poison { index, verdict } => Some((index, verdict)),
        });
        let held: Vec<_> = held.collect();
        let changed = self.row.version != self.from;
        (changed.then_some(Upsert { from: self.from, row: self.row, held: held_for_it }), held)
    }
}
