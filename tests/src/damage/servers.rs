//! The event store in MongoDB.

use mongodb::bson::{Document, doc};
use mongodb::{Client, Collection};

use crate::servers::Servers;

async fn commits(servers: &Servers) -> Collection<Document> {
    let client = Client::with_uri_str(servers.event_store()).await.unwrap();
    client.database(servers.database()).collection("orders_order")
}

pub(super) async fn lose_commit(servers: &Servers, id: &str, version: i64) {
    let commit = doc! { "stream": id, "version": version };
    let lost = commits(servers).await.delete_one(commit).await.unwrap();
    assert_eq!(lost.deleted_count, 1);
}

pub(super) async fn mark_unpublished(servers: &Servers, id: &str, version: i64) {
    change(servers, id, version, doc! { "unpublished": true }).await;
}

pub(super) async fn leave_unpublished_in_the_future(servers: &Servers, id: &str, version: i64) {
    let fields = doc! { "unpublished": true, "recorded_at": "2100-01-01T00:00:00.000000Z" };
    change(servers, id, version, fields).await;
}

async fn change(servers: &Servers, id: &str, version: i64, fields: Document) {
    let commit = doc! { "stream": id, "version": version };
    let changed = commits(servers).await.update_one(commit, doc! { "$set": fields }).await.unwrap();
    assert_eq!(changed.modified_count, 1);
}

pub(super) async fn set_schema(servers: &Servers, id: &str, version: i64, schema: u32) {
    change(servers, id, version, doc! { "events.0.schema": i64::from(schema) }).await;
}
