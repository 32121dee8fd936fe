//! Servers that a test may harm. They are a separate set, which `deploy/services` keeps at the offset that `ORDERS_FAULTS_OFFSET`
//! names. Those that don't run are started. None is stopped in the end, so that the next test has them too.

use std::env;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Once};
use std::time::Duration;

use crate::process::Invocation;
use crate::report::not_run;
use crate::servers::{Schema, Servers};
use crate::stores::Stores;

/// The variable that names the servers that may be harmed.
const OFFSET: &str = "ORDERS_FAULTS_OFFSET";
/// The variable that is set when their data is on a disk of their own, which may be filled.
const DISK: &str = "ORDERS_FAULTS_DISK";

/// The time limit for servers to start. A broker that was killed waits until its own old session expires.
const PATIENCE: Duration = Duration::from_secs(150);

/// A server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// The broker.
    Kafka,
    /// The server that speaks MongoDB's wire protocol.
    MongoDb,
    /// The storage behind [`Server::MongoDb`]; only where it has one.
    DocumentDb,
    /// The server of the read store.
    Postgres,
}

/// The harm that is done to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// `kill -9` of the server and of everything that it has started.
    Killed,
    /// It takes connections and bytes, and does nothing.
    Frozen,
}

/// The servers, for one test at a time.
#[derive(Debug)]
pub struct Services {
    offset: String,
    urls: [String; 3],
    _turn: File,
}

impl Services {
    /// Waits for its turn, and starts the servers that don't run. Returns `None` when no offset is given, and prints that once.
    ///
    /// # Panics
    /// When they don't start.
    pub async fn take() -> Option<Self> {
        static SAID: Once = Once::new();
        let Ok(offset) = env::var(OFFSET) else {
            SAID.call_once(|| {
                not_run(&format!(
                    "faults of servers; {OFFSET} says where deploy/services has some to be harmed"
                ));
            });
            return None;
        };
        // The lock is a file, because another test program may want the servers too.
        let turn =
            File::create(env::temp_dir().join(format!("orders-faults-{offset}.lock"))).expect("a lock");
        turn.lock().expect("the lock");
        let mut services = Self { offset, urls: Default::default(), _turn: turn };
        services.call(&["up"]).await;
        let exports = services.call(&["env"]).await;
        let url = |name| value_of(&exports, name).expect("deploy/services names all three");
        services.urls = ["ORDERS_EVENT_STORE", "ORDERS_CHANNEL", "ORDERS_READ_STORE"].map(url);
        Some(services)
    }

    /// The URL of a MongoDB, a Kafka and a PostgreSQL.
    #[must_use]
    pub fn urls(&self) -> [&str; 3] {
        self.urls.each_ref().map(String::as_str)
    }

    /// Returns stores on these servers that nobody else uses.
    #[must_use]
    pub fn stores(&self) -> Stores {
        Stores::Servers(Arc::new(Servers::on(self.urls())))
    }

    /// Returns stores on PostgreSQL alone that nobody else uses.
    #[must_use]
    pub fn postgres(&self) -> Stores {
        Stores::Postgres(Arc::new(Schema::on(&self.urls[2])))
    }

    /// Harms a server, until the fault is undone.
    pub async fn harm(&self, server: Server, harm: Harm) -> Fault<'_> {
        let word = match harm {
            Harm::Killed => "kill",
            Harm::Frozen => "freeze",
        };
        self.call(&[word, server.name()]).await;
        let remedy = match (harm, server) {
            (Harm::Frozen, server) => vec!["thaw", server.name()],
            // Its storage is started with it: `up` of MongoDB starts both.
            (Harm::Killed, Server::DocumentDb) => vec!["up", Server::MongoDb.name()],
            (Harm::Killed, server) => vec!["up", server.name()],
        };
        Fault { services: self, remedies: vec![remedy], undone: false }
    }

    /// Returns whether all of them share a disk of their own, which may be filled. If not, prints that.
    #[must_use]
    pub fn have_a_disk(&self) -> bool {
        let has = env::var_os(DISK).is_some();
        if !has {
            not_run(&format!(
                "a full disk below servers; {DISK} says that deploy/services has made one for them"
            ));
        }
        has
    }

    /// Fills their disk, so that no room is left.
    pub async fn fill_disk(&self) -> Fault<'_> {
        self.call(&["fill"]).await;
        // Some servers may have ended, so `up` starts them again.
        Fault { services: self, remedies: vec![vec!["clear"], vec!["up"]], undone: false }
    }

    async fn call(&self, words: &[&str]) -> String {
        self.invocation(words).start().end_within(PATIENCE).await.with_code(0).stdout
    }

    fn words<'a>(&'a self, words: &[&'a str]) -> Vec<&'a str> {
        [words, &["--offset", &self.offset]].concat()
    }

    fn invocation(&self, words: &[&str]) -> Invocation {
        let settings = env::vars().filter(|(name, _)| name.starts_with("ORDERS_SERVICES_"));
        let call = Invocation::of(program(), &self.words(words));
        settings.fold(call, |call, (name, value)| call.env(&name, value))
    }
}

impl Server {
    const fn name(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
            Self::MongoDb => "mongodb",
            Self::DocumentDb => "documentdb",
            Self::Postgres => "postgres",
        }
    }
}

fn program() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/services")
}

/// Returns the value in a line `export NAME='VALUE'`.
fn value_of(exports: &str, name: &str) -> Option<String> {
    let value = exports
        .lines()
        .find_map(|line| line.strip_prefix("export ")?.strip_prefix(name)?.strip_prefix('='))?;
    Some(value.trim_matches('\'').to_owned())
}

/// A fault of servers. When it is dropped, the servers are restored, so that others find them well.
#[derive(Debug)]
pub struct Fault<'a> {
    services: &'a Services,
    /// The commands that undo it, one after the other.
    remedies: Vec<Vec<&'static str>>,
    undone: bool,
}

impl Fault<'_> {
    /// Leaves the servers harmed for so long, then undoes the fault. The test waits for a time here, because the time is the
    /// fault.
    pub async fn last(self, time: Duration) {
        tokio::time::sleep(time).await;
        self.undo().await;
    }

    /// Undoes the fault: the servers go on, or are started again and answer.
    pub async fn undo(mut self) {
        for remedy in &self.remedies {
            self.services.call(remedy).await;
        }
        self.undone = true;
    }
}

impl Drop for Fault<'_> {
    fn drop(&mut self) {
        if !self.undone {
            // Only a failing test comes here, and a further error would say no more than that.
            for remedy in &self.remedies {
                let _ = Command::new(program()).args(self.services.words(remedy)).status();
            }
        }
    }
}
