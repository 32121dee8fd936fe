//! `verify` of a view whose rows are shared by streams. No row belongs to one stream, so the view is built anew beside the one in
//! use, and the two are compared. The repair swaps them.

use std::fmt;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use event_sourcing::{StreamId, Version, View};
use event_store::EventStore;
use indicatif::ProgressBar;
use read_store::{BehindStream, Difference, ReadStore, ViewId};
use serde::Serialize;

use super::fault::{Fault, LOOK_AGAIN, TOLD};
use super::settings::VerifySettings;
use crate::output::Label;
use crate::rebuild;

/// The result of a comparison.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Report {
    /// The streams and rows that differ, at most [`TOLD`].
    findings: Vec<Finding>,
    /// Streams that can't be read. While there are such streams, the rows can't be compared.
    unreadable: u64,
    /// True if the view that was built has taken the place of the one in use.
    repaired: bool,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
enum Finding {
    Stream { stream: StreamId, fault: Fault, store: Version, view: Version },
    Row { row: String, fault: Fault },
}

impl From<&BehindStream> for Finding {
    fn from(BehindStream { stream, active: view, building: store }: &BehindStream) -> Self {
        let fault = match (*store > *view, *view) {
            (true, Version::NONE) => Fault::Lost,
            (true, _) => Fault::Stale,
            (false, _) => Fault::Extra,
        };
        Self::Stream { stream: stream.clone(), fault, store: *store, view: *view }
    }
}

pub(super) async fn run<V: View>(
    events: &EventStore,
    view: &ReadStore<V>,
    label: Label,
    settings: &VerifySettings,
    progress: &ProgressBar,
) -> anyhow::Result<ExitCode> {
    let report = verify(events, view, settings.patience, settings.repair, progress).await?;
    progress.finish_and_clear();
    if settings.json {
        line!("{}", label.json(&report)?)?;
    } else {
        for finding in &report.findings {
            line!("{finding}")?;
        }
        let Report { findings, unreadable, repaired } = &report;
        let repaired = if *repaired { "the view is repaired" } else { "nothing is repaired" };
        line!("{label}{} faults, {unreadable} streams can't be read; {repaired}", findings.len())?;
    }
    let is_well = report.repaired || (report.findings.is_empty() && report.unreadable == 0);
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn verify<V: View>(
    events: &EventStore,
    view: &ReadStore<V>,
    patience: Duration,
    repair: bool,
    progress: &ProgressBar,
) -> anyhow::Result<Report> {
    let building = view.begin_rebuild().await?;
    let compared = compare(events, view, building, patience, progress).await;
    let differs = compared.as_ref().is_ok_and(|report| !report.findings.is_empty());
    if repair && differs {
        rebuild::swap(view, building).await?;
        return compared.map(|report| Report { repaired: true, ..report });
    }
    // Every batch of the projector is written to the view that was built, as long as there is one.
    view.abandon(building).await?;
    compared
}

/// Builds the view, and compares it when all streams have the same version in both. Streams that differ may only be late, so they
/// are compared again until patience ends.
async fn compare<V: View>(
    events: &EventStore,
    view: &ReadStore<V>,
    building: ViewId,
    patience: Duration,
    progress: &ProgressBar,
) -> anyhow::Result<Report> {
    let scan = rebuild::fill(events, view, building, progress).await?;
    let deadline = Instant::now() + patience;
    let Difference { streams, rows } = loop {
        let difference = view.compare(building, TOLD).await?;
        if difference.streams.is_empty() || Instant::now() >= deadline {
            break difference;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    };
    let is_unreadable = |found: &&BehindStream| scan.unreadable.contains_key(found.stream.as_str());
    let findings = streams.iter().filter(|found| !is_unreadable(found)).map(Finding::from);
    let findings = findings.chain(rows.into_iter().map(|row| Finding::Row { row, fault: Fault::Different }));
    Ok(Report { findings: findings.collect(), unreadable: scan.unreadable.len() as u64, repaired: false })
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stream { stream, fault, store, view } => {
                write!(f, "{stream}: {fault:?}; event store at {store}, view at {view}")
            }
            Self::Row { row, fault } => write!(f, "the row {row}: {fault:?}"),
        }
    }
}

