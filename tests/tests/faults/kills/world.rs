//! A system of one or more servers on the same stores, under a load, whose processes are killed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::Rng;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use tests::checker::ledger::{Ledger, Wanted};
use tests::checker::topic::Topic;
use tests::checker::{CATCH_UP, Checked, Checker};
use tests::clients::{Clients, Load};
use tests::damage::View;
use tests::fulfilment::{Asked, Reply, Service, refuse_some};
use tests::http::Http;
use tests::metrics::Metrics;
use tests::poll::{until, until_within};
use tests::process::{Invocation, Running};
use tests::stores::Stores;
use tests::system::{Setup, System, addresses, lasting_address};

use super::points::{PROGRAM, Point, Victim};

/// The number of clients that send commands.
const CLIENTS: u64 = 8;

/// The time limit for a server to reach its point. Then another try begins, which only a coincidence or a fault causes.
const PATIENCE: Duration = Duration::from_secs(20);

/// The time limit for a tool. It goes through all orders, of which there are more with each kill, and then it ends by itself.
const PATIENCE_WITH_TOOLS: Duration = Duration::from_secs(300);

/// The prefix of orders that are set aside, because the service fails with them at first.
const STUBBORN: &str = "stubborn-";

fn fulfil(asked: &Asked) -> Reply {
    let fails = asked.key.starts_with(STUBBORN) && asked.times <= 5;
    if fails { Reply::NotNow(503) } else { refuse_some(asked) }
}

pub(crate) struct World {
    // First, so that they are dropped before the system that they use.
    servers: Vec<Server>,
    load: Option<Load>,
    clients: Arc<Clients>,
    ledger: Arc<Ledger>,
    checker: Checker,
    service: Service,
    system: System,
    random: StdRng,
    pub(crate) kills: BTreeMap<&'static str, u64>,
    /// The number of kills of servers at no particular point, on the way to one.
    pub(crate) other_kills: u64,
    specimens: u64,
}

struct Server {
    address: SocketAddr,
    /// Its admin listener, once it has greeted.
    admin: Option<Http>,
    process: Option<Running>,
}

impl World {
    pub(crate) async fn new(stores: Stores, servers: usize, random: StdRng) -> Self {
        let service = Service::start(fulfil).await;
        let topic = match &stores {
            Stores::Embedded | Stores::Postgres(_) => None,
            Stores::Servers(servers) => Some(Topic::of(servers)),
        };
        let system = Setup::on(stores).by(PROGRAM).prepare();
        let servers: Vec<Server> =
            (0..servers).map(|_| Server { address: lasting_address(), admin: None, process: None }).collect();
        let ledger = Arc::new(Ledger::default());
        let apis = servers.iter().map(|server| Http::at(server.address)).collect();
        let clients = Clients::of(apis, Arc::clone(&ledger));
        let checker = Checker::new(Arc::clone(&ledger), topic);
        let (kills, load) = (BTreeMap::new(), None);
        let mut world = Self {
            servers,
            load,
            clients,
            ledger,
            checker,
            service,
            system,
            random,
            kills,
            other_kills: 0,
            specimens: 0,
        };
        world.all_up().await;
        world.go_on();
        world
    }

    fn go_on(&mut self) {
        let seed = self.random.random();
        self.load.get_or_insert_with(|| self.clients.start(CLIENTS, seed));
    }

    /// Kills a process at this point, once, and lets a killed tool finish its work.
    pub(crate) async fn kill_at(&mut self, point: Point) {
        for _ in 0..5 {
            let passes = self.random.random_range(1..=point.passes);
            let asked = format!("{}:{passes}", point.name);
            let killed = match point.victim {
                Victim::Server | Victim::Relay | Victim::Reminder | Victim::SettingAside => {
                    self.kill_server(point, &asked).await
                }
                Victim::Rebuild => self.kill_tool(point, &asked, &["rebuild", "--json"]).await,
                Victim::Redrive => {
                    let specimen = self.specimen_held().await;
                    let killed = self.kill_tool(point, &asked, &["held", "redrive", "--json"]).await;
                    self.expect_whole(&specimen).await;
                    killed
                }
                Victim::Repair => {
                    let specimen = self.specimen_tampered_with().await;
                    let killed = self.kill_tool(point, &asked, &["verify", "--repair", "--json"]).await;
                    self.expect_whole(&specimen).await;
                    killed
                }
            };
            if killed {
                *self.kills.entry(point.name).or_default() += 1;
                return;
            }
        }
        panic!("{} was not reached, again and again", point.name);
    }

