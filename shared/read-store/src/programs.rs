//! The programs that run, as they register beside the view.
//!
//! Programs whose views have other shapes work on tables of their own. A program tells by its registration that it runs, and
//! learns by it whether its own table was filled from the event store, and what other programs there are. A table is dropped once
//! no program with its shape is registered.

use std::time::Duration;

/// A running program, as it registers.
#[derive(Clone, Debug)]
pub struct Program {
    /// A name that no other running program has.
    pub name: String,
    /// The time for which the registration holds, unless it is renewed.
    pub lease: Duration,
    /// The progress of a program that can fill the view, in words; `None` if it can't.
    pub filling: Option<String>,
    /// False if it only keeps the tables of its shape, for programs that are to come.
    pub serves: bool,
}

/// What a program learns when it registers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Whether the view of this shape has been filled from the event store.
    pub filled: Filled,
    /// True if programs run whose views have another shape.
    pub other_shapes: bool,
    /// True if one of those has not renewed its registration since this program registered, so that it may not know of it yet.
    pub unknown_to_others: bool,
}

/// Whether a view has been filled from the event store, since its table was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filled {
    /// It has.
    Yes,
    /// It has not, and it is up to this program.
    Mine,
    /// It has not, and it is up to another program, which is so far.
    Others(String),
}
