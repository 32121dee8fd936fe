//! The command `reminders` lists the streams that wait for their outcome.

use std::process::ExitCode;

use clap::Args;
use command_handler::ReminderSettings;
use event_sourcing::Aggregate;
use event_store::{Reminder, Reminders};
use jiff::Timestamp;
use serde::Serialize;

use crate::output::{Named, plural};
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
    fn of<A: Aggregate>(reminder: &'a Reminder) -> Self {
        let state = match reminder {
            reminder if reminder.is_overdue() => "overdue",
            Reminder { problem: Some(_), .. } => "set-aside",
            reminder if reminder.is_due() => "due",
            _ => "waiting",
        };
        Self {
            stream: Named::new(A::KIND, reminder.commit.stream.as_str()),
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
pub async fn run<A: Aggregate>(args: RemindersArgs) -> anyhow::Result<ExitCode> {
    let reminders = args.reminders.of(args.store.open().await?);
    let shown = list::<A>(&reminders, &args).await?;
    if !args.json {
        line!("{shown} {} wait", plural::<A>())?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn list<A: Aggregate>(reminders: &Reminders, args: &RemindersArgs) -> anyhow::Result<usize> {
    let (mut behind, mut shown) = (None, 0);
    loop {
        let page = reminders.list(behind.as_ref(), PAGE).await?;
        let is_wanted = |reminder: &&Reminder| {
            (!args.set_aside || reminder.problem.is_some()) && (!args.overdue || reminder.is_overdue())
        };
        for reminder in page.iter().filter(is_wanted) {
            print_row(&ReminderBody::of::<A>(reminder), args.json)?;
            shown += 1;
        }
        match page.last() {
            Some(last) if page.len() == PAGE => behind = Some(last.commit.clone()),
            _ => return Ok(shown),
        }
    }
}

fn print_row(shown: &ReminderBody<'_>, json: bool) -> anyhow::Result<()> {
    if json {
        line!("{}", serde_json::to_string(shown)?)?;
        return Ok(());
    }
    let ReminderBody { stream, version, state, sent, due, problem } = shown;
    let (stream, problem) = (stream.value, problem.unwrap_or_default());
    line!("{stream}@{version}  {state}  {sent} reminders  due {due}  {problem}")?;
    Ok(())
}
