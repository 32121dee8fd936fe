//! The shape of a view's tables, as every variant makes, reads and writes them.

use std::collections::BTreeSet;
use std::fmt::{self, Display, Write};

use event_sourcing::{
    Column, ColumnKind, ColumnValue, Entry, GarbledColumn, Index, Row, StreamId, Value, Version, View,
    is_by_stream,
};
use parking_lot::Mutex;

use crate::ViewId;

/// A view as SQL sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    /// Tells this shape from others. Programs whose shapes have the same key work on the same tables.
    pub(crate) key: &'static str,
    /// The kind of the keys of its rows; none if it has one row a stream.
    pub(crate) keyed_by: Option<ColumnKind>,
    pub(crate) columns: &'static [Column],
    pub(crate) indexes: &'static [Index],
}

impl Shape {
    /// The shape of a view, which is checked when the program is compiled.
    pub(crate) fn of<V: View>() -> Self {
        const { check::<V>() };
        let (name, columns) = (V::NAME, V::Row::COLUMNS);
        let keyed_by = if is_by_stream::<V>() { None } else { Some(V::Key::KIND) };
        Self { name, key: key(name, V::REVISION, keyed_by, columns), keyed_by, columns, indexes: V::INDEXES }
    }

    /// The column by which rows are found and sorted: the stream's id, or the key.
    pub(crate) const fn key_column(&self) -> Column {
        match self.keyed_by {
            None => Column { name: "id", kind: ColumnKind::Text, required: true },
            Some(kind) => Column { name: "key", kind, required: true },
        }
    }

    /// The columns of a row with its key, as a list.
    pub(crate) fn row_list(&self) -> String {
        let row = self.columns.iter().map(|column| column.name);
        [self.key_column().name].into_iter().chain(row).collect::<Vec<_>>().join(", ")
    }

    /// The key's first 32 bits of FNV-1a, in hexadecimal digits. Other programs compute the same.
    pub(crate) fn digest(&self) -> String {
        let hash = self.key.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        format!("{:08x}", hash >> 32)
    }

    /// Returns true if this is the key of a shape of the same view.
    pub(crate) fn is_of_same_view(&self, key: &str) -> bool {
        key.split_once(' ').is_some_and(|(name, _)| name == self.name)
    }

    /// The table of a view of this shape.
    pub(crate) const fn table(self, id: ViewId) -> Table {
        Table { shape: self, id, suffix: "" }
    }

    /// The columns of an entry, as a list: `id`, `version`, and those of the row.
    pub(crate) fn column_list(&self) -> String {
        let row = self.columns.iter().map(|column| column.name);
        ["id", "version"].into_iter().chain(row).collect::<Vec<_>>().join(", ")
    }

    /// The column that has a value whenever there is a row.
    pub(crate) fn presence(&self) -> &'static str {
        self.columns.iter().find(|column| column.required).map_or("version", |column| column.name)
    }

    /// Returns a page's conditions in the order in which they are to be tried: the most selective index comes first.
    pub(crate) fn sorted<'f>(
        &self,
        conditions: &'f [(Index, Value<'static>)],
    ) -> Vec<(&'static Column, &'f Value<'static>)> {
        let place = |index: &Index| self.indexes.iter().position(|known| known == index);
        let mut sorted: Vec<_> = conditions.iter().collect();
        sorted.sort_by_key(|(index, _)| place(index).unwrap_or(usize::MAX));
        let column = |name: &str| self.columns.iter().find(|column| column.name == name);
        sorted.into_iter().filter_map(|(index, value)| Some((column(index.column)?, value))).collect()
    }
}

/// The keys of this process. Every transaction asks for its views by a key, so each is made once, and leaked once.
static KEYS: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());

const fn kind_name(kind: ColumnKind) -> &'static str {
    match kind {
        ColumnKind::Text | ColumnKind::Choice(_) => "text",
        ColumnKind::Integer => "integer",
        ColumnKind::Boolean => "boolean",
        ColumnKind::Time => "time",
    }
}

fn key(name: &str, revision: u32, keyed_by: Option<ColumnKind>, columns: &[Column]) -> &'static str {
    let mut key = format!("{name} {revision}");
    // Writing to a text has no way to fail.
    if let Some(kind) = keyed_by {
        let _ = write!(key, " by {}", kind_name(kind));
    }
    for Column { name, kind, required } in columns {
        let _ = write!(key, ", {name} {}{}", kind_name(*kind), if *required { "" } else { "?" });
    }
    let mut keys = KEYS.lock();
    if let Some(known) = keys.get(key.as_str()) {
        return known;
    }
    let key: &'static str = key.leak();
    keys.insert(key);
    key
}

/// The table of a view. Displays as its name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table {
    pub(crate) shape: Shape,
    pub(crate) id: ViewId,
    suffix: &'static str,
}

impl Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}{}", self.shape.name, self.id.0, self.suffix)
    }
}

