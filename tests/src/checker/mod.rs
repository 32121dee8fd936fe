//! Checks the rules that must hold after a load, whatever happened during it. It knows only outside facts: answers over HTTP, the
//! records on the topic, and the calls that the fulfilment service got.
//!
//! - [`ledger`]: commands and their answers. [`fold`]: an order, folded from its events. [`order`]: the rules for one order.
//! - [`topic`]: the records.

pub mod fold;
pub mod ledger;
pub mod order;
pub mod topic;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use serde_json::Value;

use crate::fulfilment::{Effect, Service};
use crate::http::Http;
use crate::metrics::Metrics;
use crate::poll::{until, until_within};
use fold::Wrong;
use ledger::Ledger;
use order::Effects;
use topic::Topic;

/// The number of orders that are read at the same time.
const SIDE_BY_SIDE: usize = 16;

/// The time limit for effects that go through the topic: brokers are slow to reassign a dead consumer's partitions.
pub const CATCH_UP: Duration = Duration::from_secs(90);
/// The pause between two looks at the view.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The largest number of faults that are printed.
const TOLD: usize = 20;

/// The checker of one system.
pub struct Checker {
    ledger: Arc<Ledger>,
    topic: Option<Topic>,
    others: &'static [&'static str],
}

/// The numbers of what was checked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Checked {
    /// Orders.
    pub orders: u64,
    /// Their events.
    pub events: u64,
    /// Starts of processing, each with one outcome and one effective call.
    pub fulfilled: u64,
}

impl Checker {
    /// Returns a checker of the ledger's orders, and of the topic if there is one.
    #[must_use]
    pub fn new(ledger: Arc<Ledger>, topic: Option<Topic>) -> Self {
        Self { ledger, topic, others: &[] }
    }

    /// Sets the prefixes of other clients' orders. The checker ignores these orders, except in the records that it reads on the
    /// topic.
    #[must_use]
    pub const fn beside(mut self, others: &'static [&'static str]) -> Self {
        self.others = others;
        self
    }

    /// Checks the orders that were touched since the last time, or all. No client may be sending commands. The system may still
    /// be publishing, fulfilling and projecting; the checker waits for that.
    ///
    /// # Panics
    /// When anything is wrong.
    pub async fn check(&mut self, api: &Http, admin: &Http, service: &Service, all: bool) -> Checked {
        let touched = self.ledger.take_touched();
        let orders = if all { self.ledger.orders() } else { touched };
        let effects = by_order(service.effects());
        let histories = self.histories(api, &orders).await;
        let (mut wrong, mut expected) = (self.ledger.wrong(), BTreeMap::new());
        let mut checked = Checked { orders: orders.len() as u64, ..Checked::default() };
        // The effects are read again, because an order may have gone on since.
        let now = by_order(service.effects());
        for (id, events) in &histories {
            let effects = now.get(id).or_else(|| effects.get(id)).cloned().unwrap_or_default();
            let (found, shown) = order::check(id, events, &self.ledger.about(id), &effects);
            wrong.extend(found);
            expected.extend(shown.map(|shown| (id.clone(), shown)));
            checked.events += events.len() as u64;
            checked.fulfilled +=
                events.iter().filter(|event| event["type"] == "ProcessingStarted").count() as u64;
        }
        wrong.extend(self.made_up(&now));
        tell(&wrong);
        self.published(&histories).await;
        seen(api, &expected).await;
        all_marked(admin).await;
        tell(&self.strangers(listed(api).await.into_keys()));
        checked
    }

    /// Returns the number of records on the topic, and how many of them are repetitions.
    #[must_use]
    pub fn records(&self) -> (u64, u64) {
        self.topic.as_ref().map_or((0, 0), Topic::counts)
    }

    /// Returns the events of each order, once it no longer waits for an outcome.
    async fn histories(&self, api: &Http, orders: &BTreeSet<String>) -> BTreeMap<String, Vec<Value>> {
        let histories = stream::iter(orders).map(|id| async move {
            let what = format!("{id} to have its outcome");
            let at_rest = until_within(CATCH_UP, &what, async || {
                let events = events(api, id).await;
                let waits = events.last().is_some_and(|event| event["type"] == "ProcessingStarted");
                (!waits).then_some(events)
            });
            (id.clone(), at_rest.await)
        });
        histories.buffer_unordered(SIDE_BY_SIDE).collect().await
    }

    /// Returns the faults of the service: effects on orders that no client created.
    fn made_up(&self, effects: &BTreeMap<String, Effects>) -> Vec<Wrong> {
        let strangers = self.strangers(effects.keys().cloned());
        strangers.iter().map(|id| format!("{id}: fulfilled, and nobody ordered it")).collect()
    }

    /// Returns those of the orders that no client created.
    fn strangers(&self, orders: impl Iterator<Item = String>) -> Vec<String> {
        let known = self.ledger.orders();
        let of_others = |id: &str| self.others.iter().any(|other| id.starts_with(other));
        orders.filter(|id| !known.contains(id) && !of_others(id)).collect()
    }

    /// Checks that every event is on the topic, in order.
    async fn published(&mut self, histories: &BTreeMap<String, Vec<Value>>) {
        let Some(mut topic) = self.topic.take() else { return };
        let expected: BTreeMap<String, Vec<String>> = histories
            .iter()
            .map(|(id, events)| {
                let kind = |event: &Value| event["type"].as_str().unwrap_or_default().to_owned();
                (id.clone(), events.iter().map(kind).collect())
            })
            .collect();
        let mut held = Some(topic);
        until_within(CATCH_UP, "every event to be on the topic", async || {
            let mut reading = held.take()?;
            let read = tokio::task::spawn_blocking(move || {
                reading.read_on();
                reading
            });
            let read = held.insert(read.await.expect("the topic is read"));
            tell(read.wrong());
            expected.iter().all(|(id, kinds)| read.kinds(id).len() >= kinds.len()).then_some(())
        })
        .await;
        topic = held.take().expect("it was put back");
        let differs = expected.iter().filter(|(id, kinds)| topic.kinds(id) != *kinds);
        tell(
            &differs
                .map(|(id, kinds)| format!("{id}: {kinds:?} on the topic as {:?}", topic.kinds(id)))
                .collect::<Vec<_>>(),
        );
        self.topic = Some(topic);
    }
}

