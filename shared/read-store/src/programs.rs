//! The programs that run, as they register beside the view.
//!
//! Programs whose views have other shapes work on tables of their own. A program tells by its registration that it runs, and
//! learns by it whether its own table was filled from the event store, and what other programs there are. A table is dropped once
//! no program with its shape is registered.

use std::time::Duration;

use crate::shape::Shape;

/// A running program, as it registers.
#[derive(Clone, Debug)]
pub struct Program {
    /// A name that no other running program has.
    pub name: String,
    /// The time for which the registration holds, unless it is renewed.
    pub lease: Duration,
    /// The progress of a program that can fill the view, in words; `None` if it can't.
    pub filling: Option<String>,
    /// False if it only keeps the tables of its shape, for programs that are to come.
    pub serves: bool,
}

/// What a program learns when it registers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Whether the view of this shape has been filled from the event store.
    pub filled: Filled,
    /// True if programs run whose views have another shape.
    pub other_shapes: bool,
    /// True if one of those has not renewed its registration since this program registered, so that it may not know of it yet.
    pub unknown_to_others: bool,
}

/// Whether a view has been filled from the event store, since its table was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filled {
    /// It has.
    Yes,
    /// It has not, and it is up to this program.
    Mine,
    /// It has not, and it is up to another program, which is so far.
    Others(String),
}

/// A registration that holds.
#[cfg_attr(not(any(feature = "embedded", feature = "postgres")), allow(dead_code))]
pub(crate) struct Registered {
    pub(crate) shape: String,
    pub(crate) program: String,
    /// The time since which it holds, and that of its last renewal: milliseconds since 1970, by the clock of the store.
    pub(crate) since: i64,
    pub(crate) renewed: i64,
    pub(crate) serves: bool,
    pub(crate) filling: Option<String>,
}

/// The table. SQLite and PostgreSQL both take every statement here.
///
/// Registrations come one after the other, each in a transaction that has the table for itself. So a program that renewed its
/// registration after another one had registered knows of it.
#[cfg(any(feature = "embedded", feature = "postgres"))]
pub(crate) mod sql {
    #[cfg(feature = "embedded")]
    pub(crate) const TABLE: &str = include_str!("programs.sql");

    /// Registers a program, or renews its registration, at the time `$3`. Its parameters are shape, program, time, lease, and whether it
    /// serves.
    pub(crate) const REGISTER: &str =
        "INSERT INTO read_store_programs AS has (shape, program, since, renewed, until, serves)
         VALUES ($1, $2, $3, $3, $3 + $4, $5)
         ON CONFLICT (shape, program) DO UPDATE SET renewed = excluded.renewed, until = excluded.until,
             since = CASE WHEN has.until < excluded.renewed THEN excluded.renewed ELSE has.since END";

    /// Removes registrations that have ended at the time `$1`.
    pub(crate) const EXPIRE: &str = "DELETE FROM read_store_programs WHERE until < $1";

    pub(crate) const READ: &str =
        "SELECT shape, program, since, renewed, serves, filling FROM read_store_programs";

    /// Notes the progress `$3` of a program that fills its view.
    pub(crate) const FILL: &str =
        "UPDATE read_store_programs SET filling = $3 WHERE shape = $1 AND program = $2";

    pub(crate) const LEAVE: &str = "DELETE FROM read_store_programs WHERE shape = $1 AND program = $2";
}

/// The program under whose name a table is registered when it is made, until the program that needs it registers by itself.
#[cfg(any(feature = "embedded", feature = "postgres"))]
pub(crate) const MAKER: &str = "made";

/// The time without a renewal after which a program no longer counts as one that fills the view: another one does so then.
#[cfg(any(feature = "embedded", feature = "postgres"))]
const FILLER_SILENT: Duration = Duration::from_secs(12);

/// The time for which a new table is kept although no program has registered for it.
#[cfg(any(feature = "embedded", feature = "postgres"))]
pub(crate) const KEPT_NEW: Duration = Duration::from_secs(60);

#[cfg(any(feature = "embedded", feature = "postgres"))]
impl Registration {
    /// Judges the registrations that hold at this time, those of this program among them. `filled` is true if the view of its shape
    /// was filled.
    pub(crate) fn of(shape: Shape, program: &Program, all: &[Registered], filled: bool, now: i64) -> Self {
        let of_view = |registered: &&Registered| shape.is_of_same_view(&registered.shape);
        let others: Vec<&Registered> = all
            .iter()
            .filter(of_view)
            .filter(|registered| registered.shape != shape.key && registered.serves)
            .collect();
        let mine = |registered: &&Registered| registered.shape == shape.key;
        let own = all.iter().filter(mine).find(|registered| registered.program == program.name);
        let since = own.map_or(i64::MAX, |own| own.since);
        let filler = all
            .iter()
            .filter(mine)
            .filter(|registered| registered.program != program.name)
            .filter(|registered| now - registered.renewed < milliseconds(FILLER_SILENT))
            .find_map(|registered| registered.filling.clone());
        Self {
            filled: match (filled, filler, &program.filling) {
                (true, ..) => Filled::Yes,
                (false, Some(progress), _) => Filled::Others(progress),
                (false, None, Some(_)) => Filled::Mine,
                (false, None, None) => Filled::Others("it has not begun".to_owned()),
            },
            other_shapes: !others.is_empty(),
            unknown_to_others: others.iter().any(|other| other.renewed <= since),
        }
    }
}

/// The milliseconds of a lease.
#[cfg(any(feature = "embedded", feature = "postgres"))]
pub(crate) fn milliseconds(lease: Duration) -> i64 {
    i64::try_from(lease.as_millis()).unwrap_or(i64::MAX / 2)
}

#[cfg(all(test, any(feature = "embedded", feature = "postgres")))]
mod tests {
    use event_sourcing::testing::TasksView;

    use super::*;

    #[test]
    fn a_program_that_fills_the_view_and_falls_silent_is_replaced() {
        let shape = Shape::of::<TasksView>();
        let filler = Registered {
            shape: shape.key.to_owned(),
            program: "filler".to_owned(),
            since: 0,
            renewed: 1_000,
            serves: true,
            filling: Some("half".to_owned()),
        };
        let (lease, filling) = (Duration::from_secs(30), Some("nothing".to_owned()));
        let other = Program { name: "other".to_owned(), lease, filling, serves: true };
        let filled = |now| Registration::of(shape, &other, std::slice::from_ref(&filler), false, now).filled;
        assert_eq!(filled(12_999), Filled::Others("half".to_owned()));
        assert_eq!(filled(13_000), Filled::Mine);
    }
}