/// The end of the name of a table that has the versions of the streams.
pub(crate) const STREAMS: &str = "_streams";

impl Table {
    /// The table with the versions of the streams. It is the table of the rows if there is one row a stream. Otherwise it stands
    /// beside that table, and its entries have no row.
    pub(crate) const fn streams(self) -> Self {
        match self.shape.keyed_by {
            None => self,
            Some(_) => {
                Self { shape: Shape { columns: &[], indexes: &[], ..self.shape }, suffix: STREAMS, ..self }
            }
        }
    }

    /// The statements that drop its tables, also those of another shape of the view.
    pub(crate) fn drop_sql(self) -> String {
        format!("DROP TABLE IF EXISTS {self}; DROP TABLE IF EXISTS {self}{STREAMS}")
    }

    /// The statement that finds its rows, as other tools read them: without the entries of streams that have no row.
    pub(crate) fn rows_sql(self) -> String {
        let (shape, presence) = (self.shape, self.shape.presence());
        let columns = if shape.keyed_by.is_none() { shape.column_list() } else { shape.row_list() };
        format!("SELECT {columns} FROM {self} WHERE {presence} IS NOT NULL")
    }

    /// The indexes for pages: their names and their columns. A rebuild creates them last, because one sort is faster than an
    /// insertion at each row's place.
    pub(crate) fn page_indexes(self) -> impl Iterator<Item = (String, String)> {
        let key = self.shape.key_column().name;
        self.shape
            .indexes
            .iter()
            .map(move |Index { column }| (format!("{self}_by_{column}"), format!("{column}, {key}")))
    }
}

/// The key of a row as the value of a column.
pub(crate) fn key_value<V: View>(key: &V::Key) -> Value<'static> {
    key.to_value().into_owned()
}

/// A row with its key, from the values of its columns.
pub(crate) fn row<V: View>(
    key: Value<'_>,
    values: Vec<Value<'_>>,
) -> Result<(V::Key, V::Row), GarbledColumn> {
    let garbled = |problem| GarbledColumn { column: "key", problem };
    Ok((V::Key::from_value(key).map_err(garbled)?, V::Row::from_values(values)?))
}

/// The values of an entry's row; all null if the entry has no row.
pub(crate) fn values<R: Row>(entry: &Entry<R>) -> Vec<Value<'_>> {
    entry.row.as_ref().map_or_else(|| vec![Value::Null; R::COLUMNS.len()], R::values)
}

/// An entry from the values of its row's columns.
pub(crate) fn entry<R: Row>(
    id: StreamId,
    version: Version,
    values: Vec<Value<'_>>,
) -> Result<Entry<R>, GarbledColumn> {
    let is_absent = values.iter().all(|value| *value == Value::Null);
    let row = if is_absent { None } else { Some(R::from_values(values)?) };
    Ok(Entry { id, row, version })
}

/// A version as the value of a column. Parsed versions are at most 2^63 - 1.
pub(crate) fn number(version: Version) -> i64 {
    i64::try_from(version.get()).unwrap_or(i64::MAX)
}

pub(crate) fn version(number: i64) -> Version {
    Version::new(u64::try_from(number).unwrap_or_default())
}

/// Refuses a view for which no tables can be made.
const fn check<V: View>() {
    assert!(is_name(V::NAME), "a view's name has lower-case letters, digits and _, and begins with a letter");
    let columns = V::Row::COLUMNS;
    let (mut at, mut has_required) = (0, false);
    while at < columns.len() {
        assert!(is_name(columns[at].name), "a column's name has lower-case letters, digits and _");
        assert!(
            !is_same(columns[at].name, "id")
                && !is_same(columns[at].name, "version")
                && !is_same(columns[at].name, "key"),
            "every view has an id, a version or a key: no column has these names"
        );
        has_required |= columns[at].required;
        at += 1;
    }
    assert!(has_required, "a view has a column that always has a value");
    assert!(<V::Key as ColumnValue>::REQUIRED, "a key always has a value");
    let mut at = 0;
    while at < V::INDEXES.len() {
        let (mut column, mut is_known) = (0, false);
        while column < columns.len() {
            is_known |= is_same(columns[column].name, V::INDEXES[at].column);
            column += 1;
        }
        assert!(is_known, "an index is over a column of the view");
        at += 1;
    }
}

const fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let is_fine =
            bytes[at].is_ascii_lowercase() || (at > 0 && (bytes[at].is_ascii_digit() || bytes[at] == b'_'));
        if !is_fine {
            return false;
        }
        at += 1;
    }
    // PostgreSQL cuts names at 63 bytes; a table's number and an index's column follow the name.
    !bytes.is_empty() && bytes.len() <= 24
}

const fn is_same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    if one.len() != other.len() {
        return false;
    }
    let mut at = 0;
    while at < one.len() {
        if one[at] != other[at] {
            return false;
        }
        at += 1;
    }
    true
}
