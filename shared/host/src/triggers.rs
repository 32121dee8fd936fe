//! Delivers batches from the channel to functions, by event source mappings that run in this process.

use std::fmt::Display;
use std::future::Future;
use std::time::{Duration, Instant};

use event_channel::EventChannel;
use event_source_mapping::event::{BatchResponse, KafkaEvent};
use event_source_mapping::{Backoff, ChannelSource, InProcessTarget, Mapping};
use event_sourcing::View;
use futures_util::future::BoxFuture;
use read_store::ReadStore;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::CannotStart;

/// The longest backoff after failures. A trigger notices within this time that a store is up again.
const LONGEST_WAIT: Duration = Duration::from_secs(3);

type Function =
    Box<dyn Fn(KafkaEvent, Instant) -> BoxFuture<'static, Result<BatchResponse, String>> + Send + Sync>;

/// A function that takes batches, and its mapping.
pub struct Trigger {
    mapping: Mapping,
    /// The shape of the view that it writes.
    shape: Option<String>,
    function: Function,
}

impl Trigger {
    /// Creates a trigger: `Trigger::new(projector::mapping(), &view, |view, event, deadline| async move { … })`.
    pub fn new<State, F, Answer, E>(mapping: Mapping, state: &State, function: F) -> Self
    where
        State: Clone + Send + Sync + 'static,
        F: Fn(State, KafkaEvent, Instant) -> Answer + Send + Sync + 'static,
        Answer: Future<Output = Result<BatchResponse, E>> + Send + 'static,
        E: Display,
    {
        let state = state.clone();
        let function: Function = Box::new(move |event, deadline| {
            let answer = function(state.clone(), event, deadline);
            // The alternate form, because it shows an error's causes.
            Box::pin(async { answer.await.map_err(|error| format!("{error:#}")) })
        });
        Self { mapping, shape: None, function }
    }

    /// Gives each shape of the view a consumer group of its own: the mapping's group with the shape's digest behind it. A function
    /// that projects needs that, because programs whose views have other shapes write other tables, and each needs every event.
    #[must_use]
    pub fn of_view<V: View>(mut self) -> Self {
        self.shape = Some(ReadStore::<V>::shape_digest());
        self
    }

    /// The mapping that the function declares.
    pub const fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    fn start(
        self,
        work: &mut JoinSet<()>,
        channel: &EventChannel,
        stopped: watch::Receiver<bool>,
        grace: Duration,
    ) -> Result<(), CannotStart> {
        let backoff = Backoff { longest: LONGEST_WAIT, ..self.mapping.backoff };
        let mut mapping = Mapping { backoff, drain: grace, ..self.mapping };
        if let Some(shape) = self.shape {
            mapping.group = format!("{}-{shape}", mapping.group);
        }
        let source =
            ChannelSource::join(channel, &mut mapping).map_err(|error| CannotStart(error.to_string()))?;
        let target = InProcessTarget::new(self.function);
        work.spawn(async move {
            if let Err(error) = event_source_mapping::run(mapping, source, target, stopped).await {
                tracing::error!(%error, "a trigger can't run");
            }
        });
        Ok(())
    }
}

/// Starts the triggers.
///
/// # Errors
/// [`CannotStart`] when the channel can't be joined.
pub fn start(
    triggers: Vec<Trigger>,
    work: &mut JoinSet<()>,
    channel: &EventChannel,
    stopped: &watch::Receiver<bool>,
    grace: Duration,
) -> Result<(), CannotStart> {
    triggers.into_iter().try_for_each(|trigger| trigger.start(work, channel, stopped.clone(), grace))
}
