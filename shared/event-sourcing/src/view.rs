//! A view: rows for queries, folded from events.
//!
//! One file declares a view: its row ([`row!`](crate::row)), its indexes and its fold. The stores create its tables from them.

use std::borrow::Cow;
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};

use jiff::Timestamp;
use serde::Serialize;
use thiserror::Error;

use crate::aggregate::Gap;
use crate::event::EventType;
use crate::values::{StreamId, Version};
use crate::wire::Recorded;

/// A view with one row a stream.
pub trait View: Clone + Debug + Send + Sync + 'static {
    /// The view's name: a lower-case letter, then lower-case letters, digits and `_`. The names of its tables come from it.
    const NAME: &'static str;
    /// The revision of the fold. Raise it when the fold changes and the columns stay: rows of another fold are not read.
    const REVISION: u32 = 1;
    /// The indexes. A query can filter a page by each of them. The most selective index comes first.
    const INDEXES: &'static [Index] = &[];

    /// The events from which it is folded.
    type Event: EventType;
    /// The view's row.
    type Row: Row;

    /// Returns the row after an event; `None` if the stream has no row. An event that changes nothing returns the row as it is.
    ///
    /// # Errors
    /// [`Refused`] when the event can't become a row. The stream stops there, and the event is held with that reason.
    fn apply(row: Option<Self::Row>, event: &Recorded<Self::Event>) -> Result<Option<Self::Row>, Refused>;
}

/// The reason for which a fold refuses an event.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// An index over one column of a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Index {
    /// The column's name.
    pub column: &'static str,
}

impl Index {
    /// Creates the index over this column.
    #[must_use]
    pub const fn on(column: &'static str) -> Self {
        Self { column }
    }
}

/// The row of a view: a flat struct whose fields are its columns. [`row!`](crate::row) declares it.
pub trait Row: Clone + Debug + PartialEq + Serialize + Send + Sync + 'static {
    /// The row's columns. At least one must be required: it tells a row from a stream that has no row.
    const COLUMNS: &'static [Column];

    /// Returns the row's values, one for each column.
    fn values(&self) -> Vec<Value<'_>>;

    /// Creates the row from its values, one for each column.
    ///
    /// # Errors
    /// [`Garbled`] when this type never writes such a value.
    fn from_values<'a>(values: impl IntoIterator<Item = Value<'a>>) -> Result<Self, Garbled>;
}

/// A column of a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// The name of the field.
    pub name: &'static str,
    /// The kind of its values.
    pub kind: ColumnKind,
    /// True if every row has a value in the column.
    pub required: bool,
}

/// The kind of a column's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// Any text.
    Text,
    /// One of these texts.
    Choice(&'static [&'static str]),
    /// A whole number of 64 bits.
    Integer,
    /// True or false.
    Boolean,
    /// A time, in whole microseconds.
    Time,
}

/// A value of a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// No value.
    Null,
    /// A text.
    Text(Cow<'a, str>),
    /// A whole number.
    Integer(i64),
    /// True or false.
    Boolean(bool),
    /// A time: microseconds since 1970.
    Time(i64),
}

/// The error of a stored value that none of our programs wrote.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the column {column}: {problem}")]
pub struct Garbled {
    /// The column's name.
    pub column: &'static str,
    /// The fault.
    pub problem: String,
}

/// A type whose values are stored in a column.
pub trait ColumnValue: Sized {
    /// The kind of its column.
    const KIND: ColumnKind;
    /// True if it always has a value.
    const REQUIRED: bool = true;

    /// Returns the value to store.
    fn to_value(&self) -> Value<'_>;

    /// Reads a stored value.
    ///
    /// # Errors
    /// When this type never writes such a value. The text gives the reason.
    fn from_value(value: Value<'_>) -> Result<Self, String>;
}

impl<'a> Value<'a> {
    /// Returns the text.
    ///
    /// # Errors
    /// When the value is no text. The error says what it is.
    pub fn into_text(self) -> Result<Cow<'a, str>, String> {
        match self {
            Self::Text(text) => Ok(text),
            other => Err(unexpected(&other)),
        }
    }
}

/// Returns the problem of a value that has another kind than its column.
fn unexpected(value: &Value<'_>) -> String {
    match value {
        Value::Null => "has no value".to_owned(),
        other => format!("has {other:?}"),
    }
}

impl ColumnValue for String {
    const KIND: ColumnKind = ColumnKind::Text;

    fn to_value(&self) -> Value<'_> {
        Value::Text(self.into())
    }

    fn from_value(value: Value<'_>) -> Result<Self, String> {
        value.into_text().map(Cow::into_owned)
    }
}

impl ColumnValue for i64 {
    const KIND: ColumnKind = ColumnKind::Integer;

    fn to_value(&self) -> Value<'_> {
        Value::Integer(*self)
    }

    fn from_value(value: Value<'_>) -> Result<Self, String> {
        match value {
            Value::Integer(number) => Ok(number),
            other => Err(unexpected(&other)),
        }
    }
}

