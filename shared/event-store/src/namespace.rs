//! The namespace of an aggregate in a store: its own collection or tables, so that streams of several aggregates may have the same
//! names.

use std::fmt;
use std::sync::Arc;

use event_sourcing::Aggregate;
use thiserror::Error;

/// A namespace: a lower-case letter, and then lower-case letters, digits and `_`. The names of an aggregate's tables begin with it.
/// Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Namespace(Arc<str>);

/// The text is not a namespace.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "the namespace {0:?} can't be used; allowed: a lower-case letter, and then lower-case letters, digits and _, {LONGEST} \
     characters at most"
)]
pub struct InvalidNamespace(String);

/// PostgreSQL cuts a name off after 63 bytes. The longest suffix is that of an index, `_reminders_by_time`.
const LONGEST: usize = 63 - "_reminders_by_time".len();

/// The place of the namespace in a statement.
#[cfg(any(feature = "embedded", feature = "postgres"))]
const PLACE: &str = "{namespace}";

/// Declares a struct of statements that are made once for a namespace: `statements! { Statements { append: APPEND } }`.
#[cfg(feature = "embedded")]
macro_rules! statements {
    ($name:ident { $($field:ident: $statement:expr),* $(,)? }) => {
        /// The statements, with the names of a namespace's tables.
        pub(super) struct $name {
            $($field: String),*
        }

        impl $name {
            pub(super) fn of(namespace: &$crate::Namespace) -> Self {
                Self { $($field: namespace.sql($statement)),* }
            }
        }
    };
}
#[cfg(feature = "embedded")]
pub(crate) use statements;

impl Namespace {
    /// Parses a namespace.
    ///
    /// # Errors
    /// When the text is not one.
    pub fn parse(text: &str) -> Result<Self, InvalidNamespace> {
        let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let is_namespace = text.len() <= LONGEST
            && text.starts_with(|first: char| first.is_ascii_lowercase())
            && text.bytes().all(is_allowed);
        if is_namespace { Ok(Self(text.into())) } else { Err(InvalidNamespace(text.to_owned())) }
    }

    /// Returns the namespace of an application's aggregate: `tasks_task`. A `-` in the application's name becomes `_`.
    ///
    /// # Errors
    /// When the names can't be part of one.
    pub fn of<A: Aggregate>(application: &str) -> Result<Self, InvalidNamespace> {
        Self::of_kind(application, A::KIND)
    }

    /// Returns the namespace of the aggregate of this name, as [`Namespace::of`] does.
    ///
    /// # Errors
    /// As [`Namespace::of`].
    pub fn of_kind(application: &str, kind: &str) -> Result<Self, InvalidNamespace> {
        Self::parse(&format!("{application}_{kind}").replace('-', "_"))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns a statement with this namespace in the names of its tables.
    #[cfg(any(feature = "embedded", feature = "postgres"))]
    pub(crate) fn sql(&self, statement: &str) -> String {
        statement.replace(PLACE, &self.0)
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use event_sourcing::testing::Task;

    use super::*;

    #[test]
    fn a_namespace_is_the_application_and_the_aggregates_name() {
        assert_eq!(Namespace::of::<Task>("tasks").unwrap().as_str(), "tasks_task");
        assert_eq!(Namespace::of::<Task>("our-tasks").unwrap().as_str(), "our_tasks_task");
    }

    #[test]
    fn what_could_not_begin_the_name_of_a_table_is_refused_with_what_is_allowed() {
        let longest = "x".repeat(LONGEST);
        assert!(Namespace::parse(&longest).is_ok());
        for text in ["", "_a", "1a", "Tasks", "a b", "a;b", "a\"", "ä", &format!("{longest}x")] {
            let refused = Namespace::parse(text).unwrap_err().to_string();
            assert!(refused.contains("45 characters at most"), "{text}: {refused}");
        }
    }
}
