//! The connection to the server: the URL's settings, the settings that this program enforces, and the time limits.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use mongodb::bson::{Document, RawDocumentBuf, doc};
use mongodb::error::Error;
use mongodb::options::{
    ClientOptions, ConnectionString, HostInfo, ReadConcern, ReadPreference, SelectionCriteria, ServerAddress,
    WriteConcern,
};
use mongodb::{Client, Collection};
use runtime::SecretUrl;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::failure::{NEEDED, line, unavailable};
use super::indexes;
use crate::jobs::on_server::no_answer;
use crate::{Namespace, OpenError, StoreError};

/// The database if the URL's path names none.
const DATABASE: &str = "events";

/// The wire version of MongoDB 5.0 and Amazon DocumentDB 5.0 ("Wire Protocol version" in the specifications of MongoDB's
/// drivers). Older versions of DocumentDB have no partial indexes ("Supported MongoDB APIs, operations, and data types").
const OLDEST_WIRE_VERSION: i32 = 13;

/// The end of the host names of Amazon DocumentDB's elastic clusters.
const ELASTIC: &str = ".docdb-elastic.amazonaws.com";

/// The time limit for finding a primary, unless the URL says another (`serverSelectionTimeoutMS`). The driver's own 30 s are far
/// more than a command has.
const SELECTION: Duration = Duration::from_millis(2_500);

/// The time limit for opening one connection, unless the URL says another (`connectTimeoutMS`).
const CONNECT: Duration = Duration::from_secs(2);

/// The time after which an unused connection of a Lambda is not trusted any more, unless the URL says another (`maxIdleTimeMS`). A
/// Lambda is frozen between its events, and routers drop silent connections without a word.
const IDLE: Duration = Duration::from_secs(60);

/// The time limit for one read or write, including the connection.
const OPERATION: Duration = Duration::from_secs(5);

/// The time for which the server may wait for a majority. It is shorter than [`OPERATION`], so that the server can report the
/// failure.
pub(super) const MAJORITY: Duration = Duration::from_secs(4);

/// The one client of a store. Usually the store creates it at once, so that all problems of the URL show at once. There are two
/// exceptions, where the first use creates it: the URL has the hosts looked up in DNS, or the store is for a Lambda
/// ([`EventStore::open_with`](crate::EventStore::open_with)). A Lambda's start is waited for, and a client has tasks and a
/// connection from the beginning.
pub(super) struct Connection {
    url: ConnectionString,
    connections: Option<u32>,
    /// The name of the collection.
    namespace: Namespace,
    commits: OnceCell<Collection<RawDocumentBuf>>,
    ready: OnceCell<Server>,
}

/// The way in which the server holds the collection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Topology {
    /// The server holds the whole collection.
    Whole,
    /// The server is a router (`mongos`), and shards hold the collection.
    Sharded,
}

/// The server's own description. This program asks for it once.
pub(super) struct Server {
    pub(super) topology: Topology,
    /// True if the server has linearizable reads, which no deposed primary can answer. After a refusal the server is not asked
    /// again.
    linearizable: AtomicBool,
    clock: ServerClock,
}

impl Server {
    fn of(hello: &Document) -> Self {
        let is_router = hello.get_str("msg").is_ok_and(|router| router == "isdbgrid");
        // Without replicas no primary can be deposed.
        let is_replicated = is_router || hello.contains_key("setName");
        Self {
            topology: if is_router { Topology::Sharded } else { Topology::Whole },
            linearizable: AtomicBool::new(is_replicated),
            clock: ServerClock::of(hello),
        }
    }

    /// Returns about the time on the server's clock.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Makes this server count as a member of a replica set, as if its `hello` had named one.
    #[cfg(test)]
    pub(super) fn becomes_a_replica(&self) {
        self.linearizable.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_linearizable(&self) -> bool {
        self.linearizable.load(Ordering::Relaxed)
    }

    /// Notes that the server refuses linearizable reads. Some servers that speak MongoDB's protocol do not have them.
    pub(super) fn refuses_linearizable(&self, error: &Error) {
        if self.linearizable.swap(false, Ordering::Relaxed) {
            tracing::warn!(%error, "the event store has no linearizable reads; during a failover, a refusal may be out of date");
        }
    }
}

/// An estimate of the server's clock. That clock decides when the server deletes a small record. Our own clock may be wrong.
struct ServerClock {
    there: Timestamp,
    here: Timestamp,
    at: Instant,
}

impl ServerClock {
    fn of(hello: &Document) -> Self {
        let (here, at) = (Timestamp::now(), Instant::now());
        let there = hello.get_datetime("localTime").ok();
        let there = there.and_then(|time| Timestamp::from_millisecond(time.timestamp_millis()).ok());
        Self { there: there.unwrap_or(here), here, at }
    }

