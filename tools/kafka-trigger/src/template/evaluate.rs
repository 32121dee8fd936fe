//! Parts of a template to their values.
//!
//! What only a deployment knows (a resource's id, another stack's export, a secret) is [`Unknown`]: it is passed on with its
//! name, and troubles nobody unless its value is needed. The caller can give it a value like a parameter's.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use super::Options;
use super::node::Node;
use super::parameters::Parameters;
use super::value::{Trouble, Unknown, Value};
use event_source_mapping::message::message;

/// How deep an evaluation may go, through parts and the conditions that they name.
const DEEPEST: usize = 250;
/// How many bytes a template may evaluate to in all.
const LONGEST: usize = 64 << 20;
/// About what an evaluated part takes beside its text, in bytes.
pub(super) const NODE: usize = 64;

pub(super) type Evaluated<T = Value> = Result<T, Trouble>;

/// Evaluates parts of a template.
pub(super) struct Evaluator<'a> {
    pub(super) template: &'a Node,
    /// What the caller gave, by name.
    pub(super) given: &'a BTreeMap<String, String>,
    pub(super) parameters: Parameters,
    /// Every function's timeout, where the caller gave one.
    pub(super) timeout: Option<Duration>,
    /// The names of resources that were asked for; `None` are those that are being found.
    pub(super) names: RefCell<HashMap<String, Option<String>>>,
    /// The logical ids of functions, by the names that they are invoked by.
    pub(super) function_ids: OnceCell<HashMap<String, String>>,
    /// What is odd about what was evaluated, a sentence each.
    notes: RefCell<BTreeSet<String>>,
    /// Conditions that are evaluated; `None` are those that are being so.
    pub(super) conditions: RefCell<HashMap<String, Option<Evaluated<bool>>>>,
    depth: Cell<usize>,
    made: Cell<usize>,
}

pub(super) fn wrong<T>(problem: impl AsRef<str>) -> Evaluated<T> {
    Err(Trouble::Wrong(message(problem.as_ref())))
}

pub(super) fn unknown<T>(written: impl ToString, why: impl AsRef<str>) -> Evaluated<T> {
    let (written, why) = (message(&written.to_string()), message(why.as_ref()));
    Err(Trouble::Unknown(Unknown { written, why }))
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

    /// The value of a part. It is unknown when the part as a whole is.
    pub(super) fn value(&self, node: &Node) -> Evaluated {
        self.spend(NODE)?;
        self.deeper(|| match node {
            Node::Null => Ok(Value::Absent),
            Node::Text(text) | Node::Bare(text) => self.text_of(text.clone()),
            Node::List(list) => Ok(Value::List(self.present(list.iter())?.collect())),
            Node::Map(map) => match node.intrinsic() {
                Some((name, given)) if name != "Condition" => self.call(name, given, node),
                _ => {
                    let parts = map.values().map(|part| self.part(part)).collect::<Evaluated<Vec<_>>>()?;
                    let entries = map.keys().cloned().zip(parts);
                    Ok(Value::Map(entries.filter(|(_, value)| *value != Value::Absent).collect()))
                }
            },
        })
    }

    /// Says that something is odd, once.
    pub(super) fn note(&self, note: String) {
        self.notes.borrow_mut().insert(message(&note));
    }

    /// What was odd since this was asked last.
    pub(super) fn take_notes(&self) -> Vec<String> {
        self.notes.take().into_iter().collect()
    }

    /// The value of a part of a list or map, of which some parts may be unknown.
    fn part(&self, node: &Node) -> Evaluated {
        match self.value(node) {
            Err(Trouble::Unknown(unknown)) => {
                self.spend(unknown.written.len() + unknown.why.len())?;
                Ok(Value::Unknown(unknown))
            }
            other => other,
        }
    }

    fn present<'n>(&self, nodes: impl Iterator<Item = &'n Node>) -> Evaluated<impl Iterator<Item = Value>> {
        let values = nodes.map(|node| self.part(node)).collect::<Evaluated<Vec<_>>>()?;
        Ok(values.into_iter().filter(|value| *value != Value::Absent))
    }

    /// Bounds how deep templates make this program's stack grow.
    pub(super) fn deeper<T>(&self, evaluate: impl FnOnce() -> Evaluated<T>) -> Evaluated<T> {
        let depth = self.depth.get();
        if depth >= DEEPEST {
            return wrong(format!("parts and conditions refer to each other more than {DEEPEST} deep"));
        }
        self.depth.set(depth + 1);
        let result = evaluate();
        self.depth.set(depth);
        result
    }

    /// The value of a part that must be a text.
    pub(super) fn text(&self, node: &Node) -> Evaluated<String> {
        as_text(self.value(node)?, node)
    }

    pub(super) fn list(&self, node: &Node) -> Evaluated<Vec<Value>> {
        match self.value(node)? {
            Value::List(list) => Ok(list),
            other => wrong(format!("{node} must be a list, and is {}", other.shown())),
        }
    }

    /// Bounds how much a template can make of little, in bytes.
    pub(super) fn spend(&self, bytes: usize) -> Evaluated<()> {
        self.made.set(self.made.get().saturating_add(bytes));
        if self.made.get() > LONGEST {
            return wrong(format!("the template evaluates to more than {} MiB", LONGEST >> 20));
        }
        Ok(())
    }
}

pub(super) fn as_text(value: Value, node: &Node) -> Evaluated<String> {
    match value {
        Value::Text(text) => Ok(text),
        Value::Unknown(unknown) => Err(Trouble::Unknown(unknown)),
        other => wrong(format!("{node} must be a text, and is {}", other.shown())),
    }
}
