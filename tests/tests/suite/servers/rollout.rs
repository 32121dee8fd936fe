//! Programs whose views have other columns and another revision take each other's place, one replica after the other, under load,
//! and back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::json;
use tests::http::Http;
use tests::poll::until;
use tests::process::Invocation;
use tests::stores::Stores;
use tests::system::{Setup, System, lasting_address};
use tokio::sync::watch;
use tokio::task::JoinHandle;

const TODAY: &str = "orders";
/// What `deploy/checks/next-orders` builds.
const NEXT: &str = "orders-next";

/// How long a replica may take to have what another one has acknowledged, in seconds.
const WAIT: &str = "wait=30";

/// A client that creates, processes and reads orders on one replica, until it is sent to another one.
struct Client {
    name: usize,
    api: watch::Receiver<Http>,
    rounds: Arc<AtomicU64>,
    stopped: Arc<AtomicBool>,
}

impl Client {
    /// Runs until it is stopped. Every answer that misses something that the replica acknowledged or has shown is a failure.
    async fn run(mut self) {
        let mut versions = BTreeMap::new();
        for round in 0_u64.. {
            if self.stopped.load(Ordering::Relaxed) {
                return;
            }
            if self.api.has_changed().unwrap_or_default() {
                self.meet_again(&versions).await;
            }
            let id = format!("client-{}-{round}", self.name);
            let api = self.api.borrow_and_update().clone();
            api.post("/").json(&json!({"id": id, "name": "a lamp!"})).await.with_status(201);
            api.post(&format!("/{id}")).await.with_status(200);
            versions.insert(id.clone(), 2);
            // An order of before, and the new one.
            let before = format!("client-{}-{}", self.name, round / 2);
            for id in [before, id] {
                let version = Self::read(&api, &id, versions[&id]).await;
                versions.insert(id, version);
            }
            self.rounds.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Reads an order, which must have this version at least, and returns its version.
    async fn read(api: &Http, id: &str, version: u64) -> u64 {
        let path = format!("/{id}?min_version={version}");
        let answer = api.get(&path).header("prefer", WAIT).await.with_status(200);
        let shown = answer.json()["version"].as_u64().unwrap();
        assert!(shown >= version, "{id} is at {shown}, and was at {version}");
        // A plain query goes back no more.
        let plain = api.get(&format!("/{id}")).await.with_status(200).json()["version"].as_u64().unwrap();
        assert!(plain >= shown, "{id} is at {plain}, and was at {shown}");
        plain
    }

    /// Reads orders that the former replica acknowledged, on the next one.
    async fn meet_again(&mut self, versions: &BTreeMap<String, u64>) {
        let api = self.api.borrow_and_update().clone();
        for (id, version) in versions.iter().rev().take(20) {
            Self::read(&api, id, *version).await;
        }
    }
}

/// The clients, one for each replica.
struct Clients {
    apis: [watch::Sender<Http>; 2],
    rounds: [Arc<AtomicU64>; 2],
    stopped: Arc<AtomicBool>,
    running: Vec<JoinHandle<()>>,
}

impl Clients {
    fn start(replicas: &[System; 2]) -> Self {
        let apis = replicas.each_ref().map(|replica| watch::Sender::new(replica.api().clone()));
        let (rounds, stopped) = (<[Arc<AtomicU64>; 2]>::default(), Arc::<AtomicBool>::default());
        let client = |name: usize| Client {
            name,
            api: apis[name].subscribe(),
            rounds: Arc::clone(&rounds[name]),
            stopped: Arc::clone(&stopped),
        };
        let running = (0..2).map(|name| tokio::spawn(client(name).run())).collect();
        Self { apis, rounds, stopped, running }
    }

    /// Waits until each client has done so many more rounds.
    async fn until_done(&self, more: u64) {
        let rounds = |client: &Arc<AtomicU64>| client.load(Ordering::Relaxed);
        let wanted = self.rounds.each_ref().map(|client| rounds(client) + more);
        until(&format!("{more} more rounds of each client"), async || {
            assert!(!self.running.iter().any(JoinHandle::is_finished), "a client has failed");
            self.rounds.iter().zip(wanted).all(|(client, wanted)| rounds(client) >= wanted).then_some(())
        })
        .await;
    }

    async fn end(self) {
        self.stopped.store(true, Ordering::Relaxed);
        for running in self.running {
            running.await.unwrap();
        }
    }
}

/// Puts one replica after the other in the place of those that run, while clients go on.
async fn roll_to(program: &str, setup: &Setup, replicas: &mut [System; 2], clients: &Clients) {
    for (replica, client) in replicas.iter_mut().zip(&clients.apis) {
        let next = setup.clone().by(program).listening_at(lasting_address()).start().await;
        client.send_replace(next.api().clone());
        clients.until_done(10).await;
        replica.stop().await;
        *replica = next;
    }
}

async fn expect_rolled_forward_and_back(setup: Setup) {
    let start = || setup.clone().listening_at(lasting_address()).start();
    let mut replicas = [start().await, start().await];
    let stores = replicas[0].stores().clone();
    let schema = match &stores {
        Stores::Embedded => panic!("these are no servers"),
        Stores::Postgres(schema) => schema,
        Stores::Servers(servers) => servers.schema(),
    };
    let clients = Clients::start(&replicas);
    clients.until_done(20).await;
    for program in [NEXT, TODAY] {
        roll_to(program, &setup, &mut replicas, &clients).await;
        until("the former table to be dropped", async || (schema.views().await == 1).then_some(())).await;
        let shown = replicas[0].get("/client-0-0").await.with_status(200).json();
        assert_eq!(shown["priority"].as_u64(), (program == NEXT).then_some(1), "{shown}");
    }
    clients.end().await;
    until("everything to be published", async || {
        let unpublished = replicas[0].metrics().await.sum("orders_unpublished_commits", &[]);
        (unpublished == 0.0).then_some(())
    })
    .await;
    replicas[1].expect_verified().await;
}

#[tokio::test]
async fn another_shape_of_the_view_is_rolled_out_and_back_on_kafka() {
    let Some(stores) = Stores::servers() else { return };
    expect_rolled_forward_and_back(Setup::on(stores)).await;
}

#[tokio::test]
async fn another_shape_of_the_view_is_rolled_out_and_back_on_channels_in_memory() {
    let Some(stores) = Stores::servers() else { return };
    let in_memory = |server: Invocation| server.env("ORDERS_CHANNEL", "memory:");
    expect_rolled_forward_and_back(Setup::on(stores).with_server(in_memory)).await;
}

#[tokio::test]
async fn another_shape_of_the_view_is_rolled_out_and_back_on_postgresql_alone() {
    let Some(stores) = Stores::postgres() else { return };
    expect_rolled_forward_and_back(Setup::on(stores)).await;
}