    /// Returns the later of two estimates. The one by our clock is wrong if that clock was set since. The one by our timer stands
    /// still while a Lambda is frozen. A time that is too late only keeps a record for longer.
    fn now(&self) -> Timestamp {
        let by_clock = self.there.saturating_add(Timestamp::now().duration_since(self.here));
        let by_timer = self.there.saturating_add(self.at.elapsed());
        by_clock.unwrap_or(self.there).max(by_timer.unwrap_or(self.there))
    }
}

impl Connection {
    /// Checks the URL and asks no server.
    pub(super) async fn new(
        url: &SecretUrl,
        connections: Option<u32>,
        namespace: &Namespace,
    ) -> Result<Self, OpenError> {
        let parsed = parse_url(url).map_err(OpenError::Refused)?;
        if is_elastic(&parsed) {
            return Err(OpenError::Refused(format!(
                "its host is an elastic cluster of Amazon DocumentDB; {NEEDED}"
            )));
        }
        let at_first_use = connections.is_some() || matches!(parsed.host_info, HostInfo::DnsRecord(_));
        let (commits, ready) = (OnceCell::new(), OnceCell::new());
        let connection = Self { url: parsed, connections, namespace: namespace.clone(), commits, ready };
        if !at_first_use {
            let made = connection.collection().await;
            made.map_err(|error| OpenError::Refused(url.scrub(&line(&error))))?;
        }
        Ok(connection)
    }

    /// Connects, logs in and makes ready.
    pub(super) async fn begin(&self) -> Result<(), StoreError> {
        within(self.commits()).await.map(drop)
    }

    /// Returns the collection of commits. The first call checks the server's version and creates missing indexes.
    pub(super) async fn commits(&self) -> Result<&Collection<RawDocumentBuf>, StoreError> {
        let commits = self.collection().await.map_err(|error| unavailable(&error))?;
        self.ready.get_or_try_init(|| prepare(commits)).await?;
        Ok(commits)
    }

    pub(super) async fn server(&self) -> Result<&Server, StoreError> {
        let commits = self.collection().await.map_err(|error| unavailable(&error))?;
        self.ready.get_or_try_init(|| prepare(commits)).await
    }

    pub(super) async fn topology(&self) -> Result<Topology, StoreError> {
        Ok(self.server().await?.topology)
    }

