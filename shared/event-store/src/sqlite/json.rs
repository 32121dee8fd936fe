//! The events of a commit as text: a JSON array, in the form that the domain gives an event.

use std::borrow::Cow;

use domain::Event;
use domain::schema::WrittenEvent;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

/// [`domain::schema::StoredEvent`], borrowed from the row: a rebuild reads millions.
#[derive(Deserialize)]
struct Stored<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    schema: u32,
    #[serde(borrow)]
    data: &'a RawValue,
}

struct Written<'a>(&'a [Event]);

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(WrittenEvent::from))
    }
}

/// Replaces what is in the buffer by the text of the events.
pub(super) fn write_events(events: &[Event], buffer: &mut Vec<u8>) -> serde_json::Result<()> {
    buffer.clear();
    serde_json::to_writer(buffer, &Written(events))
}

/// Reads events of any schema version; else says what is wrong with them.
pub(super) fn read_events(text: &str) -> Result<Vec<Event>, String> {
    let stored: Vec<Stored<'_>> =
        serde_json::from_str(text).map_err(|error| format!("no events: {error}"))?;
    if stored.is_empty() {
        return Err("a commit without events".to_owned());
    }
    let read = stored.iter().map(|event| Event::read(&event.kind, event.schema, event.data));
    read.collect::<Result<_, _>>().map_err(|error| error.to_string())
}