#[cfg(test)]
#[cfg(feature = "embedded")]
mod tests {
    use std::sync::Arc;

    use event_sourcing::testing::{LabelEvent, LabelsView};
    use event_sourcing::{CommandId, EncodedEvent, Recorded};
    use event_store::{CommandHash, Commit, Metadata, Namespace};
    use jiff::Timestamp;
    use read_store::Incoming;

    use super::*;

    fn added(task: &str, version: u64) -> Recorded<LabelEvent> {
        let (stream, version) = (StreamId::parse(task).unwrap(), Version::new(version));
        let event = LabelEvent::LabelsAdded { labels: vec!["home".to_owned(), format!("{version}")] };
        Recorded { stream, version, time: Timestamp::UNIX_EPOCH, event }
    }

    async fn append(events: &EventStore, event: &Recorded<LabelEvent>) {
        let commit = Commit {
            stream: event.stream.clone(),
            version: event.version,
            command_id: CommandId::system(&format!("{}-{}", event.stream, event.version)).unwrap(),
            command_hash: CommandHash([0; 32]),
            events: vec![EncodedEvent::encode(&event.event)],
            awaits_outcome: false,
            recorded_at: event.time,
            metadata: Metadata::default(),
            unpublished: true,
        };
        events.append(Arc::new(commit)).await.unwrap();
    }

    async fn tasks(view: &ReadStore<LabelsView>, label: &str) -> i64 {
        view.row(&label.to_owned()).await.unwrap().map_or(0, |row| row.tasks)
    }

    #[tokio::test]
    async fn what_is_lost_or_different_is_found_and_repaired_by_a_swap() {
        let folder = tempfile::tempdir().unwrap();
        let url = |file: &str| format!("sqlite:{}", folder.path().join(file).display());
        let namespace = Namespace::parse("tasks_labelset").unwrap();
        let events = EventStore::open(&url("events.db"), &namespace).await.unwrap();
        let view = ReadStore::<LabelsView>::open(url("views.db")).await.unwrap();
        let project = async |event: Recorded<LabelEvent>| {
            view.project(vec![Incoming::from_event_store(event, Timestamp::UNIX_EPOCH)]).await.unwrap()
        };
        let verify = async |repair| {
            verify(&events, &view, Duration::ZERO, repair, &ProgressBar::hidden()).await.unwrap()
        };
        for (task, version) in [("a", 1), ("a", 2), ("b", 1)] {
            append(&events, &added(task, version)).await;
        }
        project(added("a", 1)).await;
        let stream = |task: &str, fault, store, view| Finding::Stream {
            stream: StreamId::parse(task).unwrap(),
            fault,
            store: Version::new(store),
            view: Version::new(view),
        };
        let lost = [stream("a", Fault::Stale, 2, 1), stream("b", Fault::Lost, 1, 0)];
        assert_eq!(verify(false).await, Report { findings: lost.into(), unreadable: 0, repaired: false });
        assert_eq!(tasks(&view, "home").await, 1, "nothing was repaired");

        // The same versions, made of other events.
        let other = |event: Recorded<LabelEvent>| Recorded { event: LabelEvent::CommentAdded, ..event };
        project(other(added("a", 2))).await;
        project(added("b", 1)).await;
        let different =
            ["2", "home"].map(|row| Finding::Row { row: row.to_owned(), fault: Fault::Different });
        assert_eq!(verify(true).await, Report { findings: different.into(), unreadable: 0, repaired: true });
        assert_eq!((tasks(&view, "home").await, tasks(&view, "2").await), (3, 1));
        assert_eq!(verify(true).await, Report { findings: vec![], unreadable: 0, repaired: false });
    }
}