    async fn collection(&self) -> Result<&Collection<RawDocumentBuf>, Error> {
        let connect = || connect(self.url.clone(), self.connections, &self.namespace);
        self.commits.get_or_try_init(connect).await
    }
}

async fn connect(
    url: ConnectionString,
    connections: Option<u32>,
    namespace: &Namespace,
) -> Result<Collection<RawDocumentBuf>, Error> {
    let mut options = ClientOptions::parse(url).await?;
    options.max_pool_size = options.max_pool_size.or(connections);
    options.max_idle_time = options.max_idle_time.or(connections.map(|_| IDLE));
    options.app_name.get_or_insert_with(|| env!("CARGO_PKG_NAME").to_owned());
    options.server_selection_timeout.get_or_insert(SELECTION);
    options.connect_timeout.get_or_insert(CONNECT);
    // Where a write has to be repeated, the caller repeats it under the same keys. Amazon DocumentDB refuses retryable writes.
    options.retry_writes.get_or_insert(false);
    // Durability: an acknowledged write is in the journal of a majority, so no failover takes it back. The URL can't weaken this.
    options.write_concern = Some(
        WriteConcern::builder()
            .w(mongodb::options::Acknowledgment::Majority)
            .journal(true)
            .w_timeout(MAJORITY)
            .build(),
    );
    // A load sees all writes that were acknowledged before, and none that a failover could take back.
    options.read_concern = Some(ReadConcern::majority());
    options.selection_criteria = Some(SelectionCriteria::ReadPreference(ReadPreference::Primary));
    let database = options.default_database.clone().unwrap_or_else(|| DATABASE.to_owned());
    Ok(Client::with_options(options)?.database(&database).collection(namespace.as_str()))
}

fn is_elastic(url: &ConnectionString) -> bool {
    match &url.host_info {
        HostInfo::HostIdentifiers(hosts) => hosts
            .iter()
            .any(|host| matches!(host, ServerAddress::Tcp { host, .. } if host.ends_with(ELASTIC))),
        HostInfo::DnsRecord(host) => host.ends_with(ELASTIC),
        _ => false,
    }
}

async fn prepare(commits: &Collection<RawDocumentBuf>) -> Result<Server, StoreError> {
    let database = commits.client().database(&commits.namespace().db);
    let hello = database.run_command(doc! { "hello": 1 }).await.map_err(|error| unavailable(&error))?;
    let spoken = hello.get_i32("maxWireVersion").unwrap_or_default();
    if spoken < OLDEST_WIRE_VERSION {
        let problem = format!("it is too old (its protocol ends at wire version {spoken}); {NEEDED}");
        return Err(StoreError::Unavailable(problem.into()));
    }
    indexes::ensure(commits).await?;
    Ok(Server::of(&hello))
}

/// Limits the time of an operation. An operation that exceeds the limit may still have taken place.
pub(super) async fn within<T>(
    operation: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    timeout(OPERATION, operation).await.unwrap_or_else(|_| Err(no_answer(OPERATION)))
}

/// Parses a MongoDB URL.
///
/// # Errors
/// When the URL can't be used. The text is one line that says why, without possible secrets.
pub fn parse_url(url: &SecretUrl) -> Result<ConnectionString, String> {
    url.check()?;
    ConnectionString::parse(url.expose()).map_err(|error| url.scrub(&line(&error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace() -> Namespace {
        Namespace::parse("tasks_task").unwrap()
    }

    async fn refused(url: &str) -> String {
        match Connection::new(&url.into(), None, &namespace()).await {
            Ok(_) => panic!("{url} was not refused"),
            Err(OpenError::Refused(problem)) => problem,
            Err(error) => panic!("{error}"),
        }
    }

    #[tokio::test]
    async fn a_url_that_cant_be_used_is_refused_in_one_line() {
        for (url, expected) in [
            ("mongodb://", "server address"),
            ("mongodb://somewhere:port", "HOST[:PORT]"),
            ("mongodb://somewhere/da$ta", "illegal character in database name"),
            ("mongodb://somewhere/?journall=true", "journall"),
            ("mongodb://somewhere/?w=majority&w=1", "repeated options"),
            ("mongodb://somewhere/?socketTimeoutMS=1", "socketTimeoutMS"),
            ("mongodb://somewhere/?tls=true&tlsCAFile=/not/there.pem", "/not/there.pem"),
            ("mongodb+srv://somewhere:27017/", "a port cannot be specified"),
            ("mongodb://a.b.eu-west-1.docdb-elastic.amazonaws.com/", "instance-based cluster"),
        ] {
            let problem = refused(url).await;
            assert!(problem.contains(expected), "{url}: {problem}");
            assert_eq!(problem.lines().count(), 1, "{problem}");
        }
    }

    #[tokio::test]
    async fn a_refusal_names_no_part_of_a_password() {
        for url in [
            "mongodb://someone:hun:ter2@somewhere",
            "mongodb://someone:hun?ter2@somewhere/",
            "mongodb://someone:hun/ter2@somewhere/",
            "mongodb://someone:hun@ter2@somewhere/",
            "mongodb://someone:hun%ter2@somewhere/",
            "mongodb://someone:hun?ter2=x@somewhere/?w=1",
            "mongodb://someone:hunter2@somewhere/?journall=true",
            "mongodb://someone:hunter2@somewhere:port/",
            "mongodb://someone:hunter2@somewhere/?tls=true&tlsCAFile=/not/there.pem",
        ] {
            let problem = refused(url).await;
            assert!(!problem.contains("hun") && !problem.contains("ter2"), "{url}: {problem}");
        }
    }

    #[test]
    fn linearizable_reads_are_for_replicas_and_asked_for_until_they_are_refused() {
        let is_linearizable = |hello: Document| Server::of(&hello).is_linearizable();
        assert!(is_linearizable(doc! { "setName": "rs0" }));
        assert!(is_linearizable(doc! { "msg": "isdbgrid" }));
        assert!(!is_linearizable(doc! { "isWritablePrimary": true }));
        let server = Server::of(&doc! { "setName": "rs0" });
        server.refuses_linearizable(&Error::custom("no"));
        assert!(!server.is_linearizable());
    }

    #[test]
    fn a_servers_time_is_its_own_however_wrong_ours_is() {
        for days in [-400, 400] {
            let there = Timestamp::now() + jiff::SignedDuration::from_hours(24 * days);
            let said = mongodb::bson::DateTime::from_millis(there.as_millisecond());
            let now = Server::of(&doc! { "localTime": said }).now();
            assert!(now.duration_since(there).abs() < jiff::SignedDuration::from_mins(1), "{now} {there}");
        }
        let unsaid = Server::of(&doc! {}).now().duration_since(Timestamp::now());
        assert!(unsaid.abs() < jiff::SignedDuration::from_mins(1), "{unsaid}");
    }

    /// Starts a server that answers every request with its age alone.
    async fn old_server(wire_version: i32) -> std::net::SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(say_hello(stream, wire_version));
            }
        });
        address
    }

