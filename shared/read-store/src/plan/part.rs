//! A part of a batch, and the search for the event whose row the database refuses.

use event_sourcing::{Refused, StreamId, Version};

use crate::types::Incoming;

/// The records for which a plan is made. It is the whole batch, unless the database has refused a row of it.
///
/// The problem: a database refuses a value only when it is written, and the statement has rows of many streams. The trick: the
/// batch is rolled back and written again in parts, down to one stream. A [`Search`] then finds the stream's first event that the
/// database does not take, and the plan has it refused.
#[derive(Clone, Debug, Default)]
pub struct Part<'s> {
    /// The streams, sorted; none for the whole batch.
    streams: Option<&'s [StreamId]>,
    refused: Option<(Version, Refused)>,
}

impl<'s> Part<'s> {
    /// The whole batch.
    pub const WHOLE: Part<'static> = Part { streams: None, refused: None };
    /// The records without a stream or a version.
    pub const UNADDRESSED: Part<'static> = Part { streams: Some(&[]), refused: None };

    /// The records of these streams, which are sorted.
    #[must_use]
    pub const fn of(streams: &'s [StreamId]) -> Self {
        Self { streams: Some(streams), refused: None }
    }

    /// The records of one stream, of which the event at this version is refused.
    #[must_use]
    pub const fn refusing(streams: &'s [StreamId], version: Version, refused: Refused) -> Self {
        Self { streams: Some(streams), refused: Some((version, refused)) }
    }

    /// Returns true if the record belongs to this part.
    #[must_use]
    pub fn has<E>(&self, record: &Incoming<E>) -> bool {
        match (self.streams, record.stream()) {
            (None, _) => true,
            (Some(streams), Some(stream)) => streams.binary_search(stream).is_ok(),
            (Some(streams), None) => streams.is_empty(),
        }
    }

    /// Those of these streams that belong to this part.
    #[must_use]
    pub fn streams_of(&self, streams: Vec<StreamId>) -> Vec<StreamId> {
        self.streams.map_or(streams, <[StreamId]>::to_vec)
    }

    pub(super) const fn refused(&self) -> Option<&(Version, Refused)> {
        self.refused.as_ref()
    }
}

/// The search for the version of a stream that the database takes, but not the next one. It looks from the last version down, in
/// steps that double, and then between the last two: so one event is found among thousands in a few tries.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    /// The database has the stream at this version, or would take it.
    good: u64,
    /// The database refuses the stream at this version.
    bad: u64,
    step: Option<u64>,
}

impl Search {
    /// Begins a search. The database has `good`, and refuses `bad`. Returns `None` if no version lies between.
    #[must_use]
    pub fn between(good: Version, bad: Version) -> Option<Self> {
        let (good, bad) = (good.get(), bad.get());
        (good < bad).then_some(Self { good, bad, step: Some(1) })
    }

    /// The version to try next; none when the search is over.
    #[must_use]
    pub fn next(&self) -> Option<Version> {
        if self.bad == self.good + 1 {
            return None;
        }
        let middle = self.good + (self.bad - self.good) / 2;
        let next = self.step.map_or(middle, |step| self.bad.saturating_sub(step).max(self.good + 1));
        Some(Version::new(next))
    }

    /// Takes in the result of the try.
    pub fn tried(&mut self, version: Version, is_good: bool) {
        if is_good {
            self.good = version.get();
            self.step = None;
        } else {
            self.bad = version.get();
            self.step = self.step.map(|step| step * 2);
        }
    }

    /// The first version that the database refuses.
    #[must_use]
    pub const fn refused(&self) -> Version {
        Version::new(self.bad)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches among states of which some are refused. Returns the version, and the number of tries.
    fn search(from: u64, to: u64, is_good: impl Fn(u64) -> bool) -> (u64, u32) {
        let mut search = Search::between(Version::new(from), Version::new(to)).unwrap();
        let mut tries = 0;
        while let Some(version) = search.next() {
            assert!((from + 1..to).contains(&version.get()));
            tries += 1;
            search.tried(version, is_good(version.get()));
        }
        (search.refused().get(), tries)
    }

    #[test]
    fn the_first_refused_version_is_found_in_a_few_tries() {
        assert!(Search::between(Version::new(3), Version::new(3)).is_none());
        assert_eq!(search(0, 1, |_| false), (1, 0));
        for first in 1..=5_000 {
            let (found, tries) = search(0, 5_000, |version| version < first);
            assert_eq!(found, first);
            assert!(tries <= 26, "{tries}");
        }
    }

    #[test]
    fn the_search_ends_behind_a_version_that_the_database_takes() {
        // Refused, taken, and refused again: the stream comes as far as it can near the end.
        assert_eq!(search(1, 4, |version| version == 3).0, 4);
    }
}
