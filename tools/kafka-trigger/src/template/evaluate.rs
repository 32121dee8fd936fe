//! Evaluates parts of a template.
//!
//! Some values are known only to a deployment: a resource's id, another stack's export, a secret. Such a value is [`UnknownValue`]. It
//! is passed on with its name, and is an error only where it is needed. The caller can give it a value, as for a parameter.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use super::Options;
use super::node::Node;
use super::parameters::Parameters;
use super::value::{EvalError, UnknownValue, Value};
use event_source_mapping::message::message;

/// The deepest evaluation, through parts and the conditions that they name.
const DEEPEST: usize = 250;
/// The most bytes that a template may evaluate to in all.
const LONGEST: usize = 64 << 20;
/// The approximate size of an evaluated part without its text, in bytes.
pub(super) const NODE: usize = 64;

pub(super) type EvalResult<T = Value> = Result<T, EvalError>;

/// Evaluates parts of a template.
pub(super) struct Evaluator<'a> {
    pub(super) template: &'a Node,
    /// The caller's values, by name.
    pub(super) given: &'a BTreeMap<String, String>,
    pub(super) parameters: Parameters,
    /// The timeout of every function, if the caller gave one.
    pub(super) timeout: Option<Duration>,
    /// The names of resources that were looked up. `None` means that the name is still being evaluated.
    pub(super) names: RefCell<HashMap<String, Option<String>>>,
    /// The logical ids of functions, by the names that they are invoked by.
    pub(super) function_ids: OnceCell<HashMap<String, String>>,
    /// Notes about the evaluated parts, a sentence each.
    notes: RefCell<BTreeSet<String>>,
    /// The conditions that were evaluated. `None` means that the condition is still being evaluated.
    pub(super) conditions: RefCell<HashMap<String, Option<EvalResult<bool>>>>,
    depth: Cell<usize>,
    made: Cell<usize>,
}

pub(super) fn wrong<T>(problem: impl AsRef<str>) -> EvalResult<T> {
    Err(EvalError::Wrong(message(problem.as_ref())))
}

pub(super) fn unknown<T>(written: impl ToString, why: impl AsRef<str>) -> EvalResult<T> {
    let (written, why) = (message(&written.to_string()), message(why.as_ref()));
    Err(EvalError::Unknown(UnknownValue { written, why }))
}

impl<'a> Evaluator<'a> {
    pub(super) fn new(template: &'a Node, options: &'a Options, parameters: Parameters) -> Self {
        Self {
            template,
            given: &options.parameters,
            timeout: options.timeout,
            parameters,
            names: RefCell::default(),
            function_ids: OnceCell::new(),
            notes: RefCell::default(),
            conditions: RefCell::default(),
            depth: Cell::new(0),
            made: Cell::new(0),
        }
    }

    /// Returns the value of a part. The result is unknown if the part as a whole is.
    pub(super) fn value(&self, node: &Node) -> EvalResult {
        self.spend(NODE)?;
        self.deeper(|| match node {
            Node::Null => Ok(Value::Absent),
            Node::Text(text) | Node::Bare(text) => self.text_of(text.clone()),
            Node::List(list) => Ok(Value::List(self.present(list.iter())?.collect())),
            Node::Map(map) => match node.intrinsic() {
                Some((name, given)) if name != "Condition" => self.call(name, given, node),
                _ => {
                    let parts = map.values().map(|part| self.part(part)).collect::<EvalResult<Vec<_>>>()?;
                    let entries = map.keys().cloned().zip(parts);
                    Ok(Value::Map(entries.filter(|(_, value)| *value != Value::Absent).collect()))
                }
            },
        })
    }

    /// Adds a note for the user. The same note is kept once.
    pub(super) fn note(&self, note: String) {
        self.notes.borrow_mut().insert(message(&note));
    }

    /// Returns the notes since the last call.
    pub(super) fn take_notes(&self) -> Vec<String> {
        self.notes.take().into_iter().collect()
    }

    /// Returns the value of a part of a list or a map. An unknown part is a value of the list or the map too.
    fn part(&self, node: &Node) -> EvalResult {
        match self.value(node) {
            Err(EvalError::Unknown(unknown)) => {
                self.spend(unknown.written.len() + unknown.why.len())?;
                Ok(Value::Unknown(unknown))
            }
            other => other,
        }
    }

    fn present<'n>(&self, nodes: impl Iterator<Item = &'n Node>) -> EvalResult<impl Iterator<Item = Value>> {
        let values = nodes.map(|node| self.part(node)).collect::<EvalResult<Vec<_>>>()?;
        Ok(values.into_iter().filter(|value| *value != Value::Absent))
    }

    /// Evaluates one level deeper. It refuses to go too deep, so that a template can't overflow this program's stack.
    pub(super) fn deeper<T>(&self, evaluate: impl FnOnce() -> EvalResult<T>) -> EvalResult<T> {
        let depth = self.depth.get();
        if depth >= DEEPEST {
            return wrong(format!("parts and conditions refer to each other more than {DEEPEST} deep"));
        }
        self.depth.set(depth + 1);
        let result = evaluate();
        self.depth.set(depth);
        result
    }

    /// Returns the value of a part that must be a text.
    pub(super) fn text(&self, node: &Node) -> EvalResult<String> {
        as_text(self.value(node)?, node)
    }

    pub(super) fn list(&self, node: &Node) -> EvalResult<Vec<Value>> {
        match self.value(node)? {
            Value::List(list) => Ok(list),
            other => wrong(format!("{node} must be a list, and is {}", other.shown())),
        }
    }

    /// Counts the bytes that the evaluation produces, and refuses too many. A short template could otherwise grow without limit.
    pub(super) fn spend(&self, bytes: usize) -> EvalResult<()> {
        self.made.set(self.made.get().saturating_add(bytes));
        if self.made.get() > LONGEST {
            return wrong(format!("the template evaluates to more than {} MiB", LONGEST >> 20));
        }
        Ok(())
    }
}

pub(super) fn as_text(value: Value, node: &Node) -> EvalResult<String> {
    match value {
        Value::Text(text) => Ok(text),
        Value::Unknown(unknown) => Err(EvalError::Unknown(unknown)),
        other => wrong(format!("{node} must be a text, and is {}", other.shown())),
    }
}
