//! A whole system: a server in a process and a folder of its own, and the tools on the same stores.

use std::env;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http::{Answer, Call, Http};
use crate::metrics::Metrics;
use crate::poll::until;
use crate::process::{Finished, Invocation, Running, binary};
use crate::stores::Stores;

/// The time limit for a server to end, once it is told to.
const DRAIN: Duration = Duration::from_secs(10);

/// A system that is not started yet.
#[derive(Clone, Debug)]
pub struct Setup {
    program: String,
    stores: Stores,
    listen: SocketAddr,
    admin_listen: SocketAddr,
    flags: Vec<String>,
    within: PathBuf,
    server: fn(Invocation) -> Invocation,
}

impl Setup {
    /// Returns the setup of a system on these stores.
    #[must_use]
    pub fn on(stores: Stores) -> Self {
        Self {
            program: "orders".to_owned(),
            stores,
            listen: any_port(),
            admin_listen: any_port(),
            flags: vec![],
            within: env::temp_dir(),
            server: |server| server,
        }
    }

    /// Uses another binary than `orders`, from the same folder.
    #[must_use]
    pub fn by(mut self, program: &str) -> Self {
        program.clone_into(&mut self.program);
        self
    }

    /// Adds these flags for `orders serve`.
    #[must_use]
    pub fn with(mut self, flags: &[&str]) -> Self {
        self.flags.extend(flags.iter().map(|&flag| flag.to_owned()));
        self
    }

    /// Sets the function that changes the call of the server before its start.
    #[must_use]
    pub fn with_server(mut self, server: fn(Invocation) -> Invocation) -> Self {
        self.server = server;
        self
    }

    /// Puts the system's folder into this one.
    #[must_use]
    pub fn within(mut self, folder: &Path) -> Self {
        folder.clone_into(&mut self.within);
        self
    }

    /// Puts the API at an address that stays the same from one start to the next.
    #[must_use]
    pub fn listening_at(mut self, address: SocketAddr) -> Self {
        self.listen = address;
        self
    }

    /// Puts the admin listener at this address.
    #[must_use]
    pub fn with_admin_at(mut self, address: SocketAddr) -> Self {
        self.admin_listen = address;
        self
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// When it does not get ready.
    pub async fn start(self) -> System {
        let mut system = self.prepare();
        system.start_again().await;
        system
    }

    /// Returns the system with its folder and its stores, and with no server yet.
    ///
    /// # Panics
    /// When no folder can be created.
    #[must_use]
    pub fn prepare(self) -> System {
        let folder = tempfile::tempdir_in(&self.within).expect("a folder");
        let nowhere = Http::at(any_port());
        System { server: None, setup: self, folder, api: nowhere.clone(), admin: nowhere }
    }
}

/// Returns an address that is free again for the successor of a killed server. Its port is below those that the kernel gives to
/// others.
///
/// # Panics
/// When none is free.
#[must_use]
pub fn lasting_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Processes that run at the same time have neighbouring ids, which would give them the same ports.
    let first = (std::process::id() * 97 % 10_000) as u16;
    let address = |_| {
        let port = 20_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000;
        SocketAddr::from(([127, 0, 0, 1], port))
    };
    (0..100).map(address).find(|address| TcpListener::bind(address).is_ok()).expect("a free port")
}

fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// A system. It is stopped when it is dropped, and the test fails if its server has ended by itself.
#[derive(Debug)]
pub struct System {
    // First, so that the server is dropped before the folder that it uses.
    server: Option<Running>,
    setup: Setup,
    folder: TempDir,
    api: Http,
    admin: Http,
}

// ── Its processes ────────────────────────────────────────────────────────────────────────────────────

impl System {
    /// Starts a system without special settings.
    pub async fn start() -> Self {
        Setup::on(Stores::fresh()).start().await
    }

    /// Starts a system with these flags for `orders serve`.
    pub async fn start_with(flags: &[&str]) -> Self {
        Setup::on(Stores::fresh()).with(flags).start().await
    }

    /// Starts the server on the stores as they are, and waits until it is ready.
    ///
    /// # Panics
    /// When one runs already, or it does not get ready.
    pub async fn start_again(&mut self) {
        self.listen_again().await;
        let ready =
            async || self.admin.get("/readyz").attempt().await.ok().filter(|answer| answer.status == 200);
        until("the server to be ready", ready).await;
    }

    /// Starts the server, and waits only until it listens. A broker may take seconds to assign its partitions, and commands are
    /// done meanwhile.
    ///
    /// # Panics
    /// When one runs already, or it does not get so far.
    pub async fn listen_again(&mut self) {
        assert!(self.server.is_none(), "a server runs already");
        let listen = self.setup.listen.to_string();
        let admin_listen = self.setup.admin_listen.to_string();
        let mut words = vec!["serve", "--listen", &listen, "--admin-listen", &admin_listen];
        words.extend(self.setup.flags.iter().map(String::as_str));
        let mut server = (self.setup.server)(self.invocation(&words)).start();
        let (api, admin) = until("the server's greeting", async || {
            assert_eq!(server.ended(), None, "the server has ended: {}", server.stderr());
            addresses(&server.stdout())
        })
        .await;
        self.server = Some(server);
        (self.api, self.admin) = (Http::at(api), Http::at(admin));
    }

    /// Starts the server with other flags than before.
    pub async fn start_again_with(&mut self, flags: &[&str]) {
        self.setup.flags = flags.iter().map(|&flag| flag.to_owned()).collect();
        self.start_again().await;
    }

    /// The server's process.
    ///
    /// # Panics
    /// When there is none.
    pub fn server(&mut self) -> &mut Running {
        self.server.as_mut().expect("a server")
    }

