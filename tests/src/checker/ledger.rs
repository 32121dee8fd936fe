//! The commands and their answers: all that a client can know.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::{Mutex, MutexGuard};
use serde_json::Value;

use super::fold::Wrong;

/// The change that a command asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Create an order with this name.
    Create {
        /// The name.
        name: String,
    },
    /// Start fulfilment.
    Process,
    /// Cancel it.
    Cancel {
        /// The reason.
        reason: String,
    },
}

impl Wanted {
    /// Returns the type of the command's event.
    #[must_use]
    pub const fn event(&self) -> &'static str {
        match self {
            Self::Create { .. } => "OrderCreated",
            Self::Process => "ProcessingStarted",
            Self::Cancel { .. } => "OrderCancelled",
        }
    }

    /// Returns whether an order is in the wanted state already.
    #[must_use]
    pub fn is_true_of(&self, order: &Value) -> bool {
        match self {
            Self::Create { name } => order["name"] == **name,
            Self::Process => order["status"] == "processing" || order["status"] == "processed",
            Self::Cancel { .. } => order["status"] == "cancelled",
        }
    }
}

/// A command and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Its `Idempotency-Key`.
    pub key: String,
    /// The change that it asked for.
    pub wanted: Wanted,
    /// The answer's status.
    pub status: u16,
    /// The version in the answer's `ETag`; 0 where there was none.
    pub version: u64,
    /// The answer's body.
    pub body: Value,
}

impl Said {
    /// Returns whether the command was acknowledged.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        matches!(self.status, 200 | 201)
    }
}

/// Every command that was answered, by order.
#[derive(Debug, Default)]
pub struct Ledger {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    orders: BTreeMap<String, Vec<Said>>,
    /// The orders that had an answer since `take_touched` was last called.
    touched: BTreeSet<String>,
    commands: u64,
    repeated: u64,
    wrong: Vec<Wrong>,
}

impl Ledger {
    /// Notes the answer to a command that was not answered before.
    pub fn note(&self, order: &str, said: Said) {
        let mut state = self.state();
        state.commands += 1;
        state.touched.insert(order.to_owned());
        state.orders.entry(order.to_owned()).or_default().push(said);
    }

    /// Notes that a command was sent again after it had been acknowledged.
    pub fn note_again(&self, order: &str, first: &Said, again: &Said) {
        let mut state = self.state();
        state.repeated += 1;
        state.touched.insert(order.to_owned());
        if first != again {
            state.wrong.push(format!("{order}: {first:?} was repeated, and answered {again:?}"));
        }
    }

    /// Notes a fault that a client saw.
    pub fn note_wrong(&self, wrong: Wrong) {
        self.state().wrong.push(wrong);
    }

    /// Returns the number of answered commands, and the number of repetitions.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        let state = self.state();
        (state.commands, state.repeated)
    }

    /// Returns the faults that clients saw.
    #[must_use]
    pub fn wrong(&self) -> Vec<Wrong> {
        self.state().wrong.clone()
    }

    /// Returns the orders that had an answer since this was last called.
    pub fn take_touched(&self) -> BTreeSet<String> {
        std::mem::take(&mut self.state().touched)
    }

    /// Returns the ids of all orders.
    #[must_use]
    pub fn orders(&self) -> BTreeSet<String> {
        self.state().orders.keys().cloned().collect()
    }

    /// Returns all commands on an order, with their answers.
    #[must_use]
    pub fn about(&self, order: &str) -> Vec<Said> {
        self.state().orders.get(order).cloned().unwrap_or_default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}
