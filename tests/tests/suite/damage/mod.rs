//! The stores behind the system's back: for tests that damage them, and see what becomes of it.

mod servers;
mod sqlite;

use tests::stores::Stores;
use tests::system::System;

pub(crate) use sqlite::SqliteView;

use servers::PostgresView;

/// The view, past the system.
pub(crate) enum View {
    Sqlite(SqliteView),
    Postgres(PostgresView),
}

/// Calls the variant's method of the same name.
macro_rules! either {
    ($view:expr, $($call:tt)+) => {
        match $view {
            View::Sqlite(view) => view.$($call)+,
            View::Postgres(view) => view.$($call)+.await,
        }
    };
}

impl View {
    pub(crate) async fn of(system: &System) -> Self {
        match system.stores() {
            Stores::Embedded => Self::Sqlite(SqliteView::of(system)),
            Stores::Servers(servers) => Self::Postgres(PostgresView::of(servers).await),
        }
    }

    /// The number of the view in use.
    pub(crate) async fn active(&mut self) -> i64 {
        either!(self, active())
    }

    /// How many rebuilds are under way, or were cut short.
    pub(crate) async fn building(&mut self) -> i64 {
        either!(self, building())
    }

    /// How many views have a table.
    pub(crate) async fn tables(&mut self) -> i64 {
        either!(self, tables())
    }

    /// Changes one order of the view in use, which is called `orders` in the statement.
    async fn change(&mut self, sql: &str) {
        let table = format!("orders_{}", self.active().await);
        let sql = sql.replace("orders", &table);
        assert_eq!(either!(self, execute(&sql)), 1, "{sql}");
    }

    pub(crate) async fn remove(&mut self, id: &str) {
        self.change(&format!("DELETE FROM orders WHERE id = '{id}'")).await;
    }

    pub(crate) async fn rename(&mut self, id: &str, name: &str) {
        self.change(&format!("UPDATE orders SET name = '{name}' WHERE id = '{id}'")).await;
    }

    pub(crate) async fn set_version(&mut self, id: &str, version: u64) {
        self.change(&format!("UPDATE orders SET version = {version} WHERE id = '{id}'")).await;
    }

    /// Sets an order back to how it was when it was new.
    pub(crate) async fn set_back(&mut self, id: &str) {
        let new = "version = 1, status = 'new', updated_at = created_at";
        self.change(&format!("UPDATE orders SET {new} WHERE id = '{id}'")).await;
    }

    /// Adds an order of which the event store knows nothing.
    pub(crate) async fn add_ghost(&mut self, id: &str, version: u64) {
        let table = format!("orders_{}", self.active().await);
        either!(self, add_ghost(&table, id, version));
    }

    /// Holds an event.
    pub(crate) async fn hold(
        &mut self,
        order: Option<&str>,
        version: Option<i64>,
        reason: &str,
        value: &str,
    ) {
        let view = self.active().await;
        either!(self, hold(view, order, version, reason, value));
    }
}

/// Makes the event store believe that a commit was not published.
pub(crate) async fn mark_unpublished(system: &System, id: &str, version: i64) {
    match system.stores() {
        Stores::Embedded => sqlite::mark_unpublished(system, id, version),
        Stores::Servers(servers) => servers::mark_unpublished(servers, id, version).await,
    }
}
