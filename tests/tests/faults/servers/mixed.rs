//! Mixed commands beside the load that is measured, with a fulfilment service that somebody else runs; and what the independent checker
//! finds in the end.

use std::sync::Arc;

use tests::checker::ledger::Ledger;
use tests::checker::topic::Topic;
use tests::checker::{Checked, Checker};
use tests::clients::{Clients, Load};
use tests::fulfilment::{Asked, Reply, Service, refuse_some};
use tests::report;
use tests::stores::Stores;
use tests::system::{Setup, System};

/// How many clients send them: few, since others measure.
const CLIENTS: u64 = 2;

/// What the orders of everybody else begin with.
const OTHERS: [&str; 4] = ["load-", "before", "during", "after"];

pub(super) struct Mixed {
    load: Load,
    ledger: Arc<Ledger>,
    service: Service,
}

/// Whoever measures has all orders fulfilled.
fn fulfil(asked: &Asked) -> Reply {
    let others = OTHERS.iter().any(|other| asked.key.starts_with(other));
    if others { Reply::Fulfilled } else { refuse_some(asked) }
}

/// Starts a system, and clients that go on whatever becomes of its servers.
pub(super) async fn start(setup: Setup) -> (System, Mixed) {
    let service = Service::start(fulfil).await;
    let system = setup.with(&["--fulfilment", service.url()]).start().await;
    system.create_and_process("before").await;
    let ledger = Arc::new(Ledger::default());
    let clients = Clients::of(vec![system.api().clone()], Arc::clone(&ledger));
    let load = clients.start(CLIENTS, report::seed());
    (system, Mixed { load, ledger, service })
}

impl Mixed {
    /// Lets the clients come to their end, and checks all that they were told, the topic, and what the service did.
    pub(super) async fn expect_whole(self, system: &System) -> Checked {
        self.load.stop().await;
        let Stores::Servers(servers) = system.stores() else { panic!("these are servers") };
        // Made only now: a consumer that saw its broker go would tell.
        let topic = Topic::of(servers);
        let mut checker = Checker::new(self.ledger, Some(topic)).beside(&OTHERS);
        checker.check(system.api(), system.admin(), &self.service, true).await
    }
}
