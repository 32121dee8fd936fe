//! `orders verify`: whether the view is what the event store says, order by order.

use std::collections::HashMap;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use domain::{OrderId, Snapshot, Version};
use event_store::{EventStore, Load, StoreError, fold};
use indicatif::{ProgressBar, ProgressStyle};
use read_store::{ReadStore, ReadStoreError};
use runtime::settings::seconds;
use serde::Serialize;

use crate::stores::BothStores;

/// Commits, and orders, a page.
const PAGE: usize = 1_000;

/// How many findings are told one by one.
const TOLD: usize = 100;

/// How often the repair of an order begins anew because the projector has moved it on.
const TRIES: u32 = 20;

/// Compare the view with the event store.
#[derive(Args, Clone, Debug)]
pub struct VerifyArgs {
    #[command(flatten)]
    stores: BothStores,
    /// Mend what is found: write the order as the event store has it, delete what it does not have
    #[arg(long)]
    repair: bool,
    /// Seconds that the view may be behind before an order counts as stale
    #[arg(long, value_name = "S", default_value = "5", value_parser = seconds)]
    patience: Duration,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What is wrong with an order in the view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Fault {
    /// The event store has it, the view does not.
    Lost,
    /// The view is behind.
    Stale,
    /// Same version, another content.
    Different,
    /// The view has it, or a version of it, and the event store does not.
    Extra,
    /// The event store itself can't be read here.
    Unreadable,
}

#[derive(Debug, Serialize)]
struct Finding {
    order: OrderId,
    fault: Fault,
    store: Option<Version>,
    view: Option<Version>,
}

#[derive(Debug, Default, Serialize)]
struct Report {
    orders: u64,
    faults: u64,
    repaired: u64,
    findings: Vec<Finding>,
}

/// Verifies. Exit 1 when anything is wrong and was not mended.
///
/// # Errors
/// When a store can't be opened or is not available.
pub async fn run(args: VerifyArgs) -> anyhow::Result<ExitCode> {
    let (events, view) = args.stores.open().await?;
    let progress = if args.json { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
    let style = ProgressStyle::with_template("{spinner} {pos} orders  {per_sec}");
    progress.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    let mut verifier = Verifier { events, view, args, report: Report::default(), progress };
    verifier.every_stream().await?;
    verifier.every_row().await?;
    verifier.progress.finish_and_clear();
    verifier.print()
}

struct Verifier {
    events: EventStore,
    view: ReadStore,
    args: VerifyArgs,
    report: Report,
    progress: ProgressBar,
}

impl Verifier {
    /// Lost, stale and different: every stream is looked at where the scan meets its first commit.
    async fn every_stream(&mut self) -> anyhow::Result<()> {
        let mut position = None;
        loop {
            let page = self.events.scan(position, PAGE).await?;
            let firsts = page.commits.into_iter().filter(|commit| commit.version == Version::new(1));
            self.compare(firsts.map(|commit| commit.stream).collect()).await?;
            match page.next {
                Some(next) => position = Some(next),
                None => return Ok(()),
            }
        }
    }

    /// Extra: rows that no stream stands behind.
    async fn every_row(&mut self) -> anyhow::Result<()> {
        let mut after = None;
        loop {
            let rows = self.view.versions(after.as_ref(), PAGE).await?;
            let Some((last, _)) = rows.last() else { return Ok(()) };
            after = Some(last.clone());
            let streams =
                self.events.load_many(rows.iter().map(|(id, _)| whole(id.clone())).collect()).await?;
            for ((id, version), stream) in rows.into_iter().zip(streams) {
                if stream.commits.is_empty() {
                    self.found(id, Fault::Extra, None, Some(version)).await?;
                }
            }
        }
    }

    async fn compare(&mut self, ids: Vec<OrderId>) -> anyhow::Result<()> {
        self.report.orders += ids.len() as u64;
        self.progress.inc(ids.len() as u64);
        let rows = self.view.get_many(ids.clone()).await?;
        let rows: HashMap<OrderId, Snapshot> = rows.into_iter().map(|row| (row.id.clone(), row)).collect();
        let expected = match self.events.load_many(ids.iter().cloned().map(whole).collect()).await {
            Ok(streams) => {
                ids.iter().zip(streams).map(|(id, stream)| fold(id.clone(), &stream.commits).ok()).collect()
            }
            // One of them can't be read: which, the closer look tells.
            Err(StoreError::Corrupt { .. }) => vec![None; ids.len()],
            Err(error) => return Err(error.into()),
        };
        for (id, expected) in ids.into_iter().zip(expected) {
            if expected.is_none() || rows.get(&id) != expected.as_ref() {
                self.look_closer(id).await?;
            }
        }
        Ok(())
    }

    /// An order that differs may only be on its way: the view gets its time.
    async fn look_closer(&mut self, id: OrderId) -> anyhow::Result<()> {
        let Some(expected) = self.stream_at(&id, None).await? else {
            return self.found(id, Fault::Unreadable, None, None).await;
        };
        let row = match self.view.wait_for(&id, expected.version, self.args.patience).await {
            Ok(seen) => seen.order,
            Err(ReadStoreError::Corrupt(_)) => {
                return self.found(id, Fault::Different, Some(expected.version), None).await;
            }
            Err(error) => return Err(error.into()),
        };
        let Some(row) = row else {
            return self.found(id, Fault::Lost, Some(expected.version), None).await;
        };
        if row.version < expected.version {
            return self.found(id, Fault::Stale, Some(expected.version), Some(row.version)).await;
        }
        // Commands go on, and the view may have what was appended since. The stream is read after the row now, so that it has all
        // that the row can rightly have.
        let expected = self.stream_at(&id, Some(row.version)).await?.unwrap_or(expected);
        if expected == row {
            return Ok(());
        }
        let fault = if expected.version < row.version { Fault::Extra } else { Fault::Different };
        self.found(id, fault, Some(expected.version), Some(row.version)).await
    }

    /// The order as the event store has it, or had it at a version; none where it can't be read.
    async fn stream_at(&self, id: &OrderId, version: Option<Version>) -> anyhow::Result<Option<Snapshot>> {
        let stream = match self.events.load(whole(id.clone())).await {
            Ok(stream) => stream,
            Err(StoreError::Corrupt { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let Some(last) = version else { return Ok(fold(id.clone(), &stream.commits).ok()) };
        // Event by event, because the view may be between two of one commit.
        let mut order = Snapshot::absent(id.clone());
        for commit in &stream.commits {
            for (version, event) in commit.versioned().take_while(|(version, _)| *version <= last) {
                if order.apply(version, commit.recorded_at, event).is_err() {
                    return Ok(None);
                }
            }
        }
        Ok(Some(order))
    }

    async fn found(
        &mut self,
        order: OrderId,
        fault: Fault,
        store: Option<Version>,
        view: Option<Version>,
    ) -> anyhow::Result<()> {
        self.report.faults += 1;
        if self.args.repair && self.repair(&order, fault).await? {
            self.report.repaired += 1;
        }
        if self.report.findings.len() < TOLD {
            self.report.findings.push(Finding { order, fault, store, view });
        }
        Ok(())
    }

    async fn repair(&self, order: &OrderId, fault: Fault) -> anyhow::Result<bool> {
        if fault == Fault::Unreadable {
            return Ok(false);
        }
        // A row that is ahead of its stream is not overwritten by a lower version, so it goes first. Only then is the stream
        // read: while the row was there, the projector took what came for seen.
        if fault == Fault::Extra {
            self.view.remove(vec![order.clone()]).await?;
        }
        for _ in 0..TRIES {
            let Some(expected) = self.stream_at(order, None).await? else { return Ok(false) };
            // Nothing is written where the projector was faster, be it with what is wrong.
            if expected.version == Version::NONE || self.view.repair(vec![expected]).await? > 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn print(&self) -> anyhow::Result<ExitCode> {
        let Report { orders, faults, repaired, findings } = &self.report;
        if self.args.json {
            println!("{}", serde_json::to_string(&self.report)?);
        } else {
            for Finding { order, fault, store, view } in findings {
                let version =
                    |version: &Option<Version>| version.map_or("none".to_owned(), |v| v.to_string());
                println!("{order}: {fault:?}; event store at {}, view at {}", version(store), version(view));
            }
            if *faults > findings.len() as u64 {
                println!("… and {} more", faults - findings.len() as u64);
            }
            println!("{orders} orders compared, {faults} faults, {repaired} repaired");
        }
        Ok(if faults == repaired { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn whole(stream: OrderId) -> Load {
    Load { stream, after: Version::NONE, command: None }
}
