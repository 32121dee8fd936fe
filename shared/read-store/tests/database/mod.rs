//! Fresh PostgreSQL schemas for tests, on the server that `TEST_POSTGRES` names: a URL of a database in which its user
//! may create schemas.

use std::io::Write;
use std::sync::Once;

use sqlx::{AssertSqlSafe, Connection, PgConnection, raw_sql};

const SERVER: &str = "TEST_POSTGRES";

/// A schema of its own, so that tests run side by side. Deleted when dropped.
pub(crate) struct Database {
    server: String,
    schema: String,
}

impl Database {
    /// Creates a schema. Returns `None` if no server is named, and says so once. It says so past the test harness, which shows no
    /// output of tests that pass.
    pub(crate) async fn fresh() -> Option<Self> {
        static SAY: Once = Once::new();
        let Ok(server) = std::env::var(SERVER) else {
            SAY.call_once(|| {
                let mut stderr = std::io::stderr();
                writeln!(stderr, "NOT RUN: the tests on a real PostgreSQL, because {SERVER} is not set")
                    .unwrap();
            });
            return None;
        };
        let schema = format!("test_{:016x}", rand::random::<u64>());
        let mut connection = PgConnection::connect(&server).await.unwrap();
        raw_sql(AssertSqlSafe(format!("CREATE SCHEMA {schema}"))).execute(&mut connection).await.unwrap();
        Some(Self { server, schema })
    }

    /// The URL of a store in this schema.
    pub(crate) fn url(&self) -> String {
        let sign = if self.server.contains('?') { '&' } else { '?' };
        format!("{}{sign}options[search_path]={}", self.server, self.schema)
    }

    /// Opens a connection that is not a store's.
    pub(crate) async fn connect(&self) -> PgConnection {
        PgConnection::connect(&self.url()).await.unwrap()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let Self { server, schema } = self;
        // On a thread of its own, because code within a test's runtime can't block on it.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let mut connection = PgConnection::connect(server).await.unwrap();
                    let drop = AssertSqlSafe(format!("DROP SCHEMA {schema} CASCADE"));
                    raw_sql(drop).execute(&mut connection).await.unwrap();
                });
            });
        });
    }
}
