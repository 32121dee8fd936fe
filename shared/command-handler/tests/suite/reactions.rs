//! A reaction's commands take effect once, however often the event is delivered, and their answers stay the same.

use command_handler::{CommandError, CommandHandler, Delivery, ReactionAnswer};
use event_sourcing::testing::{Command, Event, OpenSuccessor, Rejection, Task, successor};
use event_sourcing::{CommandId, CommandKind, Occasion, Reaction, Recorded, StreamId, Version};
use event_store::{CommandResult, Load};
use jiff::Timestamp;

use crate::system::{System, handle, id, keyed, open, request, stream, within};

/// As a process that died between the two commands of [`OpenSuccessor`].
struct OpenAlone;

impl Reaction for OpenAlone {
    const NAME: &'static str = OpenSuccessor::NAME;
    type Event = Event;
    type Target = Task;

    fn react(recorded: &Recorded<Event>, occasion: Occasion) -> Vec<(StreamId, Command)> {
        OpenSuccessor::react(recorded, occasion).into_iter().take(1).collect()
    }
}

/// When a task is stopped, its successor is renamed, which is not always allowed.
struct RenameSuccessor;

impl Reaction for RenameSuccessor {
    const NAME: &'static str = "rename-successor";
    type Event = Event;
    type Target = Task;

    fn react(recorded: &Recorded<Event>, _: Occasion) -> Vec<(StreamId, Command)> {
        let rename = || Command::Rename { title: "a stool".to_owned() };
        successor(&recorded.stream).map(|next| (next, rename())).into_iter().collect()
    }
}

fn delivery(event: Event, occasion: Occasion) -> Delivery<Event> {
    let recorded = Recorded { stream: id("a"), version: Version::new(3), time: Timestamp::UNIX_EPOCH, event };
    Delivery { recorded, occasion, correlation_id: "request-1".to_owned(), traceparent: None }
}

fn finished() -> Delivery<Event> {
    delivery(Event::TaskFinished, Occasion::FirstDelivery)
}

fn stopped(occasion: Occasion) -> Delivery<Event> {
    delivery(Event::TaskStopped, occasion)
}

async fn react<R: Reaction<Target = Task, Event = Event>>(
    process: &CommandHandler<Task>,
    delivery: &Delivery<Event>,
) -> Vec<ReactionAnswer<Task>> {
    within(process.react::<R>(delivery)).await.unwrap()
}

/// The events of the task that follows `a`.
async fn of_successor(process: &CommandHandler<Task>) -> Vec<Event> {
    let commits = stream(process, "a.next").await.commits;
    commits.iter().flat_map(|commit| &commit.events).map(|event| event.decode().unwrap()).collect()
}

fn opened_and_started() -> [Event; 2] {
    [Event::TaskOpened { title: "what follows a".to_owned() }, Event::TaskStarted]
}

fn rejected(rejection: &Rejection) -> [ReactionAnswer<Task>; 1] {
    [ReactionAnswer::Rejected(rejection.to_string().into())]
}

#[tokio::test]
async fn an_event_that_is_delivered_twice_takes_effect_once_and_is_answered_the_same() {
    let system = System::new();
    let (one, other) = (system.process().await, system.process().await);
    let first = react::<OpenSuccessor>(&one, &finished()).await;
    assert_eq!(of_successor(&one).await, opened_and_started());
    handle(&one, request("a.next", Command::Stop)).await.unwrap();
    for process in [&one, &other, &system.process().await] {
        assert_eq!(react::<OpenSuccessor>(process, &finished()).await, first);
    }
    assert_eq!(stream(&one, "a.next").await.commits.len(), 3);
}

#[tokio::test]
async fn commits_that_follow_from_an_event_name_it_and_the_reaction() {
    let system = System::new();
    let process = system.process().await;
    react::<OpenSuccessor>(&process, &finished()).await;
    let commit = stream(&process, "a.next").await.commits.remove(1);
    assert_eq!(commit.command_id.kind(), CommandKind::System);
    assert_eq!(commit.command_id.id(), "reaction:open-successor:a@3:0:1");
    assert_eq!(commit.metadata.causation_id.as_deref(), Some("a@3"));
    assert_eq!(commit.metadata.actor.as_deref(), Some("open-successor"));
    assert_eq!(commit.metadata.correlation_id, "request-1");
}

#[tokio::test]
async fn of_many_deliveries_at_once_each_command_takes_effect_once() {
    let system = System::new();
    let processes = [system.process().await, system.process().await];
    let delivery = finished();
    let reactions = (0..16).map(|n| react::<OpenSuccessor>(&processes[n % 2], &delivery));
    let answers = futures_util::future::join_all(reactions).await;
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!(of_successor(&processes[0]).await, opened_and_started());
}

#[tokio::test]
async fn a_rejected_command_is_answered_the_same_after_the_target_has_moved_on() {
    let system = System::new();
    let (one, other) = (system.process().await, system.process().await);
    let first = react::<RenameSuccessor>(&one, &stopped(Occasion::FirstDelivery)).await;
    assert_eq!(first, rejected(&Rejection::NotFound));
    // From here on the rename would be allowed.
    handle(&one, request("a.next", open("a lamp"))).await.unwrap();
    for process in [&one, &other] {
        let again = react::<RenameSuccessor>(process, &stopped(Occasion::FirstDelivery)).await;
        assert_eq!(again, first);
    }
    // And now it would be rejected for another reason.
    handle(&other, request("a.next", Command::Start)).await.unwrap();
    assert_eq!(react::<RenameSuccessor>(&one, &stopped(Occasion::FirstDelivery)).await, first);
    assert_eq!(stream(&one, "a.next").await.commits.len(), 2);
}

