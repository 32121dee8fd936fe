//! Tests that need the inside: the index by which a statement goes, and the connections that it takes.

use event_sourcing::testing::{BY_STAGE, BY_SUBJECT, BY_TITLE, Event, LabelsView, Stage, TasksView};
use event_sourcing::{Recorded, StreamId, Version};
use jiff::Timestamp;
use runtime::postgres::Lease;
use sqlx::{AssertSqlSafe, PgConnection, Row, raw_sql};

use super::connections::Connections;
use super::{LEFT_BY_LISTS, keyed, project, read};
use crate::shape::{Shape, Table};
use crate::{Filter, Incoming, ReadStore, ViewId};

#[path = "../../tests/database/mod.rs"]
mod database;

use database::Database;

/// The server's plan of a statement with these parameters. It is prepared as the store does it: one plan for all parameters.
async fn plan_of(connection: &mut PgConnection, sql: &str, parameters: &str) -> String {
    let explain = format!("PREPARE it AS {sql}; EXPLAIN EXECUTE it ({parameters}); DEALLOCATE it");
    let lines = raw_sql(AssertSqlSafe(explain)).fetch_all(connection).await.unwrap();
    lines.iter().map(|line| line.get::<String, _>(0)).collect::<Vec<_>>().join("\n")
}

type Store = ReadStore<TasksView>;

fn view() -> Table {
    Shape::of::<TasksView>().table(ViewId(1))
}

/// A connection with the settings of the store's own sessions.
async fn lease(database: &Database) -> Lease {
    let connections = Connections::new(&database.url().into(), 1, Shape::of::<TasksView>()).unwrap();
    connections.take().await.unwrap()
}

/// The statement of a page by such a filter, and its parameters.
fn page(stage: Option<Stage>, title: Option<&str>) -> (String, &'static str) {
    let parameters = if title.is_some() { "'task-00500', 51, 'title 7'" } else { "'task-00500', 51" };
    let mut filter = Filter::first(50).after(StreamId::parse("task-00500").ok());
    if let Some(stage) = stage {
        filter = filter.equal(BY_STAGE, &stage);
    }
    if let Some(title) = title {
        filter = filter.equal(BY_TITLE, &title.to_owned());
    }
    (read::page_sql(view(), &filter).0, parameters)
}

