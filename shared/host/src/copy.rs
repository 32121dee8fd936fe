//! The command `copy`: copies all that an event store holds into another one, such as a file into a database.
//!
//! A copy goes through the source from its first commit on, and looks up each page in the target. It adds what is missing there,
//! so that a copy which was interrupted goes on when it is started again. What it has read, and then all that the target holds,
//! goes into a digest. The two digests are equal only if the stores agree byte for byte.

mod digest;

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io::{IsTerminal, stderr};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::Args;
use event_sourcing::{StreamId, Version};
use event_store::{
    AppendError, CommandRecord, CommandResult, Commit, CommitId, EventStore, Load, Mark, Namespace,
    ReminderRow, StoreError, Stream, UnreadableStream,
};
use futures_util::future::try_join_all;
use indicatif::ProgressBar;
use runtime::{Backoff, SecretUrl};
use serde::Serialize;

use self::digest::Totals;
use crate::locks::Locks;
use crate::output::progress_of_commits;
use crate::registry::Registry;
use crate::stores::cannot_open;
use crate::{CannotStart, application};

/// The number of commits, records or reminders in a page.
const PAGE: usize = 500;

/// How long a store may be away before the copy gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// The waits between attempts while a store is away.
const WAITS: Backoff = Backoff { first: Duration::from_millis(200), longest: Duration::from_secs(5) };

/// The time between two lines about the progress, where there is no terminal.
const REPORT: Duration = Duration::from_secs(10);

/// Copy all that an event store holds into another one, and compare the two
#[derive(Args, Clone, Debug)]
pub struct CopyArgs {
    /// The URL of the event store to copy from
    #[arg(long, env = "COPY_FROM", value_name = "URL")]
    from: SecretUrl,
    /// The URL of the event store to copy into; it holds nothing but what an earlier copy has brought
    #[arg(long, env = "COPY_TO", value_name = "URL")]
    to: SecretUrl,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// The result of a copy.
#[derive(Debug, Serialize)]
struct CopyReport {
    aggregate: &'static str,
    /// All that the target holds.
    #[serde(flatten)]
    totals: Totals,
    /// The commits that were not there before.
    copied: u64,
    /// The events that came into the source behind the copy.
    behind: u64,
    /// The streams that can't be read.
    unreadable: usize,
    seconds: f64,
}

impl CopyReport {
    fn complain_if_incomplete(&self) {
        let Self { aggregate, unreadable, behind, .. } = self;
        if *unreadable > 0 {
            complain!("{unreadable} {aggregate}s can't be read, and were copied as far as they can be read");
        }
        if *behind > 0 {
            let name = application();
            complain!(
                "{behind} events came into the source meanwhile: stop what writes to it, and run `{name} copy` again"
            );
        }
    }
}

impl fmt::Display for CopyReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { aggregate, totals, copied, seconds, .. } = self;
        let Totals { commits, events, unpublished, records, reminders, digest, .. } = totals;
        writeln!(
            formatter,
            "copied {copied} commits of {aggregate}s in {seconds:.1} s; the others were there"
        )?;
        writeln!(
            formatter,
            "both hold {commits} commits with {events} events ({unpublished} commits unpublished), {records} small records \
             and {reminders} reminders"
        )?;
        write!(formatter, "digest {digest}")
    }
}

