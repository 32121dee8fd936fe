//! A view: rows for queries, folded from events.
//!
//! One file declares a view: its row ([`row!`](crate::row)), its indexes and its fold. The stores create its tables from them.

use std::any::TypeId;
use std::borrow::Cow;
use std::fmt::Debug;

use jiff::Timestamp;
use serde::Serialize;
use thiserror::Error;

use crate::event::EventType;
use crate::values::StreamId;
use crate::wire::Recorded;

/// A view: rows that are folded from the events of any number of streams.
///
/// [`View::keys`] says which rows an event touches. There are two kinds of views:
/// - **One row a stream.** The key is the stream itself (`type Key = StreamId`), and the row carries the stream's version.
/// - **Any other key.** A stream may have several rows, and streams may share a row. The stores keep the versions of the streams
///   beside the rows. A row must not depend on how the events of its streams interleave, because nothing puts the events of
///   different streams in a sequence. `testing::any_interleaving` shows it for a view.
pub trait View: Clone + Debug + Send + Sync + 'static {
    /// The view's name: a lower-case letter, then lower-case letters, digits and `_`. The names of its tables come from it.
    const NAME: &'static str;
    /// The revision of the fold. Raise it when the fold changes and the columns stay: rows of another fold are not read.
    const REVISION: u32 = 1;
    /// The indexes. A query can filter a page by each of them. The most selective index comes first.
    const INDEXES: &'static [Index] = &[];

    /// The events from which it is folded.
    type Event: EventType;
    /// The key of a row: the stream, or the value of a column named `key`.
    type Key: Key;
    /// The view's row.
    type Row: Row;

    /// Returns the keys of the rows that the event touches. An event without keys changes no row, but the view moves on.
    ///
    /// # Errors
    /// As [`View::apply`].
    fn keys(event: &Recorded<Self::Event>) -> Result<Keys<Self::Key>, Refused>;

    /// Returns the row of a key after an event. It is called once for each of the event's keys, so it is given the key.
    /// `None` means no row: a row that there was is deleted. An event that changes nothing returns the row as it is.
    ///
    /// # Errors
    /// [`Refused`] when the event can't become a row. None of the event's rows changes then. Its stream stops there, and the event
    /// is held with that reason.
    fn apply(
        key: &Self::Key,
        row: Option<Self::Row>,
        event: &Recorded<Self::Event>,
    ) -> Result<Option<Self::Row>, Refused>;
}

/// A type whose values can be the keys of rows. It is a column that always has a value.
pub trait Key: ColumnValue + Clone + Debug + Ord + Send + Sync + 'static {}

impl<K: ColumnValue + Clone + Debug + Ord + Send + Sync + 'static> Key for K {}

/// The keys of an event. A key that stands there twice counts once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keys<K> {
    /// None.
    None,
    /// One.
    One(K),
    /// Any number.
    Many(Vec<K>),
}

impl<K: Key> Keys<K> {
    /// Returns the keys in their sequence, each once.
    #[must_use]
    pub fn sorted(self) -> Vec<K> {
        match self {
            Self::None => Vec::new(),
            Self::One(key) => vec![as_stored(key)],
            Self::Many(keys) => {
                let mut keys: Vec<K> = keys.into_iter().map(as_stored).collect();
                keys.sort_unstable();
                keys.dedup();
                keys
            }
        }
    }
}

/// Returns the key as a column gives it back. Two times of one microsecond are one key.
fn as_stored<K: Key>(key: K) -> K {
    match K::KIND {
        ColumnKind::Time => K::from_value(key.to_value()).unwrap_or(key),
        _ => key,
    }
}

/// Returns true if the view has one row a stream, which carries the stream's version.
#[must_use]
pub fn is_by_stream<V: View>() -> bool {
    TypeId::of::<V::Key>() == TypeId::of::<StreamId>()
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
    /// [`GarbledColumn`] when this type never writes such a value.
    fn from_values<'a>(values: impl IntoIterator<Item = Value<'a>>) -> Result<Self, GarbledColumn>;
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

/// A value of a column. Values of a column compare as the stores compare them: texts by their bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
pub struct GarbledColumn {
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

    /// Returns the value with a text of its own.
    #[must_use]
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Self::Null => Value::Null,
            Self::Text(text) => Value::Text(text.into_owned().into()),
            Self::Integer(number) => Value::Integer(number),
            Self::Boolean(value) => Value::Boolean(value),
            Self::Time(time) => Value::Time(time),
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
            ) -> ::std::result::Result<Self, $crate::GarbledColumn> {
                let mut values = values.into_iter();
                ::std::result::Result::Ok(Self {
                    $($field: $crate::ColumnValue::from_value(values.next().unwrap_or($crate::Value::Null))
                        .map_err(|problem| $crate::GarbledColumn { column: stringify!($field), problem })?,)+
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

    fn sample() -> Sample {
        Sample {
            text: "a text".to_owned(),
            number: None,
            flag: true,
            at: "1969-12-31T23:59:59.999999Z".parse().unwrap(),
            stream: StreamId::parse("a").unwrap(),
        }
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
}
