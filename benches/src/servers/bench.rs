//! The state that all sections share.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::OnceCell;

use super::given::Servers;
use super::rounds::Pace;
use crate::load::Orders;
use crate::server;

/// The time limit for everything that has no limit of its own.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// The state that all sections share.
pub(crate) struct Bench {
    pub(crate) servers: Servers,
    pub(crate) pace: Pace,
    orders_bin: Option<PathBuf>,
    orders: OnceCell<Orders>,
    /// The most memory that a dispatcher had, in MB, by the purpose of the measurement.
    pub(crate) memory: RefCell<BTreeMap<&'static str, f64>>,
}

impl Bench {
    /// Returns a bench. If no binary is given, cargo builds it.
    pub(crate) fn new(servers: Servers, pace: Pace, orders_bin: Option<PathBuf>) -> Self {
        Self { servers, pace, orders_bin, orders: OnceCell::new(), memory: RefCell::default() }
    }

    /// Returns the `orders` binary, built when it is first needed.
    pub(crate) async fn orders(&self) -> anyhow::Result<&Orders> {
        let build = async || Ok(Orders { binary: server::orders_binary(self.orders_bin.as_deref()).await? });
        self.orders.get_or_try_init(build).await
    }

    pub(crate) fn note_memory(&self, purpose: &'static str, megabytes: f64) {
        let mut memory = self.memory.borrow_mut();
        let most = memory.entry(purpose).or_default();
        *most = most.max(megabytes);
    }

    /// The most memory that any dispatcher had, in MB.
    pub(crate) fn most_memory(&self) -> Option<f64> {
        self.memory.borrow().values().copied().max_by(f64::total_cmp)
    }
}