/// Copies an event store. It may be started again at any time: it goes on with what is missing.
///
/// # Errors
/// When a store can't be opened or stays away, or the target holds what the source does not.
pub async fn run(args: CopyArgs, registry: &Registry) -> anyhow::Result<ExitCode> {
    refuse_same(&args.from, &args.to)?;
    refuse_missing_file(&args.from)?;
    let _lock = match file_of(&args.to) {
        Some(file) => Some(Locks::of_file("the target", file.as_ref(), "--to")?),
        None => None,
    };
    let mut is_complete = true;
    for aggregate in &registry.aggregates {
        let namespace = registry.namespace(aggregate)?;
        let (from, to) = (open(&args.from, &namespace).await?, open(&args.to, &namespace).await?);
        let report = Copy { from, to, json: args.json }.run(aggregate.kind).await?;
        if args.json {
            line!("{}", serde_json::to_string(&report)?)?;
        } else {
            line!("{report}")?;
        }
        report.complain_if_incomplete();
        is_complete &= report.unreadable == 0 && report.behind == 0;
    }
    Ok(if is_complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn open(url: &SecretUrl, namespace: &Namespace) -> Result<EventStore, CannotStart> {
    let store = EventStore::open(url.clone(), namespace).await.map_err(cannot_open)?;
    store.ping().await.map_err(|error| CannotStart(format!("{url}: {error}")))?;
    Ok(store)
}

/// Refuses two URLs that name one store, whatever user they name. Two names of one server are not told apart: then everything is
/// there already, and the copy changes nothing.
fn refuse_same(from: &SecretUrl, to: &SecretUrl) -> Result<(), CannotStart> {
    let is_same = match (file_of(from), file_of(to)) {
        (Some(from), Some(to)) => match (fs::canonicalize(from), fs::canonicalize(to)) {
            (Ok(from), Ok(to)) => from == to,
            // One of them is not there.
            _ => from == to,
        },
        _ => without_login(from) == without_login(to),
    };
    if is_same {
        return Err(CannotStart(format!("--from and --to name the same store, {from}")));
    }
    Ok(())
}

/// Refuses a file that does not exist: to open it would create it.
fn refuse_missing_file(url: &SecretUrl) -> Result<(), CannotStart> {
    match file_of(url) {
        Some(file) if !Path::new(file).exists() => {
            Err(CannotStart(format!("--from: there is no file {file}")))
        }
        _ => Ok(()),
    }
}

fn file_of(url: &SecretUrl) -> Option<&str> {
    url.after("sqlite").filter(|path| !["", ":memory:"].contains(path))
}

fn without_login(url: &SecretUrl) -> (&str, &str) {
    let (scheme, rest) = url.expose().split_once("://").unwrap_or(("", url.expose()));
    let scheme = if scheme == "postgresql" { "postgres" } else { scheme };
    (scheme, rest.split_once('@').map_or(rest, |(_, place)| place))
}

struct Copy {
    from: EventStore,
    to: EventStore,
    json: bool,
}

/// A part of a stream, as it stands in a page of the source.
struct Part<'a> {
    source: &'a [Commit],
    /// The commits that the target has in the part's place.
    target: Vec<Commit>,
}

impl Copy {
    async fn run(&self, aggregate: &'static str) -> anyhow::Result<CopyReport> {
        let started = Instant::now();
        self.refuse_others().await?;
        let mut read = Totals::default();
        let (copied, unreadable) = self.copy_commits(&mut read).await?;
        self.copy_records(&mut read).await?;
        self.copy_reminders(&mut read).await?;
        let totals = self.read_target().await?;
        ensure!(
            totals == read,
            "the stores differ: {totals} were found in the target, and {read} were copied; does anything write to the target?"
        );
        let behind = if unreadable.is_empty() {
            self.events_in_source().await?.saturating_sub(read.events)
        } else {
            0
        };
        let seconds = started.elapsed().as_secs_f64();
        Ok(CopyReport { aggregate, totals, copied, behind, unreadable: unreadable.len(), seconds })
    }

    /// Refuses a target that has streams, or ends of streams, which the source lacks.
    async fn refuse_others(&self) -> anyhow::Result<()> {
        let mut is_empty = true;
        let mut page = Some(None);
        while let Some(after) = page {
            let heads = patiently(|| self.to.heads(after.as_deref(), PAGE)).await?;
            is_empty &= heads.streams.is_empty();
            let streams = heads.streams.iter().map(|(stream, _)| stream.clone());
            let firsts = streams.map(|stream| Load { limit: Some(1), ..Load::whole(stream) }).collect();
            for (stream, found) in load(&self.from, firsts).await? {
                let found = found.with_context(|| format!("the target has the stream {stream}"))?;
                ensure!(
                    !found.commits.is_empty(),
                    "the target has another stream, {stream}: it is not in the source"
                );
            }
            page = heads.next.map(Some);
        }
        let mut page = if is_empty { None } else { Some(None) };
        while let Some(after) = page {
            let heads = patiently(|| self.from.heads(after.as_deref(), PAGE)).await?;
            let ends = heads.streams.into_iter();
            let ends = ends
                .map(|(stream, version)| Load { limit: Some(1), ..Load::after(stream, version) })
                .collect();
            for (stream, found) in load(&self.to, ends).await? {
                let others = found?.commits;
                ensure!(
                    others.is_empty(),
                    "the target has other commits of the stream {stream}: it goes on behind the source's end"
                );
            }
            page = heads.next.map(Some);
        }
        Ok(())
    }

    /// Copies all commits. Returns the number of those that were missing, and the streams that can't be read.
    async fn copy_commits(&self, read: &mut Totals) -> anyhow::Result<(u64, Vec<UnreadableStream>)> {
        let (mut copied, mut unreadable, mut after) = (0, Vec::new(), None);
        let progress = Progress::new(patiently(|| self.from.count()).await?, self.json);
        loop {
            let page = patiently(|| self.from.export_commits(after.clone(), PAGE)).await?;
            copied += self.copy_page(&page.commits).await?;
            page.commits.iter().for_each(|commit| read.add_commit(commit));
            for problem in page.unreadable {
                progress.bar.suspend(|| complain!("{problem}"));
                unreadable.push(problem);
            }
            progress.set(read.commits);
            after = page.next;
            if after.is_none() {
                progress.bar.finish_and_clear();
                return Ok((copied, unreadable));
            }
        }
    }

    /// Copies the commits of a page that are missing, and returns their number. It looks again after each failure, because it is
    /// not known then what was written.
    async fn copy_page(&self, commits: &[Commit]) -> anyhow::Result<u64> {
        let mut conflicts = 0;
        let (began, mut failures) = (Instant::now(), 0);
        let mut copied = 0;
        loop {
            let parts = self.compare(commits).await?;
            let missing: Vec<Arc<Commit>> = parts.iter().flat_map(Part::missing).map(Arc::new).collect();
            let marks: Vec<Mark> = parts.iter().flat_map(Part::published).map(Mark::from).collect();
            if !marks.is_empty() {
                patiently(|| self.to.mark_published(marks.clone())).await?;
            }
            let Some(first) = missing.first().cloned() else { return Ok(copied) };
            copied = copied.max(missing.len() as u64);
            match self.to.append_all(missing).await {
                Ok(()) => return Ok(copied),
                Err(AppendError::Conflict) if conflicts == 0 => conflicts += 1,
                Err(AppendError::Conflict) => bail!(
                    "the target has other commits or commands of the stream {}, at version {} or near it",
                    first.stream,
                    first.version
                ),
                Err(AppendError::Store(error @ StoreError::Unavailable(_))) if began.elapsed() < PATIENCE => {
                    wait(&error, &mut failures).await;
                }
                Err(AppendError::Store(error)) => return Err(error.into()),
            }
        }
    }

    /// Looks up the commits of a page in the target.
    async fn compare<'a>(&self, commits: &'a [Commit]) -> anyhow::Result<Vec<Part<'a>>> {
        let parts: Vec<&[Commit]> = commits.chunk_by(|a, b| a.stream == b.stream).collect();
        let place = |part: &&[Commit]| {
            let first = part.first()?;
            let after = Version::new(first.version.get() - 1);
            let limit = Some(part.last()?.last_version().get() - after.get());
            Some(Load { limit, ..Load::after(first.stream.clone(), after) })
        };
        let found = load(&self.to, parts.iter().filter_map(place).collect()).await?;
        let parts = parts.into_iter().zip(found).map(|(source, (stream, found))| {
            let target = found.with_context(|| format!("the target's stream {stream}"))?.commits;
            Part { source, target }.check()
        });
        parts.collect()
    }

    async fn copy_records(&self, read: &mut Totals) -> anyhow::Result<()> {
        let mut after = None;
        loop {
            let page = patiently(|| self.from.export_records(after.clone(), PAGE)).await?;
            patiently(|| self.copy_record_page(&page.records)).await??;
            page.records.iter().for_each(|record| read.add_record(record));
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// Stores the records that are missing. The inner error says that the target has another answer.
    async fn copy_record_page(&self, records: &[CommandRecord]) -> Result<anyhow::Result<()>, StoreError> {
        let asked = |record: &CommandRecord| Load {
            limit: Some(0),
            command: Some(record.command_id.clone()),
            ..Load::whole(record.stream.clone())
        };
        let found = self.to.load_many(records.iter().map(asked).collect()).await?;
        let mut missing = Vec::new();
        for (record, found) in records.iter().zip(found) {
            match found?.answered {
                None => missing.push(self.to.remember(record.clone())),
                Some(answered)
                    if answered.command_hash == record.command_hash
                        && answered.version == record.version
                        && answered.result == result_of(record) => {}
                Some(_) => return Ok(Err(other_answer(record))),
            }
        }
        match try_join_all(missing).await {
            Ok(_) => Ok(Ok(())),
            Err(AppendError::Conflict) => Ok(Err(anyhow::anyhow!("something else writes to the target"))),
            Err(AppendError::Store(error)) => Err(error),
        }
    }

    /// Gives the target the source's reminders, and no others.
    async fn copy_reminders(&self, read: &mut Totals) -> anyhow::Result<()> {
        let mut there = HashMap::new();
        each_reminder(&self.to, |row| drop(there.insert(row.commit.clone(), row))).await?;
        let mut rows = Vec::new();
        each_reminder(&self.from, |row| rows.push(row)).await?;
        for row in rows {
            read.add_reminder(&row);
            let is_there =
                there.remove(&row.commit).is_some_and(|found| digest::is_same_reminder(&found, &row));
            if !is_there {
                patiently(|| self.to.import_reminder(row.clone())).await?;
            }
        }
        let ended: Vec<CommitId> = there.into_keys().collect();
        for ended in ended.chunks(PAGE) {
            patiently(|| self.to.remove_reminders(ended.to_vec())).await?;
        }
        Ok(())
    }

    /// Reads all that the target holds.
    async fn read_target(&self) -> anyhow::Result<Totals> {
        let mut totals = Totals::default();
        let mut page = Some(None);
        while let Some(after) = page {
            let found = patiently(|| self.to.export_commits(after.clone(), PAGE)).await?;
            if let Some(problem) = found.unreadable.into_iter().next() {
                return Err(problem).context("the target");
            }
            found.commits.iter().for_each(|commit| totals.add_commit(commit));
            page = found.next.map(Some);
        }
        let mut page = Some(None);
        while let Some(after) = page {
            let found = patiently(|| self.to.export_records(after.clone(), PAGE)).await?;
            found.records.iter().for_each(|record| totals.add_record(record));
            page = found.next.map(Some);
        }
        each_reminder(&self.to, |row| totals.add_reminder(&row)).await?;
        Ok(totals)
    }

    async fn events_in_source(&self) -> anyhow::Result<u64> {
        let (mut events, mut page) = (0, Some(None));
        while let Some(after) = page {
            let heads = patiently(|| self.from.heads(after.as_deref(), PAGE)).await?;
            events += heads.streams.iter().map(|(_, version)| version.get()).sum::<u64>();
            page = heads.next.map(Some);
        }
        Ok(events)
    }
}

impl Part<'_> {
    /// Refuses a target that has something else in this place.
    fn check(self) -> anyhow::Result<Self> {
        for (source, target) in self.source.iter().zip(&self.target) {
            let (stream, version) = (&source.stream, source.version);
            let as_published = |commit: &Commit| Commit { unpublished: false, ..commit.clone() };
            ensure!(
                as_published(source) == as_published(target),
                "the target has another commit of the stream {stream}, at version {version}"
            );
            ensure!(
                target.unpublished || !source.unpublished,
                "the commit of the stream {stream} at version {version} was published from the target: a server works on it"
            );
        }
        if let Some(other) = self.target.get(self.source.len()) {
            bail!(
                "the target has another commit of the stream {}, at version {}",
                other.stream,
                other.version
            );
        }
        Ok(self)
    }

    /// The commits that the target lacks.
    fn missing(&self) -> impl Iterator<Item = Commit> {
        self.source[self.target.len()..].iter().cloned()
    }

    /// The commits that were published since an earlier copy.
    fn published(&self) -> impl Iterator<Item = CommitId> {
        let both = self.source.iter().zip(&self.target);
        let published = both.filter(|(source, target)| target.unpublished && !source.unpublished);
        published.map(|(source, _)| CommitId { stream: source.stream.clone(), version: source.version })
    }
}

