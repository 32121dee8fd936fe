//! Checks whether a history is linearizable. Each call must take effect at one moment between its beginning and its answer. Made
//! one after the other at these moments, the calls must have these answers. The algorithm is that of Wing and Gong with Lowe's
//! memory of tried states, as in Porcupine.
//!
//! The crate stateright has such a checker too, but it is not used. It forgets the states that it has tried, so that it takes for
//! ever to refuse a history; and it brings a web server.

use std::collections::{BTreeMap, HashSet};
use std::hash::{Hash, Hasher};

/// The behaviour of an object that one client at a time calls.
pub(super) trait Model {
    type State: Clone + Eq + Hash;
    type Operation;
    type Answer: PartialEq;
    /// The rest of a call, which happens at a second moment.
    type Rest: Clone + Eq + Hash;

    /// Returns the state before the first call.
    fn start(&self) -> Self::State;

    /// Does the part of a call that happens at its first moment.
    fn call(&self, state: &Self::State, operation: &Self::Operation) -> Took<Self>;

    /// Does the part that happens at its second moment, after which the call is answered. Returns `None` when that can't happen
    /// with the call's answer.
    fn finish(&self, state: &Self::State, rest: &Self::Rest) -> Option<Self::State>;

    /// Returns the states that the object may reach by itself, at any moment.
    fn by_itself(&self, state: &Self::State) -> Vec<Self::State>;
}

/// The object's state after a call, the answer, and the rest that is still to be done, if any.
pub(super) struct Took<M: Model + ?Sized> {
    pub(super) state: M::State,
    pub(super) answer: M::Answer,
    pub(super) rest: Option<M::Rest>,
}

/// One call of a history. Moments are numbers; no two are the same.
#[derive(Clone, Debug)]
pub(super) struct Call<O, A> {
    pub(super) operation: O,
    pub(super) began: u64,
    /// The time of the answer, and the answer. A call without an answer may have taken effect at any time since, or never.
    pub(super) answered: Option<(u64, A)>,
}

/// Returns an order in which the calls explain their answers, by their places in the history; `None` when there is no such order.
///
/// # Panics
/// When the history has more than 64 calls.
pub(super) fn linearize<M: Model>(
    model: &M,
    history: &[Call<M::Operation, M::Answer>],
) -> Option<Vec<usize>> {
    assert!(history.len() <= 64, "a history of {} calls is too long to be checked", history.len());
    let mut search = Search { model, history, seen: HashSet::new(), order: vec![] };
    let begin = Moment { begun: 0, halves: BTreeMap::new(), state: model.start() };
    search.goes_on(&begin).then_some(search.order)
}

struct Search<'a, M: Model> {
    model: &'a M,
    history: &'a [Call<M::Operation, M::Answer>],
    /// The moments that were tried already: from them no order was found.
    seen: HashSet<Moment<M>>,
    order: Vec<usize>,
}

/// A moment of the search. It has the calls that have begun to take effect, the rests that are still to be done, and the object's
/// state.
struct Moment<M: Model> {
    begun: u64,
    halves: BTreeMap<usize, M::Rest>,
    state: M::State,
}

impl<M: Model> Clone for Moment<M> {
    fn clone(&self) -> Self {
        Self { begun: self.begun, halves: self.halves.clone(), state: self.state.clone() }
    }
}

impl<M: Model> PartialEq for Moment<M> {
    fn eq(&self, other: &Self) -> bool {
        (self.begun, &self.halves, &self.state) == (other.begun, &other.halves, &other.state)
    }
}

impl<M: Model> Eq for Moment<M> {}

impl<M: Model> Hash for Moment<M> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        (self.begun, &self.halves, &self.state).hash(hasher);
    }
}

impl<M: Model> Moment<M> {
    fn has_begun(&self, place: usize) -> bool {
        self.begun & (1 << place) != 0
    }
}

impl<M: Model> Search<'_, M> {
    /// Returns whether the remaining calls can take effect from this moment on.
    fn goes_on(&mut self, from: &Moment<M>) -> bool {
        let calls = || self.history.iter().enumerate();
        let unfinished =
            calls().filter(|(place, _)| !from.has_begun(*place) || from.halves.contains_key(place));
        let ends = unfinished.filter_map(|(_, call)| call.answered.as_ref().map(|(ended, _)| *ended));
        // A call that begins after this end comes after the call that ended.
        let Some(first_end) = ends.min() else { return true };
        if !self.seen.insert(from.clone()) {
            return false;
        }
        let may_begin = calls().filter(|(place, call)| !from.has_begun(*place) && call.began < first_end);
        let may_begin: Vec<usize> = may_begin.map(|(place, _)| place).collect();
        may_begin.into_iter().any(|place| self.begins(from, place))
            || from.halves.keys().any(|place| self.finishes(from, *place))
            || self
                .model
                .by_itself(&from.state)
                .into_iter()
                .any(|state| self.goes_on(&Moment { state, ..from.clone() }))
    }

    fn begins(&mut self, from: &Moment<M>, place: usize) -> bool {
        let call = &self.history[place];
        let Took { state, answer, rest } = self.model.call(&from.state, &call.operation);
        if call.answered.as_ref().is_some_and(|(_, answered)| *answered != answer) {
            return false;
        }
        let mut next = Moment { begun: from.begun | 1 << place, halves: from.halves.clone(), state };
        next.halves.extend(rest.map(|rest| (place, rest)));
        self.order.push(place);
        let found = self.goes_on(&next);
        if !found {
            self.order.pop();
        }
        found
    }

    fn finishes(&mut self, from: &Moment<M>, place: usize) -> bool {
        let Some(state) = self.model.finish(&from.state, &from.halves[&place]) else { return false };
        let mut next = Moment { state, ..from.clone() };
        next.halves.remove(&place);
        self.goes_on(&next)
    }
}
