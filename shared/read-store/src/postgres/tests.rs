//! What only the inside shows: which way a statement goes.

use domain::{OrderId, OrderName, Status};
use sqlx::{AssertSqlSafe, PgConnection, Row, raw_sql};

use super::connections::Connections;
use super::{project, read};
use crate::{Filter, ReadStore, ViewId};

#[path = "../../tests/database/mod.rs"]
mod database;

use database::Database;

/// The plan for a statement whose parameters stand in it.
async fn plan_of(connection: &mut PgConnection, sql: &str) -> String {
    let explain = AssertSqlSafe(format!("EXPLAIN {sql}"));
    let lines = raw_sql(explain).fetch_all(connection).await.unwrap();
    lines.iter().map(|line| line.get::<String, _>(0)).collect::<Vec<_>>().join("\n")
}

fn page(status: Option<Status>, name: Option<&str>) -> String {
    let name = name.map(|name| OrderName::parse(name).unwrap());
    let filter = Filter { status, name, after: OrderId::parse("order-00500").ok(), limit: 50 };
    let sql = read::page_sql(ViewId(1), &filter);
    let after = filter.after.as_ref().map_or("", OrderId::as_str);
    sql.replace("$1", &format!("'{after}'")).replace("$2", "51").replace("$3", "'name 7'")
}

#[tokio::test]
async fn pages_and_rows_by_id_go_by_an_index_and_are_never_sorted() {
    let Some(database) = Database::fresh().await else { return };
    let store = ReadStore::open(&database.url()).await.unwrap();
    store.migrate().await.unwrap();
    let mut connection = database.connect().await;
    // Most orders are processed, as they are in the end; few are new. Names are common to a few.
    raw_sql(
        "INSERT INTO orders_1 (id, version, status, name, created_at, updated_at, nanos)
         SELECT 'order-' || lpad(n::text, 5, '0'), 3, CASE WHEN n % 100 = 0 THEN 'new' ELSE 'processed' END,
             'name ' || n % 200, now(), now(), 0 FROM generate_series(1, 20000) AS n",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    raw_sql("ANALYZE orders_1").execute(&mut connection).await.unwrap();
    // With the settings of the store's own sessions.
    let mut lease = Connections::new(&database.url(), 1).unwrap().take().await.unwrap();
    let expected = [
        (page(None, None), "using orders_1_pkey", "(id > "),
        (page(Some(Status::New), None), "using orders_1_by_status", "((status = 'new'::text) AND (id > "),
        (page(None, Some("name 7")), "using orders_1_by_name", "((name = 'name 7'::text) AND (id > "),
        (
            page(Some(Status::New), Some("name 7")),
            "using orders_1_by_name",
            "((name = 'name 7'::text) AND (id > ",
        ),
    ];
    for (sql, index, condition) in expected {
        let plan = plan_of(&mut lease.connection, &sql).await;
        assert!(plan.contains(index) && plan.contains(condition) && !plan.contains("Sort"), "{sql}\n{plan}");
    }
    let rows = project::rows_sql(ViewId(1)).replace("$1", "'{order-00001,order-00002}'");
    let locked = plan_of(&mut lease.connection, &format!("{rows} ORDER BY id FOR UPDATE")).await;
    assert!(locked.contains("orders_1_pkey"), "{locked}");
    let held = project::HELD_ROWS.replace("$1", "1").replace("$2", "'{order-00001,order-00002}'");
    let held = plan_of(&mut lease.connection, &held).await;
    assert!(held.contains("using orders_held_by_order") && held.contains("(order_id = ANY"), "{held}");
    assert!(!held.contains("Filter"), "{held}");
}
