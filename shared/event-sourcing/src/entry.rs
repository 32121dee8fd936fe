//! A stream's place in a view: the version, and the row of a view with one row a stream.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Serialize;
use thiserror::Error;

use crate::aggregate::Gap;
use crate::values::{StreamId, Version};
use crate::view::{Keys, Refused, Row, View, is_by_stream};
use crate::wire::Recorded;

/// A stream's entry in a view: its row after a number of its events. It serializes as the row does, with `id` and `version`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry<R> {
    /// The stream.
    pub id: StreamId,
    /// The stream's row; `None` if the events so far make no row.
    #[serde(flatten)]
    pub row: Option<R>,
    /// The number of those events.
    pub version: Version,
}

/// The reason for which an event was not applied.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NotApplied {
    /// The event is not the next one.
    #[error(transparent)]
    Gap(#[from] Gap),
    /// The fold refuses the event.
    #[error(transparent)]
    Refused(#[from] Refused),
}

impl<R: Row> Entry<R> {
    /// Returns the entry before the first event.
    #[must_use]
    pub const fn absent(id: StreamId) -> Self {
        Self { id, row: None, version: Version::NONE }
    }

    /// Applies the next event of the stream. If the view's key is not the stream, the entry has the stream's version alone, and
    /// [`Rows`](crate::Rows) have the rows.
    ///
    /// # Errors
    /// [`NotApplied`]; the entry is unchanged then.
    pub fn apply<V: View<Row = R>>(&mut self, event: &Recorded<V::Event>) -> Result<(), NotApplied> {
        if event.version != self.version.next() {
            return Err(Gap { have: self.version, found: event.version }.into());
        }
        if is_by_stream::<V>() {
            // A fold that panics must stop no other stream. It works on its own copy, so nothing here is left half done.
            let row = self.row.clone();
            let folded = catch_unwind(AssertUnwindSafe(|| fold_own::<V>(row, event)));
            self.row = folded.unwrap_or_else(|_| Err(Refused("the fold panicked".to_owned())))?;
        }
        self.version = event.version;
        Ok(())
    }

    /// Returns the entry after these events, which begin with the stream's first.
    ///
    /// # Errors
    /// As [`Entry::apply`].
    pub fn fold<'e, V: View<Row = R>>(
        id: StreamId,
        events: impl IntoIterator<Item = &'e Recorded<V::Event>>,
    ) -> Result<Self, NotApplied> {
        let mut entry = Self::absent(id);
        for event in events {
            entry.apply::<V>(event)?;
        }
        Ok(entry)
    }

    /// Returns true if a store keeps both entries alike. Columns keep times in whole microseconds.
    #[must_use]
    pub fn is_kept_as(&self, other: &Self) -> bool {
        self.id == other.id
            && self.version == other.version
            && self.row.as_ref().map(R::values) == other.row.as_ref().map(R::values)
    }
}

/// Folds an event into the row of its stream.
fn fold_own<V: View>(row: Option<V::Row>, event: &Recorded<V::Event>) -> Result<Option<V::Row>, Refused> {
    match V::keys(event)? {
        Keys::None => Ok(row),
        Keys::One(key) if (&key as &dyn Any).downcast_ref() == Some(&event.stream) => {
            V::apply(&key, row, event)
        }
        keys => Err(Refused(format!("its key must be its stream, and it has {keys:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::{EventType, row};

    row! {
        /// A text and a number.
        struct Sample {
            /// Any text.
            pub text: String,
            /// A number, if there is one.
            pub number: Option<i64>,
        }
    }

    #[derive(Clone, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
    enum Event {
        Counted { number: Option<i64> },
        Cleared,
        Noted,
        Moved,
        Refused,
        Panicked,
    }

    impl EventType for Event {}

    #[derive(Clone, Debug)]
    struct Samples;

    impl View for Samples {
        const NAME: &'static str = "samples";
        type Event = Event;
        type Key = StreamId;
        type Row = Sample;

        fn keys(recorded: &Recorded<Event>) -> Result<Keys<StreamId>, Refused> {
            Ok(match recorded.event {
                Event::Noted => Keys::None,
                Event::Moved => Keys::One(StreamId::parse("b").unwrap()),
                _ => Keys::One(recorded.stream.clone()),
            })
        }

        fn apply(
            _: &StreamId,
            _: Option<Sample>,
            recorded: &Recorded<Event>,
        ) -> Result<Option<Sample>, Refused> {
            match recorded.event {
                Event::Counted { number } => Ok(Some(Sample { text: "a text".to_owned(), number })),
                Event::Cleared => Ok(None),
                Event::Refused => Err(Refused("not this one".to_owned())),
                _ => panic!("on purpose"),
            }
        }
    }

    fn recorded(version: u64, event: Event) -> Recorded<Event> {
        let stream = StreamId::parse("a").unwrap();
        Recorded { stream, version: Version::new(version), time: Timestamp::UNIX_EPOCH, event }
    }

    #[test]
    fn an_entry_takes_in_the_next_event_and_no_other() {
        let mut entry = Entry::absent(StreamId::parse("a").unwrap());
        entry.apply::<Samples>(&recorded(1, Event::Counted { number: Some(7) })).unwrap();
        let before = entry.clone();
        for (event, problem) in [
            (recorded(1, Event::Cleared), "version 1 can't follow version 1"),
            (recorded(3, Event::Cleared), "version 3 can't follow version 1"),
            (recorded(2, Event::Refused), "not this one"),
            (recorded(2, Event::Panicked), "the fold panicked"),
            (recorded(2, Event::Moved), "its key must be its stream, and it has One(StreamId(\"b\"))"),
        ] {
            assert_eq!(entry.apply::<Samples>(&event).unwrap_err().to_string(), problem);
            assert_eq!(entry, before);
        }
        entry.apply::<Samples>(&recorded(2, Event::Cleared)).unwrap();
        assert_eq!((&entry.row, entry.version), (&None, Version::new(2)));
        let folded = Entry::fold::<Samples>(
            before.id,
            &[recorded(1, Event::Counted { number: Some(7) }), recorded(2, Event::Cleared)],
        );
        assert_eq!(folded, Ok(entry));
    }

    #[test]
    fn an_event_without_keys_moves_the_version_on_and_leaves_the_row() {
        let events = [recorded(1, Event::Counted { number: None }), recorded(2, Event::Noted)];
        let entry = Entry::fold::<Samples>(StreamId::parse("a").unwrap(), &events).unwrap();
        let row = Sample { text: "a text".to_owned(), number: None };
        assert_eq!((entry.row, entry.version), (Some(row), Version::new(2)));
    }

    #[test]
    fn an_entry_serializes_as_its_row_with_id_and_version() {
        let absent = Entry::<Sample>::absent(StreamId::parse("a").unwrap());
        assert_eq!(serde_json::to_string(&absent).unwrap(), r#"{"id":"a","version":0}"#);
        let row = Sample { text: "a text".to_owned(), number: None };
        let entry = Entry { row: Some(row), version: Version::new(3), ..absent };
        let shown = r#"{"id":"a","text":"a text","number":null,"version":3}"#;
        assert_eq!(serde_json::to_string(&entry).unwrap(), shown);
    }
}
