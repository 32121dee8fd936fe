//! A second aggregate, for tests of an application that has several: the labels of a task, which are the events of
//! [`LabelsView`](super::LabelsView). Its stream has the task's id.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Event, LabelEvent};
use crate::{Aggregate, Command, Occasion, Reaction, Recorded, Rejection, RejectionKind, StreamId};

/// The labels of a task.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelSet {
    labels: BTreeSet<String>,
}

/// A command for the labels of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelCommand {
    /// Adds these labels.
    Add {
        /// The labels.
        labels: Vec<String>,
    },
    /// Removes a label.
    Remove {
        /// The label.
        label: String,
    },
}

/// The task does not carry the label.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the task does not carry this label")]
pub struct NoSuchLabel;

impl Command for LabelCommand {
    fn name(&self) -> &'static str {
        match self {
            Self::Add { .. } => "add-labels",
            Self::Remove { .. } => "remove-label",
        }
    }

    fn creates(&self) -> bool {
        false
    }
}

impl Rejection for NoSuchLabel {
    fn kind(&self) -> RejectionKind {
        RejectionKind::NotFound
    }
}

impl Aggregate for LabelSet {
    const KIND: &'static str = "labelset";
    const SOURCE: &'static str = "/labels";
    const REVISION: u32 = 1;

    type Command = LabelCommand;
    type Event = LabelEvent;
    type Rejection = NoSuchLabel;

    fn decide(&self, command: LabelCommand) -> Result<Vec<LabelEvent>, NoSuchLabel> {
        match command {
            LabelCommand::Add { labels } => {
                let labels: BTreeSet<String> = labels.into_iter().collect();
                let labels: Vec<String> = labels.difference(&self.labels).cloned().collect();
                Ok(if labels.is_empty() { vec![] } else { vec![LabelEvent::LabelsAdded { labels }] })
            }
            LabelCommand::Remove { label } if self.labels.contains(&label) => {
                Ok(vec![LabelEvent::LabelRemoved { label }])
            }
            LabelCommand::Remove { .. } => Err(NoSuchLabel),
        }
    }

    fn evolve(mut self, event: &LabelEvent) -> Self {
        match event {
            LabelEvent::LabelsAdded { labels } => self.labels.extend(labels.iter().cloned()),
            LabelEvent::LabelReplaced { from, to } => {
                self.labels.remove(from);
                self.labels.insert(to.clone());
            }
            LabelEvent::LabelRemoved { label } => {
                self.labels.remove(label);
            }
            LabelEvent::CommentAdded => {}
        }
        self
    }
}

/// The label of a task that is finished.
pub const FINISHED_LABEL: &str = "finished";

/// A task that is finished gets a label: a command on another aggregate.
#[derive(Clone, Copy, Debug)]
pub struct LabelFinished;

impl Reaction for LabelFinished {
    const NAME: &'static str = "label-finished";

    type Event = Event;
    type Target = LabelSet;

    fn react(recorded: &Recorded<Event>, _: Occasion) -> Vec<(StreamId, LabelCommand)> {
        match &recorded.event {
            Event::TaskFinished => {
                let labels = vec![FINISHED_LABEL.to_owned()];
                vec![(recorded.stream.clone(), LabelCommand::Add { labels })]
            }
            _ => vec![],
        }
    }
}
