//! Access to the stores behind the system's back, for tests that damage them and check the result.

mod postgres;
mod servers;
mod sqlite;

pub use self::sqlite::SqliteView;

use self::postgres::PostgresView;
use crate::stores::Stores;
use crate::system::System;

/// The view, accessed past the system.
pub struct View(Kind);

enum Kind {
    Sqlite(SqliteView),
    Postgres(PostgresView),
}

/// Calls the variant's method of the same name.
macro_rules! either {
    ($view:expr, $($call:tt)+) => {
        match &mut $view.0 {
            Kind::Sqlite(view) => view.$($call)+,
            Kind::Postgres(view) => view.$($call)+.await,
        }
    };
}

impl View {
    /// Returns the view of a system.
    pub async fn of(system: &System) -> Self {
        Self(match system.stores() {
            Stores::Embedded => Kind::Sqlite(SqliteView::of(system)),
            Stores::Postgres(schema) => Kind::Postgres(PostgresView::of(schema).await),
            Stores::Servers(servers) => Kind::Postgres(PostgresView::of(servers.schema()).await),
        })
    }

    /// Returns the number of the view in use.
    pub async fn active(&mut self) -> i64 {
        either!(self, active())
    }

    /// Returns the number of rebuilds that are under way or were cut short.
    pub async fn building(&mut self) -> i64 {
        either!(self, building())
    }

    /// Returns the number of views that have a table.
    pub async fn tables(&mut self) -> i64 {
        either!(self, tables())
    }

    /// Drops the table of the view in use, and the SQL view over it.
    pub async fn lose_table(&mut self) {
        either!(self, execute("DROP VIEW orders"));
        let sql = format!("DROP TABLE orders_{}", self.active().await);
        either!(self, execute(&sql));
    }

    /// Runs a statement that must change one order of the view in use. The statement calls the table `orders`.
    async fn change(&mut self, sql: &str) {
        let table = format!("orders_{}", self.active().await);
        let sql = sql.replace("orders", &table);
        assert_eq!(either!(self, execute(&sql)), 1, "{sql}");
    }

    /// Deletes an order.
    pub async fn remove(&mut self, id: &str) {
        self.change(&format!("DELETE FROM orders WHERE id = '{id}'")).await;
    }

    /// Gives an order another name.
    pub async fn rename(&mut self, id: &str, name: &str) {
        self.change(&format!("UPDATE orders SET name = '{name}' WHERE id = '{id}'")).await;
    }

    /// Gives an order another version.
    pub async fn set_version(&mut self, id: &str, version: u64) {
        self.change(&format!("UPDATE orders SET version = {version} WHERE id = '{id}'")).await;
    }

    /// Sets an order back to how it was when it was new.
    pub async fn set_back(&mut self, id: &str) {
        let new = "version = 1, status = 'new', updated_at = created_at";
        self.change(&format!("UPDATE orders SET {new} WHERE id = '{id}'")).await;
    }

    /// Gives an order a status that does not exist.
    pub async fn garble(&mut self, id: &str) {
        self.change(&format!("UPDATE orders SET status = 'lost in thought' WHERE id = '{id}'")).await;
    }

    /// Adds an order that the event store does not have.
    pub async fn add_ghost(&mut self, id: &str, version: u64) {
        let table = format!("orders_{}", self.active().await);
        either!(self, add_ghost(&table, id, version));
    }

    /// Renames a type in the held records of unknown type, as if the program had learned it. Returns the number of records.
    pub async fn teach(&mut self, name: &str, known: &str) -> u64 {
        either!(self, teach(name, known))
    }

    /// Adds a held event.
    pub async fn hold(&mut self, order: Option<&str>, version: Option<i64>, reason: &str, value: &str) {
        let view = self.active().await;
        either!(self, hold(view, order, version, reason, value));
    }
}

/// Marks a commit as unpublished in the event store.
pub async fn mark_unpublished(system: &System, id: &str, version: i64) {
    match system.stores() {
        Stores::Embedded => sqlite::mark_unpublished(system, id, version),
        Stores::Postgres(place) => postgres::mark_unpublished(place, id, version).await,
        Stores::Servers(servers) => servers::mark_unpublished(servers, id, version).await,
    }
}

/// Deletes a commit from the event store, so that its stream has a gap and can't be read.
pub async fn lose_commit(system: &System, id: &str, version: i64) {
    match system.stores() {
        Stores::Embedded => sqlite::lose_commit(system, id, version),
        Stores::Postgres(place) => postgres::lose_commit(place, id, version).await,
        Stores::Servers(servers) => servers::lose_commit(servers, id, version).await,
    }
}

/// Gives the first event of a commit a schema version: 1 is today's, any greater one is a newer program's.
pub async fn set_schema(system: &System, id: &str, version: i64, schema: u32) {
    match system.stores() {
        Stores::Embedded => sqlite::set_schema(system, id, version, schema),
        Stores::Postgres(place) => postgres::set_schema(place, id, version, schema).await,
        Stores::Servers(servers) => servers::set_schema(servers, id, version, schema).await,
    }
}

/// Marks a commit as unpublished, and dates it in 2100 as a machine with a wrong clock would.
pub async fn leave_unpublished_in_the_future(system: &System, id: &str, version: i64) {
    match system.stores() {
        Stores::Embedded => sqlite::leave_unpublished_in_the_future(system, id, version),
        Stores::Postgres(place) => postgres::leave_unpublished_in_the_future(place, id, version).await,
        Stores::Servers(servers) => servers::leave_unpublished_in_the_future(servers, id, version).await,
    }
}