/// Panics when there is any fault.
fn tell(wrong: &[Wrong]) {
    let told: Vec<_> = wrong.iter().take(TOLD).map(String::as_str).collect();
    assert!(wrong.is_empty(), "{} wrongs; seed {}\n{}", wrong.len(), crate::report::seed(), told.join("\n"));
}

fn by_order(effects: Vec<Effect>) -> BTreeMap<String, Effects> {
    let mut orders: BTreeMap<String, Effects> = BTreeMap::new();
    for Effect { key, body, reply } in effects {
        let order = orders.entry(body["order"].as_str().unwrap_or_default().to_owned()).or_default();
        order.entry(body["version"].as_u64().unwrap_or_default()).or_default().push((key, reply));
    }
    orders
}

/// Reads an order's events, page by page. There are none when there is no such order.
async fn events(api: &Http, id: &str) -> Vec<Value> {
    let mut events = vec![];
    let mut next = Some(format!("/{id}/events"));
    while let Some(path) = next {
        let page = until("a page of events", async || {
            api.get(&path).attempt().await.ok().filter(|page| page.status != 503)
        })
        .await;
        if page.status == 404 {
            return vec![];
        }
        next = page.next_page();
        events.extend(page.with_status(200).json().as_array().expect("a list").iter().cloned());
    }
    events
}

/// Waits until the event store has marked every commit as published, so that nobody publishes one for ever.
async fn all_marked(admin: &Http) {
    until_within(CATCH_UP, "every commit to be marked as published", async || {
        let metrics = Metrics::parse(&admin.get("/metrics").await.with_status(200).text());
        (metrics.sum("orders_unpublished_commits", &[]) == 0.0).then_some(())
    })
    .await;
}

/// Reads every order of the view.
async fn listed(api: &Http) -> BTreeMap<String, Value> {
    let mut orders = BTreeMap::new();
    let mut next = Some("/?limit=500".to_owned());
    while let Some(path) = next {
        let page = api.get(&path).await.with_status(200);
        next = page.next_page();
        for order in page.json().as_array().expect("a list") {
            orders.insert(order["id"].as_str().unwrap_or_default().to_owned(), order.clone());
        }
    }
    orders
}

/// Waits until the list shows each order as its events make it, and checks the first 100 of them alone too.
async fn seen(api: &Http, expected: &BTreeMap<String, Value>) {
    let began = Instant::now();
    loop {
        let listed = listed(api).await;
        let mut differs = expected.iter().filter(|(id, order)| listed.get(*id) != Some(order));
        let Some((id, order)) = differs.next() else { break };
        let (others, shown) = (differs.count(), listed.get(id));
        let is_late = began.elapsed() > CATCH_UP;
        assert!(
            !is_late,
            "{id}: its events make {order}, the view shows {shown:?}; and {others} others differ"
        );
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    let singly = stream::iter(expected.iter().take(100)).map(|(id, order)| async move {
        assert_eq!(api.get(&format!("/{id}")).await.with_status(200).json(), *order);
    });
    singly.buffer_unordered(SIDE_BY_SIDE).collect::<()>().await;
}
