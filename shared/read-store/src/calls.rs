//! The calls that wait for a worker, and calls of `project` that were made at the same time, as one batch.
//!
//! Knows nothing of stores, nor of the effect of the records.

use std::ops::Range;

use event_sourcing::StreamId;
use tokio::sync::oneshot;

use crate::{Incoming, Lookup, ProjectionCounts, ReadStoreError};

/// The way for the answer to a call.
pub(crate) type Answer<T, E = ReadStoreError> = oneshot::Sender<Result<T, E>>;

/// A call of `see`.
pub(crate) struct LookupCall<R> {
    pub(crate) id: StreamId,
    pub(crate) answer: Answer<Lookup<R>>,
}

/// A call of `project`.
pub(crate) struct Call<E> {
    batch: Vec<Incoming<E>>,
    answer: Answer<ProjectionCounts>,
}

impl<E> Call<E> {
    pub(crate) fn new(batch: Vec<Incoming<E>>, answer: Answer<ProjectionCounts>) -> Self {
        Self { batch, answer }
    }

    #[cfg(feature = "postgres")]
    pub(crate) fn records(&self) -> usize {
        self.batch.len()
    }
}

/// The records of several calls, one after the other.
pub(crate) struct CallBatch<E> {
    pub(crate) incoming: Vec<Incoming<E>>,
    /// The range of each call's records.
    pub(crate) ranges: Vec<Range<usize>>,
    answers: Vec<Answer<ProjectionCounts>>,
}

impl<E> CallBatch<E> {
    pub(crate) fn of(calls: impl IntoIterator<Item = Call<E>>) -> Self {
        let (mut incoming, mut ranges, mut answers) = (Vec::new(), Vec::new(), Vec::new());
        for Call { mut batch, answer } in calls {
            let first = incoming.len();
            incoming.append(&mut batch);
            ranges.push(first..incoming.len());
            answers.push(answer);
        }
        Self { incoming, ranges, answers }
    }

    /// Returns true if the calls must be done again one by one. A row that can't be read fails the batch that needs it, but no
    /// batch that came at the same time.
    pub(crate) fn is_to_be_split(&self, done: &Result<Vec<ProjectionCounts>, ReadStoreError>) -> bool {
        matches!(done, Err(ReadStoreError::Corrupt(_))) && self.answers.len() > 1
    }

    /// Answers every call: with its own counts, or with the common error.
    pub(crate) fn answer(self, done: Result<Vec<ProjectionCounts>, ReadStoreError>) {
        match done {
            // A caller that stopped waiting needs no answer.
            Ok(counts) => self.answers.into_iter().zip(counts).for_each(|(answer, counts)| {
                let _ = answer.send(Ok(counts));
            }),
            Err(error) => self.answers.into_iter().for_each(|answer| {
                let _ = answer.send(Err(error.clone()));
            }),
        }
    }

    /// Splits the batch into one a call.
    pub(crate) fn split(self) -> impl Iterator<Item = Self> {
        let mut incoming = self.incoming.into_iter();
        self.ranges.into_iter().zip(self.answers).map(move |(range, answer)| {
            let batch: Vec<_> = incoming.by_ref().take(range.len()).collect();
            Self::of([Call { batch, answer }])
        })
    }
}
