//! The answers of an order to one client at a time, by the domain's own decisions.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};

use domain::{Aggregate, Command, EncodedEvent, Event, Order, OrderName, Reason, Rejection};
use serde_json::{Value, json};

use super::checker::{Model, Took};

/// The call of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Command(Asked),
    /// `GET /{id}/events`.
    Events,
}

/// A command with its headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) what: What,
    pub(super) key: Option<String>,
    pub(super) if_match: Option<IfMatch>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum What {
    Create(String),
    Process,
    Cancel(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IfMatch {
    Any,
    Version(usize),
}

/// The answer to a client, without times.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Answer {
    /// A status and the order.
    Order(u16, Shown),
    /// The events of the order, oldest first: types and data.
    Events(Vec<String>),
    /// A status and the name of a problem.
    Problem(u16, String),
}

/// An order as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Shown {
    pub(super) version: usize,
    pub(super) status: String,
    pub(super) name: String,
    pub(super) reason: Option<String>,
}

/// An order, all its events, and the commands whose answers it would repeat.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    order: Order,
    events: Vec<String>,
    answered: BTreeMap<String, (What, Answer)>,
}

/// A command whose answer the order repeats. A command that changes something is remembered together with its change. A command
/// that changes nothing is remembered at a moment after it was decided.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Remembered {
    key: String,
    what: What,
    answer: Answer,
}

/// The field `order` is not compared, because it follows from the events.
impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        (&self.events, &self.answered) == (&other.events, &other.answered)
    }
}

impl Eq for State {}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        (&self.events, &self.answered).hash(hasher);
    }
}

/// One order. Each processing comes to one of these outcomes, at any moment afterwards.
pub(super) struct OneOrder {
    pub(super) outcomes: Vec<Command>,
}

impl Model for OneOrder {
    type State = State;
    type Operation = Operation;
    type Answer = Answer;
    type Rest = Remembered;

    fn start(&self) -> State {
        State::default()
    }

    fn call(&self, state: &State, operation: &Operation) -> Took<Self> {
        match operation {
            Operation::Command(asked) => state.commanded(asked),
            Operation::Events if state.events.is_empty() => state.refused(404, "order-not-found"),
            Operation::Events => state.told(Answer::Events(state.events.clone())),
        }
    }

    /// If the key was used meanwhile, the system decides the command anew, so it can't end with this answer.
    fn finish(&self, state: &State, remembered: &Remembered) -> Option<State> {
        (!state.answered.contains_key(&remembered.key)).then(|| state.remembers(remembered))
    }

    fn by_itself(&self, state: &State) -> Vec<State> {
        let changed = |command: &Command| state.happened(&state.order.decide(command.clone()).ok()?);
        self.outcomes.iter().filter_map(changed).collect()
    }
}

impl State {
    fn commanded(&self, asked: &Asked) -> Took<OneOrder> {
        let before = asked.key.as_ref().and_then(|key| self.answered.get(key));
        if let Some((what, answer)) = before {
            let same = *what == asked.what;
            return if same {
                self.told(answer.clone())
            } else {
                self.refused(422, "idempotency-key-reused")
            };
        }
        let holds = asked.if_match.is_none_or(|wanted| match wanted {
            IfMatch::Any => !self.events.is_empty(),
            IfMatch::Version(version) => self.events.len() == version,
        });
        if !holds {
            return self.refused(412, "version-mismatch");
        }
        match self.order.decide(asked.what.command()) {
            Err(Rejection::NotFound) => self.refused(404, "order-not-found"),
            Err(Rejection::IdTaken) => self.refused(409, "id-taken"),
            Err(Rejection::NotAllowed { .. }) => self.refused(409, "not-allowed-in-state"),
            Ok(events) => self.done(asked, &events),
        }
    }

    fn done(&self, asked: &Asked, events: &[Event]) -> Took<OneOrder> {
        let created = matches!(asked.what, What::Create(_)) && !events.is_empty();
        let after = self.happened(events);
        let answer = Answer::Order(if created { 201 } else { 200 }, after.as_ref().unwrap_or(self).shown());
        let (what, said) = (asked.what.clone(), answer.clone());
        let rest = asked.key.clone().map(|key| Remembered { key, what, answer: said });
        match (after, rest) {
            (Some(after), Some(rest)) => Took { state: after.remembers(&rest), answer, rest: None },
            (after, rest) => Took { state: after.unwrap_or_else(|| self.clone()), answer, rest },
        }
    }

    fn remembers(&self, Remembered { key, what, answer }: &Remembered) -> Self {
        let mut after = self.clone();
        after.answered.insert(key.clone(), (what.clone(), answer.clone()));
        after
    }

    /// Returns an answer after which the state is the same.
    fn told(&self, answer: Answer) -> Took<OneOrder> {
        Took { state: self.clone(), answer, rest: None }
    }

    fn refused(&self, status: u16, kind: &str) -> Took<OneOrder> {
        self.told(Answer::Problem(status, kind.to_owned()))
    }

    /// Returns the state after these events; `None` when there are no events.
    fn happened(&self, events: &[Event]) -> Option<Self> {
        let mut after = self.clone();
        for event in events {
            after.order = after.order.evolve(event);
            let EncodedEvent { kind, data, .. } = EncodedEvent::encode(event);
            after.events.push(told(&kind, &json!(data)));
        }
        (!events.is_empty()).then_some(after)
    }

    fn shown(&self) -> Shown {
        let Order::Present(details) = &self.order else { panic!("a command that succeeds leaves an order") };
        Shown {
            version: self.events.len(),
            status: details.status.to_string(),
            name: details.name.to_string(),
            reason: details.reason.as_ref().map(Reason::to_string),
        }
    }
}

impl What {
    fn command(&self) -> Command {
        match self {
            Self::Create(name) => Command::Create { name: OrderName::parse(name).expect("a name") },
            Self::Process => Command::Process,
            Self::Cancel(reason) => Command::Cancel { reason: Reason::parse(reason).expect("a reason") },
        }
    }
}

/// Returns an event as one line.
pub(super) fn told(kind: &str, data: &Value) -> String {
    format!("{kind} {data}")
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Command(Asked { what, key, if_match }) = self else { return f.write_str("events") };
        write!(f, "{what:?}")?;
        if let Some(key) = key {
            write!(f, " under {key}")?;
        }
        if let Some(if_match) = if_match {
            write!(f, " if {if_match:?}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Order(status, Shown { version, status: stands, name, reason }) => {
                write!(f, "{status} {stands} {name:?} at {version}")?;
                reason.as_ref().map_or(Ok(()), |reason| write!(f, ", {reason:?}"))
            }
            Self::Events(events) => write!(f, "200 {}", events.join(", ")),
            Self::Problem(status, kind) => write!(f, "{status} {kind}"),
        }
    }
}
