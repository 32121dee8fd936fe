use std::path::Path; use std::sync::Arc; use jiff::Timestamp; use crate::*;
/// stub
#[derive(Clone)] pub struct SqliteEventStore;
#[allow(clippy::todo, missing_docs, clippy::unused_async)]
impl SqliteEventStore {
 pub fn open(_: &Path) -> Result<Self, OpenError> { todo!() }
 pub async fn append(&self, _: Arc<Commit>) -> Result<(), AppendError> { todo!() }
 pub async fn remember(&self, _: NoEvent) -> Result<(), AppendError> { todo!() }
 pub async fn load_many(&self, _: Vec<Load>) -> Result<Vec<Stream>, StoreError> { todo!() }
 pub async fn scan(&self, _: Option<ScanPosition>, _: usize) -> Result<Page, StoreError> { todo!() }
 pub async fn outstanding(&self, _: Timestamp, _: usize) -> Result<Vec<CommitId>, StoreError> { todo!() }
 pub async fn mark_published(&self, _: Vec<CommitId>) -> Result<(), StoreError> { todo!() }
 pub async fn forget_answered(&self, _: Timestamp) -> Result<u64, StoreError> { todo!() }
 pub async fn backlog(&self) -> Result<Backlog, StoreError> { todo!() }
 pub async fn ping(&self) -> Result<(), StoreError> { todo!() }
}
