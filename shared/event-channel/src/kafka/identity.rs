//! Which topic of a name it is: a topic that is deleted and made anew has another id (KIP-516), and offsets of the former mean nothing
//! in it. So a commit carries the topic's id, as the metadata of its offsets.
//!
//! librdkafka goes by the id, and yet goes on at the old offset in a topic that was made anew. It tells the id to programs in its log
//! alone, in one line: with `debug=metadata`, when it learns the id or finds another. A test on a real broker holds it to that line.

use std::sync::Arc;

use parking_lot::Mutex;

/// Has librdkafka say which id a topic has. Few lines, since brokers are seldom asked what topics there are.
pub(super) const DEBUG: &str = "metadata";

/// The topic as a client knows it.
#[derive(Default)]
pub(super) struct Identity {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    id: Option<Arc<str>>,
    is_another: bool,
}

impl Identity {
    /// Takes a line of librdkafka's log.
    pub(super) fn hear(&self, topic: &str, line: &str) {
        let Some(id) = id_in(topic, line) else { return };
        let mut known = self.known.lock();
        known.is_another |= known.id.as_deref().is_some_and(|before| before != id);
        known.id = Some(id.into());
    }

    /// `None` where brokers give topics no id.
    pub(super) fn id(&self) -> Option<Arc<str>> {
        self.known.lock().id.clone()
    }

    /// Whether the topic has become another since this was last asked.
    pub(super) fn take_change(&self) -> bool {
        std::mem::take(&mut self.known.lock().is_another)
    }
}

/// `…: Topic NAME changed id from OLD to NEW`
fn id_in<'a>(topic: &str, line: &'a str) -> Option<&'a str> {
    let (before, ids) = line.split_once(" changed id from ")?;
    let name = before.rsplit_once("Topic ")?.1;
    (name == topic).then(|| ids.split_once(" to ").map(|(_, id)| id))?
}

/// Whether a line of librdkafka's log tells that a position was of no use, and another was taken.
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
        let identity = Identity::default();
        identity.hear("other", LINE);
        identity.hear("shop", "[thrd:main]: Topic shop [0] Leader 1 Epoch 0");
        assert_eq!(identity.id(), None);
        identity.hear("shop", LINE);
        assert_eq!(identity.id().as_deref(), Some("4ax1b2Q1TIKzOdM4pNsjPw"));
        assert!(!identity.take_change(), "the first id is no change");
    }

    #[test]
    fn another_id_is_a_change_that_is_told_once() {
        let identity = Identity::default();
        identity.hear("shop", LINE);
        identity.hear("shop", LINE);
        assert!(!identity.take_change());
        identity.hear("shop", "Topic shop changed id from 4ax1b2Q1TIKzOdM4pNsjPw to x");
        assert!(identity.take_change());
        assert!(!identity.take_change());
    }
}
