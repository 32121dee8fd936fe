//! Compares a view with the event store, stream by stream. `shared` is for rows that streams share.

mod fault;
mod settings;
mod shared;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::anyhow;
use event_sourcing::{Entry, Recorded, StreamId, Version, View, is_by_stream};
use event_store::{Commit, EventStore, Load, StoreError, UnreadableStream};
use indicatif::{ProgressBar, ProgressStyle};
use read_store::{ReadStore, ReadStoreError};
use serde::Serialize;

use self::fault::{Fault, LOOK_AGAIN, TOLD};
pub use self::settings::VerifySettings;
use crate::output::{Label, Named, plural};

/// The number of commits in a page of the scan, and of rows in a page of the view.
const PAGE: usize = 1_000;

/// How often the repair of a stream is tried. It begins anew if the projector has moved the row on.
const TRIES: u32 = 20;

#[derive(Debug, Serialize)]
struct Finding {
    #[serde(flatten)]
    stream: Named<StreamId>,
    fault: Fault,
    store: Option<Version>,
    view: Option<Version>,
}

#[derive(Debug, Default, Serialize)]
struct Report {
    #[serde(flatten)]
    streams: Named<u64>,
    faults: u64,
    repaired: u64,
    findings: Vec<Finding>,
    /// The number of faults found and of faults repaired, by fault.
    #[serde(skip)]
    counts: BTreeMap<Fault, (u64, u64)>,
}

