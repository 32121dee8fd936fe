//! Given these events, when this command, then these events: the form of an aggregate's tests.
//!
//! ```text
//! given::<Order>([created()]).when(Command::Process).then([Event::ProcessingStarted]);
//! given::<Order>([]).when(Command::Process).then_rejected("there is no such order");
//! ```

use crate::Aggregate;

/// Creates an aggregate with this history.
#[must_use]
pub fn given<A: Aggregate>(history: impl IntoIterator<Item = A::Event>) -> Given<A> {
    Given { state: history.into_iter().fold(A::default(), |state, event| state.evolve(&event)) }
}

/// The state that follows from a history.
#[derive(Clone, Debug)]
pub struct Given<A> {
    /// The state.
    pub state: A,
}

impl<A: Aggregate> Given<A> {
    /// Decides a command in this state.
    #[must_use]
    pub fn when(self, command: A::Command) -> When<A> {
        When { outcome: self.state.decide(command) }
    }
}

/// The outcome of a command.
#[derive(Clone, Debug)]
pub struct When<A: Aggregate> {
    outcome: Result<Vec<A::Event>, A::Rejection>,
}

impl<A: Aggregate> When<A> {
    /// Asserts that the command yielded exactly these events.
    ///
    /// # Panics
    /// When the command yielded others or was refused.
    #[track_caller]
    pub fn then(self, events: impl IntoIterator<Item = A::Event>) {
        assert_eq!(self.outcome, Ok(events.into_iter().collect()));
    }

    /// Asserts that the command was already true: it succeeded without an event.
    ///
    /// # Panics
    /// When the command yielded events or was refused.
    #[track_caller]
    pub fn then_nothing(self) {
        self.then([]);
    }

    /// Asserts that the command was refused, with exactly this text.
    ///
    /// # Panics
    /// When the command was accepted or the text differs.
    #[track_caller]
    pub fn then_rejected(self, text: &str) {
        match self.outcome {
            Ok(events) => panic!("the command was accepted: {events:?}"),
            Err(rejection) => assert_eq!(rejection.to_string(), text),
        }
    }
}
