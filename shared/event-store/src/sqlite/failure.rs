//! The failures of the file, and their descriptions for callers.

use runtime::files::OpenedFile;

use crate::StoreError;

/// Checks that the path still names the opened file.
pub(super) fn check(opened: &OpenedFile) -> Result<(), StoreError> {
    opened.check().map_err(|gone| StoreError::Unavailable(gone.to_string().into()))
}

pub(super) fn unavailable(error: &rusqlite::Error) -> StoreError {
    StoreError::Unavailable(error.to_string().into())
}
