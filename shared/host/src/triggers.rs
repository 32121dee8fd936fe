//! Delivers batches from the channels to functions, by event source mappings that run in this process.

use std::time::Duration;

use event_channel::EventChannel;
use event_source_mapping::{Backoff, ChannelSource, InProcessTarget, Mapping, Trigger};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::CannotStart;
use crate::stores::Stores;

/// The longest backoff after failures. A trigger notices within this time that a store is up again.
const LONGEST_WAIT: Duration = Duration::from_secs(3);

/// Starts the triggers, each on the channel of its aggregate.
///
/// # Errors
/// [`CannotStart`] when a channel can't be joined, or the application lacks an aggregate.
pub fn start(
    triggers: Vec<Trigger>,
    work: &mut JoinSet<()>,
    stores: &Stores,
    stopped: &watch::Receiver<bool>,
    grace: Duration,
) -> Result<(), CannotStart> {
    for trigger in triggers {
        let (function, kind) = (&trigger.mapping.function, trigger.aggregate);
        let Some(aggregate) = stores.aggregate(kind) else {
            return Err(CannotStart(format!(
                "{function} takes events of the aggregate {kind}, which the application has not registered"
            )));
        };
        let channel = aggregate.handler.publisher().channel();
        start_one(trigger, work, channel, stopped.clone(), grace)?;
    }
    Ok(())
}

fn start_one(
    trigger: Trigger,
    work: &mut JoinSet<()>,
    channel: &EventChannel,
    stopped: watch::Receiver<bool>,
    grace: Duration,
) -> Result<(), CannotStart> {
    let Trigger { mapping, shape, function, .. } = trigger;
    let backoff = Backoff { longest: LONGEST_WAIT, ..mapping.backoff };
    let mut mapping = Mapping { backoff, drain: grace, ..mapping };
    if let Some(shape) = shape {
        mapping.group = format!("{}-{shape}", mapping.group);
    }
    let source =
        ChannelSource::join(channel, &mut mapping).map_err(|error| CannotStart(error.to_string()))?;
    let target = InProcessTarget::new(function);
    work.spawn(async move {
        if let Err(error) = event_source_mapping::run(mapping, source, target, stopped).await {
            tracing::error!(%error, "a trigger can't run");
        }
    });
    Ok(())
}
