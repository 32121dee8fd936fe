//! The channel onto the projector and the processor, by event source mappings that run in this process.

use std::future::Future;
use std::time::{Duration, Instant};

use event_channel::{ConsumerSettings, EventChannel};
use event_source_mapping::event::{BatchResponse, KafkaEvent};
use event_source_mapping::{Backoff, ChannelSource, FilterCriteria, InProcess, Mapping, NO_WINDOW};
use processor::Processor;
use read_store::ReadStore;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::CannotStart;

/// The processor is invoked for this alone.
const STARTED: &str = r#"{"value":{"type":["ProcessingStarted"]}}"#;

/// How long one invocation may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The longest wait after failures: a store that is up again is noticed so soon.
const LONGEST_WAIT: Duration = Duration::from_secs(3);

/// How long brokers gather what the processor is asked for. Nobody waits for an outcome as for a command's answer; and orders that come
/// together are loaded with one question and their outcomes kept with one insert, which leaves the servers to those who do wait. And
/// brokers are not asked anew for each record.
const GATHER: Duration = Duration::from_millis(25);

/// Starts both triggers.
///
/// # Errors
/// [`CannotStart`] when the channel can't be joined.
pub fn start(
    work: &mut JoinSet<()>,
    channel: &EventChannel,
    view: &ReadStore,
    processor: Processor,
    stopped: &watch::Receiver<bool>,
    grace: Duration,
) -> Result<(), CannotStart> {
    let store = view.clone();
    let projector = Trigger {
        // Beside another invocation only with a full batch: a small transaction costs nearly as much as a large one.
        mapping: Mapping {
            concurrency: 2,
            full_beside_others: true,
            batch_size: 1_000,
            ..mapping("projector", grace)?
        },
        group: "projector",
        gather: Duration::ZERO,
    };
    projector.start(work, channel, stopped, move |event, _deadline| {
        let store = store.clone();
        async move { projector::project(&store, event).await }
    })?;
    let filter = FilterCriteria::parse([STARTED]).map_err(|error| CannotStart(error.to_string()))?;
    let mapping = Mapping { filter, concurrency: 4, ..mapping("processor", grace)? };
    let trigger = Trigger { mapping, group: "processor", gather: GATHER };
    trigger.start(work, channel, stopped, move |event, deadline| {
        let processor = processor.clone();
        async move { processor.process(event, deadline).await }
    })
}

/// What both mappings share. There is no limit to retries or age: to discard would break the order, and our functions take poison
/// aside themselves.
fn mapping(function: &str, grace: Duration) -> Result<Mapping, CannotStart> {
    Ok(Mapping {
        window: NO_WINDOW,
        invocation_timeout: TIMEOUT,
        maximum_retry_attempts: None,
        maximum_record_age: None,
        backoff: Backoff { most: LONGEST_WAIT, ..Backoff::default() },
        drain: grace,
        ..Mapping::new(function)
    })
}

struct Trigger {
    mapping: Mapping,
    group: &'static str,
    gather: Duration,
}

impl Trigger {
    fn start<F, Fut, E>(
        mut self,
        work: &mut JoinSet<()>,
        channel: &EventChannel,
        stopped: &watch::Receiver<bool>,
        function: F,
    ) -> Result<(), CannotStart>
    where
        F: Fn(KafkaEvent, Instant) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<BatchResponse, E>> + Send + 'static,
        E: std::fmt::Display + 'static,
    {
        // The channel filters for the group, once a record: what is passed over takes no room in its queues.
        let filter = std::mem::take(&mut self.mapping.filter);
        let settings = ConsumerSettings { gather: self.gather, ..ConsumerSettings::default() };
        let consumer = channel.subscribe_with(self.group, settings, move |value| filter.matches(value));
        let source = ChannelSource::new(consumer.map_err(|error| CannotStart(error.to_string()))?);
        let (target, stopped) = (InProcess::new(function), stopped.clone());
        work.spawn(async move {
            if let Err(error) = event_source_mapping::run(self.mapping, source, target, stopped).await {
                tracing::error!(%error, "a trigger can't run");
            }
        });
        Ok(())
    }
}
