//! A view whose rows are shared by streams: the labels that tasks carry, with the number of tasks that carry each.

use serde::{Deserialize, Serialize};

use crate::{EventType, Index, Keys, Recorded, Refused, View, row};

/// An event of a task's labels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LabelEvent {
    /// The task got these labels.
    LabelsAdded {
        /// The labels.
        labels: Vec<String>,
    },
    /// The task carries another label in place of one.
    LabelReplaced {
        /// The former label.
        from: String,
        /// The new one.
        to: String,
    },
    /// The task lost a label.
    LabelRemoved {
        /// The label.
        label: String,
    },
    /// Somebody wrote a comment, which changes no label.
    CommentAdded,
}

impl EventType for LabelEvent {}

row! {
    /// A label that at least one task carries.
    pub struct LabelRow {
        /// The part of the label before its first colon.
        pub subject: String,
        /// The number of tasks that carry it.
        pub tasks: i64,
        /// True if more than one task carries it.
        pub shared: bool,
    }
}

/// The labels by their text.
#[derive(Clone, Debug)]
pub struct LabelsView;

/// Labels of one subject.
pub const BY_SUBJECT: Index = Index::on("subject");
/// Labels that so many tasks carry.
pub const BY_TASKS: Index = Index::on("tasks");

/// A label whose row the view refuses.
pub const REFUSED_LABEL: &str = "not to be shown";
/// A label at whose row the view panics.
pub const PANIC_LABEL: &str = "not to be thought of";

impl View for LabelsView {
    const NAME: &'static str = "labels";
    const INDEXES: &'static [Index] = &[BY_SUBJECT, BY_TASKS];

    type Event = LabelEvent;
    type Key = String;
    type Row = LabelRow;

    fn keys(recorded: &Recorded<LabelEvent>) -> Result<Keys<String>, Refused> {
        let keys = match &recorded.event {
            LabelEvent::LabelsAdded { labels } => Keys::Many(labels.clone()),
            LabelEvent::LabelReplaced { from, to } => Keys::Many(vec![from.clone(), to.clone()]),
            LabelEvent::LabelRemoved { label } => Keys::One(label.clone()),
            LabelEvent::CommentAdded => Keys::None,
        };
        match &keys {
            Keys::Many(keys) if keys.iter().any(String::is_empty) => {
                Err(Refused("a label without a text has no row".to_owned()))
            }
            _ => Ok(keys),
        }
    }

    fn apply(
        key: &String,
        row: Option<LabelRow>,
        recorded: &Recorded<LabelEvent>,
    ) -> Result<Option<LabelRow>, Refused> {
        if key == REFUSED_LABEL {
            return Err(Refused(format!("the label {key:?} is not shown")));
        }
        assert!(key != PANIC_LABEL, "on purpose");
        let more = match &recorded.event {
            LabelEvent::LabelsAdded { .. } => 1,
            LabelEvent::LabelReplaced { from, to } => i64::from(key == to) - i64::from(key == from),
            LabelEvent::LabelRemoved { .. } => -1,
            LabelEvent::CommentAdded => 0,
        };
        let tasks = row.map_or(0, |row| row.tasks) + more;
        let subject = key.split(':').next().unwrap_or_default().to_owned();
        Ok((tasks != 0).then_some(LabelRow { subject, tasks, shared: tasks > 1 }))
    }
}
