//! Points at which a process can be made to kill itself. They show what is left of its work then. They need the feature
//! `kill-points`, which no shipped program has. Without it [`kill_point`] does nothing.
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

            /// The name of the point in `KILL_POINT`.
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
    /// A command is read and valid.
    AfterParse = "after-parse",
    /// Its commit is made and not yet handed to the store.
    BeforeAppend = "before-append",
    /// SQLite: commits, marks and small records are written, and their transaction is open.
    BeforeSqliteCommit = "before-sqlite-commit",
    /// SQLite: they are on disk, and nobody knows it yet.
    AfterSqliteCommit = "after-sqlite-commit",
    /// MongoDB: commits and small records are about to be inserted.
    BeforeMongodbInsert = "before-mongodb-insert",
    /// MongoDB: they are inserted, and nobody knows it yet.
    AfterMongodbInsert = "after-mongodb-insert",
    /// PostgreSQL: commits and small records are about to be inserted.
    BeforePostgresInsert = "before-postgres-insert",
    /// PostgreSQL: they are inserted, and nobody knows it yet.
    AfterPostgresInsert = "after-postgres-insert",
    /// The store has said that the commit is durable.
    AfterAppend = "after-append",
    /// A command that yields no event is about to be remembered.
    BeforeRemember = "before-remember",
    /// The command is remembered, and not answered.
    AfterRemember = "after-remember",
    /// A run of commits is about to be published.
    BeforePublish = "before-publish",
    /// The channel has a record of a run, and maybe not the others.
    DuringPublish = "during-publish",
    /// The channel has accepted the run.
    AfterPublish = "after-publish",
    /// The channel will not forget the run.
    BeforeMark = "before-mark",
    /// The run is marked as published.
    AfterMark = "after-mark",
    /// A relay has read the list of streams with unpublished commits.
    RelayAfterLook = "relay-after-look",
    /// The relay is about to send the commits of one of them.
    RelayBeforeSend = "relay-before-send",
    /// The channel has accepted these commits.
    RelayAfterSend = "relay-after-send",
    /// A relay has claimed a reminder.
    ReminderAfterClaim = "reminder-after-claim",
    /// The reminder's event is published again.
    ReminderAfterPublish = "reminder-after-publish",
    /// The reminder's next time is set.
    ReminderAfterNext = "reminder-after-next",
    /// A consumer has taken records.
    ConsumerAfterPoll = "consumer-after-poll",
    /// A batch is written to the views, and its transaction is open.
    BeforeProjectorCommit = "before-projector-commit",
    /// A batch is in the views, and its offsets are not committed.
    AfterProjectorCommit = "after-projector-commit",
    /// The fulfilment service is about to be asked.
    BeforeFulfilment = "before-fulfilment",
    /// The service has answered, and the answer is not recorded.
    AfterFulfilment = "after-fulfilment",
    /// The processor has given up an order for now.
    BeforeSetAside = "before-set-aside",
    /// The processor has set an order aside, and its record is not yet done.
    AfterSetAside = "after-set-aside",
    /// A batch is done, and the channel does not know it.
    BeforeOffsetCommit = "before-offset-commit",
    /// The channel knows that a batch is done. Kafka's brokers hear of it within a tenth of a second.
    AfterOffsetCommit = "after-offset-commit",
    /// Kafka: the brokers have confirmed the offset.
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
    /// The views are swapped, and nobody knows it yet.
    RebuildAfterSwapCommit = "rebuild-after-swap-commit",
    /// A repair has written or deleted rows, and its transaction is open.
    BeforeRepairCommit = "before-repair-commit",
    /// The repair is committed, and there may be more to repair.
    AfterRepairCommit = "after-repair-commit",
}

/// Does nothing, since this program has no points.
#[cfg(not(feature = "kill-points"))]
#[inline(always)]
pub const fn kill_point(_: KillPoint) {}

/// Passes a point. The process kills itself there if the environment asks for it.
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
        // SIGKILL runs no handler and no destructor, and flushes nothing: the kernel ends every thread.
        if let Err(error) = raise(SIGKILL) {
            eprintln!("and not killed: {error}");
        }
        loop {
            thread::park();
        }
    }

    /// Reads the point that the environment asks for. A value that can't be read is printed, so that a test does not wait in vain.
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
