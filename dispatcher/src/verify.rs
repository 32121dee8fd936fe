//! `orders verify`: whether the view is what the event store says, order by order.

use std::collections::HashMap;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use domain::{OrderId, Snapshot, Version};
use event_store::{EventStore, Load, StoreError, fold};
use indicatif::{ProgressBar, ProgressStyle};
use read_store::{Filter, ReadStore};
use runtime::settings::seconds;
use serde::Serialize;

use crate::stores::BothStores;

/// Commits, and orders, a page.
const PAGE: usize = 1_000;

/// How many findings are told one by one.
const TOLD: usize = 100;

/// How often an order is looked at again while it moves on.
const LOOKS: u32 = 10;

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
        let mut filter = Filter { limit: PAGE, ..Filter::default() };
        loop {
            let page = self.view.list(filter.clone()).await?;
            let ids: Vec<OrderId> = page.orders.iter().map(|order| order.id.clone()).collect();
            filter.after = ids.last().cloned();
            let streams = self.events.load_many(ids.iter().cloned().map(whole).collect()).await;
            // A stream that can't be read was found by the first pass.
            if let Ok(streams) = streams {
                for (row, _) in
                    page.orders.iter().zip(streams).filter(|(_, stream)| stream.commits.is_empty())
                {
                    self.found(row.id.clone(), Fault::Extra, None, Some(row.version)).await?;
                }
            }
            if !page.more {
                return Ok(());
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

    /// An order that differs may only be on its way: it is looked at until the view has had its time.
    async fn look_closer(&mut self, id: OrderId) -> anyhow::Result<()> {
        for look in 1..=LOOKS {
            let stream = match self.events.load(whole(id.clone())).await {
                Ok(stream) => stream,
                Err(StoreError::Corrupt { .. }) => {
                    return self.found(id, Fault::Unreadable, None, None).await;
                }
                Err(error) => return Err(error.into()),
            };
            let Ok(expected) = fold(id.clone(), &stream.commits) else {
                return self.found(id, Fault::Unreadable, None, None).await;
            };
            let row = self.view.wait_for(&id, expected.version, self.args.patience).await?;
            let seen = row.as_ref().map(|row| row.version);
            let fault = match &row {
                Some(row) if *row == expected => return Ok(()),
                // Commands go on: the view has what was appended since.
                Some(row) if row.version > expected.version && look < LOOKS => continue,
                Some(row) if row.version > expected.version => Fault::Extra,
                Some(row) if row.version == expected.version => Fault::Different,
                Some(_) => Fault::Stale,
                None => Fault::Lost,
            };
            return self.found(id, fault, Some(expected.version), seen).await;
        }
        Ok(())
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
        let stream = self.events.load(whole(order.clone())).await?;
        // A row that is ahead of its stream is not overwritten by a lower version, so it goes first.
        if fault == Fault::Extra {
            self.view.remove(vec![order.clone()]).await?;
        }
        match fold(order.clone(), &stream.commits) {
            Ok(expected) if expected.version > Version::NONE => {
                Ok(self.view.repair(vec![expected]).await? > 0)
            }
            _ => Ok(true),
        }
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