    /// Follows "MongoDB Wire Protocol": a header has 16 bytes; OP_REPLY (1) answers OP_QUERY (2004), and OP_MSG answers OP_MSG
    /// (2013).
    async fn say_hello(mut stream: tokio::net::TcpStream, wire_version: i32) -> std::io::Result<()> {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let hello = doc! {
            "ok": 1.0, "isWritablePrimary": true, "ismaster": true, "helloOk": true, "minWireVersion": 0,
            "maxWireVersion": wire_version, "maxBsonObjectSize": 16_777_216, "maxMessageSizeBytes": 48_000_000,
            "maxWriteBatchSize": 100_000, "readOnly": false,
        };
        let document = mongodb::bson::serialize_to_vec(&hello).unwrap();
        loop {
            let mut header = [0; 16];
            stream.read_exact(&mut header).await?;
            let number = |at: usize| i32::from_le_bytes(header[at..at + 4].try_into().unwrap());
            let (length, request, asked) = (number(0), number(4), number(12));
            let mut rest = vec![0; usize::try_from(length).unwrap() - header.len()];
            stream.read_exact(&mut rest).await?;
            let (code, prefix) = if asked == 2004 {
                (1, [&[0; 16][..], &1_i32.to_le_bytes()].concat())
            } else {
                (2013, vec![0; 5])
            };
            let length = i32::try_from(16 + prefix.len() + document.len()).unwrap();
            let header = [length, 0, request, code].map(i32::to_le_bytes).concat();
            stream.write_all(&[header, prefix, document.clone()].concat()).await?;
        }
    }

    /// Amazon DocumentDB 4.0 speaks wire version 7, and MongoDB 4.4 speaks version 9. The driver accepts version 9; our indexes
    /// need more.
    #[tokio::test]
    async fn a_server_that_is_too_old_is_refused_with_what_is_needed() {
        for wire_version in [7, 9] {
            let address = old_server(wire_version).await;
            let url = format!("mongodb://{address}/?directConnection=true");
            let connection = Connection::new(&url.as_str().into(), None, &namespace()).await.unwrap();
            let problem =
                within(async { connection.commits().await.map(drop) }).await.unwrap_err().to_string();
            let said = format!("wire version {wire_version}");
            assert!(problem.contains(&said) && problem.contains("Amazon DocumentDB 5.0"), "{problem}");
        }
    }

    #[tokio::test]
    async fn hosts_in_dns_are_not_looked_up_before_the_first_use() {
        let connection =
            Connection::new(&"mongodb+srv://someone:hunter2@nowhere.invalid/".into(), None, &namespace())
                .await
                .unwrap();
        let problem = within(async { connection.commits().await.map(drop) }).await.unwrap_err().to_string();
        assert!(!problem.contains("hunter2"), "{problem}");
    }
}
