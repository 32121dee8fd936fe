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
use super::rounds::{Numbers, Pace, medians, nothing, warm_rate};
use crate::table::Table;

/// A contender of the measurement.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Contender {
    /// The event store.
    Store(Marking),
    /// The driver: `insert_one`, without marks.
    Inserted,
    /// The same with a connection for each caller; the driver's own limit is 10.
    InsertedWide,
    /// The driver: `insert_one`, then `update_one`.
    InsertedAndUpdated,
}

/// The mark of a commit that the event store has appended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Marking {
    /// A caller goes on when its commit is durable, and the mark follows behind, as in the dispatcher.
    Behind,
    /// A caller goes on when its commit is marked.
    Awaited,
    /// Nothing is marked.
    Absent,
}

use Contender::{Inserted, InsertedAndUpdated, InsertedWide, Store};

const MARKED_BEHIND: Contender = Store(Marking::Behind);
const MARKED: Contender = Store(Marking::Awaited);
const APPENDED: Contender = Store(Marking::Absent);

/// The largest number of outstanding marks.
const BEHIND: u32 = 20_000;

pub(crate) async fn measure(bench: &Bench, callers: usize, table: &mut Table) -> anyhow::Result<()> {
    let [template, _] = Template::both(&bench.servers, Outbox::Unpublished).await?;
    let contenders: &[Contender] = match callers {
        1 => &[MARKED, InsertedAndUpdated, APPENDED, Inserted],
        64 => &[MARKED_BEHIND, Inserted, MARKED, APPENDED, InsertedWide],
        _ => &[MARKED_BEHIND, Inserted, MARKED, APPENDED],
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
    compare("append and mark {at} : insert_one and update_one", MARKED, InsertedAndUpdated);
    compare("append with its mark {at} : insert_one", MARKED_BEHIND, Inserted);
    if callers > 1 {
        compare("append with its mark awaited {at} : insert_one", MARKED, Inserted);
    }
    compare("append with its mark {at} : insert_one, 64 connections", MARKED_BEHIND, InsertedWide);
    compare("append alone {at} : insert_one", APPENDED, Inserted);
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
        Store(marking) => appends(bench.pace, &database.store().await?, callers, marking).await?,
        Inserted | InsertedWide | InsertedAndUpdated => {
            let connections = (contender == InsertedWide).then_some(64);
            let commits = database.commits(connections).await?;
            raw(bench, contender == InsertedAndUpdated, callers, template, &commits).await?
        }
    };
    database.remove().await?;
    Ok(rate)
}

/// Returns the appends a second. The time runs until the last mark.
pub(crate) async fn appends(
    pace: Pace,
    store: &EventStore,
    callers: usize,
    marking: Marking,
) -> anyhow::Result<f64> {
    let behind = Behind::new(store.clone());
    let (store, marks) = (store.clone(), behind.clone());
    let call = move |number| {
        let (store, marks) = (store.clone(), marks.clone());
        async move {
            let commit = Arc::new(created(number, Outbox::Unpublished)?);
            store.append(Arc::clone(&commit)).await?;
            let id = CommitId { stream: commit.stream.clone(), version: commit.version };
            match marking {
                Marking::Behind => marks.mark(id).await?,
                Marking::Awaited => store.mark_published(vec![id]).await?,
                Marking::Absent => {}
            }
            Ok(())
        }
    };
    warm_rate(callers, pace, &Numbers::endless(), call, || behind.done()).await
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
