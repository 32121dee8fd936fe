//! A run of records on its way to the brokers, and its outcome.

use std::sync::{Arc, OnceLock};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio::sync::oneshot;

/// The reason why a run was not acknowledged as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RunFailure {
    /// Too many records wait for the brokers already.
    Full,
    /// The error of the first record that failed.
    Refused(RDKafkaErrorCode),
}

/// A run on its way. Every record of it holds a clone. The last clone settles the run.
pub(super) struct Run {
    /// The error of the first record that failed.
    failure: OnceLock<RDKafkaErrorCode>,
    settles: oneshot::Sender<Option<RDKafkaErrorCode>>,
}

impl Run {
    /// Makes a run, and the receiver of its outcome: the error of the first record that failed.
    pub(super) fn new() -> (Arc<Self>, oneshot::Receiver<Option<RDKafkaErrorCode>>) {
        let (settles, settled) = oneshot::channel();
        (Arc::new(Self { failure: OnceLock::new(), settles }), settled)
    }

    pub(super) fn fail(&self, error: &KafkaError) {
        // Only the first error counts, so a later one is ignored.
        let _ = self.failure.set(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail));
    }

    /// Drops a clone of the run. Returns `true` when it was the last one, which settles the run.
    pub(super) fn let_go(run: Arc<Self>) -> bool {
        let Some(run) = Arc::into_inner(run) else { return false };
        // The publisher may have stopped waiting for the run.
        let _ = run.settles.send(run.failure.into_inner());
        true
    }
}
