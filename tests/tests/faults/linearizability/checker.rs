//! Whether a history is linearizable: whether its calls, each at one moment between its beginning and its answer, would have had these
//! answers one after the other. By the algorithm of Wing and Gong with Lowe's memory of what was tried, as in Porcupine.
//!
//! The crate stateright has such a checker too. It is not used: it forgets what it has tried, so that a history which must be refused
//! takes it forever, and it brings a web server.

use std::collections::{BTreeMap, HashSet};
use std::hash::{Hash, Hasher};

/// What an object does when it is called by one client at a time.
pub(super) trait Model {
    type State: Clone + Eq + Hash;
    type Operation;
    type Answer: PartialEq;
    /// What a call does at a second moment.
    type Rest: Clone + Eq + Hash;

    /// Before the first call.
    fn start(&self) -> Self::State;

    /// What a call does at its first moment.
    fn call(&self, state: &Self::State, operation: &Self::Operation) -> Took<Self>;

    /// What it does at its second, after which it is answered; `None` where it can't have come to that with its answer.
    fn finish(&self, state: &Self::State, rest: &Self::Rest) -> Option<Self::State>;

    /// What the object may become by itself, at any moment.
    fn by_itself(&self, state: &Self::State) -> Vec<Self::State>;
}

/// How the object is after a call, what is answered, and what is left to be done, if anything.
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
    /// What was answered, and when. A call without an answer may have taken effect at any time since, or never.
    pub(super) answered: Option<(u64, A)>,
}

/// An order in which the calls explain their answers, by their places in the history; none where there is no such order.
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
    /// From these no order was found.
    seen: HashSet<Moment<M>>,
    order: Vec<usize>,
}

/// Which calls have begun to take effect, what is left of them to be done, and what the object has come to.
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
    /// Whether the calls that have not taken effect can, from here on.
    fn goes_on(&mut self, from: &Moment<M>) -> bool {
        let calls = || self.history.iter().enumerate();
        let unfinished =
            calls().filter(|(place, _)| !from.has_begun(*place) || from.halves.contains_key(place));
        let ends = unfinished.filter_map(|(_, call)| call.answered.as_ref().map(|(ended, _)| *ended));
        // Whatever begins after this end comes after that call.
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
