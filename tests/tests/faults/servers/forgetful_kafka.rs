//! Kafka forgets records that nobody has read, the topic, committed offsets, or assignments of partitions. Two replicas under a
//! load heal by themselves, from the event store, within a minute after the cause has ended. Then the independent checker finds
//! every order as it was acknowledged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tests::broker::Broker;
use tests::checker::Checker;
use tests::checker::ledger::{Ledger, Wanted};
use tests::clients::Clients;
use tests::fulfilment::{Reply, Service};
use tests::poll::{until, until_within};
use tests::report;
use tests::services::{Harm, Server, Services};
use tests::stores::Stores;
use tests::system::{Setup, System, lasting_address};
use tokio::task::JoinSet;

/// The time limit for healing, once the cause has ended.
const HEALED: Duration = Duration::from_secs(60);

/// Clients that create orders, and cancel every third.
const CLIENTS: usize = 8;

struct World {
    replicas: [System; 2],
    broker: Broker,
    ledger: Arc<Ledger>,
    clients: Arc<Clients>,
    service: Service,
}

/// Clients at work.
struct Creating {
    over: Arc<AtomicBool>,
    created: Arc<AtomicUsize>,
    clients: JoinSet<()>,
}

impl World {
    async fn start(services: &Services) -> Self {
        let stores = services.stores();
        let Stores::Servers(servers) = &stores else { panic!("these are servers") };
        let broker = Broker::of(servers);
        let service = Service::start(|_| Reply::Fulfilled).await;
        let replica = || {
            let setup = Setup::on(stores.clone()).listening_at(lasting_address());
            setup.with(&["--fulfilment", service.url(), "--reconcile-rate", "120"]).start()
        };
        let replicas = [replica().await, replica().await];
        let ledger = Arc::new(Ledger::default());
        let apis = replicas.iter().map(|replica| replica.api().clone()).collect();
        let clients = Clients::of(apis, Arc::clone(&ledger));
        Self { replicas, broker, ledger, clients, service }
    }

