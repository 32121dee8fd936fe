//! The tables of a namespace, for reads that are not frequent.

use rusqlite::{CachedStatement, Connection};

use crate::Namespace;

/// A connection, and the namespace whose tables it reads.
pub(super) struct Tables {
    pub(super) connection: Connection,
    pub(super) namespace: Namespace,
}

impl Tables {
    /// Prepares a statement with the names of the namespace's tables.
    pub(super) fn prepare(&self, statement: &str) -> rusqlite::Result<CachedStatement<'_>> {
        self.connection.prepare_cached(&self.namespace.sql(statement))
    }
}
