//! The topic's id. A topic that is deleted and created again has another id (KIP-516), and offsets of the former topic mean
//! nothing in it. So a commit carries the topic's id, as the metadata of its offsets.
//!
//! The problem: librdkafka compares ids, and yet keeps the old offset in a topic that was created again. It shows the id to
//! programs only in one line of its log, with `debug=metadata`: when it learns the id or finds another. This module reads that
//! line. A test on a real broker fails when librdkafka changes it.

use std::sync::Arc;

use parking_lot::Mutex;

/// The log setting that makes librdkafka name a topic's id. It adds few lines, since clients seldom ask which topics there are.
pub(super) const DEBUG: &str = "metadata";

/// The id of the topic, as a client knows it.
#[derive(Default)]
pub(super) struct TopicIdentity {
    known: Mutex<LatestId>,
}

#[derive(Default)]
struct LatestId {
    id: Option<Arc<str>>,
    is_another: bool,
}

impl TopicIdentity {
    /// Reads a line of librdkafka's log.
    pub(super) fn hear(&self, topic: &str, line: &str) {
        let Some(id) = id_in(topic, line) else { return };
        let mut known = self.known.lock();
        known.is_another |= known.id.as_deref().is_some_and(|before| before != id);
        known.id = Some(id.into());
    }

    /// The topic's id; `None` while it is unknown or where brokers give topics no id.
    pub(super) fn id(&self) -> Option<Arc<str>> {
        self.known.lock().id.clone()
    }

    /// Returns whether the topic's id has changed since the last call.
    pub(super) fn take_change(&self) -> bool {
        std::mem::take(&mut self.known.lock().is_another)
    }
}

/// The new id in the line `…: Topic NAME changed id from OLD to NEW`.
fn id_in<'a>(topic: &str, line: &'a str) -> Option<&'a str> {
    let (before, ids) = line.split_once(" changed id from ")?;
    let name = before.rsplit_once("Topic ")?.1;
    (name == topic).then(|| ids.split_once(" to ").map(|(_, id)| id))?
}

/// Returns whether a log line says that a position was invalid and librdkafka took another.
pub(super) fn is_reset(line: &str) -> bool {
    line.contains(": offset reset (at ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str =
        "[thrd:main]: Topic shop changed id from AAAAAAAAAAAAAAAAAAAAAA to 4ax1b2Q1TIKzOdM4pNsjPw";

    #[test]
    fn the_id_of_the_topic_is_heard_and_no_others() {
        let identity = TopicIdentity::default();
        identity.hear("other", LINE);
        identity.hear("shop", "[thrd:main]: Topic shop [0] Leader 1 Epoch 0");
        assert_eq!(identity.id(), None);
        identity.hear("shop", LINE);
        assert_eq!(identity.id().as_deref(), Some("4ax1b2Q1TIKzOdM4pNsjPw"));
        assert!(!identity.take_change(), "the first id is no change");
    }

    #[test]
    fn another_id_is_a_change_that_is_told_once() {
        let identity = TopicIdentity::default();
        identity.hear("shop", LINE);
        identity.hear("shop", LINE);
        assert!(!identity.take_change());
        identity.hear("shop", "Topic shop changed id from 4ax1b2Q1TIKzOdM4pNsjPw to x");
        assert!(identity.take_change());
        assert!(!identity.take_change());
    }
}