#[tokio::test]
async fn of_many_rejections_and_acceptances_at_once_one_answers_all() {
    let system = System::new();
    let processes = [system.process().await, system.process().await];
    let delivery = stopped(Occasion::FirstDelivery);
    // The deliveries come one after the other, before, while and after the successor is opened.
    let reactions = (0..200).map(|n| {
        let (process, delivery) = (&processes[n % 2], &delivery);
        async move {
            for _ in 0..n * 20 {
                tokio::task::yield_now().await;
            }
            react::<RenameSuccessor>(process, delivery).await
        }
    });
    let opening = handle(&processes[1], request("a.next", open("a lamp")));
    let (answers, opened) = tokio::join!(futures_util::future::join_all(reactions), opening);
    opened.unwrap();
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    let was_renamed = matches!(answers[0][..], [ReactionAnswer::Done(_)]);
    assert_eq!(stream(&processes[0], "a.next").await.commits.len(), 1 + usize::from(was_renamed));
}

#[tokio::test]
async fn a_command_that_was_already_true_is_answered_the_same_after_the_target_has_moved_on() {
    let system = System::new();
    let process = system.process().await;
    handle(&process, request("a.next", open("a stool"))).await.unwrap();
    let first = react::<RenameSuccessor>(&process, &stopped(Occasion::FirstDelivery)).await;
    assert!(matches!(&first[..], [ReactionAnswer::Done(outcome)] if !outcome.with_events), "{first:?}");
    handle(&process, request("a.next", Command::Rename { title: "a lamp".to_owned() })).await.unwrap();
    assert_eq!(react::<RenameSuccessor>(&process, &stopped(Occasion::FirstDelivery)).await, first);
    assert_eq!(stream(&process, "a.next").await.commits.len(), 2);
}

#[tokio::test]
async fn answers_to_a_reaction_never_expire() {
    let system = System::new();
    let process = system.process().await;
    let first = react::<RenameSuccessor>(&process, &stopped(Occasion::FirstDelivery)).await;
    assert_eq!(process.store().forget_answered(Timestamp::MAX).await.unwrap(), 0);
    handle(&process, request("a.next", open("a lamp"))).await.unwrap();
    assert_eq!(react::<RenameSuccessor>(&process, &stopped(Occasion::FirstDelivery)).await, first);
}

#[tokio::test]
async fn a_reminder_is_decided_anew_and_its_repeat_is_not() {
    let system = System::new();
    let process = system.process().await;
    let not_yet = react::<RenameSuccessor>(&process, &stopped(Occasion::FirstDelivery)).await;
    handle(&process, request("a.next", open("a lamp"))).await.unwrap();
    let reminder = stopped(Occasion::from(1));
    let renamed = react::<RenameSuccessor>(&process, &reminder).await;
    assert!(matches!(&renamed[..], [ReactionAnswer::Done(outcome)] if outcome.with_events), "{renamed:?}");
    assert_eq!(react::<RenameSuccessor>(&process, &reminder).await, renamed);
    assert_eq!(react::<RenameSuccessor>(&process, &stopped(Occasion::FirstDelivery)).await, not_yet);
    assert_eq!(stream(&process, "a.next").await.commits.len(), 2);
}

#[tokio::test]
async fn a_delivery_after_a_crash_between_two_commands_carries_out_the_second_alone() {
    let system = System::new();
    let dead = system.process().await;
    let first = react::<OpenAlone>(&dead, &finished()).await;
    assert_eq!(stream(&dead, "a.next").await.commits.len(), 1);
    let process = system.process().await;
    let answers = react::<OpenSuccessor>(&process, &finished()).await;
    assert_eq!(answers[..1], first);
    assert_eq!(of_successor(&process).await, opened_and_started());
}

#[tokio::test]
async fn a_key_of_a_client_is_never_the_id_of_a_reactions_command() {
    let system = System::new();
    let process = system.process().await;
    let delivery = finished();
    let command_id = CommandId::reaction::<OpenSuccessor>(&delivery.recorded, delivery.occasion, 0);
    let key = command_id.as_str().split_once(' ').unwrap().1;
    let by_client = keyed("a.next", open("something else"), key);
    assert_eq!(by_client.command_id.id(), command_id.id());
    handle(&process, by_client).await.unwrap();
    // The client has only taken the name of the task, as anybody may.
    let answers = react::<OpenSuccessor>(&process, &delivery).await;
    assert_eq!(answers[..1], rejected(&Rejection::IdTaken));
    let load = Load { command: Some(command_id), ..Load::whole(id("a.next")) };
    let answered = process.store().load(load).await.unwrap().answered.unwrap();
    assert_eq!(answered.result, CommandResult::Rejected(Rejection::IdTaken.to_string().into()));
}

#[tokio::test]
async fn a_rejected_command_of_a_client_leaves_no_trace() {
    let system = System::new();
    let process = system.process().await;
    let command = keyed("a", Command::Start, "key");
    let error = handle(&process, command.clone()).await.unwrap_err();
    assert!(matches!(error, CommandError::Rejected(Rejection::NotFound)), "{error}");
    let load = Load { command: Some(command.command_id), ..Load::whole(id("a")) };
    assert_eq!(process.store().load(load).await.unwrap().answered, None);
}
