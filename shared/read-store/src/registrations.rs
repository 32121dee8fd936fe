//! The programs that run and the views that they work on, as the store lists them, and the rules by which both are judged.

use std::time::Duration;

use crate::ViewId;
use crate::programs::{Filled, Program, Registration};
use crate::shape::Shape;

/// A program whose registration holds.
pub(crate) struct ListedProgram {
    /// The key of its view's shape.
    pub(crate) shape: String,
    pub(crate) name: String,
    /// The time since which it is registered, and that of its last renewal: milliseconds since 1970, by the clock of the store.
    pub(crate) since: i64,
    pub(crate) renewed: i64,
    pub(crate) serves: bool,
    pub(crate) filling: Option<String>,
}

/// A view that has tables.
pub(crate) struct ListedView {
    pub(crate) id: ViewId,
    /// The key of its shape.
    pub(crate) shape: String,
    pub(crate) is_active: bool,
    /// True if it has had all that the event store had.
    pub(crate) is_filled: bool,
}

/// The statements. SQLite and PostgreSQL both take each of them.
///
/// Registrations come one after the other, each in a transaction that has the table for itself. So a program that renewed its
/// registration after another one had registered knows of it.
pub(crate) mod sql {
    #[cfg(feature = "embedded")]
    pub(crate) const TABLE: &str = include_str!("programs.sql");

    /// Registers a program, or renews its registration, at the time `$3`. Its parameters are shape, program, time, lease, and whether it
    /// serves. The program fills no view until it [claims](FILL) that again.
    pub(crate) const REGISTER: &str =
        "INSERT INTO read_store_programs AS has (shape, program, since, renewed, until, serves)
         VALUES ($1, $2, $3, $3, $3 + $4, $5)
         ON CONFLICT (shape, program) DO UPDATE SET renewed = excluded.renewed, until = excluded.until, filling = NULL,
             since = CASE WHEN has.until < excluded.renewed THEN excluded.renewed ELSE has.since END";

    /// Removes registrations that have ended at the time `$1`.
    pub(crate) const EXPIRE: &str = "DELETE FROM read_store_programs WHERE until < $1";

    pub(crate) const PROGRAMS: &str =
        "SELECT shape, program, since, renewed, serves, filling FROM read_store_programs";

    pub(crate) const VIEWS: &str = "SELECT id, shape, state = 'active', filled FROM read_store_views";

    /// Claims that the program fills its view. `$3` is its progress.
    pub(crate) const FILL: &str =
        "UPDATE read_store_programs SET filling = $3 WHERE shape = $1 AND program = $2";

    pub(crate) const LEAVE: &str = "DELETE FROM read_store_programs WHERE shape = $1 AND program = $2";
}

/// The program under whose name a table is registered when it is made, until the program that needs it registers by itself.
pub(crate) const MAKER: &str = "made";

/// The time without a renewal after which a program no longer counts as one that fills the view: another one does so then.
const FILLER_SILENT: Duration = Duration::from_secs(12);

/// The time for which a new table is kept although no program has registered for it.
pub(crate) const KEPT_NEW: Duration = Duration::from_secs(60);

/// Returns the active view of this shape.
pub(crate) fn active(views: &[ListedView], shape: Shape) -> Option<&ListedView> {
    views.iter().find(|view| view.is_active && view.shape == shape.key)
}

/// Returns the views of other shapes of the same view for which no program is registered.
pub(crate) fn unused<'a>(
    views: &'a [ListedView],
    shape: Shape,
    programs: &'a [ListedProgram],
) -> impl Iterator<Item = &'a ListedView> {
    let is_other = move |view: &ListedView| shape.is_of_same_view(&view.shape) && view.shape != shape.key;
    let is_used = move |view: &ListedView| programs.iter().any(|program| program.shape == view.shape);
    views.iter().filter(move |view| is_other(view) && !is_used(view))
}

impl Registration {
    /// Judges what the store lists at this time. This program is among the programs.
    pub(crate) fn of(
        shape: Shape,
        program: &Program,
        programs: &[ListedProgram],
        views: &[ListedView],
        now: i64,
    ) -> Self {
        let others: Vec<&ListedProgram> = programs
            .iter()
            .filter(|other| shape.is_of_same_view(&other.shape) && other.shape != shape.key && other.serves)
            .collect();
        let same_shape = || programs.iter().filter(|other| other.shape == shape.key);
        let own = same_shape().find(|other| other.name == program.name);
        let since = own.map_or(i64::MAX, |own| own.since);
        let filler = same_shape()
            .filter(|other| other.name != program.name)
            .filter(|other| now - other.renewed < milliseconds(FILLER_SILENT))
            .find_map(|other| other.filling.clone());
        let is_filled = active(views, shape).is_some_and(|view| view.is_filled);
        Self {
            filled: match (is_filled, filler, &program.filling) {
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
pub(crate) fn milliseconds(lease: Duration) -> i64 {
    i64::try_from(lease.as_millis()).unwrap_or(i64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use event_sourcing::testing::TasksView;

    use super::*;

    #[test]
    fn a_program_that_fills_the_view_and_falls_silent_is_replaced() {
        let shape = Shape::of::<TasksView>();
        let filler = ListedProgram {
            shape: shape.key.to_owned(),
            name: "filler".to_owned(),
            since: 0,
            renewed: 1_000,
            serves: true,
            filling: Some("half".to_owned()),
        };
        let (lease, filling) = (Duration::from_secs(30), Some("nothing".to_owned()));
        let other = Program { name: "other".to_owned(), lease, filling, serves: true };
        let programs = [filler];
        let filled = |now| Registration::of(shape, &other, &programs, &[], now).filled;
        assert_eq!(filled(12_999), Filled::Others("half".to_owned()));
        assert_eq!(filled(13_000), Filled::Mine);
    }
}
