//! The events of a commit as text: a JSON array of `{"type","schema","data"}`. The variants whose columns hold text share this
//! code.

use std::borrow::Cow;

use event_sourcing::EncodedEvent;
use serde::Deserialize;
use serde_json::value::RawValue;

/// An [`EncodedEvent`] that borrows from the row, because a rebuild reads millions of them.
#[derive(Deserialize)]
pub(crate) struct StoredEvent<'a> {
    #[serde(rename = "type", borrow)]
    pub(crate) kind: Cow<'a, str>,
    pub(crate) schema: u32,
    #[serde(borrow)]
    pub(crate) data: &'a RawValue,
}

/// Replaces the buffer's content with the text of the events.
pub(crate) fn write_events(events: &[EncodedEvent], buffer: &mut Vec<u8>) -> serde_json::Result<()> {
    buffer.clear();
    serde_json::to_writer(buffer, events)
}

/// Parses the events and converts each with `read`. An error says what is wrong with them.
pub(crate) fn read_events<T>(
    text: &str,
    read: impl FnMut(StoredEvent<'_>) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    let stored: Vec<StoredEvent<'_>> =
        serde_json::from_str(text).map_err(|error| format!("no events: {error}"))?;
    if stored.is_empty() {
        return Err("a commit without events".to_owned());
    }
    stored.into_iter().map(read).collect()
}
