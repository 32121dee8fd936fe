//! Shapes of a view on a server: what SQL tools see, and the schema of before.

use read_store::Filled;
use sqlx::{PgConnection, raw_sql};

use super::contract::shapes::{WiderView, program};
use super::contract::{ReadStore, assert_rows, events, recorded};
use super::database::Database;
use super::{migrated, texts, unavailable};

#[tokio::test]
async fn sql_tools_see_the_rows_of_the_view_that_was_filled_last() {
    let Some(database) = migrated().await else { return };
    let mut raw = database.connect().await;
    let shown = async |raw: &mut PgConnection| texts(raw, "SELECT id FROM tasks ORDER BY id").await;
    let store = ReadStore::open(database.url()).await.unwrap();
    store.project(events("a", [1])).await.unwrap();
    assert_eq!(shown(&mut raw).await, ["a"]);
    raw_sql("CREATE VIEW theirs AS SELECT id FROM tasks").execute(&mut raw).await.unwrap();
    let building = store.begin_rebuild().await.unwrap();
    store.backfill(building, vec![recorded("a", 1)]).await.unwrap();
    store.swap(building).await.unwrap();
    store.project(events("b", [1])).await.unwrap();
    assert_eq!(shown(&mut raw).await, ["a", "b"]);
    assert_eq!(texts(&mut raw, "SELECT id FROM theirs ORDER BY id").await, ["a", "b"], "it stays");

    let wider = read_store::ReadStore::<WiderView>::open(database.url()).await.unwrap();
    wider.migrate().await.unwrap();
    assert_eq!(shown(&mut raw).await, ["a", "b"], "a view that is not filled is not shown");
    let building = wider.begin_rebuild().await.unwrap();
    wider.swap(building).await.unwrap();
    wider.project(events("c", [1])).await.unwrap();
    assert_eq!(shown(&mut raw).await, ["c"]);
}

#[tokio::test]
async fn a_table_of_the_views_name_that_is_not_ours_is_left_alone() {
    let Some(database) = Database::fresh().await else { return };
    let mut raw = database.connect().await;
    raw_sql("CREATE TABLE tasks (id text); INSERT INTO tasks VALUES ('theirs')")
        .execute(&mut raw)
        .await
        .unwrap();
    let store = ReadStore::open(database.url()).await.unwrap();
    store.migrate().await.unwrap();
    let building = store.begin_rebuild().await.unwrap();
    store.swap(building).await.unwrap();
    store.project(events("a", [1])).await.unwrap();
    assert_eq!(texts(&mut raw, "SELECT id FROM tasks").await, ["theirs"]);
}

#[tokio::test]
async fn a_database_of_the_first_schema_is_migrated_and_its_views_count_as_filled() {
    let Some(database) = migrated().await else { return };
    let mut raw = database.connect().await;
    ReadStore::open(database.url()).await.unwrap().project(events("a", [1])).await.unwrap();
    raw_sql(
        "UPDATE read_store_schema SET version = 1; DROP TABLE read_store_programs;
         ALTER TABLE read_store_views DROP COLUMN filled",
    )
    .execute(&mut raw)
    .await
    .unwrap();
    let store = ReadStore::open(database.url()).await.unwrap();
    assert!(unavailable(&store.ping().await.unwrap_err()).contains("run `migrate`"));
    store.migrate().await.unwrap();
    let registration = store.register(program("one")).await.unwrap();
    assert_eq!(registration.filled, Filled::Yes);
    assert_rows(&store, &[("a", 1)]).await;
}
