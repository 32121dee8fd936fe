//! The reader: it answers all waiting loads from one query.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use event_sourcing::{CommandId, StreamId, Version};
use futures_util::future::try_join_all;
use mongodb::bson::{Document, RawDocument, RawDocumentBuf, doc};
use mongodb::error::{Error, ErrorKind};
use mongodb::options::ReadConcern;
use tokio::sync::Semaphore;

use super::connection::{Connection, MAJORITY, Topology, within};
use super::document::{self, number};
use super::failure::unavailable;
use super::head_cache::HeadCache;
use crate::jobs::{LoadJob, Streams};
use crate::load::FIRST_PAGE;
use crate::{Load, StoreError, Stream, UnreadableStream};

/// The number of times that a stream with an apparent gap is read again before the gap is believed.
const READ_AGAIN: usize = 2;

/// The number of callers whose pages of long streams are read at a time.
const LONG: usize = 2;

/// Documents by their stream.
type FoundDocuments = HashMap<String, Vec<RawDocumentBuf>>;

pub(super) struct Reader {
    connection: Arc<Connection>,
    heads: Arc<HeadCache>,
    long_turns: Semaphore,
}

impl Reader {
    pub(super) fn new(connection: Arc<Connection>, heads: Arc<HeadCache>) -> Self {
        Self { connection, heads, long_turns: Semaphore::new(LONG) }
    }

    /// Answers the loads of short streams. Those of long streams are answered by a task of their own, so that nobody waits for them.
    pub(super) async fn work(self: Arc<Self>, mut jobs: Vec<LoadJob>) {
        jobs.retain(|job| !job.answer.is_closed());
        let (long, short): (Vec<LoadJob>, Vec<LoadJob>) =
            jobs.into_iter().partition(|job| job.loads.iter().any(|load| self.is_long(load)));
        for job in long {
            tokio::spawn(Arc::clone(&self).answer_long(job));
        }
        self.answer(short).await;
    }

    async fn answer_long(self: Arc<Self>, job: LoadJob) {
        // The semaphore is never closed.
        let _turn = self.long_turns.acquire().await;
        self.answer(vec![job]).await;
    }

    async fn answer(&self, jobs: Vec<LoadJob>) {
        let found = self.find(jobs.iter().flat_map(|job| &job.loads)).await;
        let mut doubtful = Vec::new();
        for job in jobs {
            let streams = found.as_ref().map(|found| self.read(found, &job.loads)).map_err(Clone::clone);
            match streams {
                Ok(streams) if streams.iter().any(Result::is_err) => doubtful.push((job, streams)),
                // The caller may no longer wait, so a failed send is ignored.
                streams => drop(job.answer.send(streams)),
            }
        }
        for (job, streams) in doubtful {
            let streams = self.read_again(&job.loads, streams).await;
            let _ = job.answer.send(streams);
        }
    }

    /// Reads streams again that had a problem. On some servers a query is no snapshot. It may pass the place of one commit before
    /// that commit and the next are written, and then meet only the next. A real gap is still there in the next read.
    async fn read_again(&self, loads: &[Load], mut streams: Streams) -> Result<Streams, StoreError> {
        for _ in 0..READ_AGAIN {
            let doubtful = || loads.iter().zip(&streams).filter(|(_, stream)| stream.is_err());
            let found = self.find(doubtful().map(|(load, _)| load)).await?;
            for (load, stream) in loads.iter().zip(&mut streams).filter(|(_, stream)| stream.is_err()) {
                *stream = self.read_stream(&found, load);
            }
        }
        Ok(streams)
    }

    /// Finds the documents of loads. Those of short streams are one query, by the index on streams. That index would lead through
    /// the whole of a long stream, so each page of one is a query by the index on the id.
    async fn find<'a>(&self, loads: impl Iterator<Item = &'a Load>) -> Result<FoundDocuments, StoreError> {
        let (long, short): (Vec<&Load>, Vec<&Load>) = loads.partition(|load| self.is_long(load));
        within(async {
            let topology = self.connection.topology().await?;
            let ranges = long.iter().map(|load| range(load, topology));
            let filters = ranges.chain(commands(&long)).chain(filter(short.into_iter()));
            let mut found = FoundDocuments::new();
            for documents in try_join_all(filters.map(|filter| self.query(filter))).await? {
                for document in documents {
                    // Each document has a stream, or the filter would not have found it.
                    let stream = document.get_str("stream").unwrap_or_default();
                    match found.get_mut(stream) {
                        Some(documents) => documents.push(document),
                        None => drop(found.insert(stream.to_owned(), vec![document])),
                    }
                }
            }
            Ok(found)
        })
        .await
    }

    /// Returns true if the stream is known to have more than one page.
    fn is_long(&self, load: &Load) -> bool {
        load.after.get() >= FIRST_PAGE || self.heads.get(&load.stream).get() >= FIRST_PAGE
    }

    async fn query(&self, filter: Document) -> Result<Vec<RawDocumentBuf>, StoreError> {
        let commits = self.connection.commits().await?;
        let query = async {
            let mut documents = Vec::new();
            let mut cursor = commits.find(filter).batch_size(10_000).await?;
            while cursor.advance().await? {
                documents.push(cursor.current().to_owned());
            }
            Ok::<_, Error>(documents)
        };
        query.await.map_err(|error| unavailable(&error))
    }

    fn read(&self, found: &FoundDocuments, loads: &[Load]) -> Streams {
        loads.iter().map(|load| self.read_stream(found, load)).collect()
    }

    fn read_stream(&self, found: &FoundDocuments, load: &Load) -> Result<Stream, UnreadableStream> {
        let Some(documents) = found.get(load.stream.as_str()) else { return Ok(Stream::default()) };
        let mut stream = Stream { commits: Vec::new(), answered: answer(load, documents)? };
        let mut last = load.after;
        for document in commits_after(load, documents)? {
            let commit = document::commit(&load.stream, last, document)?;
            last = commit.last_version();
            stream.commits.push(commit);
        }
        if last != load.after {
            self.heads.note(&load.stream, last);
        }
        Ok(stream)
    }
}

