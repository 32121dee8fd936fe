//! The way to the server: what the URL says, what this program insists on, and how long anything may take.

use std::future::Future;
use std::time::Duration;

use mongodb::bson::{RawDocumentBuf, doc};
use mongodb::error::Error;
use mongodb::options::{
    ClientOptions, ConnectionString, HostInfo, ReadConcern, ReadPreference, SelectionCriteria, WriteConcern,
};
use mongodb::{Client, Collection};
use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::indexes;
use crate::{OpenError, StoreError};

/// The database where the URL's path names none.
const DATABASE: &str = "orders";

const COLLECTION: &str = "commits";

/// How long a primary is looked for, unless the URL says (`serverSelectionTimeoutMS`): the driver's own 30 s are far more
/// than a command has.
const SELECTION: Duration = Duration::from_millis(2_500);

/// How long one connection may take, unless the URL says (`connectTimeoutMS`).
const CONNECT: Duration = Duration::from_secs(2);

/// How long one read or write may take, connecting included.
const OPERATION: Duration = Duration::from_secs(5);

/// How long the server may wait for a majority. Less than the operation, so that it can say so.
const MAJORITY: Duration = Duration::from_secs(4);

/// The one client of a store. It is made with the store, so that all that is wrong with the URL shows at once; at first use where the
/// URL has the hosts looked up in DNS, and for a Lambda ([`EventStore::open_with`](crate::EventStore::open_with)): its start is waited for,
/// and a client has tasks and a connection from the beginning.
pub(super) struct Connection {
    url: ConnectionString,
    connections: Option<u32>,
    commits: OnceCell<Collection<RawDocumentBuf>>,
    ready: OnceCell<Topology>,
}

/// How the server holds the collection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Topology {
    /// All of it is there.
    Whole,
    /// It is a router (`mongos`), behind which are shards.
    Sharded,
}

impl Connection {
    /// Says what is wrong with the URL; asks no server.
    pub(super) async fn new(url: &str, connections: Option<u32>) -> Result<Self, OpenError> {
        let parsed = parse_url(url).map_err(OpenError::Refused)?;
        let at_first_use = connections.is_some() || matches!(parsed.host_info, HostInfo::DnsRecord(_));
        let connection = Self { url: parsed, connections, commits: OnceCell::new(), ready: OnceCell::new() };
        if !at_first_use {
            let made = connection.collection().await;
            made.map_err(|error| OpenError::Refused(refusal(url, &error)))?;
        }
        Ok(connection)
    }

    /// The commits, and their indexes are there.
    pub(super) async fn commits(&self) -> Result<&Collection<RawDocumentBuf>, StoreError> {
        let commits = self.collection().await.map_err(|error| unavailable(&error))?;
        self.ready.get_or_try_init(|| prepare(commits)).await?;
        Ok(commits)
    }

    pub(super) async fn topology(&self) -> Result<Topology, StoreError> {
        let commits = self.collection().await.map_err(|error| unavailable(&error))?;
        self.ready.get_or_try_init(|| prepare(commits)).await.copied()
    }

    async fn collection(&self) -> Result<&Collection<RawDocumentBuf>, Error> {
        self.commits.get_or_try_init(|| connect(self.url.clone(), self.connections)).await
    }
}

async fn connect(
    url: ConnectionString,
    connections: Option<u32>,
) -> Result<Collection<RawDocumentBuf>, Error> {
    let mut options = ClientOptions::parse(url).await?;
    options.max_pool_size = options.max_pool_size.or(connections);
    options.app_name.get_or_insert_with(|| "orders".to_owned());
    options.server_selection_timeout.get_or_insert(SELECTION);
    options.connect_timeout.get_or_insert(CONNECT);
    // What is written is written again under the same keys where that is needed, and Amazon DocumentDB refuses retryable writes.
    options.retry_writes.get_or_insert(false);
    // Durability: what is acknowledged is in the journal of a majority, so no failover takes it back. The URL can't weaken it.
    options.write_concern = Some(
        WriteConcern::builder()
            .w(mongodb::options::Acknowledgment::Majority)
            .journal(true)
            .w_timeout(MAJORITY)
            .build(),
    );
    // A load sees all that was acknowledged before, and nothing that a failover could take back.
    options.read_concern = Some(ReadConcern::majority());
    options.selection_criteria = Some(SelectionCriteria::ReadPreference(ReadPreference::Primary));
    let database = options.default_database.clone().unwrap_or_else(|| DATABASE.to_owned());
    Ok(Client::with_options(options)?.database(&database).collection(COLLECTION))
}

