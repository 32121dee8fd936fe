//! A small aggregate and its view, for the tests of crates that store, publish, handle or show any aggregate. It is a task that
//! is opened, started, stopped and finished. [`LabelsView`] is a view whose rows are shared by streams. [`OpenSuccessor`] reacts to
//! a task that is finished. [`LabelSet`] is a second aggregate, and [`LabelFinished`] reacts with a command for it.
//!
//! [`any_interleaving`] is for the author of any such view.

mod interleaving;
mod label_set;
mod labels;

pub use interleaving::{InterleavingConflict, any_interleaving};
use jiff::Timestamp;
pub use label_set::{FINISHED_LABEL, LabelCommand, LabelFinished, LabelSet, NoSuchLabel};
pub use labels::{BY_SUBJECT, BY_TASKS, LabelEvent, LabelRow, LabelsView, PANIC_LABEL, REFUSED_LABEL};
use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, IntoStaticStr, VariantNames};
use thiserror::Error;

use crate::{
    Aggregate, EventType, Index, Keys, Occasion, Reaction, Recorded, Refused, RejectionKind, StreamId, View,
    choice_value, row,
};

/// A task.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum Task {
    /// The task does not exist.
    #[default]
    Absent,
    /// Nobody works on it.
    Open {
        /// The task's title.
        title: String,
    },
    /// Somebody works on it.
    Running {
        /// The task's title.
        title: String,
    },
    /// It is done.
    Finished {
        /// The task's title.
        title: String,
    },
}

/// A command for a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Creates a task.
    Open {
        /// The task's title.
        title: String,
    },
    /// Changes the title of a task on which nobody works.
    Rename {
        /// The new title.
        title: String,
    },
    /// Starts the work.
    Start,
    /// Stops the work before the task is done.
    Stop,
    /// Finishes the task.
    Finish,
}

/// An event of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// The first event of every task.
    TaskOpened {
        /// The task's title.
        title: String,
    },
    /// It has another title.
    TaskRenamed {
        /// The new title.
        title: String,
    },
    /// Somebody works on it. One of `TaskStopped` and `TaskFinished` must follow.
    TaskStarted,
    /// Nobody works on it any more.
    TaskStopped,
    /// It is done.
    TaskFinished,
}

impl EventType for Event {}

/// The reason for which a command was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Rejection {
    /// There is no such task.
    #[error("there is no such task")]
    NotFound,
    /// The task has another title.
    #[error("another task has this id")]
    IdTaken,
    /// The task's state does not allow it.
    #[error("the task's state does not allow this")]
    NotAllowed,
}

impl crate::Command for Command {
    fn name(&self) -> &'static str {
        match self {
            Self::Open { .. } => "open",
            Self::Rename { .. } => "rename",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Finish => "finish",
        }
    }

    fn creates(&self) -> bool {
        matches!(self, Self::Open { .. })
    }
}

impl crate::Rejection for Rejection {
    fn kind(&self) -> RejectionKind {
        let conflict = |code, title| RejectionKind::Conflict { code, title, field: None };
        match self {
            Self::NotFound => RejectionKind::NotFound,
            Self::IdTaken => conflict("id-taken", "Another task has this id"),
            Self::NotAllowed => conflict("not-allowed-in-state", "The task's state does not allow this"),
        }
    }
}

impl Aggregate for Task {
    const KIND: &'static str = "task";
    const SOURCE: &'static str = "/tasks";
    const REVISION: u32 = 1;

    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;

    fn decide(&self, command: Command) -> Result<Vec<Event>, Rejection> {
        match (self, command) {
            (Self::Absent, Command::Open { title }) => Ok(vec![Event::TaskOpened { title }]),
            (Self::Absent, _) => Err(Rejection::NotFound),
            (
                Self::Open { title } | Self::Running { title } | Self::Finished { title },
                Command::Open { title: wanted },
            ) => {
                if *title == wanted {
                    Ok(vec![])
                } else {
                    Err(Rejection::IdTaken)
                }
            }
            (Self::Open { title }, Command::Rename { title: wanted }) if *title == wanted => Ok(vec![]),
            (Self::Open { .. }, Command::Rename { title }) => Ok(vec![Event::TaskRenamed { title }]),
            (Self::Open { .. }, Command::Start) => Ok(vec![Event::TaskStarted]),
            (Self::Running { .. } | Self::Finished { .. }, Command::Start)
            | (Self::Open { .. }, Command::Stop)
            | (Self::Finished { .. }, Command::Finish) => Ok(vec![]),
            (Self::Running { .. }, Command::Stop) => Ok(vec![Event::TaskStopped]),
            (Self::Running { .. }, Command::Finish) => Ok(vec![Event::TaskFinished]),
            _ => Err(Rejection::NotAllowed),
        }
    }

