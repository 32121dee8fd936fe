//! Points at which a process can be made to kill itself, to show what is left of its work then. Only with the feature
//! `kill-points`, which nothing that ships has; without it [`kill_point`] is nothing.
//!
//! `KILL_POINT=NAME:N` sends the process a SIGKILL when it passes the point for the N-th time.

/// Declares each point with its name, so that neither the list of all nor a name can be forgotten.
macro_rules! kill_points {
    ($($(#[$what:meta])* $point:ident = $name:literal,)*) => {
        /// A step on the path of a command, and of what follows from it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum KillPoint {
            $($(#[$what])* $point,)*
        }

        impl KillPoint {
            /// Every point, in the order of the path.
            pub const ALL: &[Self] = &[$(Self::$point,)*];

            /// The name by which it is asked for.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$point => $name,)*
                }
            }
        }
    };
}

kill_points! {
    /// A command is read and in order.
    AfterParse = "after-parse",
    /// Its commit is made and not handed to the store.
    BeforeAppend = "before-append",
    /// SQLite: commits, marks and small records are written, and their transaction is open.
    BeforeSqliteCommit = "before-sqlite-commit",
    /// SQLite: they are on disk, and nobody knows.
    AfterSqliteCommit = "after-sqlite-commit",
    /// MongoDB: commits and small records are about to be inserted.
    BeforeMongodbInsert = "before-mongodb-insert",
    /// MongoDB: they are inserted, and nobody knows.
    AfterMongodbInsert = "after-mongodb-insert",
    /// The store has said that the commit is durable.
    AfterAppend = "after-append",
    /// A command that yields no event is about to be remembered.
    BeforeRemember = "before-remember",
    /// It is remembered, and not answered.
    AfterRemember = "after-remember",
    /// A run of commits is about to be published.
    BeforePublish = "before-publish",
    /// A record of a run is with the channel; others may not be.
    DuringPublish = "during-publish",
    /// The channel has accepted the run.
    AfterPublish = "after-publish",
    /// The channel will not forget the run.
    BeforeMark = "before-mark",
    /// The run is marked as published.
    AfterMark = "after-mark",
    /// A relay has read which streams have something unpublished.
    RelayAfterLook = "relay-after-look",
    /// It is about to send what one of them has.
    RelayBeforeSend = "relay-before-send",
    /// The channel has accepted that.
    RelayAfterSend = "relay-after-send",
    /// A relay has claimed a reminder.
    ReminderAfterClaim = "reminder-after-claim",
    /// Its event is published again.
    ReminderAfterPublish = "reminder-after-publish",
    /// Its next time is set.
    ReminderAfterNext = "reminder-after-next",
    /// A consumer has taken records.
    ConsumerAfterPoll = "consumer-after-poll",
    /// A batch is written to the views, and its transaction is open.
    BeforeProjectorCommit = "before-projector-commit",
    /// A batch is in the views, and its offsets are not committed.
    AfterProjectorCommit = "after-projector-commit",
    /// The fulfilment service is about to be asked.
    BeforeFulfilment = "before-fulfilment",
    /// It has answered, and that is not recorded.
    AfterFulfilment = "after-fulfilment",
    /// The processor has given an order up for now.
    BeforeSetAside = "before-set-aside",
    /// The processor has set an order aside, and its record is not yet done with.
    AfterSetAside = "after-set-aside",
    /// A batch is done with, and the channel does not know.
    BeforeOffsetCommit = "before-offset-commit",
    /// The channel was told. Kafka's brokers hear of it within a tenth of a second.
    AfterOffsetCommit = "after-offset-commit",
    /// Kafka: the brokers have confirmed it.
    AfterKafkaOffsetCommit = "after-kafka-offset-commit",
    /// A page of held events is tried again, and its transaction is open.
    BeforeRedriveCommit = "before-redrive-commit",
    /// The page is committed, and there may be others.
    AfterRedriveCommit = "after-redrive-commit",
    /// A new view is registered, and has nothing in it.
    RebuildAfterBegin = "rebuild-after-begin",
    /// A page of the scan is written to the new view, and its transaction is open.
    RebuildBeforePageCommit = "rebuild-before-page-commit",
    /// The page is committed, and there may be others.
    RebuildAfterPageCommit = "rebuild-after-page-commit",
    /// The new view is whole, its indexes are made, and the swap's own transaction has not begun.
    RebuildBeforeSwap = "rebuild-before-swap",
    /// The new view is the active one, and the swap's transaction is open.
    RebuildBeforeSwapCommit = "rebuild-before-swap-commit",
    /// The views are swapped, and nobody knows.
    RebuildAfterSwapCommit = "rebuild-after-swap-commit",
    /// What a repair has written or deleted is not committed.
    BeforeRepairCommit = "before-repair-commit",
    /// It is, and there may be more to repair.
    AfterRepairCommit = "after-repair-commit",
}

/// Passes a point: nothing, since this program has none.
#[cfg(not(feature = "kill-points"))]
#[inline(always)]
pub const fn kill_point(_: KillPoint) {}

/// Passes a point, at which the process may have been asked to kill itself.
#[cfg(feature = "kill-points")]
pub fn kill_point(point: KillPoint) {
    armed::pass(point);
}

#[cfg(feature = "kill-points")]
mod armed {
    use std::env;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;

    use signal_hook::consts::SIGKILL;
    use signal_hook::low_level::raise;

    use super::KillPoint;

    const VARIABLE: &str = "KILL_POINT";

    static ASKED: OnceLock<Option<(KillPoint, u64)>> = OnceLock::new();
    static PASSED: AtomicU64 = AtomicU64::new(0);

    pub(super) fn pass(point: KillPoint) {
        let Some((wanted, passes)) = ASKED.get_or_init(asked) else { return };
        if *wanted != point || PASSED.fetch_add(1, Ordering::Relaxed) + 1 != *passes {
            return;
        }
        eprintln!("killed at {}", point.name());
        // No handler, no destructor, nothing flushed: the kernel ends every thread.
        if let Err(error) = raise(SIGKILL) {
            eprintln!("and not killed: {error}");
        }
        loop {
            thread::park();
        }
    }

    /// What the environment asks for. What it asks for in vain is said, so that a test is not left waiting.
    fn asked() -> Option<(KillPoint, u64)> {
        let text = env::var(VARIABLE).ok()?;
        let parsed = text.split_once(':').and_then(|(name, passes)| {
            let point = KillPoint::ALL.iter().find(|point| point.name() == name)?;
            Some((*point, passes.parse().ok()?))
        });
        if parsed.is_none() {
            eprintln!("{VARIABLE} is {text:?}; it may be NAME:N");
        }
        parsed
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_point_has_a_name_of_its_own() {
        let names: BTreeSet<&str> = KillPoint::ALL.iter().map(|point| point.name()).collect();
        assert_eq!(names.len(), KillPoint::ALL.len());
    }
}
