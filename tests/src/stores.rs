//! What a system under test stands on.

use std::path::Path;

/// The stores of one system. Settings go to every process by its environment, so that servers and tools find the same.
#[derive(Clone, Debug)]
pub enum Stores {
    /// SQLite files in the system's folder, and the in-memory channel.
    Embedded,
}

impl Stores {
    /// Stores that nobody else uses, of the kind that the suite runs on.
    #[must_use]
    pub fn fresh() -> Self {
        Self::Embedded
    }

    /// The settings for a system in this folder.
    #[must_use]
    pub fn settings(&self, folder: &Path) -> Vec<(&'static str, String)> {
        match self {
            Self::Embedded => vec![("ORDERS_DATA", folder.display().to_string())],
        }
    }
}
