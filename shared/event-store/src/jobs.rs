//! The jobs that callers send to the workers of a store, and the ways for their answers.

use tokio::sync::oneshot;

use crate::{Load, StoreError, Stream, UnreadableStream};

/// The way for the answer to a job.
pub(crate) type Answer<T, E = StoreError> = oneshot::Sender<Result<T, E>>;

/// Each stream with its own result.
pub(crate) type Streams = Vec<Result<Stream, UnreadableStream>>;

/// The loads of one caller.
pub(crate) struct LoadJob {
    pub(crate) loads: Vec<Load>,
    pub(crate) answer: Answer<Streams>,
}

/// The jobs of stores on servers.
#[cfg(any(feature = "mongodb", feature = "postgres"))]
pub(crate) mod on_server {
    use std::time::Duration;

    use runtime::batcher::{self, TaskBatcher};
    use tokio::time::timeout;

    use super::{Answer, LoadJob, Streams};
    use crate::load::Lane;
    use crate::{Load, Mark, StoreError};

    /// The most jobs that one batch takes. A queue holds at most four times as many.
    pub(crate) const TURN: usize = 256;

    /// The time for which a caller waits for an answer, including its time in the queue. It is longer than an operation may take.
    const PATIENCE: Duration = Duration::from_secs(6);

    /// The commits that one caller marks.
    pub(crate) struct MarkJob {
        pub(crate) marks: Vec<Mark>,
        pub(crate) answer: Answer<()>,
    }

    /// Sends a job to the worker and waits for its answer, for [`PATIENCE`] at most.
    pub(crate) async fn ask<J: Send + 'static, T, E: From<StoreError>>(
        worker: &TaskBatcher<J>,
        job: impl FnOnce(Answer<T, E>) -> J,
    ) -> Result<T, E> {
        let asked = batcher::ask(|answer| worker.send(job(answer)));
        let answered = timeout(PATIENCE, asked).await.map_err(|_| no_answer(PATIENCE))?;
        answered.map_err(StoreError::from)?
    }

    /// Waits for a call that no worker does, for [`PATIENCE`] at most.
    #[cfg(feature = "postgres")]
    pub(crate) async fn patiently<T, E: From<StoreError>>(
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        timeout(PATIENCE, call).await.unwrap_or_else(|_| Err(no_answer(PATIENCE).into()))
    }

    /// The readers of a store, one for each [`Lane`].
    #[derive(Clone)]
    pub(crate) struct Readers {
        shared: TaskBatcher<LoadJob>,
        long: TaskBatcher<LoadJob>,
    }

    impl Readers {
        /// Starts the readers. `side_by_side` merged reads run at a time, besides one of a page of a long stream.
        pub(crate) fn start<W>(
            side_by_side: usize,
            work: impl Fn(Vec<LoadJob>) -> W + Clone + Send + 'static,
        ) -> Self
        where
            W: Future<Output = ()> + Send + 'static,
        {
            let long = TaskBatcher::start(1, 1, work.clone());
            Self { shared: TaskBatcher::start(TURN, side_by_side, work), long }
        }

        pub(crate) async fn load_many(&self, loads: Vec<Load>, lane: Lane) -> Result<Streams, StoreError> {
            let reader = match lane {
                Lane::Shared => &self.shared,
                Lane::Long => &self.long,
            };
            let mut streams = Vec::with_capacity(loads.len());
            for loads in loads.chunks(TURN) {
                let loads = loads.to_vec();
                streams.extend(ask(reader, |answer| LoadJob { loads, answer }).await?);
            }
            Ok(streams)
        }
    }

    pub(crate) async fn mark(marker: &TaskBatcher<MarkJob>, marks: Vec<Mark>) -> Result<(), StoreError> {
        if marks.is_empty() {
            return Ok(());
        }
        ask(marker, |answer| MarkJob { marks, answer }).await
    }

    pub(crate) fn no_answer(waited: Duration) -> StoreError {
        StoreError::Unavailable(format!("no answer within {} s", waited.as_secs()).into())
    }
}