#[tokio::test]
async fn pages_and_rows_by_id_go_by_an_index_and_are_never_sorted() {
    let Some(database) = Database::fresh().await else { return };
    let store = Store::open(database.url()).await.unwrap();
    store.migrate().await.unwrap();
    let mut connection = database.connect().await;
    // Most tasks are finished, as they are in the end; few are open. Few tasks share a title.
    raw_sql(
        "INSERT INTO tasks_1 (id, version, stage, title, starts, opened_at)
         SELECT 'task-' || lpad(n::text, 5, '0'), 3, CASE WHEN n % 100 = 0 THEN 'open' ELSE 'finished' END,
             'title ' || n % 200, 1, now() FROM generate_series(1, 20000) AS n",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    raw_sql("ANALYZE tasks_1").execute(&mut connection).await.unwrap();
    let mut lease = lease(&database).await;
    let expected = [
        (page(None, None), "using tasks_1_pkey", "(id > "),
        (page(Some(Stage::Open), None), "using tasks_1_by_stage", "((stage = 'open'::text) AND (id > "),
        (page(None, Some("title 7")), "using tasks_1_by_title", "((title = $3) AND (id > "),
        (page(Some(Stage::Open), Some("title 7")), "using tasks_1_by_title", "((title = $3) AND (id > "),
    ];
    for ((sql, parameters), index, condition) in expected {
        let plan = plan_of(&mut lease.connection, &sql, parameters).await;
        assert!(plan.contains(index) && plan.contains(condition) && !plan.contains("Sort"), "{sql}\n{plan}");
    }
    let locks = [
        format!("{} ORDER BY id FOR UPDATE", project::entries_sql(view())),
        project::entries_of_others_sql(view()),
    ];
    for sql in locks {
        let plan = plan_of(&mut lease.connection, &sql, "'{task-00001,task-00002}'").await;
        assert!(plan.contains("tasks_1_pkey"), "{sql}\n{plan}");
    }
}

#[tokio::test]
async fn shared_rows_go_by_an_index_and_are_never_sorted() {
    let Some(database) = Database::fresh().await else { return };
    let shape = Shape::of::<LabelsView>();
    let store = ReadStore::<LabelsView>::open(database.url()).await.unwrap();
    store.migrate().await.unwrap();
    raw_sql(
        "INSERT INTO labels_1 (key, subject, tasks, shared)
         SELECT 'label-' || n, 'subject ' || n % 200, n % 100, true FROM generate_series(1, 20000) AS n;
         INSERT INTO labels_1_streams (id, version) SELECT 'task-' || n, 1 FROM generate_series(1, 20000) AS n;
         ANALYZE labels_1; ANALYZE labels_1_streams",
    )
    .execute(&mut database.connect().await)
    .await
    .unwrap();
    let connections = Connections::new(&database.url().into(), 1, shape).unwrap();
    let mut lease = connections.take().await.unwrap();
    let view = shape.table(ViewId(1));
    let first = Filter::first(50);
    let after = || first.clone().after(Some("label-5".to_owned()));
    let of_subject = |filter: Filter<String>| filter.equal(BY_SUBJECT, &"subject 7".to_owned());
    let page = |filter: &Filter<String>| read::rows_sql(view, filter).0;
    let some = "'{label-1,label-2}'";
    let expected = [
        (page(&after()), "'label-5', 51", "labels_1_pkey", "(key > "),
        (page(&first), "NULL, 51", "labels_1_pkey", "(subject IS NOT NULL)"),
        (
            page(&of_subject(after())),
            "'label-5', 51, 's'",
            "labels_1_by_subject",
            "((subject = $3) AND (key > ",
        ),
        (page(&of_subject(first.clone())), "NULL, 51, 's'", "labels_1_by_subject", "(subject = $3)"),
        (keyed::rows_sql(view), some, "labels_1_pkey", "(key = ANY"),
        (
            format!("{} ORDER BY id FOR UPDATE", project::entries_sql(view)),
            "'{task-1}'",
            "labels_1_streams_pkey",
            "(id = ANY",
        ),
    ];
    for (sql, parameters, index, condition) in expected {
        let plan = plan_of(&mut lease.connection, &sql, parameters).await;
        assert!(plan.contains(&format!("using {index} ")) && plan.contains(condition), "{sql}\n{plan}");
        // The one sort is of the page, which has few rows.
        assert!(plan.matches("Sort").count() <= 2 && !plan.contains("Seq Scan on labels"), "{sql}\n{plan}");
    }
    let plan = plan_of(&mut lease.connection, &keyed::lock_sql(view), some).await;
    assert!(plan.contains("Conflict Arbiter Indexes: labels_1_pkey"), "{plan}");
}

/// The server keeps a plan from a time when little is held to one when much is. So both plans must be the same.
#[tokio::test]
async fn what_is_held_is_found_by_its_own_index_however_much_it_is() {
    let Some(database) = Database::fresh().await else { return };
    let store = Store::open(database.url()).await.unwrap();
    store.migrate().await.unwrap();
    let mut connection = database.connect().await;
    let mut lease = lease(&database).await;
    let some = "'{task-00001,task-00002}'";
    let in_view = format!("1, {some}");
    let (page, after) = page(None, None);
    let expected = [
        (project::HELD_ROWS, in_view.as_str(), "by_stream", "(stream = asked.id)"),
        (&read::seen_sql(view()), some, "by_stream", "(stream = asked.id)"),
        (&page, after, "by_stream", "(stream = has.id)"),
        (project::UNADDRESSED, "1, '{t,t}', '{0,1}', '{5,6}'", "strays", "(record_offset >= place.at)"),
    ];
    // The table is untouched, analyzed while empty, full but not analyzed again, and analyzed while full.
    let fill = "INSERT INTO read_store_held
            (view, stream, version, reason, problem, topic, partition, record_offset, value, held_at)
         SELECT 1, CASE WHEN n % 3 > 0 THEN 'task-' || n % 500 END, CASE n % 3 WHEN 1 THEN n END, 'gap', '', 't', n % 8,
             n, 'x', now() FROM generate_series(1, 10000) AS n";
    for step in ["SELECT 1", "ANALYZE read_store_held", fill, "ANALYZE read_store_held"] {
        raw_sql(step).execute(&mut connection).await.unwrap();
        for (sql, parameters, index, condition) in expected {
            let plan = plan_of(&mut lease.connection, sql, parameters).await;
            let indexed =
                plan.contains(&format!("using read_store_held_{index} ")) && plan.contains(condition);
            let others = ["by_stream", "by_view", "strays"].into_iter().filter(|other| *other != index);
            let other = others.into_iter().any(|other| plan.contains(&format!("read_store_held_{other} ")));
            assert!(indexed && !other && !plan.contains("Sort"), "{step}: {sql}\n{plan}");
        }
    }
}

#[tokio::test]
async fn the_projector_waits_for_no_query_however_many_take_their_time() {
    let Some(database) = Database::fresh().await else { return };
    let ReadStore::Postgres(store) = Store::open(&database.url()).await.unwrap() else {
        panic!("PostgreSQL")
    };
    store.migrate().await.unwrap();
    let mut slow = vec![];
    for _ in 0..store.shared.size {
        slow.push(store.shared.connections.take().await.unwrap());
    }
    let event = Event::TaskOpened { title: "a task".to_owned() };
    let (stream, version, time) = (StreamId::parse("a").unwrap(), Version::new(1), Timestamp::UNIX_EPOCH);
    let event = Recorded { stream, version, time, event };
    let projected = store.project(vec![Incoming::from_event_store(event, time)]).await.unwrap();
    assert_eq!(projected.applied, 1);
}

#[tokio::test]
async fn lists_that_take_their_time_leave_connections_to_reads_of_single_streams() {
    let Some(database) = Database::fresh().await else { return };
    let ReadStore::Postgres(store) = Store::open(&database.url()).await.unwrap() else {
        panic!("PostgreSQL")
    };
    store.migrate().await.unwrap();
    assert_eq!(store.shared.lists.available_permits(), store.shared.size - LEFT_BY_LISTS);
    let slow = store.shared.lists.acquire_many((store.shared.size - LEFT_BY_LISTS) as u32).await.unwrap();
    let (list, see) = tokio::join!(
        async {
            let listed = store.list(Filter::first(1)).await;
            listed.map(|page| page.entries.len())
        },
        async {
            let seen = store.see(&StreamId::parse("a").unwrap()).await;
            drop(slow);
            seen
        }
    );
    assert_eq!((list.unwrap(), see.unwrap().entry), (0, None));
}
