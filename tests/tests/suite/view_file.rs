//! The files of the embedded default, for tests that damage them behind the system's back.

use std::time::Duration;

use rusqlite::{Connection, Params};
use tests::system::System;

/// Opens one of the system's files.
fn open(system: &System, name: &str) -> Connection {
    let file = Connection::open(system.path(name)).unwrap();
    file.busy_timeout(Duration::from_secs(10)).unwrap();
    file
}

/// The view's file.
pub(crate) struct ViewFile {
    file: Connection,
}

impl ViewFile {
    pub(crate) fn of(system: &System) -> Self {
        Self { file: open(system, "orders.db") }
    }

    /// The number of the view in use.
    pub(crate) fn active(&self) -> i64 {
        self.number("SELECT id FROM views WHERE state = 'active'")
    }

    /// How many rebuilds are under way, or were cut short.
    pub(crate) fn building(&self) -> i64 {
        self.number("SELECT count(*) FROM views WHERE state = 'building'")
    }

    /// How many views have a table.
    pub(crate) fn tables(&self) -> i64 {
        self.number("SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name GLOB 'orders_[0-9]*'")
    }

    /// The number that a query yields.
    pub(crate) fn number(&self, sql: &str) -> i64 {
        self.file.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// Changes the view in use, whose orders are called `orders` in the statement.
    pub(crate) fn change(&self, sql: &str, params: impl Params) {
        let sql = sql.replace("orders", &format!("orders_{}", self.active()));
        assert!(self.file.execute(&sql, params).unwrap() > 0, "nothing was changed: {sql}");
    }

    /// Sets an order back to how it was when it was new.
    pub(crate) fn set_back(&self, id: &str) {
        self.change(
            "UPDATE orders SET version = 1, status = 'new', updated_at = created_at WHERE id = ?1",
            [id],
        );
    }

    /// Holds an event.
    pub(crate) fn hold(&self, order: Option<&str>, version: Option<i64>, reason: &str, value: &str) {
        let view = self.active();
        let sql = "INSERT INTO held_events
            (view, order_id, version, reason, problem, topic, partition, offset, key, value, held_at)
            VALUES (?1, ?2, ?3, ?4, 'by a test', 'orders.events', 0, 7, NULL, ?5, 0)";
        self.file.execute(sql, (view, order, version, reason, value.as_bytes())).unwrap();
    }
}

/// Makes the event store believe that a commit was not published.
pub(crate) fn mark_unpublished(system: &System, id: &str, version: i64) {
    let file = open(system, "events.db");
    let sql = "INSERT INTO unpublished (stream, version, recorded_at) VALUES (?1, ?2, 0)";
    assert_eq!(file.execute(sql, (id, version)).unwrap(), 1);
}