    /// Starts clients that go on until they are told to stop.
    fn load(&self, name: &str) -> Creating {
        let (over, created) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let mut creating = JoinSet::new();
        for client in 0..CLIENTS {
            let (clients, over, created) =
                (Arc::clone(&self.clients), Arc::clone(&over), Arc::clone(&created));
            let name = format!("cold-{name}-{client}");
            creating.spawn(async move {
                for number in 0.. {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    let order = format!("{name}-{number}");
                    assert!(
                        clients.command(&order, Wanted::Create { name: "a lamp".to_owned() }).await.is_done()
                    );
                    if number % 3 == 0 {
                        let reason = "no more wanted".to_owned();
                        assert!(clients.command(&order, Wanted::Cancel { reason }).await.is_done());
                    }
                    created.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        Creating { over, created, clients: creating }
    }

    /// Checks that every order is as it was acknowledged. The view must have all orders within the time limit since the cause's
    /// end.
    async fn expect_healed(self, test: &str, ended: Instant) {
        let [one, _] = &self.replicas;
        let wanted = self.ledger.orders().len();
        until_within(HEALED.saturating_sub(ended.elapsed()), "the view to have every order", async || {
            (count(one).await >= wanted).then_some(())
        })
        .await;
        let shown = ended.elapsed();
        // Records were lost, so the topic is not checked.
        let mut checker = Checker::new(Arc::clone(&self.ledger), None);
        let checked = checker.check(one.api(), one.admin(), &self.service, true).await;
        let healed = ended.elapsed();
        until("no doubt to be left", async || {
            let ready = one.admin().get("/readyz").await.with_status(200).json();
            ready["comparison"]["in_doubt_since"].is_null().then_some(())
        })
        .await;
        one.expect_verified().await;
        let ready = one.admin().get("/readyz").await.with_status(200).json();
        report::note(
            test,
            "servers",
            &json!({
                "faults": 1,
                "orders_checked": checked.orders,
                "healed_s": shown.as_secs_f64(),
                "checked_s": healed.as_secs_f64(),
                "found": ready["comparison"]["found"],
                "filled": ready["comparison"]["filled"],
            }),
        );
    }
}

impl Creating {
    /// Waits until so many more orders were created.
    async fn until_more(&self, orders: usize) {
        let before = self.created.load(Ordering::Relaxed);
        until(&format!("{orders} orders"), async || {
            (self.created.load(Ordering::Relaxed) >= before + orders).then_some(())
        })
        .await;
    }

    async fn stop(mut self) {
        self.over.store(true, Ordering::Relaxed);
        while let Some(client) = self.clients.join_next().await {
            client.expect("a client goes on to its end");
        }
    }
}

/// Returns the number of orders in the view.
async fn count(system: &System) -> usize {
    let (mut count, mut page) = (0, Some("/?limit=500".to_owned()));
    while let Some(path) = page {
        let answer = system.get(&path).await;
        if answer.status != 200 {
            return 0;
        }
        count += answer.json().as_array().expect("a list").len();
        page = answer.next_page();
    }
    count
}

#[tokio::test]
async fn records_that_are_deleted_before_anybody_read_them_are_filled_in() {
    let Some(services) = Services::take().await else { return };
    let mut world = World::start(&services).await;
    let load = world.load("before");
    load.until_more(50).await;
    let postgres = services.harm(Server::Postgres, Harm::Killed).await;
    load.until_more(300).await;
    load.stop().await;
    until("everything to be on the topic", async || {
        let metrics = world.replicas[0].metrics().await;
        (metrics.sum("orders_unpublished_commits", &[]) == 0.0).then_some(())
    })
    .await;
    world.replicas.iter_mut().for_each(System::kill);
    assert!(world.broker.delete_records().await > 300);
    postgres.undo().await;
    for replica in &mut world.replicas {
        replica.start_again().await;
    }
    // Later events of lost orders wait for those that are lost.
    world.expect_healed("kafka forgets unread records", Instant::now()).await;
}

#[tokio::test]
async fn a_topic_that_is_deleted_under_load_is_made_anew_and_nothing_is_lost() {
    let Some(services) = Services::take().await else { return };
    let mut world = World::start(&services).await;
    let load = world.load("before");
    load.until_more(600).await;
    world.broker.delete_topic().await;
    world.broker.until_there().await;
    let ended = Instant::now();
    load.until_more(50).await;
    load.stop().await;
    // The topic is shorter than it was, so the committed offsets must become the new ends.
    until_within(HEALED, "the positions to be the ends", async || {
        ["orders-orders", "orders-processor"]
            .iter()
            .all(|group| world.broker.positions(group).iter().all(|(position, end)| position == end))
            .then_some(())
    })
    .await;
    // A start goes by the committed offsets.
    for replica in &mut world.replicas {
        replica.stop().await;
        replica.start_again().await;
    }
    world.expect_healed("kafka's topic is deleted under load", ended).await;
}

#[tokio::test]
async fn a_topic_that_comes_back_with_fewer_partitions_is_taken_up() {
    let Some(services) = Services::take().await else { return };
    let world = World::start(&services).await;
    let load = world.load("before");
    load.until_more(100).await;
    world.broker.delete_topic().await;
    // The replicas create the topic again too. If they are quicker, the test deletes it once more.
    while !world.broker.create_topic(2).await {
        world.broker.delete_topic().await;
    }
    let ended = Instant::now();
    load.until_more(100).await;
    load.stop().await;
    world.expect_healed("kafka's topic comes back with fewer partitions", ended).await;
}

#[tokio::test]
async fn partitions_that_nobody_reads_are_taken_over() {
    let Some(services) = Services::take().await else { return };
    let mut world = World::start(&services).await;
    let load = world.load("before");
    load.until_more(50).await;
    // Running replicas learn of new partitions only after minutes. A replica that starts again publishes there at once.
    world.broker.add_partitions(8).await;
    world.replicas[1].kill();
    world.replicas[1].start_again().await;
    let ended = Instant::now();
    load.until_more(200).await;
    load.stop().await;
    world.expect_healed("kafka's partitions are nobody's", ended).await;
}

#[tokio::test]
async fn a_limit_that_is_lowered_and_raised_again_refuses_nothing_afterwards() {
    let Some(services) = Services::take().await else { return };
    let world = World::start(&services).await;
    let load = world.load("before");
    load.until_more(20).await;
    load.stop().await;
    world.broker.limit(1).await;
    let [one, _] = &world.replicas;
    let mut refused = 0;
    let order = |number| json!({"id": format!("refused-{number}"), "name": "a lamp"});
    until("an order to be refused", async || {
        refused += 1;
        (one.post("/").json(&order(refused)).await.status == 413).then_some(())
    })
    .await;
    world.broker.limit(1_000_000).await;
    let ended = Instant::now();
    until_within(HEALED, "an order to be taken", async || {
        (one.post("/").json(&order(refused)).await.status == 201).then_some(())
    })
    .await;
    for number in 1..=refused {
        one.until_version(&format!("refused-{number}"), 1).await;
    }
    assert!(ended.elapsed() < HEALED, "{:?}", ended.elapsed());
    one.expect_verified().await;
}
