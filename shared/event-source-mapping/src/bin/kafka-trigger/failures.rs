//! What becomes of records that are given up: to the failure destination, if there is one within reach, and named in a line.

use std::sync::Arc;

use event_channel::{EventChannel, OpenError, PublishError, Record};
use event_source_mapping::failure_record::{self, FailureMessage};
use event_source_mapping::{Discarded, EventSource, OnFailure};
use jiff::Timestamp;
use uuid::Uuid;

use crate::lines::Lines;
use crate::plan::{Destination, Plan};

/// A topic that takes what was given up.
struct DeadLetters {
    channel: EventChannel,
    /// As the template names it.
    name: String,
    function_arn: String,
    source: EventSource,
}

/// What a plan does with records that are given up.
pub(crate) fn on_failure(plan: &Plan, lines: Lines) -> Result<OnFailure, OpenError> {
    let Destination::Topic { name, url } = &plan.destination else {
        return Ok(OnFailure::hand_over(move |discarded| {
            lines.given_up(&discarded, None);
            async { Ok(()) }
        }));
    };
    let letters = Arc::new(DeadLetters {
        channel: EventChannel::open(url)?,
        name: format!("kafka://{name}"),
        function_arn: plan.function_arn.clone(),
        source: plan.mapping.event_source.clone(),
    });
    Ok(OnFailure::hand_over(move |discarded| {
        let (letters, lines) = (Arc::clone(&letters), lines.clone());
        async move {
            letters.take(&discarded).await?;
            lines.given_up(&discarded, Some(&letters.name));
            Ok(())
        }
    }))
}

impl DeadLetters {
    async fn take(&self, discarded: &Discarded) -> Result<(), String> {
        let (request, now) = (Uuid::new_v4(), Timestamp::now());
        let messages = failure_record::messages(discarded, &self.function_arn, &self.source, request, now);
        let messages = messages.map_err(|error| error.to_string())?;
        match self.publish(messages.clone()).await {
            // The record stands in its message in base64, which may be more than the topic takes; what says where it is still
            // does.
            Err(PublishError::TooLarge { .. }) => {
                let messages = messages.iter().map(FailureMessage::without_payload).collect();
                self.publish(messages).await
            }
            result => result,
        }
        .map_err(|error| error.to_string())
    }

    async fn publish(&self, messages: Vec<FailureMessage>) -> Result<(), PublishError> {
        let record = |FailureMessage { key, value }| Record { key, value: Some(value), headers: Vec::new() };
        self.channel.publish(messages.into_iter().map(record).collect()).await.map(drop)
    }
}
