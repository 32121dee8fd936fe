//! Given what happened, when this is asked, then that happens: the form of an aggregate's tests.
//!
//! ```text
//! given::<Order>([created()]).when(Command::Process).then([Event::ProcessingStarted]);
//! given::<Order>([]).when(Command::Process).then_rejected("there is no such order");
//! ```

use crate::Aggregate;

/// An aggregate to which all this happened.
#[must_use]
pub fn given<A: Aggregate>(history: impl IntoIterator<Item = A::Event>) -> Given<A> {
    Given { state: history.into_iter().fold(A::default(), |state, event| state.evolve(&event)) }
}

/// The state that a history made.
#[derive(Clone, Debug)]
pub struct Given<A> {
    /// The state.
    pub state: A,
}

impl<A: Aggregate> Given<A> {
    /// Asks for something.
    #[must_use]
    pub fn when(self, command: A::Command) -> When<A> {
        When { outcome: self.state.decide(command) }
    }
}

/// What came of a command.
#[derive(Clone, Debug)]
pub struct When<A: Aggregate> {
    outcome: Result<Vec<A::Event>, A::Rejection>,
}

impl<A: Aggregate> When<A> {
    /// Exactly these events happen.
    ///
    /// # Panics
    /// When others do, or the command is refused.
    #[track_caller]
    pub fn then(self, events: impl IntoIterator<Item = A::Event>) {
        assert_eq!(self.outcome, Ok(events.into_iter().collect()));
    }

    /// The command was already true.
    ///
    /// # Panics
    /// When it was not.
    #[track_caller]
    pub fn then_nothing(self) {
        self.then([]);
    }

    /// Refused, with exactly this text.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn then_rejected(self, text: &str) {
        match self.outcome {
            Ok(events) => panic!("the command was accepted: {events:?}"),
            Err(rejection) => assert_eq!(rejection.to_string(), text),
        }
    }
}
