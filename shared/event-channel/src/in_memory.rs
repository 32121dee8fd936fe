use crate::*;
#[derive(Clone)] pub struct InMemoryChannel;
pub struct InMemoryReceipt;
pub struct InMemoryConsumer;
#[allow(clippy::todo, missing_docs, clippy::unused_async)]
impl InMemoryChannel {
 pub fn open(_options: &str) -> Result<Self, OpenError> { todo!() }
 pub fn publish(&self, _: Vec<Record>) -> Result<Receipt, PublishError> { todo!() }
 pub async fn available(&self) { todo!() }
 pub fn subscribe(&self, _: &str, _: impl Fn(&Record)->bool + Send + Sync + 'static) -> Result<InMemoryConsumer, OpenError> { todo!() }
 pub fn lag(&self) -> Vec<Lag> { todo!() }
}
impl InMemoryReceipt { pub async fn settled(self) -> bool { todo!() } }
impl InMemoryConsumer {
 pub async fn poll(&mut self, _: usize) -> Result<Vec<Delivery>, PublishError> { todo!() }
 pub fn commit(&mut self, _: i32, _: i64) { todo!() }
 pub fn pause(&mut self, _: i32) { todo!() }
 pub fn resume(&mut self, _: i32) { todo!() }
}
