//! The files of the embedded default.

use std::time::Duration;

use rusqlite::Connection;

use crate::system::System;

/// Opens one of the system's files.
fn open(system: &System, name: &str) -> Connection {
    let file = Connection::open(system.path(name)).unwrap();
    file.busy_timeout(Duration::from_secs(10)).unwrap();
    file
}

/// The view's file.
#[derive(Debug)]
pub struct SqliteView {
    file: Connection,
}

impl SqliteView {
    /// Opens the view's file of a system on the embedded default.
    #[must_use]
    pub fn of(system: &System) -> Self {
        Self { file: open(system, "views.db") }
    }

    /// Returns the number of the view in use.
    #[must_use]
    pub fn active(&self) -> i64 {
        self.number("SELECT id FROM read_store_views WHERE state = 'active'")
    }

    pub(super) fn building(&self) -> i64 {
        self.number("SELECT count(*) FROM read_store_views WHERE state = 'building'")
    }

    pub(super) fn tables(&self) -> i64 {
        self.number("SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name GLOB 'orders_[0-9]*'")
    }

    /// Returns the number that a query yields.
    #[must_use]
    pub fn number(&self, sql: &str) -> i64 {
        self.file.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// Runs a statement, and returns the number of rows that it changed.
    pub(super) fn execute(&self, sql: &str) -> u64 {
        self.file.execute(sql, []).unwrap() as u64
    }

    pub(super) fn add_ghost(&self, table: &str, id: &str, version: u64) {
        self.execute(&format!(
            "INSERT INTO {table} (id, version, status, name, created_at, updated_at)
             VALUES ('{id}', {version}, 'new', 'boo', 0, 0)"
        ));
    }

    pub(super) fn teach(&self, name: &str, known: &str) -> u64 {
        let value = format!("CAST(replace(CAST(value AS TEXT), '{name}', '{known}') AS BLOB)");
        self.execute(&format!("UPDATE read_store_held SET value = {value} WHERE reason = 'unknown-type'"))
    }

    pub(super) fn hold(
        &self,
        view: i64,
        order: Option<&str>,
        version: Option<i64>,
        reason: &str,
        value: &str,
    ) {
        let sql = "INSERT INTO read_store_held
            (view, stream, version, reason, problem, topic, partition, record_offset, key, value, held_at)
            VALUES (?1, ?2, ?3, ?4, 'by a test', 'orders.events', 0, 7, NULL, ?5, 0)";
        self.file.execute(sql, (view, order, version, reason, value.as_bytes())).unwrap();
    }
}

pub(super) fn mark_unpublished(system: &System, id: &str, version: i64) {
    add_to_outbox(system, id, version, 0);
}

pub(super) fn leave_unpublished_in_the_future(system: &System, id: &str, version: i64) {
    // 2100, in microseconds.
    add_to_outbox(system, id, version, 4_102_444_800_000_000);
}

fn add_to_outbox(system: &System, id: &str, version: i64, recorded_at: i64) {
    let file = open(system, "events.db");
    let sql = "INSERT INTO orders_order_outbox (stream, version, recorded_at) VALUES (?1, ?2, ?3)";
    assert_eq!(file.execute(sql, (id, version, recorded_at)).unwrap(), 1);
}

pub(super) fn lose_commit(system: &System, id: &str, version: i64) {
    let file = open(system, "events.db");
    let sql = "DELETE FROM orders_order_commits WHERE stream = ?1 AND key = ?2";
    assert_eq!(file.execute(sql, (id, version)).unwrap(), 1);
}

pub(super) fn set_schema(system: &System, id: &str, version: i64, schema: u32) {
    let sql = "UPDATE orders_order_commits SET events = json_set(events, '$[0].schema', ?3) WHERE stream = ?1 AND key = ?2";
    assert_eq!(open(system, "events.db").execute(sql, (id, version, schema)).unwrap(), 1);
}