    async fn kill_server(&mut self, point: Point, asked: &str) -> bool {
        let place = self.random.random_range(0..self.servers.len());
        if point.victim == Victim::Relay {
            // A server that is killed at work leaves commits to be relayed, if no other server is there to do so.
            self.all_up().await;
            let (commands, _) = self.ledger.counts();
            until("commands", async || (self.ledger.counts().0 > commands + 30).then_some(())).await;
            (0..self.servers.len()).for_each(|place| self.down(place));
        }
        if point.victim == Victim::Reminder {
            self.order_set_aside().await;
            (0..self.servers.len()).for_each(|place| self.down(place));
        }
        if point.victim == Victim::SettingAside {
            (0..self.servers.len()).for_each(|place| self.down(place));
        }
        self.down(place);
        let victim = self.serve(place).env("KILL_POINT", asked).start();
        if point.victim == Victim::Server {
            self.up(|other| other != place).await;
        }
        if point.victim == Victim::SettingAside {
            drop(self.stubborn_order().await);
        }
        let killed = dies(victim, point).await;
        self.other_kills += u64::from(!killed);
        killed
    }

    /// Kills a tool at its point. Started again, the tool does its work to the end.
    async fn kill_tool(&mut self, point: Point, asked: &str, words: &[&str]) -> bool {
        self.all_up().await;
        let tool = self.system.invocation(words);
        let killed = dies(tool.clone().env("KILL_POINT", asked).start(), point).await;
        tool.run().await.with_code(0);
        killed
    }

    fn serve(&self, place: usize) -> Invocation {
        let listen = self.servers[place].address.to_string();
        let words = ["serve", "--listen", &listen, "--admin-listen", "127.0.0.1:0"];
        self.system.invocation(&words).env("ORDERS_FULFILMENT", self.service.url())
    }

    async fn all_up(&mut self) {
        self.up(|_| true).await;
    }

    /// Starts the wanted servers that are down, and waits until they have greeted.
    async fn up(&mut self, wanted: impl Fn(usize) -> bool) {
        for place in (0..self.servers.len()).filter(|place| wanted(*place)) {
            if self.servers[place].process.is_none() {
                self.servers[place].process = Some(self.serve(place).start());
            }
        }
        for server in &mut self.servers {
            let Some(process) = &mut server.process else { continue };
            let (_, admin) = until("a server's greeting", async || {
                assert_eq!(process.ended(), None, "a server has ended by itself: {}", process.stderr());
                addresses(&process.stdout())
            })
            .await;
            server.admin = Some(Http::at(admin));
        }
    }

    fn down(&mut self, place: usize) {
        if let Some(process) = self.servers[place].process.take() {
            process.kill();
            self.other_kills += 1;
        }
    }

    /// Stops the load, checks the orders that were touched since the last time, or all, and starts the load again.
    pub(crate) async fn check(&mut self, all: bool) -> Checked {
        // Clients go on until they are answered, so all servers must be up.
        self.all_up().await;
        if let Some(load) = self.load.take() {
            load.stop().await;
        }
        let api = Http::at(self.servers[0].address);
        let admin = self.servers[0].admin.clone().expect("it has greeted");
        let checked = self.checker.check(&api, &admin, &self.service, all).await;
        self.system.expect_verified().await;
        self.go_on();
        checked
    }

    /// Returns the figures of this run.
    pub(crate) fn figures(&self) -> Value {
        let (commands, repeated) = self.ledger.counts();
        let (records, records_again) = self.checker.records();
        json!({
            "commands": commands, "commands_repeated": repeated, "fulfilment_calls": self.service.calls(),
            "fulfilments": self.service.effects().len(), "records": records, "records_again": records_again,
        })
    }
}

/// Orders of the test itself, which are damaged and must be whole again in the end.
impl World {
    /// Makes an order that will be set aside, if others are fulfilled.
    async fn stubborn_order(&mut self) -> String {
        self.specimens += 1;
        let order = format!("{STUBBORN}{}", self.specimens);
        self.clients.command(&order, Wanted::Create { name: "a specimen".to_owned() }).await;
        self.clients.command(&order, Wanted::Process).await;
        order
    }