    fn evolve(self, event: &Event) -> Self {
        match (self, event) {
            (Self::Absent, Event::TaskOpened { title })
            | (Self::Open { .. }, Event::TaskRenamed { title }) => Self::Open { title: title.clone() },
            (Self::Open { title }, Event::TaskStarted) => Self::Running { title },
            (Self::Running { title }, Event::TaskStopped) => Self::Open { title },
            (Self::Running { title }, Event::TaskFinished) => Self::Finished { title },
            (task, _) => task,
        }
    }

    fn awaits_outcome(event: &Event) -> bool {
        matches!(event, Event::TaskStarted)
    }
}

/// When a task is finished, another is opened and started: its successor.
#[derive(Clone, Copy, Debug)]
pub struct OpenSuccessor;

impl Reaction for OpenSuccessor {
    const NAME: &'static str = "open-successor";

    type Event = Event;
    type Target = Task;

    fn react(recorded: &Recorded<Event>, _: Occasion) -> Vec<(StreamId, Command)> {
        match (&recorded.event, successor(&recorded.stream)) {
            (Event::TaskFinished, Some(next)) => {
                let title = format!("what follows {}", recorded.stream);
                vec![(next.clone(), Command::Open { title }), (next, Command::Start)]
            }
            _ => vec![],
        }
    }
}

/// Returns the stream of a task's successor; `None` if its name would be too long.
#[must_use]
pub fn successor(stream: &StreamId) -> Option<StreamId> {
    StreamId::parse(&format!("{stream}.next")).ok()
}

/// The state of a task in the view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Display, EnumString, IntoStaticStr, VariantNames)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Stage {
    /// Nobody works on it.
    Open,
    /// Somebody works on it.
    Running,
    /// It is done.
    Finished,
}

choice_value!(Stage);

row! {
    /// A task as queries show it.
    pub struct TaskRow {
        /// The task's title.
        pub title: String,
        /// The task's state.
        pub stage: Stage,
        /// The number of times that it was started.
        pub starts: i64,
        /// The time at which it was opened.
        pub opened_at: Timestamp,
        /// The time at which it was finished.
        pub finished_at: Option<Timestamp>,
    }
}

/// The tasks by id.
#[derive(Clone, Debug)]
pub struct TasksView;

/// Tasks of one title.
pub const BY_TITLE: Index = Index::on("title");
/// Tasks in one state.
pub const BY_STAGE: Index = Index::on("stage");

/// A title that the view refuses.
pub const REFUSED_TITLE: &str = "not to be shown";

impl View for TasksView {
    const NAME: &'static str = "tasks";
    const INDEXES: &'static [Index] = &[BY_TITLE, BY_STAGE];

    type Event = Event;
    type Key = StreamId;
    type Row = TaskRow;

    fn keys(recorded: &Recorded<Event>) -> Result<Keys<StreamId>, Refused> {
        Ok(Keys::One(recorded.stream.clone()))
    }

    fn apply(
        _: &StreamId,
        row: Option<TaskRow>,
        recorded: &Recorded<Event>,
    ) -> Result<Option<TaskRow>, Refused> {
        let Some(row) = row else {
            let Event::TaskOpened { title } = &recorded.event else { return Ok(None) };
            let (title, opened_at) = (title.clone(), recorded.time);
            return Ok(Some(TaskRow { title, stage: Stage::Open, starts: 0, opened_at, finished_at: None }));
        };
        Ok(Some(match &recorded.event {
            Event::TaskOpened { .. } => row,
            Event::TaskRenamed { title } if title == REFUSED_TITLE => {
                return Err(Refused(format!("the title {title:?} is not shown")));
            }
            Event::TaskRenamed { title } => TaskRow { title: title.clone(), ..row },
            Event::TaskStarted => TaskRow { stage: Stage::Running, starts: row.starts + 1, ..row },
            Event::TaskStopped => TaskRow { stage: Stage::Open, ..row },
            Event::TaskFinished => {
                TaskRow { stage: Stage::Finished, finished_at: Some(recorded.time), ..row }
            }
        }))
    }
}
