//! How far the comparison of the view with the event store is, and what it found. It is kept beside the view, so that it goes on after a
//! restart, one process at a time does it, and all can tell of it.

use jiff::Timestamp;

/// The comparison as it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Walk {
    /// The stream that was compared last in this round; none at its beginning.
    pub position: Option<String>,
    /// How often there was a doubt so far: it tells whether one came after a round began.
    pub doubts: i64,
    /// How many there were when this round began, if it is to settle them.
    pub settling: Option<i64>,
    /// Why the view may lack something, and since when.
    pub doubt: Option<(Timestamp, String)>,
    /// When the last round ended.
    pub ended: Option<Timestamp>,
    /// Streams of which the view lacked something, of all rounds.
    pub found: u64,
    /// Events that were filled in.
    pub filled: u64,
}

/// What a step of the comparison came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// The stream that was compared last; none when the round has ended.
    pub position: Option<String>,
    /// When the round ended, if it did.
    pub ended: Option<Timestamp>,
    /// Streams of which the view lacked something.
    pub found: u64,
    /// Events that were filled in.
    pub filled: u64,
    /// How many doubts there were when the round began, if it is to settle them.
    pub settling: Option<i64>,
    /// As many doubts are no more.
    pub settled: Option<i64>,
}

/// Whoever compares; and until when nobody else does, unless it goes on.
#[derive(Clone, Debug)]
pub struct Walker {
    /// A name that no other process has.
    pub name: String,
    /// Now.
    pub now: Timestamp,
    /// When its right ends.
    pub until: Timestamp,
}

/// The table, which has a row for each shape of a view. Times are milliseconds since 1970. Every statement here is one that each variant's server takes.
#[cfg(any(feature = "embedded", feature = "postgres"))]
pub(crate) mod sql {
    #[cfg(feature = "embedded")]
    pub(crate) const TABLE: &str = include_str!("walks.sql");

    /// A statement as SQLite takes it: it counts `$2` by where it stands first, and `?2` by its number.
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

    // What another process suspected is not known: its round settles nothing.
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

    // Noted also where nobody has walked yet.
    pub(crate) const DOUBT: &str = "INSERT INTO read_store_walks AS has (shape, doubts, doubt, doubt_since) VALUES ($3, 1, $1, $2)
         ON CONFLICT (shape) DO UPDATE SET doubts = has.doubts + 1, doubt = coalesce(has.doubt, excluded.doubt),
             doubt_since = coalesce(has.doubt_since, excluded.doubt_since)";

    /// The row of a shape, which is there before anybody walks.
    pub(crate) const ADD: &str = "INSERT INTO read_store_walks (shape) VALUES ($1) ON CONFLICT DO NOTHING";

    pub(crate) const LEAVE: &str =
        "UPDATE read_store_walks SET held_until = 0 WHERE walker = $1 AND shape = $2";
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