impl ColumnValue for bool {
    const KIND: ColumnKind = ColumnKind::Boolean;

    fn to_value(&self) -> Value<'_> {
        Value::Boolean(*self)
    }

    fn from_value(value: Value<'_>) -> Result<Self, String> {
        match value {
            Value::Boolean(value) => Ok(value),
            other => Err(unexpected(&other)),
        }
    }
}

/// Times are stored in whole microseconds. The rest is cut off, towards the past.
impl ColumnValue for Timestamp {
    const KIND: ColumnKind = ColumnKind::Time;

    fn to_value(&self) -> Value<'_> {
        let microseconds = self.as_nanosecond().div_euclid(1_000);
        Value::Time(i64::try_from(microseconds).unwrap_or(i64::MIN))
    }

    fn from_value(value: Value<'_>) -> Result<Self, String> {
        match value {
            Value::Time(microseconds) => {
                Self::from_nanosecond(i128::from(microseconds) * 1_000).map_err(|error| error.to_string())
            }
            other => Err(unexpected(&other)),
        }
    }
}

impl<T: ColumnValue> ColumnValue for Option<T> {
    const KIND: ColumnKind = T::KIND;
    const REQUIRED: bool = false;

    fn to_value(&self) -> Value<'_> {
        self.as_ref().map_or(Value::Null, T::to_value)
    }

    fn from_value(value: Value<'_>) -> Result<Self, String> {
        match value {
            Value::Null => Ok(None),
            value => T::from_value(value).map(Some),
        }
    }
}

/// Declares the row of a view: `row! { /// An order. pub struct OrderRow { /// Its name. pub name: OrderName } }`. The type of a
/// field is a [`ColumnValue`]; an `Option` may have no value. The struct has the usual traits, and serializes as its fields.
#[macro_export]
macro_rules! row {
    ($(#[$meta:meta])* $visibility:vis struct $name:ident { $($(#[$field_meta:meta])* pub $field:ident: $type:ty),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, ::serde::Serialize)]
        $visibility struct $name {
            $($(#[$field_meta])* pub $field: $type,)+
        }

        impl $crate::Row for $name {
            const COLUMNS: &'static [$crate::Column] = &[$($crate::Column {
                name: stringify!($field),
                kind: <$type as $crate::ColumnValue>::KIND,
                required: <$type as $crate::ColumnValue>::REQUIRED,
            },)+];

            fn values(&self) -> ::std::vec::Vec<$crate::Value<'_>> {
                ::std::vec![$($crate::ColumnValue::to_value(&self.$field),)+]
            }

            fn from_values<'a>(
                values: impl ::std::iter::IntoIterator<Item = $crate::Value<'a>>,
            ) -> ::std::result::Result<Self, $crate::Garbled> {
                let mut values = values.into_iter();
                ::std::result::Result::Ok(Self {
                    $($field: $crate::ColumnValue::from_value(values.next().unwrap_or($crate::Value::Null))
                        .map_err(|problem| $crate::Garbled { column: stringify!($field), problem })?,)+
                })
            }
        }
    };
}

