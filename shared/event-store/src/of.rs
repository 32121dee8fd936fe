//! What belongs to one aggregate. The store is the same for all aggregates, so a type says which one is meant.

use std::marker::PhantomData;
use std::ops::Deref;

/// A part of the event store that belongs to the aggregate `A`: `Of<Task, EventStore>`, `Of<Task, Reminders>`. A function asks for
/// it by this type.
pub struct Of<A, T> {
    part: T,
    aggregate: PhantomData<fn() -> A>,
}

impl<A, T> Of<A, T> {
    /// Says that the part belongs to the aggregate.
    #[must_use]
    pub const fn new(part: T) -> Self {
        Self { part, aggregate: PhantomData }
    }

    /// Returns the part itself.
    #[must_use]
    pub fn into_part(self) -> T {
        self.part
    }
}

impl<A, T: Clone> Clone for Of<A, T> {
    fn clone(&self) -> Self {
        Self::new(self.part.clone())
    }
}

impl<A, T> Deref for Of<A, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.part
    }
}
