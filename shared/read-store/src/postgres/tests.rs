//! What only the inside shows: which way a statement goes, and whose connections it takes.

use domain::{Event, OrderId, OrderName, RecordedEvent, Status, Version};
use jiff::Timestamp;
use sqlx::{AssertSqlSafe, PgConnection, Row, raw_sql};

use super::connections::Connections;
use super::{LEFT_BY_LISTS, project, read};
use crate::{Filter, Incoming, ReadStore, ViewId};

#[path = "../../tests/database/mod.rs"]
mod database;

use database::Database;

/// The plan for a statement when it is executed with these parameters, prepared as the store does it: one plan for all of them.
async fn plan_of(connection: &mut PgConnection, sql: &str, parameters: &str) -> String {
    let explain = format!("PREPARE it AS {sql}; EXPLAIN EXECUTE it ({parameters}); DEALLOCATE it");
    let lines = raw_sql(AssertSqlSafe(explain)).fetch_all(connection).await.unwrap();
    lines.iter().map(|line| line.get::<String, _>(0)).collect::<Vec<_>>().join("\n")
}

/// A page by such a filter, and its parameters.
fn page(status: Option<Status>, name: Option<&str>) -> (String, &'static str) {
    let parameters = if name.is_some() { "'order-00500', 51, 'name 7'" } else { "'order-00500', 51" };
    let name = name.map(|name| OrderName::parse(name).unwrap());
    let filter = Filter { status, name, after: OrderId::parse("order-00500").ok(), limit: 50 };
    (read::page_sql(ViewId(1), &filter), parameters)
}

#[tokio::test]
async fn pages_and_rows_by_id_go_by_an_index_and_are_never_sorted() {
    let Some(database) = Database::fresh().await else { return };
    let store = ReadStore::open(database.url()).await.unwrap();
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
    let mut lease = Connections::new(&database.url().into(), 1).unwrap().take().await.unwrap();
    let expected = [
        (page(None, None), "using orders_1_pkey", "(id > "),
        (page(Some(Status::New), None), "using orders_1_by_status", "((status = 'new'::text) AND (id > "),
        (page(None, Some("name 7")), "using orders_1_by_name", "((name = $3) AND (id > "),
        (page(Some(Status::New), Some("name 7")), "using orders_1_by_name", "((name = $3) AND (id > "),
    ];
    for ((sql, parameters), index, condition) in expected {
        let plan = plan_of(&mut lease.connection, &sql, parameters).await;
        assert!(plan.contains(index) && plan.contains(condition) && !plan.contains("Sort"), "{sql}\n{plan}");
    }
    let locks = [
        format!("{} ORDER BY id FOR UPDATE", project::rows_sql(ViewId(1))),
        project::rows_of_others_sql(ViewId(1)),
    ];
    for sql in locks {
        let plan = plan_of(&mut lease.connection, &sql, "'{order-00001,order-00002}'").await;
        assert!(plan.contains("orders_1_pkey"), "{sql}\n{plan}");
    }
}

/// A plan is kept from when little was held to when much is; so it must be the same.
#[tokio::test]
async fn what_is_held_is_found_by_its_own_index_however_much_it_is() {
    let Some(database) = Database::fresh().await else { return };
    let store = ReadStore::open(database.url()).await.unwrap();
    store.migrate().await.unwrap();
    let mut connection = database.connect().await;
    let mut lease = Connections::new(&database.url().into(), 1).unwrap().take().await.unwrap();
    let some = "'{order-00001,order-00002}'";
    let in_view = format!("1, {some}");
    let (page, after) = page(None, None);
    let expected = [
        (project::HELD_ROWS, in_view.as_str(), "by_order", "(order_id = asked.id)"),
        (&read::seen_sql(ViewId(1)), some, "by_order", "(order_id = asked.id)"),
        (&page, after, "by_order", "(order_id = has.id)"),
        (project::STRAYS, "1, '{t,t}', '{0,1}', '{5,6}'", "strays", "(record_offset >= place.at)"),
    ];
    // Untouched, known to be empty, full and not known to be, and known to be full.
    let fill = "INSERT INTO orders_held
            (view, order_id, version, reason, problem, topic, partition, record_offset, value, held_at)
         SELECT 1, CASE WHEN n % 3 > 0 THEN 'order-' || n % 500 END, CASE n % 3 WHEN 1 THEN n END, 'gap', '', 't', n % 8,
             n, 'x', now() FROM generate_series(1, 10000) AS n";
    for step in ["SELECT 1", "ANALYZE orders_held", fill, "ANALYZE orders_held"] {
        raw_sql(step).execute(&mut connection).await.unwrap();
        for (sql, parameters, index, condition) in expected {
            let plan = plan_of(&mut lease.connection, sql, parameters).await;
            let indexed = plan.contains(&format!("using orders_held_{index} ")) && plan.contains(condition);
            let others = ["by_order", "by_view", "strays"].into_iter().filter(|other| *other != index);
            let other = others.into_iter().any(|other| plan.contains(&format!("orders_held_{other} ")));
            assert!(indexed && !other && !plan.contains("Sort"), "{step}: {sql}\n{plan}");
        }
    }
}

#[tokio::test]
async fn the_projector_waits_for_no_query_however_many_take_their_time() {
    let Some(database) = Database::fresh().await else { return };
    let ReadStore::Postgres(store) = ReadStore::open(&database.url()).await.unwrap() else {
        panic!("PostgreSQL")
    };
    store.migrate().await.unwrap();
    let mut slow = vec![];
    for _ in 0..store.shared.size {
        slow.push(store.shared.connections.take().await.unwrap());
    }
    let created = Event::OrderCreated { name: OrderName::parse("a lamp").unwrap() };
    let (order, version, at) = (OrderId::parse("a").unwrap(), Version::new(1), Timestamp::UNIX_EPOCH);
    let event = RecordedEvent { stream: order, version, time: at, event: created };
    let projected = store.project(vec![Incoming::from_event_store(event, at)]).await.unwrap();
    assert_eq!(projected.applied, 1);
}

#[tokio::test]
async fn lists_that_take_their_time_leave_connections_to_reads_of_single_orders() {
    let Some(database) = Database::fresh().await else { return };
    let ReadStore::Postgres(store) = ReadStore::open(&database.url()).await.unwrap() else {
        panic!("PostgreSQL")
    };
    store.migrate().await.unwrap();
    assert_eq!(store.shared.lists.available_permits(), store.shared.size - LEFT_BY_LISTS);
    let slow = store.shared.lists.acquire_many((store.shared.size - LEFT_BY_LISTS) as u32).await.unwrap();
    let filter = || Filter { status: None, name: None, after: None, limit: 1 };
    let (list, see) = tokio::join!(
        async {
            let listed = store.list(filter()).await;
            listed.map(|page| page.orders.len())
        },
        async {
            let seen = store.see(&OrderId::parse("a").unwrap()).await;
            drop(slow);
            seen
        }
    );
    assert_eq!((list.unwrap(), see.unwrap().order), (0, None));
}