/// Stores an enum without fields in a column, under the names that strum gives its variants: `choice_value!(Status);`. The enum
/// must derive strum's `EnumString`, `IntoStaticStr` and `VariantNames`.
#[macro_export]
macro_rules! choice_value {
    ($type:ty) => {
        impl $crate::ColumnValue for $type {
            const KIND: $crate::ColumnKind =
                $crate::ColumnKind::Choice(<$type as ::strum::VariantNames>::VARIANTS);

            fn to_value(&self) -> $crate::Value<'_> {
                $crate::Value::Text(::std::borrow::Cow::Borrowed(self.into()))
            }

            fn from_value(value: $crate::Value<'_>) -> ::std::result::Result<Self, ::std::string::String> {
                let text = value.into_text()?;
                text.parse().map_err(|error| ::std::format!("{text:?} is none of its values: {error}"))
            }
        }
    };
}

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

    /// Applies the next event of the stream.
    ///
    /// # Errors
    /// [`NotApplied`]; the entry is unchanged then.
    pub fn apply<V: View<Row = R>>(&mut self, event: &Recorded<V::Event>) -> Result<(), NotApplied> {
        if event.version != self.version.next() {
            return Err(Gap { have: self.version, found: event.version }.into());
        }
        // A fold that panics must stop no other stream. It works on its own copy, so nothing here is left half done.
        let row = self.row.clone();
        let folded = catch_unwind(AssertUnwindSafe(|| V::apply(row, event)));
        self.row = folded.unwrap_or_else(|_| Err(Refused("the fold panicked".to_owned())))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    row! {
        /// One column of each kind.
        struct Sample {
            /// Any text.
            pub text: String,
            /// A number, if there is one.
            pub number: Option<i64>,
            /// Yes or no.
            pub flag: bool,
            /// A time.
            pub at: Timestamp,
            /// The name of a stream.
            pub stream: StreamId,
        }
    }

    #[derive(Clone, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
    enum Event {
        Counted { number: i64 },
        Cleared,
        Refused,
        Panicked,
    }

    impl EventType for Event {}

    #[derive(Clone, Debug)]
    struct Samples;

    impl View for Samples {
        const NAME: &'static str = "samples";
        type Event = Event;
        type Row = Sample;

        fn apply(_: Option<Sample>, recorded: &Recorded<Event>) -> Result<Option<Sample>, Refused> {
            match recorded.event {
                Event::Counted { number } => Ok(Some(Sample { number: Some(number), ..sample() })),
                Event::Cleared => Ok(None),
                Event::Refused => Err(Refused("not this one".to_owned())),
                Event::Panicked => panic!("on purpose"),
            }
        }
    }

    fn sample() -> Sample {
        Sample {
            text: "a text".to_owned(),
            number: None,
            flag: true,
            at: "1969-12-31T23:59:59.999999Z".parse().unwrap(),
            stream: StreamId::parse("a").unwrap(),
        }
    }

    fn recorded(version: u64, event: Event) -> Recorded<Event> {
        let stream = StreamId::parse("a").unwrap();
        Recorded { stream, version: Version::new(version), time: Timestamp::UNIX_EPOCH, event }
    }

    #[test]
    fn a_rows_fields_are_its_columns() {
        let columns: Vec<_> = Sample::COLUMNS.iter().map(|column| (column.name, column.required)).collect();
        let expected = [("text", true), ("number", false), ("flag", true), ("at", true), ("stream", true)];
        assert_eq!(columns, expected);
        assert_eq!(Sample::COLUMNS[1].kind, ColumnKind::Integer);
    }

    #[test]
    fn a_row_comes_back_from_its_values() {
        for row in [sample(), Sample { number: Some(i64::MIN), ..sample() }] {
            assert_eq!(Sample::from_values(row.values()).unwrap(), row);
        }
    }

    #[test]
    fn a_value_that_no_program_of_ours_wrote_is_told_with_its_column() {
        let row = sample();
        let mut values = row.values();
        values[4] = Value::Text("a/b".into());
        let garbled = Sample::from_values(values.clone()).unwrap_err();
        assert!(garbled.to_string().starts_with("the column stream: id has the character '/'"), "{garbled}");
        values[2] = Value::Null;
        assert_eq!(Sample::from_values(values).unwrap_err().to_string(), "the column flag: has no value");
    }

    #[test]
    fn times_are_kept_in_whole_microseconds_of_any_year() {
        for (time, kept) in [
            ("2026-01-02T03:04:05.123456789Z", "2026-01-02T03:04:05.123456Z"),
            ("1969-12-31T23:59:59.999999999Z", "1969-12-31T23:59:59.999999Z"),
            ("-009999-01-02T01:59:59Z", "-009999-01-02T01:59:59Z"),
            ("9999-12-30T22:00:00.9Z", "9999-12-30T22:00:00.9Z"),
        ] {
            let (time, kept): (Timestamp, Timestamp) = (time.parse().unwrap(), kept.parse().unwrap());
            assert_eq!(Timestamp::from_value(time.to_value()).unwrap(), kept);
        }
    }

    #[test]
    fn an_entry_takes_in_the_next_event_and_no_other() {
        let mut entry = Entry::absent(StreamId::parse("a").unwrap());
        entry.apply::<Samples>(&recorded(1, Event::Counted { number: 7 })).unwrap();
        let before = entry.clone();
        for (event, problem) in [
            (recorded(1, Event::Cleared), "version 1 can't follow version 1"),
            (recorded(3, Event::Cleared), "version 3 can't follow version 1"),
            (recorded(2, Event::Refused), "not this one"),
            (recorded(2, Event::Panicked), "the fold panicked"),
        ] {
            assert_eq!(entry.apply::<Samples>(&event).unwrap_err().to_string(), problem);
            assert_eq!(entry, before);
        }
        entry.apply::<Samples>(&recorded(2, Event::Cleared)).unwrap();
        assert_eq!((&entry.row, entry.version), (&None, Version::new(2)));
        let folded = Entry::fold::<Samples>(
            before.id,
            &[recorded(1, Event::Counted { number: 7 }), recorded(2, Event::Cleared)],
        );
        assert_eq!(folded, Ok(entry));
    }

    #[test]
    fn an_entry_serializes_as_its_row_with_id_and_version() {
        let absent = Entry::<Sample>::absent(StreamId::parse("a").unwrap());
        assert_eq!(serde_json::to_string(&absent).unwrap(), r#"{"id":"a","version":0}"#);
        let entry = Entry { row: Some(sample()), version: Version::new(3), ..absent };
        let shown = r#"{"id":"a","text":"a text","number":null,"flag":true,"at":"1969-12-31T23:59:59.999999Z","stream":"a","version":3}"#;
        assert_eq!(serde_json::to_string(&entry).unwrap(), shown);
    }
}