type Found = Vec<(StreamId, Result<Stream, UnreadableStream>)>;

/// Loads streams, each with its own result.
async fn load(store: &EventStore, loads: Vec<Load>) -> Result<Found, StoreError> {
    let found = patiently(|| store.load_many(loads.clone())).await?;
    Ok(loads.into_iter().map(|load| load.stream).zip(found).collect())
}

async fn each_reminder(store: &EventStore, mut take: impl FnMut(ReminderRow)) -> Result<(), StoreError> {
    let mut behind = None;
    loop {
        let rows = patiently(|| store.export_reminders(behind.as_ref(), PAGE)).await?;
        behind = rows.last().filter(|_| rows.len() == PAGE).map(|row| row.commit.clone());
        rows.into_iter().for_each(&mut take);
        if behind.is_none() {
            return Ok(());
        }
    }
}

fn result_of(record: &CommandRecord) -> CommandResult {
    record.rejection.clone().map_or(CommandResult::AlreadyTrue, CommandResult::Rejected)
}

fn other_answer(record: &CommandRecord) -> anyhow::Error {
    let CommandRecord { stream, command_id, .. } = record;
    anyhow::anyhow!(
        "the target has another answer to the command {:?} of the stream {stream}",
        command_id.as_str()
    )
}

/// Calls a store again while it is away.
async fn patiently<T, F>(call: impl Fn() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let (began, mut failures) = (Instant::now(), 0);
    loop {
        match call().await {
            Err(error @ StoreError::Unavailable(_)) if began.elapsed() < PATIENCE => {
                wait(&error, &mut failures).await
            }
            result => return result,
        }
    }
}

/// Says once that a store is away, and waits before the next attempt.
async fn wait(error: &StoreError, failures: &mut u32) {
    if *failures == 0 {
        complain!("{error}; trying again for {} s", PATIENCE.as_secs());
    }
    *failures += 1;
    tokio::time::sleep(WAITS.after(*failures)).await;
}

/// The progress: a bar on a terminal, and lines elsewhere. With `--json` it is hidden.
struct Progress {
    bar: ProgressBar,
    lines: bool,
    said: std::cell::Cell<Instant>,
}

impl Progress {
    fn new(commits: u64, json: bool) -> Self {
        let lines = !json && !stderr().is_terminal();
        Self { bar: progress_of_commits(commits, json), lines, said: std::cell::Cell::new(Instant::now()) }
    }

    fn set(&self, commits: u64) {
        self.bar.set_position(commits);
        if self.lines && self.said.get().elapsed() >= REPORT {
            self.said.set(Instant::now());
            complain!(
                "{commits} of about {} commits are compared or copied",
                self.bar.length().unwrap_or_default()
            );
        }
    }
}
