//! Appends, with and without their marks, against the driver's `insert_one` of the same documents.

use std::sync::{Arc, OnceLock};

use anyhow::bail;
use event_store::{CommitId, EventStore};
use mongodb::Collection;
use mongodb::bson::{RawDocumentBuf, doc};
use tokio::sync::Semaphore;

use super::bench::Bench;
use super::commits::{Outbox, created};
use super::mongo::{Database, Template};
use super::rounds::{Numbers, medians, nothing, warm_rate};
use crate::table::Table;

/// A contender of the measurement.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Contender {
    /// The event store; a caller goes on when its commit is durable, and the mark follows behind, as in the dispatcher.
    MarkedBehind,
    /// The event store; a caller goes on when its commit is marked.
    Marked,
    /// The event store, without marks.
    Appended,
    /// The driver: `insert_one`, without marks.
    Inserted,
    /// The same with a connection for each caller; the driver's own limit is 10.
    InsertedWide,
    /// The driver: `insert_one`, then `update_one`.
    InsertedAndUpdated,
}

use Contender::{Appended, Inserted, InsertedAndUpdated, InsertedWide, Marked, MarkedBehind};

/// The largest number of outstanding marks.
const BEHIND: u32 = 20_000;

pub(crate) async fn measure(bench: &Bench, callers: usize, table: &mut Table) -> anyhow::Result<()> {
    let [template, _] = Template::both(&bench.servers, Outbox::Unpublished).await?;
    let contenders: &[Contender] = match callers {
        1 => &[Marked, InsertedAndUpdated, Appended, Inserted],
        64 => &[MarkedBehind, Inserted, Marked, Appended, InsertedWide],
        _ => &[MarkedBehind, Inserted, Marked, Appended],
    };
    let rates =
        medians(bench.pace, contenders, async |contender| one(bench, contender, callers, &template).await)
            .await?;
    let rate =
        |of: Contender| contenders.iter().zip(&rates).find(|(who, _)| **who == of).map(|(_, rate)| *rate);
    let at = if callers == 1 { "at 1 caller".to_owned() } else { format!("at {callers} callers") };
    let mut compare = |what: &str, ours: Contender, raw: Contender| {
        if let (Some(ours), Some(raw)) = (rate(ours), rate(raw)) {
            table.compared(what.replace("{at}", &at), ours, raw, "a second");
        }
    };
    compare("append and mark {at} : insert_one and update_one", Marked, InsertedAndUpdated);
    compare("append with its mark {at} : insert_one", MarkedBehind, Inserted);
    if callers > 1 {
        compare("append with its mark awaited {at} : insert_one", Marked, Inserted);
    }
    compare("append with its mark {at} : insert_one, 64 connections", MarkedBehind, InsertedWide);
    compare("append alone {at} : insert_one", Appended, Inserted);
    Ok(())
}

async fn one(
    bench: &Bench,
    contender: Contender,
    callers: usize,
    template: &Template,
) -> anyhow::Result<f64> {
    let database = Database::fresh(&bench.servers).await?;
    let rate = match contender {
        MarkedBehind | Marked | Appended => ours(bench, contender, callers, &database.store().await?).await?,
        Inserted | InsertedWide | InsertedAndUpdated => {
            let connections = (contender == InsertedWide).then_some(64);
            let commits = database.commits(connections).await?;
            raw(bench, contender == InsertedAndUpdated, callers, template, &commits).await?
        }
    };
    database.remove().await?;
    Ok(rate)
}

async fn ours(
    bench: &Bench,
    contender: Contender,
    callers: usize,
    store: &EventStore,
) -> anyhow::Result<f64> {
    let behind = Behind::new(store.clone());
    let (store, marks) = (store.clone(), behind.clone());
    let call = move |number| {
        let (store, marks) = (store.clone(), marks.clone());
        async move {
            let commit = Arc::new(created(number, Outbox::Unpublished)?);
            store.append(Arc::clone(&commit)).await?;
            let id = CommitId { stream: commit.stream.clone(), version: commit.version };
            match contender {
                MarkedBehind => marks.mark(id).await?,
                Marked => store.mark_published(vec![id]).await?,
                _ => {}
            }
            Ok(())
        }
    };
    warm_rate(callers, bench.pace, &Numbers::endless(), call, || behind.done()).await
}

async fn raw(
    bench: &Bench,
    update: bool,
    callers: usize,
    template: &Template,
    commits: &Collection<RawDocumentBuf>,
) -> anyhow::Result<f64> {
    let (template, commits) = (template.clone(), commits.clone());
    let call = move |number| {
        let (template, commits) = (template.clone(), commits.clone());
        async move {
            let document = template.document(&created(number, Outbox::Unpublished)?)?;
            commits.insert_one(&document).await?;
            if update {
                let mark = doc! { "$unset": { "unpublished": "" } };
                commits.update_one(doc! { "_id": document.get_str("_id")? }, mark).await?;
            }
            Ok(())
        }
    };
    warm_rate(callers, bench.pace, &Numbers::endless(), call, nothing).await
}

/// Marks that go on behind the callers.
#[derive(Clone)]
struct Behind {
    store: EventStore,
    places: Arc<Semaphore>,
    failed: Arc<OnceLock<String>>,
}

impl Behind {
    fn new(store: EventStore) -> Self {
        Self { store, places: Arc::new(Semaphore::new(BEHIND as usize)), failed: Arc::default() }
    }

    async fn mark(&self, id: CommitId) -> anyhow::Result<()> {
        let place = Arc::clone(&self.places).acquire_owned().await?;
        let (store, failed) = (self.store.clone(), Arc::clone(&self.failed));
        tokio::spawn(async move {
            if let Err(error) = store.mark_published(vec![id]).await {
                // The first error is enough.
                let _ = failed.set(error.to_string());
            }
            drop(place);
        });
        Ok(())
    }

    /// Waits until no mark is outstanding.
    async fn done(&self) -> anyhow::Result<()> {
        let _all = self.places.acquire_many(BEHIND).await?;
        match self.failed.get() {
            Some(error) => bail!("a mark failed: {error}"),
            None => Ok(()),
        }
    }
}
