//! The stores that a function works on: databases and a topic of its own.

use std::ops::Range;

use futures_util::future::try_join_all;

use super::events::Work;
use crate::servers::commits::{self, Outbox};
use crate::servers::given::Servers;
use crate::servers::mongo::Database;
use crate::servers::postgres::Schema;
use crate::servers::publish::Topic;

/// The number of orders that are written at once.
const SIDE_BY_SIDE: u64 = 500;

pub(crate) struct Place {
    events: Database,
    view: Schema,
    topic: Topic,
}

impl Place {
    pub(crate) async fn fresh(servers: &Servers) -> anyhow::Result<Self> {
        let events = Database::fresh(servers).await?;
        Ok(Self { events, view: Schema::fresh(servers).await?, topic: Topic::fresh(servers).await? })
    }

    /// Returns the variables of a function.
    pub(crate) fn variables(&self) -> [(&'static str, &str); 4] {
        [
            ("ORDERS_EVENT_STORE", &self.events.url),
            ("ORDERS_READ_STORE", &self.view.url),
            ("ORDERS_CHANNEL", &self.topic.url),
            // The log is on, as in a deployed function. Lambda reads it from a pipe; here nobody reads it.
            ("ORDERS_LOG", "info"),
        ]
    }

    /// Writes the orders that so many invocations need.
    pub(crate) async fn prepare(&self, work: Work, invocations: u32) -> anyhow::Result<()> {
        let Range { mut start, end } = work.orders(invocations);
        let store = self.events.store().await?;
        while start < end {
            let next = end.min(start + SIDE_BY_SIDE);
            let created = (start..next).map(|number| commits::created(number, Outbox::Published));
            let created: Vec<_> = created.collect::<anyhow::Result<_>>()?;
            try_join_all(created.into_iter().map(|commit| store.append(commit.into()))).await?;
            if work.needs_started() {
                let started = (start..next).map(|number| commits::started(number, Outbox::Published));
                let started: Vec<_> = started.collect::<anyhow::Result<_>>()?;
                try_join_all(started.into_iter().map(|commit| store.append(commit.into()))).await?;
            }
            start = next;
        }
        Ok(())
    }

    /// Returns the milliseconds that a raw MongoDB client takes to connect and to insert one document.
    pub(crate) async fn insert_once(&self) -> anyhow::Result<f64> {
        self.events.connect_and_insert().await
    }

    /// Returns the milliseconds that a raw rdkafka producer takes to connect and to send one record.
    pub(crate) async fn send_once(&self) -> anyhow::Result<f64> {
        self.topic.connect_and_send().await
    }

    pub(crate) async fn remove(self) -> anyhow::Result<()> {
        self.events.remove().await?;
        self.view.remove().await?;
        self.topic.remove().await
    }
}
