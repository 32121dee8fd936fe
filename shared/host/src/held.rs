//! The command `held` lists, shows, redrives and drops the events that the projector has set aside.

use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, Subcommand};
use event_sourcing::{StreamId, Version};
use jiff::Timestamp;
use read_store::{HeldEvent, HeldId, HeldReason, Origin, RedriveCounts};
use serde::Serialize;

use crate::output::{Label, Named};
use crate::registry::{Registry, ViewChoice};
use crate::stores::ViewStore;
use crate::views::AnyView;

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
        #[command(flatten)]
        choice: ViewChoice,
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
        #[command(flatten)]
        choice: ViewChoice,
        /// The number of the held event
        id: i64,
    },
}

/// The views, and the streams of which held events are taken.
#[derive(Args, Clone, Debug)]
struct Scope {
    #[command(flatten)]
    store: ViewStore,
    #[command(flatten)]
    choice: ViewChoice,
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
    fn new(held: &'a HeldEvent, kind: &str) -> Self {
        let text = |bytes: &Option<Vec<u8>>| bytes.as_ref().map(|bytes| bytes.escape_ascii().to_string());
        Self {
            id: held.id,
            stream: Named::new(kind, held.stream.as_ref()),
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
pub async fn run(args: HeldArgs, registry: &Registry) -> anyhow::Result<ExitCode> {
    match args.action {
        Action::List { scope, json } => list(&scope, registry, json).await,
        Action::Show { store, choice, id, json } => {
            let view = choice.one(registry)?;
            let kind = registry.aggregate_of(view)?.kind;
            show(&*store.open(view).await?, kind, HeldId(id), json).await
        }
        Action::Redrive { scope, json } => redrive(&scope, registry, json).await,
        Action::Drop { store, choice, id } => {
            store.open(choice.one(registry)?).await?.drop_held(HeldId(id)).await?;
            line!("dropped held event {id}")?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn list(scope: &Scope, registry: &Registry, json: bool) -> anyhow::Result<ExitCode> {
    let Scope { store, choice, stream } = scope;
    let chosen = choice.all(registry);
    for view in &chosen {
        let kind = registry.aggregate_of(view)?.kind;
        let label = Label::of_view(view.name, chosen.len());
        let events = list_one(&*store.open(view).await?, kind, label, stream.as_ref(), json).await?;
        if !json {
            line!("{label}{events} held events")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn list_one(
    view: &dyn AnyView,
    kind: &str,
    label: Label,
    stream: Option<&StreamId>,
    json: bool,
) -> anyhow::Result<usize> {
    let (mut after, mut events) = (None, 0_usize);
    loop {
        let page = view.held(stream, after, PAGE).await?;
        for held in &page {
            print_row(held, kind, label, json)?;
        }
        events += page.len();
        match page.last() {
            Some(last) if page.len() == PAGE => after = Some(last.id),
            _ => return Ok(events),
        }
    }
}

fn print_row(held: &HeldEvent, kind: &str, label: Label, json: bool) -> anyhow::Result<()> {
    if json {
        line!("{}", label.json(&HeldEventBody::new(held, kind))?)?;
        return Ok(());
    }
    let stream = held.stream.as_ref().map_or(format!("(no {kind})"), StreamId::to_string);
    let version = held.version.map_or("?".to_owned(), |version| version.to_string());
    line!(
        "{label}{:>6}  {stream}@{version}  {}  {}  {}",
        held.id,
        held.reason.as_str(),
        held.held_at,
        held.problem
    )?;
    Ok(())
}

async fn show(view: &dyn AnyView, kind: &str, id: HeldId, json: bool) -> anyhow::Result<ExitCode> {
    let Some(held) = view.held_event(id).await? else {
        bail!("there is no held event {id}");
    };
    let shown = HeldEventBody::new(&held, kind);
    line!("{}", if json { serde_json::to_string(&shown)? } else { serde_json::to_string_pretty(&shown)? })?;
    Ok(ExitCode::SUCCESS)
}

async fn redrive(scope: &Scope, registry: &Registry, json: bool) -> anyhow::Result<ExitCode> {
    let Scope { store, choice, stream } = scope;
    let (chosen, mut code) = (choice.all(registry), ExitCode::SUCCESS);
    for view in &chosen {
        let redriven = store.open(view).await?.redrive(stream.as_ref()).await?;
        let label = Label::of_view(view.name, chosen.len());
        if json {
            line!("{}", label.json(&redriven)?)?;
        } else {
            let RedriveCounts { applied, removed, held } = &redriven;
            line!("{label}{applied} applied, {removed} removed as no longer needed, {held} still held")?;
        }
        if redriven.held > 0 {
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}
