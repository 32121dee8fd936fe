//! An event that awaits an outcome is published again, by one relay, until its stream moves on.

use std::time::Duration;

use command_handler::reminders::ReminderReport;
use command_handler::{CommandHandler, ReminderRelay};
use event_sourcing::Occasion;
use event_sourcing::testing::{Command, Task};
use event_store::Reminders;

use crate::system::{Reader, System, handle, open, request, stream, within};

/// Reminders that are due after one millisecond.
fn reminders(process: &CommandHandler<Task>) -> Reminders {
    Reminders::new(process.store().clone(), Duration::from_millis(1))
}

fn relay(process: &CommandHandler<Task>) -> ReminderRelay {
    ReminderRelay::new(reminders(process), process.publisher().clone())
}

/// Starts a task, and waits until its commits are published and marked and its reminder is due.
async fn started(process: &CommandHandler<Task>, reader: &mut Reader) {
    handle(process, request("a", open("a lamp"))).await.unwrap();
    handle(process, request("a", Command::Start)).await.unwrap();
    reader.read(2).await;
    within(process.publisher().idle()).await;
    within(async {
        while reminders(process).due(1).await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn of_two_relays_one_publishes_an_event_again_whose_outcome_does_not_come() {
    let system = System::new();
    let (process, other) = (system.process().await, system.process().await);
    let mut reader = system.reader();
    started(&process, &mut reader).await;
    let (one, another) = (relay(&process), relay(&other));
    let (one, another) = tokio::join!(within(one.send_due()), within(another.send_due()));
    assert_eq!(one.unwrap().sent + another.unwrap().sent, 1);
    reader.read(1).await;
    assert_eq!(reader.versions("a"), [1, 2, 2]);
    let first = Occasion::FirstDelivery;
    assert_eq!(reader.occasions, [first, first, Occasion::from(1)]);
    assert_eq!(reminders(&process).list(None, 1).await.unwrap()[0].sent, 1);
}

#[tokio::test]
async fn the_outcome_of_whatever_process_ends_a_reminder() {
    let system = System::new();
    let (process, other) = (system.process().await, system.process().await);
    let mut reader = system.reader();
    started(&process, &mut reader).await;
    handle(&other, request("a", Command::Finish)).await.unwrap();
    reader.read(1).await;
    within(other.publisher().idle()).await;
    assert_eq!(reminders(&process).count().await.unwrap().waiting, 0);
    assert_eq!(within(relay(&process).send_due()).await.unwrap(), ReminderReport::default());
}

#[tokio::test]
async fn a_reminder_that_a_stream_has_left_behind_is_ended_and_not_sent() {
    let system = System::new();
    let (process, elsewhere) = (system.process().await, System::new());
    let mut reader = system.reader();
    started(&process, &mut reader).await;
    // This is the state after a process that died before its mark.
    let made_by = elsewhere.process().await;
    for command in [open("a lamp"), Command::Start, Command::Finish] {
        handle(&made_by, request("a", command)).await.unwrap();
    }
    let outcome = stream(&made_by, "a").await.commits.remove(2);
    process.store().append(outcome.into()).await.unwrap();
    let reminded = within(relay(&process).send_due()).await.unwrap();
    assert_eq!(reminded, ReminderReport { ended: 1, ..ReminderReport::default() });
    assert_eq!(reminders(&process).count().await.unwrap().waiting, 0);
}