async fn prepare(commits: &Collection<RawDocumentBuf>) -> Result<Topology, StoreError> {
    indexes::ensure(commits).await?;
    let database = commits.client().database(&commits.namespace().db);
    let hello = database.run_command(doc! { "hello": 1 }).await.map_err(|error| unavailable(&error))?;
    Ok(if hello.get_str("msg").is_ok_and(|router| router == "isdbgrid") {
        Topology::Sharded
    } else {
        Topology::Whole
    })
}

/// Bounds an operation in time. Whoever is late may have done it or not.
pub(super) async fn within<T>(
    operation: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    timeout(OPERATION, operation).await.unwrap_or_else(|_| Err(no_answer(OPERATION)))
}

pub(super) fn no_answer(waited: Duration) -> StoreError {
    StoreError::Unavailable(format!("no answer within {} s", waited.as_secs()).into())
}

pub(super) fn unavailable(error: &Error) -> StoreError {
    StoreError::Unavailable(line(error).into())
}

/// What a MongoDB URL says.
///
/// # Errors
/// What is wrong with it, in one line and without the password.
pub fn parse_url(url: &str) -> Result<ConnectionString, String> {
    ConnectionString::parse(url).map_err(|error| refusal(url, &error))
}

fn line(error: &Error) -> String {
    error.kind.to_string().replace('\n', " ")
}

/// What the driver says against a URL, without what stands in it before the hosts. With an `@`, `:`, `/` or `?` in a password
/// that was not escaped, the driver takes a part of it for something else, and would name it.
fn refusal(url: &str, error: &Error) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return line(error) };
    let before_options = rest.split_once('?').map_or(rest, |(before, _)| before);
    let Some(at) = before_options.rfind('@').or_else(|| rest.rfind('@')) else { return line(error) };
    match ConnectionString::parse(format!("{scheme}://user:password{}", &rest[at..])) {
        Err(error) => line(&error),
        Ok(_) if ConnectionString::parse(url).is_ok() => line(error),
        Ok(_) => "its user name and password must be percent-encoded".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn refused(url: &str) -> String {
        match Connection::new(url, None).await {
            Ok(_) => panic!("{url} was not refused"),
            Err(OpenError::Refused(problem)) => problem,
            Err(error) => panic!("{error}"),
        }
    }

    #[tokio::test]
    async fn a_url_that_cant_be_used_is_refused_in_one_line() {
        for (url, expected) in [
            ("mongodb://", "server address"),
            ("mongodb://somewhere:port", "port"),
            ("mongodb://somewhere/da$ta", "illegal character in database name"),
            ("mongodb://somewhere/?journall=true", "journall"),
            ("mongodb://somewhere/?w=majority&w=1", "repeated options"),
            ("mongodb://somewhere/?socketTimeoutMS=1", "socketTimeoutMS"),
            ("mongodb://somewhere/?tls=true&tlsCAFile=/not/there.pem", "/not/there.pem"),
            ("mongodb+srv://somewhere:27017/", "a port cannot be specified"),
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

    #[tokio::test]
    async fn hosts_in_dns_are_not_looked_up_before_the_first_use() {
        let connection =
            Connection::new("mongodb+srv://someone:hunter2@nowhere.invalid/", None).await.unwrap();
        let problem = within(async { connection.commits().await.map(drop) }).await.unwrap_err().to_string();
        assert!(!problem.contains("hunter2"), "{problem}");
    }
}
