//! Handles discarded records: sends them to the failure destination, if it can be reached, and prints a line about them.

use std::env;
use std::sync::Arc;

use event_channel::{EventChannel, PublishError, Record};
use event_source_mapping::{DeadLetter, EventSource, OnFailure};
use jiff::Timestamp;
use kafka_trigger::failure_destination::FailureDestination;
use kafka_trigger::failure_record::{self, Context, FailureMessage};
use uuid::Uuid;

use crate::lines::{DeadLetterFate, Lines};
use crate::plan::{Destination, Plan};

/// A failure destination that receives discarded records.
struct DeadLetterSender {
    taker: DeadLetterTarget,
    /// Its name in the template.
    name: String,
    function_arn: String,
    source: EventSource,
    mapping: Uuid,
}

enum DeadLetterTarget {
    Topic(EventChannel),
    Aws(FailureDestination),
}

/// Returns the handler of a plan's discarded records.
pub(crate) fn on_failure(plan: &Plan, lines: Lines) -> anyhow::Result<OnFailure> {
    let (name, taker) = match &plan.destination {
        Destination::None => return Ok(printed(lines, None)),
        Destination::OutOfReach(arn) => return Ok(printed(lines, Some(arn.clone()))),
        Destination::Topic(name) => {
            (format!("kafka://{name}"), DeadLetterTarget::Topic(EventChannel::open(&plan.url(name)?)?))
        }
        Destination::At(resource, url) => {
            let variable = |name: &str| env::var(name).ok();
            let opened = FailureDestination::open(resource.clone(), url.clone(), &plan.region, variable)?;
            (resource.to_string(), DeadLetterTarget::Aws(opened))
        }
    };
    let letters = Arc::new(DeadLetterSender {
        taker,
        name,
        function_arn: plan.function_arn.clone(),
        source: plan.mapping.event_source.clone(),
        mapping: mapping_id(plan),
    });
    Ok(OnFailure::hand_over(move |discarded| {
        let (letters, lines) = (Arc::clone(&letters), lines.clone());
        async move {
            letters.take(&discarded).await?;
            lines.given_up(&discarded, DeadLetterFate::SentTo(&letters.name));
            Ok(())
        }
    }))
}

/// Returns a handler that only prints a line: there is no destination, or no URL for it.
fn printed(lines: Lines, out_of_reach: Option<String>) -> OnFailure {
    OnFailure::hand_over(move |discarded| {
        let fate = out_of_reach.as_deref().map_or(DeadLetterFate::Dropped, DeadLetterFate::OutOfReach);
        lines.given_up(&discarded, fate);
        async { Ok(()) }
    })
}

/// The mapping's UUID. AWS makes up a random one; this one is the same each time.
fn mapping_id(plan: &Plan) -> Uuid {
    let name = format!("kafka-trigger:{}:{}", plan.mapping.group, plan.template.logical_id);
    Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes())
}

impl DeadLetterSender {
    async fn take(&self, discarded: &DeadLetter) -> Result<(), String> {
        let context = Context {
            function_arn: &self.function_arn,
            source: &self.source,
            mapping: self.mapping,
            request: Uuid::new_v4(),
            now: Timestamp::now(),
        };
        match &self.taker {
            DeadLetterTarget::Topic(channel) => publish_each(channel, discarded, &context).await,
            DeadLetterTarget::Aws(destination) => {
                destination.take(discarded, &context).await.map_err(|error| error.to_string())
            }
        }
    }
}

async fn publish_each(
    channel: &EventChannel,
    discarded: &DeadLetter,
    context: &Context<'_>,
) -> Result<(), String> {
    let messages = failure_record::messages(discarded, context).map_err(|error| error.to_string())?;
    match publish(channel, messages.clone()).await {
        // The message carries the record in base64, which may be more than the topic takes. The message without the record fits,
        // and still has the record's offset and timestamp.
        Err(PublishError::TooLarge { .. }) => {
            let messages = messages.iter().map(FailureMessage::without_payload).collect();
            publish(channel, messages).await
        }
        result => result,
    }
    .map_err(|error| error.to_string())
}

async fn publish(channel: &EventChannel, messages: Vec<FailureMessage>) -> Result<(), PublishError> {
    let record = |FailureMessage { key, value }| Record { key, value: Some(value), headers: Vec::new() };
    channel.publish(messages.into_iter().map(record).collect()).await.map(drop)
}