/// Returns true if no commit comes after this version. A commit begins right after the one before it. So there is one document to
/// look for, and its absence is the proof.
///
/// A deposed primary answers majority reads until it notices that it was deposed, so this read is linearizable. A server that
/// refuses such reads, as Amazon DocumentDB does, is asked only once. On such a server, a rejection may be out of date for as
/// long as a failover takes.
pub(super) async fn is_current(
    connection: &Connection,
    stream: &StreamId,
    version: Version,
) -> Result<bool, StoreError> {
    within(async {
        let server = connection.server().await?;
        if !server.is_linearizable() {
            return Ok(true);
        }
        let next = doc! { "_id": document::id(stream.as_str(), version.next()), "stream": stream.as_str() };
        let find = connection.commits().await?.find_one(next);
        match find.read_concern(ReadConcern::linearizable()).max_time(MAJORITY).await {
            Ok(found) => Ok(found.is_none()),
            Err(error) if is_not_supported(&error) => {
                server.refuses_linearizable(&error);
                Ok(true)
            }
            Err(error) => Err(unavailable(&error)),
        }
    })
    .await
}

/// Returns true for `FailedToParse`, `InvalidOptions`, `CommandNotSupported`, `NotAReplicaSet`, `NotImplemented`, and Amazon
/// DocumentDB's "feature not supported".
fn is_not_supported(error: &Error) -> bool {
    matches!(&*error.kind, ErrorKind::Command(error) if [9, 72, 115, 123, 238, 303].contains(&error.code))
}

fn answer(
    load: &Load,
    documents: &[RawDocumentBuf],
) -> Result<Option<crate::AnsweredCommand>, UnreadableStream> {
    let Some(command) = &load.command else { return Ok(None) };
    let is_asked = |document: &&RawDocumentBuf| document.get_str("command_id").ok() == Some(command.as_str());
    documents.iter().find(is_asked).map(|document| document::answered(&load.stream, document)).transpose()
}

/// Returns the commits of the stream that the load asks for, in order.
fn commits_after<'a>(
    load: &Load,
    documents: &'a [RawDocumentBuf],
) -> Result<impl Iterator<Item = &'a RawDocument>, UnreadableStream> {
    let mut commits: Vec<(i64, &RawDocument)> = Vec::with_capacity(documents.len());
    for document in documents.iter().filter(|document| document::is_commit(document)) {
        let version = document::first_version(&load.stream, document)?;
        if version > number(load.after) && version <= number(load.until()) {
            commits.push((version, document));
        }
    }
    commits.sort_unstable_by_key(|(version, _)| *version);
    // Two queries may have found the same commit.
    commits.dedup_by_key(|(version, _)| *version);
    Ok(commits.into_iter().map(|(_, document)| document))
}

/// Returns the filter for loads of short streams; `None` if there are none. All that begin with the stream are one condition. The
/// filter finds a small record only if a load asks for its command.
fn filter<'a>(loads: impl Iterator<Item = &'a Load>) -> Option<Document> {
    let (mut whole, mut until) = (BTreeSet::new(), Version::NONE);
    let mut commands = BTreeSet::new();
    let mut conditions = Vec::new();
    for load in loads {
        let command = load.command.as_ref().map(CommandId::as_str);
        if load.after == Version::NONE {
            whole.insert(load.stream.as_str());
            until = until.max(load.until());
            commands.extend(command);
        } else {
            let versions = doc! { "$gt": number(load.after), "$lte": number(load.until()) };
            conditions.push(part(load.stream.as_str().into(), versions, command.into_iter().collect()));
        }
    }
    if !whole.is_empty() {
        let streams: Vec<&str> = whole.into_iter().collect();
        let versions = doc! { "$gt": 0_i64, "$lte": number(until) };
        conditions.push(part(doc! { "$in": streams }.into(), versions, commands.into_iter().collect()));
    }
    match conditions.len() {
        0 | 1 => conditions.pop(),
        _ => Some(doc! { "$or": conditions }),
    }
}