/// Compares the view with the event store. The exit code is 1 if a fault was found and not repaired.
///
/// # Errors
/// When a store is not available.
pub async fn verify<V: View>(
    events: &EventStore,
    view: &ReadStore<V>,
    kind: &'static str,
    label: Label,
    settings: &VerifySettings,
) -> anyhow::Result<ExitCode> {
    let progress = if settings.json { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
    let style = ProgressStyle::with_template(&format!("{{spinner}} {{pos}} {}  {{per_sec}}", plural(kind)));
    progress.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    if !is_by_stream::<V>() {
        return shared::run(events, view, label, settings, &progress).await;
    }
    let report = Report { streams: Named::new(plural(kind), 0), ..Report::default() };
    let unreadable = BTreeSet::new();
    let (events, view, settings) = (events.clone(), view.clone(), settings.clone());
    let mut verifier = Verifier { events, view, settings, kind, label, report, unreadable, progress };
    verifier.every_stream().await?;
    verifier.every_row().await?;
    verifier.progress.finish_and_clear();
    verifier.print()
}

struct Verifier<V: View> {
    events: EventStore,
    view: ReadStore<V>,
    settings: VerifySettings,
    /// The aggregate's name, under which a finding shows its stream.
    kind: &'static str,
    label: Label,
    report: Report,
    /// Streams that were found to be unreadable.
    unreadable: BTreeSet<StreamId>,
    progress: ProgressBar,
}

impl<V: View> Verifier<V> {
    fn finding(&self, id: StreamId, fault: Fault, store: Option<Version>, view: Option<Version>) -> Finding {
        Finding { stream: Named::new(self.kind, id), fault, store, view }
    }

    /// Finds lost, stale and different streams. Each stream is compared when the scan meets its first commit. Unreadable streams
    /// are reported.
    async fn every_stream(&mut self) -> anyhow::Result<()> {
        let mut position = None;
        loop {
            let page = self.events.scan::<V::Event>(position, PAGE).await?;
            let firsts = page.commits.into_iter().filter(|commit| commit.version == Version::new(1));
            self.compare(firsts.map(|commit| commit.stream).collect()).await?;
            for UnreadableStream { stream, problem } in page.unreadable {
                let id = StreamId::parse(&stream).map_err(|_| anyhow!("{problem}"))?;
                self.found(self.finding(id, Fault::Unreadable, None, None)).await?;
            }
            match page.next {
                Some(next) => position = Some(next),
                None => return Ok(()),
            }
        }
    }

    /// Finds extra rows: those whose stream has no commits. Rows whose stream can't be read are reported.
    async fn every_row(&mut self) -> anyhow::Result<()> {
        let mut after = None;
        loop {
            let rows = self.view.versions(after.as_ref(), PAGE).await?;
            let Some((last, _)) = rows.last() else { return Ok(()) };
            after = Some(last.clone());
            let streams =
                self.events.load_many(rows.iter().map(|(id, _)| whole(id.clone())).collect()).await?;
            for ((id, version), stream) in rows.into_iter().zip(streams) {
                let fault = match stream {
                    Ok(stream) if stream.commits.is_empty() => Fault::Extra,
                    Ok(_) => continue,
                    Err(_) => Fault::Unreadable,
                };
                self.found(self.finding(id, fault, None, Some(version))).await?;
            }
        }
    }

    /// Compares the streams of a page. A stream that differs may only be late, so it is compared again until the page's deadline.
    async fn compare(&mut self, ids: Vec<StreamId>) -> anyhow::Result<()> {
        self.report.streams.value += ids.len() as u64;
        self.progress.inc(ids.len() as u64);
        let deadline = Instant::now() + self.settings.patience;
        let mut wanted = HashMap::new();
        let mut differing = self.differing(&ids, &mut wanted).await?;
        loop {
            let (on_their_way, wrong): (Vec<_>, Vec<_>) =
                differing.into_iter().partition(|finding| finding.fault.may_pass());
            for finding in wrong {
                self.found(finding).await?;
            }
            if on_their_way.is_empty() || Instant::now() >= deadline {
                for mut finding in on_their_way {
                    if finding.fault == Fault::Lost && self.is_garbled(&finding.stream.value).await? {
                        finding.fault = Fault::Different;
                    }
                    self.found(finding).await?;
                }
                return Ok(());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
            let ids: Vec<StreamId> = on_their_way.into_iter().map(|finding| finding.stream.value).collect();
            differing = self.differing(&ids, &mut wanted).await?;
        }
    }

    /// The faults of these streams. The rows are read before the streams, so a stream has every event that its row can rightly
    /// have. If a stream grows meanwhile, its row need only reach the head of the first look, which `wanted` has.
    async fn differing(
        &self,
        ids: &[StreamId],
        wanted: &mut HashMap<StreamId, Version>,
    ) -> anyhow::Result<Vec<Finding>> {
        let rows = self.view.get_many(ids.to_vec()).await?;
        let rows: HashMap<StreamId, Entry<V::Row>> =
            rows.into_iter().map(|row| (row.id.clone(), row)).collect();
        let mut differing = Vec::new();
        let streams = self.events.load_many(ids.iter().cloned().map(whole).collect()).await?;
        for (id, stream) in ids.iter().zip(streams) {
            let row = rows.get(id);
            let version = row.map(|row| row.version);
            let finding = |fault, store| self.finding(id.clone(), fault, store, version);
            let Some(events) = stream.ok().and_then(|stream| recorded::<V>(&stream.commits)) else {
                differing.push(finding(Fault::Unreadable, None));
                continue;
            };
            let head = events.last().map_or(Version::NONE, |event| event.version);
            let wanted = *wanted.entry(id.clone()).or_insert(head);
            // The row is compared event by event, because the view may be between two events of one commit.
            let is_right = |row: &Entry<V::Row>| {
                let so_far = events.iter().take_while(|event| event.version <= row.version);
                Entry::fold::<V>(id.clone(), so_far).is_ok_and(|expected| expected.is_kept_as(row))
            };
            let fault = match row {
                None => Some(Fault::Lost).filter(|_| head != Version::NONE),
                Some(row) if row.version > head => Some(Fault::Extra),
                Some(row) if !is_right(row) => Some(Fault::Different),
                Some(row) => Some(Fault::Stale).filter(|_| row.version < wanted),
            };
            differing.extend(fault.map(|fault| finding(fault, Some(head))));
        }
        Ok(differing)
    }

    /// Returns `true` if there is a row and it can't be read.
    async fn is_garbled(&self, id: &StreamId) -> anyhow::Result<bool> {
        match self.view.get(id).await {
            Ok(_) => Ok(false),
            Err(ReadStoreError::Corrupt(_)) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// The row that the stream's events make; `None` if the stream can't be read.
    async fn expected(&self, id: &StreamId) -> anyhow::Result<Option<Entry<V::Row>>> {
        match self.events.load(whole(id.clone())).await {
            Ok(stream) => {
                Ok(recorded::<V>(&stream.commits)
                    .and_then(|events| Entry::fold::<V>(id.clone(), &events).ok()))
            }
            Err(StoreError::Unreadable(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Counts and prints a finding, after its repair if one is asked for. An unreadable stream may be found more than once, but
    /// is reported once.
    async fn found(&mut self, finding: Finding) -> anyhow::Result<()> {
        if finding.fault == Fault::Unreadable && !self.unreadable.insert(finding.stream.value.clone()) {
            return Ok(());
        }
        let repaired = self.settings.repair && self.repair(&finding.stream.value, finding.fault).await?;
        self.report.faults += 1;
        self.report.repaired += u64::from(repaired);
        let count = self.report.counts.entry(finding.fault).or_default();
        *count = (count.0 + 1, count.1 + u64::from(repaired));
        if self.report.findings.len() < TOLD {
            if !self.settings.json {
                self.progress.suspend(|| line!("{finding}"))?;
            }
            self.report.findings.push(finding);
        }
        Ok(())
    }

    /// Repairs the one row that differs and writes nothing else. So a repair that was killed goes on with the rest when it is
    /// started again.
    async fn repair(&self, id: &StreamId, fault: Fault) -> anyhow::Result<bool> {
        if fault == Fault::Unreadable {
            return Ok(false);
        }
        // A lower version does not overwrite a row that is ahead of its stream, so the row is removed first. The stream is read
        // only after that: while the row was there, the projector skipped new events as already applied.
        if fault == Fault::Extra {
            self.view.remove(vec![id.clone()]).await?;
        }
        for _ in 0..TRIES {
            let Some(expected) = self.expected(id).await? else { return Ok(false) };
            // If the projector was faster, nothing is written, even if the projector's row is wrong. Then the next try reads the
            // stream again.
            if expected.version == Version::NONE {
                return Ok(true);
            }
            match self.view.repair(vec![expected]).await {
                Ok(0) => {}
                Ok(_) => return Ok(true),
                // The database does not take the row. The event that makes it is held, or will be.
                Err(ReadStoreError::Refused(_)) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(false)
    }

    fn print(&self) -> anyhow::Result<ExitCode> {
        let Report { streams, faults, repaired, findings, counts } = &self.report;
        if self.settings.json {
            line!("{}", self.label.json(&self.report)?)?;
        } else {
            if *faults > findings.len() as u64 {
                line!("… and {} more", faults - findings.len() as u64)?;
            }
            if *faults > 0 {
                line!("\n{:<12} {:>8} {:>9}", "fault", "found", "repaired")?;
            }
            for fault in Fault::ALL {
                let Some((found, repaired)) = counts.get(&fault) else { continue };
                line!("{:<12} {found:>8} {repaired:>9}", format!("{fault:?}").to_lowercase())?;
            }
            let Named { name, value } = streams;
            line!("{}{value} {name} compared, {faults} faults, {repaired} repaired", self.label)?;
        }
        Ok(if faults == repaired { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown =
            |version: &Option<Version>| version.map_or("none".to_owned(), |version| version.to_string());
        let Self { stream, fault, store, view } = self;
        write!(f, "{}: {fault:?}; event store at {}, view at {}", stream.value, shown(store), shown(view))
    }
}

/// All events of a stream; `None` if one of them can't be read.
fn recorded<V: View>(commits: &[Commit]) -> Option<Vec<Recorded<V::Event>>> {
    let events: Result<Vec<Vec<Recorded<V::Event>>>, _> =
        commits.iter().map(|commit| commit.recorded()).collect();
    Some(events.ok()?.into_iter().flatten().collect())
}

fn whole(stream: StreamId) -> Load {
    Load::whole(stream)
}
