//! The command `held` lists, shows, redrives and drops the events that the projector has set aside.

use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, Subcommand};
use event_sourcing::{Aggregate, StreamId, Version, View};
use jiff::Timestamp;
use read_store::{HeldEvent, HeldId, HeldReason, Origin, ReadStore};
use serde::Serialize;

use crate::output::Named;
use crate::stores::ViewStore;

/// How many held events are read at a time.
const PAGE: usize = 500;

/// List, show, redrive or drop the events that the projector holds
#[derive(Args, Clone, Debug)]
pub struct HeldArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Clone, Debug)]
enum Action {
    /// List held events, oldest first
    List {
        #[command(flatten)]
        scope: Scope,
        /// Print one JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Show one held event in full
    Show {
        #[command(flatten)]
        store: ViewStore,
        /// The number of the held event
        id: i64,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Apply held events again in the order of their versions, for example after a fix
    Redrive {
        #[command(flatten)]
        scope: Scope,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Delete one held event. This is refused if {a-kind} needs the event for its next version
    Drop {
        #[command(flatten)]
        store: ViewStore,
        /// The number of the held event
        id: i64,
    },
}

/// The view, and the streams of which held events are taken.
#[derive(Args, Clone, Debug)]
struct Scope {
    #[command(flatten)]
    store: ViewStore,
    /// Only the events of this {kind}
    #[arg(long = "{kind}", value_name = "ID", value_parser = StreamId::parse)]
    stream: Option<StreamId>,
}

/// A held event as the command prints it. The value is text if it is UTF-8. Otherwise it is escaped, as the key always is.
#[derive(Serialize)]
struct HeldEventBody<'a> {
    id: HeldId,
    #[serde(flatten)]
    stream: Named<Option<&'a StreamId>>,
    version: Option<Version>,
    reason: HeldReason,
    problem: &'a str,
    origin: &'a Origin,
    held_at: Timestamp,
    key: Option<String>,
    value: Option<String>,
}

impl<'a> HeldEventBody<'a> {
    fn of<A: Aggregate>(held: &'a HeldEvent) -> Self {
        let text = |bytes: &Option<Vec<u8>>| bytes.as_ref().map(|bytes| bytes.escape_ascii().to_string());
        Self {
            id: held.id,
            stream: Named::new(A::KIND, held.stream.as_ref()),
            version: held.version,
            reason: held.reason,
            problem: &held.problem,
            origin: &held.origin,
            held_at: held.held_at,
            key: text(&held.key),
            value: held.value.as_ref().map(|value| match std::str::from_utf8(value) {
                Ok(text) => text.to_owned(),
                Err(_) => value.escape_ascii().to_string(),
            }),
        }
    }
}

/// Runs the command. The exit code is 1 if a held event does not exist or must not be dropped, or if a redrive leaves some events
/// held.
///
/// # Errors
/// When the read store can't be opened or is not available.
pub async fn run<A: Aggregate, V: View>(args: HeldArgs) -> anyhow::Result<ExitCode> {
    match args.action {
        Action::List { scope: Scope { store, stream }, json } => {
            list::<A, V>(&store.open().await?, stream.as_ref(), json).await
        }
        Action::Show { store, id, json } => show::<A, V>(&store.open().await?, HeldId(id), json).await,
        Action::Redrive { scope: Scope { store, stream }, json } => {
            redrive::<V>(&store.open().await?, stream.as_ref(), json).await
        }
        Action::Drop { store, id } => {
            store.open::<V>().await?.drop_held(HeldId(id)).await?;
            line!("dropped held event {id}")?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn list<A: Aggregate, V: View>(
    store: &ReadStore<V>,
    stream: Option<&StreamId>,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let (mut after, mut events) = (None, 0_usize);
    loop {
        let page = store.held(stream, after, PAGE).await?;
        for held in &page {
            print_row::<A>(held, json)?;
        }
        events += page.len();
        match page.last() {
            Some(last) if page.len() == PAGE => after = Some(last.id),
            _ => break,
        }
    }
    if !json {
        line!("{events} held events")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn print_row<A: Aggregate>(held: &HeldEvent, json: bool) -> anyhow::Result<()> {
    if json {
        line!("{}", serde_json::to_string(&HeldEventBody::of::<A>(held))?)?;
        return Ok(());
    }
    let stream = held.stream.as_ref().map_or(format!("(no {})", A::KIND), StreamId::to_string);
    let version = held.version.map_or("?".to_owned(), |version| version.to_string());
    line!(
        "{:>6}  {stream}@{version}  {}  {}  {}",
        held.id,
        held.reason.as_str(),
        held.held_at,
        held.problem
    )?;
    Ok(())
}

async fn show<A: Aggregate, V: View>(
    store: &ReadStore<V>,
    id: HeldId,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let Some(held) = store.held_event(id).await? else {
        bail!("there is no held event {id}");
    };
    let shown = HeldEventBody::of::<A>(&held);
    line!("{}", if json { serde_json::to_string(&shown)? } else { serde_json::to_string_pretty(&shown)? })?;
    Ok(ExitCode::SUCCESS)
}

async fn redrive<V: View>(
    store: &ReadStore<V>,
    stream: Option<&StreamId>,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let redriven = store.redrive(stream).await?;
    if json {
        line!("{}", serde_json::to_string(&redriven)?)?;
    } else {
        line!(
            "{} applied, {} removed as no longer needed, {} still held",
            redriven.applied,
            redriven.removed,
            redriven.held
        )?;
    }
    Ok(if redriven.held == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