    /// Returns the server's process, which the system no longer looks after.
    ///
    /// # Panics
    /// When there is none.
    pub fn take_server(&mut self) -> Running {
        self.server.take().expect("a server")
    }

    /// Stops the server with this signal, and checks that it ends in order and in time.
    ///
    /// # Panics
    /// When it does not.
    pub async fn stop_with(&mut self, signal: &str) -> Finished {
        let mut server = self.take_server();
        server.signal(signal);
        let since = Instant::now();
        let finished = server.end().await.with_code(0);
        assert!(since.elapsed() < DRAIN, "it took {:?}", since.elapsed());
        finished
    }

    /// Stops the server in order.
    pub async fn stop(&mut self) -> Finished {
        self.stop_with("TERM").await
    }

    /// Kills the server with `kill -9`.
    pub fn kill(&mut self) {
        self.take_server().kill();
    }

    /// The system's stores.
    #[must_use]
    pub const fn stores(&self) -> &Stores {
        &self.setup.stores
    }

    /// A file or folder in the system's own folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// The system's own folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A command of `orders` on the system's stores.
    #[must_use]
    pub fn invocation(&self, words: &[&str]) -> Invocation {
        let settings = self.setup.stores.settings(self.folder());
        let call = Invocation::of(binary(&self.setup.program), words);
        settings.into_iter().fold(call, |call, (name, value)| call.env(name, value))
    }

    /// Runs a command of `orders` on the system's stores to its end.
    pub async fn orders(&self, words: &[&str]) -> Finished {
        self.invocation(words).run().await
    }

    /// Returns a call of `orders load` on this system, with these words added.
    #[must_use]
    pub fn load(&self, words: &[&str]) -> Invocation {
        let url = format!("http://{}", self.api.address());
        self.invocation(&[&["load", "--url", &url], words].concat())
    }
}

/// Returns the addresses of the API and the admin listener from the server's greeting, or `None` until the greeting is complete.
#[must_use]
pub fn addresses(greeting: &str) -> Option<(SocketAddr, SocketAddr)> {
    let address = |name: &str| {
        let line = greeting.lines().find_map(|line| line.strip_prefix(name))?;
        let url = line.trim().strip_prefix("http://")?;
        url.split('/').next()?.parse().ok()
    };
    greeting.contains("Try:").then_some((address("API ")?, address("Admin ")?))
}

impl Drop for System {
    fn drop(&mut self) {
        let ended = self.server.as_mut().and_then(Running::ended);
        if let (Some(status), false) = (ended, thread::panicking()) {
            panic!("the server has ended by itself: {status}");
        }
    }
}

// ── Calls of a client ────────────────────────────────────────────────────────────────────────────────

impl System {
    /// The API.
    #[must_use]
    pub const fn api(&self) -> &Http {
        &self.api
    }

    /// The admin listener.
    #[must_use]
    pub const fn admin(&self) -> &Http {
        &self.admin
    }

    /// A GET of the API.
    #[must_use]
    pub fn get(&self, path: &str) -> Call {
        self.api.get(path)
    }

    /// A POST to the API.
    #[must_use]
    pub fn post(&self, path: &str) -> Call {
        self.api.post(path)
    }

    /// A DELETE of the API.
    #[must_use]
    pub fn delete(&self, path: &str) -> Call {
        self.api.delete(path)
    }

    /// Creates an order that is not there yet.
    ///
    /// # Panics
    /// When it is not created.
    pub async fn create(&self, id: &str) -> Answer {
        self.post("/").json(&json!({"id": id, "name": "a lamp"})).await.with_status(201)
    }

    /// Asks for an order to be processed.
    ///
    /// # Panics
    /// When that is refused.
    pub async fn process(&self, id: &str) -> Answer {
        self.post(&format!("/{id}")).await.with_status(200)
    }

    /// Creates an order, has it processed, and waits for its outcome.
    pub async fn create_and_process(&self, id: &str) -> Value {
        self.create(id).await;
        self.process(id).await;
        self.until_status(id, "processed").await
    }

    /// Returns the order, once the view has it with this status.
    pub async fn until_status(&self, id: &str, status: &str) -> Value {
        self.until_order(id, status, |order| order["status"] == status).await
    }

    /// Returns the order, once the view has it at this version.
    pub async fn until_version(&self, id: &str, version: u64) -> Value {
        self.until_order(id, &format!("at {version}"), |order| order["version"] == version).await
    }

    async fn until_order(&self, id: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let path = format!("/{id}");
        until(&format!("{id} to be {what}"), async || {
            let answer = self.get(&path).await;
            (answer.status == 200).then(|| answer.json()).filter(&is_so)
        })
        .await
    }

    /// Returns the order's events, oldest first.
    pub async fn events(&self, id: &str) -> Vec<Value> {
        let events = self.get(&format!("/{id}/events")).await.with_status(200).json();
        events.as_array().expect("a list").clone()
    }

    /// Returns the types of the order's events, oldest first. Their versions are 1, 2, 3 and so on.
    ///
    /// # Panics
    /// When a version is missing or repeated.
    pub async fn event_types(&self, id: &str) -> Vec<String> {
        let events = self.events(id).await;
        for (version, event) in (1_u64..).zip(&events) {
            assert_eq!(event["version"], version, "{events:?}");
        }
        events.iter().map(|event| event["type"].as_str().expect("a type").to_owned()).collect()
    }

    /// Returns the server's metrics.
    pub async fn metrics(&self) -> Metrics {
        Metrics::parse(&self.admin.get("/metrics").await.with_status(200).text())
    }

    /// Checks that the view agrees with the event store, order by order.
    ///
    /// # Panics
    /// When it does not.
    pub async fn expect_verified(&self) {
        let report = self.orders(&["verify", "--json"]).await.with_code(0).json();
        assert_eq!(report["faults"], 0, "{report}");
    }
}
