//! The part of a view that a batch touches, as the variants read it.

use std::collections::{BTreeSet, HashMap};

use event_sourcing::{Entry, EventType, Recorded, Rows, StreamId, Version, View, wire};

use super::verdict::Verdict;
use crate::types::{HeldId, HeldReason, Incoming, Origin};

/// The part of a view that a batch touches (see [`touched_streams`](super::touched_streams) and [`UnaddressedRecord::of`]).
#[derive(Clone, Debug)]
pub struct ViewSlice<V: View> {
    /// The entries. A stream that is not here has none.
    pub entries: HashMap<StreamId, Entry<V::Row>>,
    /// The rows of a view whose key is not the stream: those of the keys that [`reach`](fn@super::reach::reach) names.
    pub rows: Rows<V>,
    /// The held events of these streams.
    pub held: HashMap<StreamId, Vec<HeldRow>>,
    /// The held records without a stream or a version that the batch may bring again.
    pub unaddressed: BTreeSet<UnaddressedRecord>,
}

impl<V: View> Default for ViewSlice<V> {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
            rows: Rows::default(),
            held: HashMap::new(),
            unaddressed: BTreeSet::new(),
        }
    }
}

impl<V: View> ViewSlice<V> {
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
pub(super) fn held_event<E: EventType>(
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
pub struct UnaddressedRecord {
    /// Its place in the channel.
    pub origin: Origin,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Option<Vec<u8>>,
}

impl UnaddressedRecord {
    /// Returns the record as one of these, if its stream or its version is unknown.
    #[must_use]
    pub fn of<E>(record: &Incoming<E>) -> Option<Self> {
        let problem = record.event.as_ref().err()?;
        let verdict = Verdict::of(problem, record.key.as_deref());
        verdict.address().is_none().then(|| Self::from(record))
    }
}

impl<E> From<&Incoming<E>> for UnaddressedRecord {
    fn from(record: &Incoming<E>) -> Self {
        Self { origin: record.origin.clone(), key: record.key.clone(), value: record.value.clone() }
    }
}