fn part(streams: mongodb::bson::Bson, versions: Document, commands: Vec<&str>) -> Document {
    let mut part = doc! { "stream": streams };
    if commands.is_empty() {
        part.insert("version", versions);
    } else {
        part.insert("$or", [doc! { "version": versions }, doc! { "command_id": { "$in": commands } }]);
    }
    part
}

/// Returns the filter for a page of a long stream. It names the stream for a router only: any other server might take the index on
/// streams.
fn range(load: &Load, topology: Topology) -> Document {
    let stream = load.stream.as_str();
    let ids = doc! { "$gt": document::id(stream, load.after), "$lte": document::id(stream, load.until()) };
    match topology {
        Topology::Whole => doc! { "_id": ids },
        Topology::Sharded => doc! { "_id": ids, "stream": stream },
    }
}

/// Returns the filter for the commands that loads of long streams ask for; `None` if they ask for none.
fn commands(loads: &[&Load]) -> Option<Document> {
    let asked = loads.iter().filter_map(|load| Some((load.stream.as_str(), load.command.as_ref()?.as_str())));
    let (streams, commands): (Vec<&str>, Vec<&str>) = asked.unzip();
    (!commands.is_empty()).then(|| doc! { "stream": { "$in": streams }, "command_id": { "$in": commands } })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::SocketAddr;
    use std::sync::Mutex;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
    use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// The address of the server that the environment names. Without one, the test is not run, and this says so.
    fn server() -> Option<String> {
        let Ok(url) = std::env::var("TEST_MONGODB") else {
            std::io::stderr().write_all(b"mongodb: NOT TESTED, for TEST_MONGODB names no server\n").unwrap();
            return None;
        };
        Some(url.trim_start_matches("mongodb://").split('/').next().unwrap().to_owned())
    }

    /// Connects to a new database on the server.
    async fn connect(server: &str) -> Connection {
        let url =
            format!("mongodb://{server}/events_test_{:016x}?directConnection=true", rand::random::<u64>());
        let namespace = crate::Namespace::parse("tasks_task").unwrap();
        Connection::new(&url.as_str().into(), None, &namespace).await.unwrap()
    }

    async fn drop_database(connection: &Connection) {
        let commits = connection.commits().await.unwrap();
        commits.client().database(&commits.namespace().db).drop().await.unwrap();
    }

    #[tokio::test]
    async fn a_stream_is_current_where_no_commit_comes_after_it() {
        let Some(server) = server() else { return };
        let connection = connect(&server).await;
        let commits = connection.commits().await.unwrap();
        let stream = StreamId::parse("a").unwrap();
        let commit =
            doc! { "_id": document::id("a", Version::new(1)), "stream": "a", "command_id": "system x" };
        commits.insert_one(RawDocumentBuf::try_from(&commit).unwrap()).await.unwrap();

        let current = async |version| is_current(&connection, &stream, Version::new(version)).await.unwrap();
        assert!(current(0).await, "a server without replicas is not asked");
        connection.server().await.unwrap().becomes_a_replica();
        assert!(!current(0).await);
        assert!(current(1).await);
        drop_database(&connection).await;
    }

    #[tokio::test]
    async fn a_replica_reads_with_linearizable_read_concern_whether_a_stream_is_current() {
        let Some(server) = server() else { return };
        let (address, requests) = record_requests(server).await;
        let connection = connect(&address.to_string()).await;
        connection.server().await.unwrap().becomes_a_replica();
        let is_asked = || requests.lock().unwrap().windows(12).any(|bytes| bytes == b"linearizable");
        assert!(!is_asked());
        assert!(is_current(&connection, &StreamId::parse("a").unwrap(), Version::NONE).await.unwrap());
        assert!(is_asked(), "a deposed primary may answer");
        drop_database(&connection).await;
    }

    /// Listens in front of the server, and records the bytes that clients send to it.
    async fn record_requests(server: String) -> (SocketAddr, Arc<Mutex<Vec<u8>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::default();
        let recorded = Arc::clone(&requests);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (from_client, mut to_client) = client.into_split();
                let (mut from_server, to_server) = TcpStream::connect(&server).await.unwrap().into_split();
                tokio::spawn(pass_on(from_client, to_server, Arc::clone(&recorded)));
                tokio::spawn(async move { copy(&mut from_server, &mut to_client).await });
            }
        });
        (address, requests)
    }

    async fn pass_on(mut client: OwnedReadHalf, mut server: OwnedWriteHalf, requests: Arc<Mutex<Vec<u8>>>) {
        let mut bytes = [0; 4096];
        while let Ok(length @ 1..) = client.read(&mut bytes).await {
            requests.lock().unwrap().extend_from_slice(&bytes[..length]);
            server.write_all(&bytes[..length]).await.unwrap();
        }
    }
}
