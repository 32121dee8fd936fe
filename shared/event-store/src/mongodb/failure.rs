//! The driver's errors in one line each.

use mongodb::error::{Error, ErrorKind};
use runtime::secrets::note_refused_login;

use crate::StoreError;

/// The servers that have all that this program needs.
pub(super) const NEEDED: &str =
    "needed is MongoDB 5.0 or newer, or Amazon DocumentDB 5.0 or newer on an instance-based cluster";

pub(super) fn unavailable(error: &Error) -> StoreError {
    if matches!(*error.kind, ErrorKind::Authentication { .. }) {
        note_refused_login();
    }
    StoreError::Unavailable(line(error).into())
}

/// Returns the error as one line, with what is needed where the server is too old.
pub(super) fn line(error: &Error) -> String {
    let line = error.kind.to_string().replace('\n', " ");
    // The driver uses these words for a server that is too old for it, such as Amazon DocumentDB 4.0.
    if line.contains("reports wire version") { format!("{line}; {NEEDED}") } else { line }
}
