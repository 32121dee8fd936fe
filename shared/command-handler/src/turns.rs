//! Turns: a process decides the commands of one stream one after the other, so that they do not conflict with each other.
//!
//! The first command of a stream takes the turn. Those that come meanwhile wait, and are decided together when the turn is passed on.

use std::collections::HashMap;

use event_sourcing::StreamId;
use parking_lot::Mutex;

/// The most commands that are decided together.
const TOGETHER: usize = 64;

/// The streams with a command in hand, and no others, each with the commands that wait.
pub(crate) struct Turns<C>(Mutex<HashMap<StreamId, Vec<C>>>);

impl<C> Default for Turns<C> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<C> Turns<C> {
    /// Takes the turn of the stream, and returns `None`; or adds a command to those that wait, and returns the way of its answer.
    pub(crate) fn take_or_wait<W>(&self, stream: &StreamId, wait: impl FnOnce() -> (C, W)) -> Option<W> {
        let mut streams = self.0.lock();
        let Some(waiting) = streams.get_mut(stream) else {
            streams.insert(stream.clone(), Vec::new());
            return None;
        };
        let (command, answer) = wait();
        waiting.push(command);
        Some(answer)
    }

    /// Returns the commands that have the turn now. If none waits, the stream's turn is free.
    pub(crate) fn pass_on(&self, stream: &StreamId) -> Vec<C> {
        let mut streams = self.0.lock();
        let Some(waiting) = streams.get_mut(stream) else { return Vec::new() };
        if waiting.is_empty() {
            streams.remove(stream);
            return Vec::new();
        }
        let rest = waiting.split_off(waiting.len().min(TOGETHER));
        std::mem::replace(waiting, rest)
    }

    /// Returns the commands that wait. Whoever has the turn keeps it.
    pub(crate) fn take_waiting(&self, stream: &StreamId) -> Vec<C> {
        self.0.lock().get_mut(stream).map(std::mem::take).unwrap_or_default()
    }

    /// Frees the stream's turn, and returns the commands that wait.
    pub(crate) fn free(&self, stream: &StreamId) -> Vec<C> {
        self.0.lock().remove(stream).unwrap_or_default()
    }
}
