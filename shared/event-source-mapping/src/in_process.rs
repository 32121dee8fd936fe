//! A function in this process as the target of a mapping.

use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use crate::event::{BatchResponse, KafkaEvent};
use crate::{InvokeError, Target};

/// A function in this process. Its error counts as a failure of the function, and so does a panic.
pub struct InProcessTarget<F> {
    function: Arc<F>,
}

impl<F> InProcessTarget<F> {
    /// `InProcessTarget::new(|event, deadline| async move { … })`
    pub fn new<Fut, E>(function: F) -> Self
    where
        F: Fn(KafkaEvent, Instant) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<BatchResponse, E>> + Send,
        E: Display,
    {
        Self { function: Arc::new(function) }
    }
}

impl<F> Clone for InProcessTarget<F> {
    fn clone(&self) -> Self {
        Self { function: Arc::clone(&self.function) }
    }
}

impl<F, Fut, E> Target for InProcessTarget<F>
where
    F: Fn(KafkaEvent, Instant) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<BatchResponse, E>> + Send,
    E: Display,
{
    async fn invoke(&self, event: KafkaEvent, deadline: Instant) -> Result<BatchResponse, InvokeError> {
        // The alternate form is used, because in it an error shows its causes.
        (self.function)(event, deadline).await.map_err(|error| InvokeError::Function(format!("{error:#}")))
    }
}