    /// Makes an order that waits for its reminder. If a partition moves meanwhile, two servers try an order in turn. Then it may
    /// be fulfilled before either sets it aside, and another order is tried.
    async fn order_set_aside(&mut self) {
        self.all_up().await;
        let (api, admin) = (Http::at(self.servers[0].address), self.servers[0].admin.clone());
        let admin = admin.expect("it has greeted");
        for _ in 0..5 {
            let order = format!("/{}", self.stubborn_order().await);
            let is_set_aside = until_within(CATCH_UP, "an order to be set aside, or fulfilled", async || {
                let told = admin.get("/metrics").attempt().await.ok()?;
                if Metrics::parse(&told.text()).sum("orders_reminders_set_aside", &[]) > 0.0 {
                    return Some(true);
                }
                let shown = shown(&api, &order).await?;
                (shown["status"] != "new" && shown["status"] != "processing").then_some(false)
            });
            if is_set_aside.await {
                return;
            }
        }
        panic!("no order was set aside");
    }

    async fn specimen(&mut self) -> String {
        self.specimens += 1;
        let order = format!("specimen-{}", self.specimens);
        self.clients.command(&order, Wanted::Create { name: "a specimen".to_owned() }).await;
        self.clients.command(&order, Wanted::Process).await;
        self.expect_whole(&order).await;
        order
    }

    /// Waits until the view shows the order as the event store has it.
    async fn expect_whole(&mut self, order: &str) {
        self.all_up().await;
        let api = Http::at(self.servers[0].address);
        until_within(CATCH_UP, &format!("{order} to be whole"), async || {
            let told = shown(&api, &format!("/{order}/events")).await?;
            let last = told.as_array()?.last()?.clone();
            let shown = shown(&api, &format!("/{order}")).await?;
            let outcome = match last["type"].as_str()? {
                "OrderProcessed" => "processed",
                "ProcessingFailed" => "failed",
                _ => return None,
            };
            let name = shown["name"] == "a specimen";
            (name && shown["status"] == outcome && shown["version"] == last["version"]).then_some(())
        })
        .await;
    }

    /// Makes an order whose last two events are missing in the view, because they are held as events of unknown type.
    async fn specimen_held(&mut self) -> String {
        self.all_up().await;
        let order = self.specimen().await;
        let api = Http::at(self.servers[0].address);
        let path = format!("/{order}/events");
        let told = until("the specimen's events", async || shown(&api, &path).await).await;
        let mut view = View::of(&self.system).await;
        view.set_back(&order).await;
        for event in told.as_array().expect("a list").iter().skip(1).rev() {
            let value = json!({
                "type": event["type"], "schema": 1, "stream": order, "version": event["version"], "time": event["time"],
                "data": event["data"],
            });
            view.hold(Some(&order), event["version"].as_i64(), "unknown-type", &value.to_string()).await;
        }
        order
    }

    /// Makes an order whose row is changed, and adds a row for an order that does not exist.
    async fn specimen_tampered_with(&mut self) -> String {
        self.all_up().await;
        let order = self.specimen().await;
        let mut view = View::of(&self.system).await;
        view.rename(&order, "a forgery").await;
        view.add_ghost(&format!("ghost-{order}"), 1).await;
        order
    }
}

/// Reads a path as JSON. Returns `None` while the server is not there or has no time.
async fn shown(api: &Http, path: &str) -> Option<Value> {
    api.get(path).attempt().await.ok().filter(|answer| answer.status == 200).map(|answer| answer.json())
}

/// Returns whether the process dies at its point. A process that ended in another way is a fault. A process that goes on for too
/// long is killed: it still has its point, so it could die later under other tests.
async fn dies(mut victim: Running, point: Point) -> bool {
    let since = Instant::now();
    let is_server = !matches!(point.victim, Victim::Rebuild | Victim::Redrive | Victim::Repair);
    let patience = if is_server { PATIENCE } else { PATIENCE_WITH_TOOLS };
    loop {
        if let Some(status) = victim.ended() {
            let said = victim.stderr();
            // The message may not be at the end, because other threads may be logging at the same moment.
            let at_its_point = said.contains(&format!("killed at {}", point.name));
            if status.signal() == Some(9) && at_its_point {
                return true;
            }
            // A tool may end before it has passed a point so often.
            assert!(status.success() && !is_server, "{status}: {said}");
            return false;
        }
        if since.elapsed() > patience {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}
