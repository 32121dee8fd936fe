//! A function that takes batches, with its mapping and the records that it takes.

use std::fmt::Display;
use std::future::Future;
use std::time::Instant;

use futures_util::future::BoxFuture;

use crate::Mapping;
use crate::event::{BatchResponse, KafkaEvent};

/// A function in this process, as a mapping invokes it.
pub type BatchFunction =
    Box<dyn Fn(KafkaEvent, Instant) -> BoxFuture<'static, Result<BatchResponse, String>> + Send + Sync>;

/// A function that takes batches, as it declares itself.
pub struct Trigger {
    /// The name of the aggregate whose events the records are.
    pub aggregate: &'static str,
    /// The function's mapping.
    pub mapping: Mapping,
    /// The digest of the shape of the view that the function writes, if it writes one. Each shape has a consumer group of its own.
    pub shape: Option<String>,
    /// The function.
    pub function: BatchFunction,
}

impl Trigger {
    /// Creates a trigger: `Trigger::new(Task::KIND, mapping(), &view, async |view, event, deadline| …)`.
    pub fn new<State, F, Answer, E>(
        aggregate: &'static str,
        mapping: Mapping,
        state: &State,
        function: F,
    ) -> Self
    where
        State: Clone + Send + Sync + 'static,
        F: Fn(State, KafkaEvent, Instant) -> Answer + Send + Sync + 'static,
        Answer: Future<Output = Result<BatchResponse, E>> + Send + 'static,
        E: Display,
    {
        let state = state.clone();
        let function: BatchFunction = Box::new(move |event, deadline| {
            let answer = function(state.clone(), event, deadline);
            // The alternate form, because it shows an error's causes.
            Box::pin(async { answer.await.map_err(|error| format!("{error:#}")) })
        });
        Self { aggregate, mapping, shape: None, function }
    }

    /// Gives the function the view's name for its consumer group, with the digest of the view's shape behind it. A function that
    /// projects needs that, because programs whose views have other shapes write other tables, and each needs every event.
    #[must_use]
    pub fn of_view(mut self, view: &str, shape: String) -> Self {
        view.clone_into(&mut self.mapping.group);
        self.shape = Some(shape);
        self
    }
}
