//! The judgement on records that can't be applied.

use event_sourcing::{EventType, Refused, StreamId, Undecodable, UnknownEvent, Version, wire};

use crate::types::HeldReason;

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

    pub(super) fn refused(stream: StreamId, version: Version, refused: &Refused) -> Self {
        let problem = shortened(format!("the view refused it: {refused}"));
        Self { stream: Some(stream), version: Some(version), reason: HeldReason::Refused, problem }
    }

    pub(super) fn gap(stream: StreamId, version: Version) -> Self {
        let problem = format!("version {version} waits for an earlier one");
        Self { stream: Some(stream), version: Some(version), reason: HeldReason::Gap, problem }
    }

    pub(super) fn address(&self) -> Option<(&StreamId, Version)> {
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
