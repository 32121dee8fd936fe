//! The progress and the findings of the comparison of the view with the event store. Both are stored beside the view. So the
//! comparison goes on after a restart, one process at a time does it, and all processes can report it.

use jiff::Timestamp;

/// The state of the comparison.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Walk {
    /// The stream that was compared last in this round; none at its beginning.
    pub position: Option<String>,
    /// The number of doubts so far. It shows whether a doubt came after a round began.
    pub doubts: i64,
    /// The number of doubts when this round began, if the round is to settle them.
    pub settling: Option<i64>,
    /// The time and the reason of the first doubt that is not settled: the view may lack something.
    pub doubt: Option<(Timestamp, String)>,
    /// The end of the last round.
    pub ended: Option<Timestamp>,
    /// The number of streams of which the view lacked something, over all rounds.
    pub found: u64,
    /// The number of events that were filled in, over all rounds.
    pub filled: u64,
}

/// The result of a step of the comparison.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// The stream that was compared last; none when the round has ended.
    pub position: Option<String>,
    /// The end of the round, if it has ended.
    pub ended: Option<Timestamp>,
    /// The number of streams of which the view lacked something.
    pub found: u64,
    /// The number of events that were filled in.
    pub filled: u64,
    /// The number of doubts when the round began, if the round is to settle them.
    pub settling: Option<i64>,
    /// The number of doubts that this round settles. The doubt is over if no other has come since.
    pub settled: Option<i64>,
}

/// A process that compares, and its lease. No other process compares until the lease ends; each step renews it.
#[derive(Clone, Debug)]
pub struct Walker {
    /// A name that no other process has.
    pub name: String,
    /// The present time.
    pub now: Timestamp,
    /// The end of the lease.
    pub until: Timestamp,
}

/// The table, with a row for each shape of a view. Times are milliseconds since 1970. SQLite and PostgreSQL both take every
/// statement here.
#[cfg(any(feature = "embedded", feature = "postgres"))]
pub(crate) mod sql {
    #[cfg(feature = "embedded")]
    pub(crate) const TABLE: &str = include_str!("walks.sql");

    /// A statement as SQLite takes it. SQLite numbers `$2` by its first place in the statement, but `?2` by its number.
    #[cfg(feature = "embedded")]
    pub(crate) fn numbered(sql: &str) -> String {
        sql.replace('$', "?")
    }

    /// The columns of a [`Walk`](super::Walk).
    macro_rules! columns {
        () => {
            "position, doubts, settling, doubt, doubt_since, ended, found, filled"
        };
    }

    pub(crate) const READ: &str = concat!("SELECT ", columns!(), " FROM read_store_walks WHERE shape = $1");

    // A process that takes the walk over does not know the suspects of the former one. So the rest of its round settles nothing.
    pub(crate) const TAKE: &str = concat!(
        "UPDATE read_store_walks SET walker = $1, held_until = $2, settling = CASE WHEN walker = $1 THEN settling END
         WHERE shape = $4 AND (walker = $1 OR held_until < $3) RETURNING ",
        columns!()
    );

    pub(crate) const STEP: &str = concat!(
        "UPDATE read_store_walks SET held_until = $2, position = $3, ended = coalesce($4, ended), found = found + $5,
             filled = filled + $6, settling = $8, doubt = CASE WHEN doubts = $7 THEN NULL ELSE doubt END,
             doubt_since = CASE WHEN doubts = $7 THEN NULL ELSE doubt_since END
         WHERE walker = $1 AND shape = $9 RETURNING ",
        columns!()
    );

    // Inserts the row if no process has walked yet, so that no doubt is lost.
    pub(crate) const DOUBT: &str = "INSERT INTO read_store_walks AS has (shape, doubts, doubt, doubt_since) VALUES ($3, 1, $1, $2)
         ON CONFLICT (shape) DO UPDATE SET doubts = has.doubts + 1, doubt = coalesce(has.doubt, excluded.doubt),
             doubt_since = coalesce(has.doubt_since, excluded.doubt_since)";

    /// Adds the row of a shape, so that it exists before any process walks.
    pub(crate) const ADD: &str = "INSERT INTO read_store_walks (shape) VALUES ($1) ON CONFLICT DO NOTHING";

    pub(crate) const LEAVE: &str =
        "UPDATE read_store_walks SET held_until = 0 WHERE walker = $1 AND shape = $2";

    pub(crate) const DELETE: &str = "DELETE FROM read_store_walks WHERE shape = $1";
}

/// A row's values, as every variant reads them.
#[cfg(any(feature = "embedded", feature = "postgres"))]
pub(crate) type Values =
    (Option<String>, i64, Option<i64>, Option<String>, Option<i64>, Option<i64>, i64, i64);

#[cfg(any(feature = "embedded", feature = "postgres"))]
impl From<Values> for Walk {
    fn from((position, doubts, settling, doubt, since, ended, found, filled): Values) -> Self {
        let time = |milliseconds| Timestamp::from_millisecond(milliseconds).unwrap_or(Timestamp::UNIX_EPOCH);
        Self {
            position,
            doubts,
            settling,
            doubt: since.map(time).zip(doubt),
            ended: ended.map(time),
            found: found.unsigned_abs(),
            filled: filled.unsigned_abs(),
        }
    }
}
