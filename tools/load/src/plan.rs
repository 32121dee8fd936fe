//! The plan of a load: which calls are made for each order, how many, and how.

use std::time::Duration;

use crate::call::{Call, Kind};

/// The plan of a load.
pub(crate) struct Plan {
    pub(crate) orders: u64,
    pub(crate) clients: u32,
    /// The calls a second in total. Without it: as fast as the clients go.
    pub(crate) calls_per_second: Option<f64>,
    /// The calls for each order, one after the other.
    pub(crate) calls: Vec<Call>,
    /// The prefix of the ids; the order's number follows.
    pub(crate) prefix: String,
    pub(crate) seed: u64,
    /// One order in so many is watched until it is queryable.
    pub(crate) queryable_every: Option<u64>,
    /// How long such an order is watched.
    pub(crate) queryable_within: Duration,
    /// How often a call is repeated, on all replicas together.
    pub(crate) repeats: u32,
    /// How long a call is repeated at most, however few its repeats. The limit is for a server that hangs: there each try is
    /// long.
    pub(crate) patience: Duration,
}

impl Plan {
    pub(crate) fn orders_per_second(&self) -> Option<f64> {
        self.calls_per_second.map(|rate| rate / self.calls.len() as f64)
    }

    /// The number of calls for all orders.
    pub(crate) fn total_calls(&self) -> u64 {
        self.orders * self.calls.len() as u64
    }

    /// The kinds of latencies that are measured.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = Kind> {
        let calls = self.calls.iter().filter_map(|call| call.kind());
        calls.chain(self.queryable_every.map(|_| Kind::Queryable))
    }
}
