//! Mixed commands beside the measured load, with a fulfilment service that somebody else runs. In the end the independent checker
//! checks them.

use std::sync::Arc;

use tests::checker::ledger::Ledger;
use tests::checker::topic::Topic;
use tests::checker::{Checked, Checker};
use tests::clients::{Clients, Load};
use tests::fulfilment::{Asked, Reply, Service, refuse_some};
use tests::report;
use tests::stores::Stores;
use tests::system::{Setup, System};

/// The number of clients that send them: few, because other clients measure.
const CLIENTS: u64 = 2;

/// The prefixes of everybody else's orders.
const OTHERS: [&str; 4] = ["load-", "before", "during", "after"];

pub(super) struct Mixed {
    load: Load,
    ledger: Arc<Ledger>,
    service: Service,
}

/// Fulfils all orders of the measuring clients, and refuses some others.
fn fulfil(asked: &Asked) -> Reply {
    let others = OTHERS.iter().any(|other| asked.key.starts_with(other));
    if others { Reply::Fulfilled } else { refuse_some(asked) }
}

/// Starts a system, and clients that go on whatever happens to its servers.
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
    /// Stops the clients, and checks their answers, the topic, and the service's effects.
    pub(super) async fn expect_whole(self, system: &System) -> Checked {
        self.load.stop().await;
        // It is created only now: a consumer that lost its broker would report it.
        let topic = match system.stores() {
            Stores::Servers(servers) => Some(Topic::of(servers)),
            Stores::Embedded | Stores::Postgres(_) => None,
        };
        let mut checker = Checker::new(self.ledger, topic).beside(&OTHERS);
        checker.check(system.api(), system.admin(), &self.service, true).await
    }
}
