use std::path::Path; use std::time::Duration; use crate::*;
#[derive(Clone)] pub struct SqliteReadStore;
#[allow(clippy::todo, missing_docs, clippy::unused_async)]
impl SqliteReadStore {
 pub fn open(_: &Path) -> Result<Self, OpenError> { todo!() }
 pub async fn project(&self, _: Vec<Incoming>) -> Result<Projected, ReadStoreError> { todo!() }
 pub async fn get(&self, _: &OrderId) -> Result<Option<Snapshot>, ReadStoreError> { todo!() }
 pub async fn get_many(&self, _: Vec<OrderId>) -> Result<Vec<Snapshot>, ReadStoreError> { todo!() }
 pub async fn list(&self, _: Filter) -> Result<Page, ReadStoreError> { todo!() }
 pub async fn wait_for(&self, _: &OrderId, _: Version, _: Duration) -> Result<Option<Snapshot>, ReadStoreError> { todo!() }
 pub async fn held_summary(&self) -> Result<Vec<HeldSummary>, ReadStoreError> { todo!() }
 pub async fn held(&self, _: Option<&OrderId>, _: Option<HeldId>, _: usize) -> Result<Vec<HeldEvent>, ReadStoreError> { todo!() }
 pub async fn held_event(&self, _: HeldId) -> Result<Option<HeldEvent>, ReadStoreError> { todo!() }
 pub async fn redrive(&self, _: Option<&OrderId>) -> Result<Redriven, ReadStoreError> { todo!() }
 pub async fn drop_held(&self, _: HeldId) -> Result<(), DropRefused> { todo!() }
 pub async fn begin_rebuild(&self) -> Result<ViewId, ReadStoreError> { todo!() }
 pub async fn backfill(&self, _: ViewId, _: Vec<RecordedEvent>) -> Result<Projected, ReadStoreError> { todo!() }
 pub async fn swap(&self, _: ViewId) -> Result<(), SwapRefused> { todo!() }
 pub async fn repair(&self, _: Vec<Snapshot>) -> Result<u64, ReadStoreError> { todo!() }
 pub async fn remove(&self, _: Vec<OrderId>) -> Result<u64, ReadStoreError> { todo!() }
 pub async fn ping(&self) -> Result<(), ReadStoreError> { todo!() }
}
