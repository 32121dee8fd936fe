//! The tables of a store, which migrations make.

use sqlx::{AssertSqlSafe, PgConnection, Row, query, raw_sql};

use super::error::Error;

/// The tables of a store, in the first schema of the connection's search path, beside any other tables there.
pub struct Schema {
    /// The table of one row: how many of the migrations were run.
    pub version_table: String,
    /// The names of all other tables that the migrations make.
    pub tables: Vec<String>,
    /// The migrations, in order; the first makes schema 1. A delivered migration is never changed: new ones are added. Each leaves
    /// existing tables alone, so that all of them together create the missing ones.
    pub migrations: Vec<String>,
    /// The number of the lock under which one process at a time migrates: any that stands for these tables.
    pub lock: i32,
}

/// The state of a store's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tables {
    /// All migrations were run, and all tables are there.
    AllThere,
    /// All migrations were run, but a table is missing.
    Lost,
    /// Not all migrations were run. The number of those that were.
    Behind(usize),
}

/// Asks whether the server takes writes, whether the version's table (`$1`) is there, and whether all others (`$2`) are. It reads
/// the catalogue: `to_regclass` would not see the tables that another process has made while this one waited for the lock.
const LOOK: &str = "
SELECT current_setting('transaction_read_only')::boolean,
       count(*) FILTER (WHERE relname = $1::name) = 1,
       count(*) FILTER (WHERE relname = ANY ($2::name[])) = cardinality($2)
FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relname = ANY ($2::name[] || $1::name)";

impl Schema {
    /// Reads the state of the tables.
    ///
    /// # Errors
    /// When the server takes no writes, or a newer program has migrated the tables.
    pub async fn look(&self, connection: &mut PgConnection) -> Result<Tables, Error> {
        let look = query(LOOK).bind(&self.version_table).bind(&self.tables).persistent(false);
        let found = look.fetch_one(&mut *connection).await?;
        if found.try_get(0)? {
            return Err(Error::ReadOnly);
        }
        let done = if found.try_get(1)? { self.version(connection).await? } else { 0 };
        if done < self.migrations.len() {
            return Ok(Tables::Behind(done));
        }
        Ok(if found.try_get(2)? { Tables::AllThere } else { Tables::Lost })
    }

    /// Returns the number of migrations that were run.
    ///
    /// # Errors
    /// [`Error::Sql`] when the table is missing, and [`Error::Newer`].
    pub async fn version(&self, connection: &mut PgConnection) -> Result<usize, Error> {
        let sql = format!("SELECT coalesce(max(version), 0) FROM {}", self.version_table);
        let found = query(AssertSqlSafe(sql)).persistent(false).fetch_one(connection).await?;
        let (found, known) =
            (usize::try_from(found.try_get::<i32, _>(0)?).unwrap_or(0), self.migrations.len());
        if found > known { Err(Error::Newer { found, known }) } else { Ok(found) }
    }

    /// Begins a transaction, and runs the migrations in it if one was not run yet or a table is missing: all of them or none.
    /// Returns the state before. The caller commits. If several processes do so at once, one does the work and the others wait
    /// for it.
    ///
    /// # Errors
    /// As [`Schema::look`].
    pub async fn begin_migration(&self, connection: &mut PgConnection) -> Result<Tables, Error> {
        // The lock's second number tells schemas apart, and stores in one schema. The lock ends with the transaction.
        let begin = format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_advisory_xact_lock({}, hashtext(current_schema() || ' {}'))",
            self.lock, self.version_table
        );
        raw_sql(AssertSqlSafe(begin)).execute(&mut *connection).await?;
        let before = self.look(connection).await?;
        if before != Tables::AllThere {
            for migration in &self.migrations {
                raw_sql(AssertSqlSafe(migration.as_str())).execute(&mut *connection).await?;
            }
            self.note_version(connection).await?;
        }
        Ok(before)
    }

    async fn note_version(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
        let (table, version) = (&self.version_table, self.migrations.len());
        let note = format!(
            "CREATE TABLE IF NOT EXISTS {table} (version integer NOT NULL);
             DELETE FROM {table}; INSERT INTO {table} VALUES ({version})"
        );
        raw_sql(AssertSqlSafe(note)).execute(connection).await.map(drop)
    }
}
