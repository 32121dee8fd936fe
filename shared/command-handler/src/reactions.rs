//! Reactions: a delivered event becomes commands on other streams, each of which takes effect once.
//!
//! The channel delivers an event at least once, and a process may die between two commands of one event. So each command has an id
//! that follows from the delivery ([`CommandId::reaction`]), in the system's space, into which no client can write. The target
//! stream has the answer under that id: a commit, or a small record, which never expires. A repeat is answered from there, and goes
//! on with the commands that an earlier attempt did not come to.

use std::sync::Arc;

use event_sourcing::{Aggregate, CommandId, Occasion, Reaction, Recorded, StreamId, Version};
use event_store::Metadata;

use crate::handler::{CommandError, CommandHandler, CommandRequest, KeyOrigin, Outcome};
use crate::hash::command_hash;

/// An event that the channel has brought.
#[derive(Clone, Debug)]
pub struct Delivery<E> {
    /// The event.
    pub recorded: Recorded<E>,
    /// The occasion: [`event_sourcing::wire::occasion`] reads it from the record's headers.
    pub occasion: Occasion,
    /// The id that everything which follows from one request shares: the new commits get it.
    pub correlation_id: String,
    /// The event's trace (W3C Trace Context), if it had one.
    pub traceparent: Option<String>,
}

/// The answer to a command of a reaction. It is final.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReactionAnswer<A> {
    /// The command took effect, or was already true.
    Done(Outcome<A>),
    /// The target rejected the command, for this reason.
    Rejected(Arc<str>),
}

impl<A: Aggregate> CommandHandler<A> {
    /// Carries out a reaction to a delivered event: its commands in their sequence. Returns the answer to each.
    ///
    /// Guarantee: however often and wherever an event is delivered, each command takes effect once, and its answer stays the same.
    /// A reminder is an occasion of its own, whose commands have ids of their own.
    ///
    /// # Errors
    /// The error of the first command without an answer. The commands before it have theirs, and those after it were not tried. The
    /// event has to be delivered again, except for [`CommandError::TooLarge`], which no repeat can help.
    pub async fn react<R: Reaction<Target = A>>(
        &self,
        delivery: &Delivery<R::Event>,
    ) -> Result<Vec<ReactionAnswer<A>>, CommandError<A>> {
        let commands = R::react(&delivery.recorded, delivery.occasion);
        let mut answers = Vec::with_capacity(commands.len());
        for (index, (stream, command)) in commands.into_iter().enumerate() {
            let request = request::<R>(delivery, index, stream, command);
            answers.push(match self.handle(request).await {
                Ok(outcome) => ReactionAnswer::Done(outcome),
                Err(CommandError::Rejected(rejection)) => {
                    ReactionAnswer::Rejected(rejection.to_string().into())
                }
                Err(CommandError::RejectedBefore(reason)) => ReactionAnswer::Rejected(reason),
                Err(error) => return Err(error),
            });
        }
        Ok(answers)
    }
}

fn request<R: Reaction>(
    delivery: &Delivery<R::Event>,
    index: usize,
    stream: StreamId,
    command: <R::Target as Aggregate>::Command,
) -> CommandRequest<R::Target> {
    let Delivery { recorded, occasion, correlation_id, traceparent } = delivery;
    let command_id = CommandId::reaction::<R>(recorded, *occasion, index);
    CommandRequest {
        // The hash covers the delivery alone. If a newer program reacts otherwise, the first answer stands all the same.
        hash: command_hash("reaction", &stream, command_id.as_str().as_bytes()),
        stream,
        command,
        command_id,
        key: KeyOrigin::Reaction,
        if_match: None,
        metadata: Metadata {
            correlation_id: correlation_id.clone(),
            causation_id: Some(format!("{}@{}", recorded.stream, recorded.version)),
            traceparent: traceparent.clone(),
            actor: Some(R::NAME.to_owned()),
        },
        published: Version::NONE,
    }
}
