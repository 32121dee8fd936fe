//! The rows that a plan needs, and how far it may bring each stream.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use event_sourcing::{Recorded, StreamId, Version, View, is_by_stream, rows};

use super::part::Part;
use super::slice::{HeldRow, ViewSlice, held_event};
use crate::types::Incoming;

/// The most that a plan may do.
#[derive(Clone, Debug)]
pub struct Reach<K> {
    /// The keys of the rows that it may change, in a view whose key is not the stream.
    pub keys: BTreeSet<K>,
    /// The last version that each stream may come to.
    pub versions: HashMap<StreamId, Version>,
}

/// An event that may become next.
enum Candidate<'a, E> {
    Incoming(&'a Recorded<E>),
    Held(&'a HeldRow),
}

type ByVersion<'a, E> = BTreeMap<Version, Vec<Candidate<'a, E>>>;

/// Returns the most that the plan for these records may do. The plan does less if the fold refuses an event. Only events that
/// become next count, so a row is locked only if it may change.
#[must_use]
pub fn reach<V: View>(
    known: &ViewSlice<V>,
    incoming: &[Incoming<V::Event>],
    part: &Part<'_>,
) -> Reach<V::Key> {
    let mut candidates: HashMap<&StreamId, ByVersion<'_, V::Event>> = HashMap::new();
    for event in
        incoming.iter().filter(|record| part.has(record)).filter_map(|record| record.event.as_ref().ok())
    {
        let of_stream = candidates.entry(&event.stream).or_default();
        of_stream.entry(event.version).or_default().push(Candidate::Incoming(event));
    }
    for (stream, held) in &known.held {
        let of_stream = candidates.entry(stream).or_default();
        for row in held {
            let Some(version) = row.version else { continue };
            of_stream.entry(version).or_default().push(Candidate::Held(row));
        }
    }
    let mut reach = Reach { keys: BTreeSet::new(), versions: HashMap::with_capacity(candidates.len()) };
    for (stream, candidates) in candidates {
        let mut at = known.version(stream);
        while let Some(candidates) = candidates.get(&at.next()) {
            let next = at.next();
            if part.refused().is_some_and(|(refused, _)| *refused == next) {
                break;
            }
            let events = candidates.iter().filter_map(|candidate| match candidate {
                Candidate::Incoming(event) => Some(Cow::Borrowed(*event)),
                Candidate::Held(row) => held_event(row.value.as_deref(), stream, next).map(Cow::Owned),
            });
            let mut may_be_next = false;
            for event in events {
                if is_by_stream::<V>() {
                    may_be_next = true;
                } else if let Ok(keys) = rows::keys::<V>(&event) {
                    reach.keys.extend(keys);
                    may_be_next = true;
                }
            }
            if !may_be_next {
                break;
            }
            at = next;
        }
        reach.versions.insert(stream.clone(), at);
    }
    reach
}
