//! The command `reminders` lists the streams that wait for their outcome.

use std::process::ExitCode;

use clap::Args;
use command_handler::ReminderSettings;
use event_store::{Reminder, Reminders};
use jiff::Timestamp;
use serde::Serialize;

use crate::output::{Label, Named, plural};
use crate::registry::{AggregateChoice, Registry};
use crate::stores::EventStoreAlone;

/// How many reminders are read at a time.
const PAGE: usize = 500;

/// List the {kind}s that wait for their outcome, and their reminders
#[derive(Args, Clone, Debug)]
pub struct RemindersArgs {
    #[command(flatten)]
    store: EventStoreAlone,
    #[command(flatten)]
    reminders: ReminderSettings,
    #[command(flatten)]
    choice: AggregateChoice,
    /// Only {kind}s that are set aside, because the service fails with them or they can't be read
    #[arg(long)]
    set_aside: bool,
    /// Only {kind}s that get no more reminders
    #[arg(long)]
    overdue: bool,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

/// A reminder as the command prints it.
#[derive(Serialize)]
struct ReminderBody<'a> {
    #[serde(flatten)]
    stream: Named<&'a str>,
    version: u64,
    state: &'static str,
    sent: u32,
    due: Timestamp,
    problem: Option<&'a str>,
}

impl<'a> ReminderBody<'a> {
    fn new(reminder: &'a Reminder, kind: &str) -> Self {
        let state = match reminder {
            reminder if reminder.is_overdue() => "overdue",
            Reminder { problem: Some(_), .. } => "set-aside",
            reminder if reminder.is_due() => "due",
            _ => "waiting",
        };
        Self {
            stream: Named::new(kind, reminder.commit.stream.as_str()),
            version: reminder.commit.version.get(),
            state,
            sent: reminder.sent,
            due: reminder.due,
            problem: reminder.problem.as_deref(),
        }
    }
}

/// Lists the reminders by stream.
///
/// # Errors
/// When the event store can't be opened or is not available.
pub async fn run(args: RemindersArgs, registry: &Registry) -> anyhow::Result<ExitCode> {
    let chosen = args.choice.all(&registry.aggregates, |aggregate| aggregate.kind);
    for aggregate in &chosen {
        let reminders = args.reminders.of(args.store.open(registry, aggregate).await?);
        let label = Label::of_aggregate(aggregate.kind, chosen.len());
        let shown = list(&reminders, aggregate.kind, label, &args).await?;
        if !args.json {
            line!("{shown} {} wait", plural(aggregate.kind))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(
    reminders: &Reminders,
    kind: &str,
    label: Label,
    args: &RemindersArgs,
) -> anyhow::Result<usize> {
    let (mut behind, mut shown) = (None, 0);
    loop {
        let page = reminders.list(behind.as_ref(), PAGE).await?;
        let is_wanted = |reminder: &&Reminder| {
            (!args.set_aside || reminder.problem.is_some()) && (!args.overdue || reminder.is_overdue())
        };
        for reminder in page.iter().filter(is_wanted) {
            print_row(&ReminderBody::new(reminder, kind), label, args.json)?;
            shown += 1;
        }
        match page.last() {
            Some(last) if page.len() == PAGE => behind = Some(last.commit.clone()),
            _ => return Ok(shown),
        }
    }
}

fn print_row(shown: &ReminderBody<'_>, label: Label, json: bool) -> anyhow::Result<()> {
    if json {
        line!("{}", label.json(shown)?)?;
        return Ok(());
    }
    let ReminderBody { stream, version, state, sent, due, problem } = shown;
    let (stream, problem) = (stream.value, problem.unwrap_or_default());
    line!("{label}{stream}@{version}  {state}  {sent} reminders  due {due}  {problem}")?;
    Ok(())
}
