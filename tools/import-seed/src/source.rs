//! The seed: the collection `commands` of the original program's MongoDB database. The import only reads it.

use std::time::Duration;

use host::CannotStart;
use host::stores::cannot_open;
use mongodb::bson::{RawDocument, RawDocumentBuf, doc};
use mongodb::error::Error;
use mongodb::options::{ClientOptions, ConnectionString};
use mongodb::{Client, Collection, Cursor};
use runtime::SecretUrl;
use tokio::time::timeout;

/// The original program's database, which is used if the URL's path names none.
const DATABASE: &str = "go_event_sourcing_example";

const COLLECTION: &str = "commands";

/// How long the driver looks for a server, unless the URL sets it (`serverSelectionTimeoutMS`).
const SELECTION: Duration = Duration::from_secs(5);

/// How long the server may take for a page or another answer. The driver itself would wait for ever.
const ANSWER: Duration = Duration::from_secs(30);

/// How many documents the server sends at a time. About so many are in memory.
const PAGE: u32 = 1_000;

/// The commands of the original program.
pub(crate) struct Seed {
    commands: Collection<RawDocumentBuf>,
}

impl Seed {
    /// Connects, and checks that the collection exists. Without the check a mistyped name would look like a seed without
    /// commands.
    ///
    /// # Errors
    /// [`CannotStart`], without a password, when the URL can't be used, no server answers, or the collection is not there.
    pub(crate) async fn open(url: &SecretUrl) -> Result<Self, CannotStart> {
        let cannot = |problem: &str| cannot_open(format!("the seed can't be read: {problem}"));
        if !["mongodb", "mongodb+srv"].contains(&url.scheme()) {
            return Err(cannot(
                "its URL has an unknown scheme; allowed: mongodb://HOST:27017/DATABASE, mongodb+srv://NAME/DATABASE",
            ));
        }
        let parsed = event_store::parse_mongodb_url(url).map_err(|problem| cannot(&problem))?;
        let database = in_time(connect(parsed)).await.map_err(|problem| cannot(&problem))?;
        let there = in_time(database.list_collection_names().into_future())
            .await
            .map_err(|problem| cannot(&problem))?;
        if !there.iter().any(|name| name == COLLECTION) {
            let database = database.name();
            return Err(cannot(&format!("the database {database} has no collection {COLLECTION}")));
        }
        Ok(Self { commands: database.collection(COLLECTION) })
    }

    /// The approximate number of documents.
    ///
    /// # Errors
    /// When the server does not answer.
    pub(crate) async fn count(&self) -> anyhow::Result<u64> {
        in_time(self.commands.estimated_document_count().into_future()).await.map_err(broken)
    }

    /// All documents in the order of `_id`, which is the order in which they were made. One cursor reads them, because ranges of
    /// `_id` would skip ids of another type.
    ///
    /// # Errors
    /// When the server does not answer.
    pub(crate) async fn read(&self) -> anyhow::Result<Documents> {
        let wanted = doc! { "name": 1, "data": 1 };
        let found = self.commands.find(doc! {}).sort(doc! { "_id": 1 }).projection(wanted).batch_size(PAGE);
        Ok(Documents { cursor: in_time(found.into_future()).await.map_err(broken)? })
    }
}

/// The documents of a seed, a page at a time.
pub(crate) struct Documents {
    cursor: Cursor<RawDocumentBuf>,
}

impl Documents {
    /// The next one; `None` after the last.
    ///
    /// # Errors
    /// When the server does not answer.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<&RawDocument>> {
        let is_one = in_time(self.cursor.advance()).await.map_err(broken)?;
        Ok(is_one.then(|| self.cursor.current()))
    }
}

async fn connect(url: ConnectionString) -> Result<mongodb::Database, Error> {
    let mut options = ClientOptions::parse(url).await?;
    options.app_name.get_or_insert_with(|| "orders import-seed".to_owned());
    options.server_selection_timeout.get_or_insert(SELECTION);
    let database = options.default_database.clone().unwrap_or_else(|| DATABASE.to_owned());
    Ok(Client::with_options(options)?.database(&database))
}

/// The server's answer, or one line that says why there is none.
async fn in_time<T>(answer: impl Future<Output = Result<T, Error>>) -> Result<T, String> {
    match timeout(ANSWER, answer).await {
        Ok(answer) => answer.map_err(|error| line(&error)),
        Err(_) => Err(format!("no answer within {} s", ANSWER.as_secs())),
    }
}

fn broken(problem: String) -> anyhow::Error {
    anyhow::Error::msg(problem).context("the seed can't be read on")
}

fn line(error: &Error) -> String {
    error.kind.to_string().replace('\n', " ")
}
