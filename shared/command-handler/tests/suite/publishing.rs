//! The records on the channel, their sequence, and the marks of commits.

use std::time::{Duration, Instant};

use command_handler::publisher::PublishStage;
use command_handler::{CommandHandler, CommandRequest};
use event_sourcing::Version;
use event_sourcing::testing::{Command, Task};
use futures_util::future::join_all;
use proptest::prelude::*;
use tokio::sync::watch;

use crate::system::{
    System, failed, handle, id, keyed, leave_unpublished, open, relay, rename, request, stream, unpublished,
    within,
};

#[tokio::test]
async fn a_commit_is_marked_only_when_every_group_has_it() {
    let system = System::new();
    let process = system.process().await;
    let mut reader = system.reader();
    handle(&process, request("a", open("a lamp"))).await.unwrap();
    assert_eq!(unpublished(&process).await, 1);
    reader.read(1).await;
    within(process.publisher().idle()).await;
    assert_eq!(unpublished(&process).await, 0);
}

#[tokio::test]
async fn a_failed_publish_between_two_commits_is_made_up_for_before_anything_later() {
    let system = System::with_channel("memory:?partitions=1&capacity=1");
    let process = system.process().await;
    let mut reader = system.reader();
    // The first takes the only place, the second finds none.
    handle(&process, request("a", open("a lamp"))).await.unwrap();
    handle(&process, request("a", Command::Start)).await.unwrap();
    failed(&process).await;
    // There is room again, and the third brings along what was not sent.
    reader.read(1).await;
    handle(&process, request("a", Command::Finish)).await.unwrap();
    let (_stop, stopped) = watch::channel(false);
    let relay = tokio::spawn(relay(&process).run(stopped));
    within(async {
        while reader.first_occurrences()[&id("a")].len() < 3 {
            reader.read_some(1).await;
        }
    })
    .await;
    assert_eq!(reader.first_occurrences()[&id("a")], [1, 2, 3]);
    relay.abort();
}

#[tokio::test]
async fn a_repeat_of_a_command_whose_process_died_before_it_was_published_publishes_it() {
    let system = System::new();
    let process = system.process().await;
    let mut reader = system.reader();
    let elsewhere = System::new();
    let lonely = elsewhere.process().await;
    let command = || keyed("a", open("a lamp"), "key");
    let first = handle(&lonely, command()).await.unwrap();
    leave_unpublished(&process, &lonely, "a").await;
    assert_eq!(handle(&process, command()).await.unwrap(), first);
    reader.read(1).await;
    within(process.publisher().idle()).await;
    assert_eq!((reader.versions("a"), unpublished(&process).await), (vec![1], 0));
}

/// Makes a task that is started. Another process has left both of its commits unpublished.
async fn leave_start_unpublished(process: &CommandHandler<Task>, stream: &str) {
    let elsewhere = System::new();
    let lonely = elsewhere.process().await;
    handle(&lonely, request(stream, open("a lamp"))).await.unwrap();
    handle(&lonely, request(stream, Command::Start)).await.unwrap();
    leave_unpublished(process, &lonely, stream).await;
}

#[tokio::test]
async fn what_the_sender_has_read_from_the_channel_is_not_published_again() {
    let system = System::new();
    let process = system.process().await;
    let mut reader = system.reader();
    leave_start_unpublished(&process, "a").await;
    let complete = CommandRequest { published: Version::new(2), ..request("a", Command::Finish) };
    handle(&process, complete).await.unwrap();
    reader.read(1).await;
    within(process.publisher().idle()).await;
    // The process that has published them marks them, or a relay does.
    assert_eq!((reader.versions("a"), unpublished(&process).await), (vec![3], 2));
}

#[tokio::test]
async fn a_command_that_finds_itself_already_true_publishes_what_made_it_so() {
    let system = System::new();
    let process = system.process().await;
    let mut reader = system.reader();
    leave_start_unpublished(&process, "a").await;
    assert!(!handle(&process, request("a", Command::Start)).await.unwrap().with_events);
    reader.read(2).await;
    within(process.publisher().idle()).await;
    assert_eq!((reader.versions("a"), unpublished(&process).await), (vec![1, 2], 0));
}

#[tokio::test]
async fn two_processes_that_publish_one_stream_keep_its_sequence() {
    let system = System::new();
    let (one, other) = (system.process().await, system.process().await);
    let mut reader = system.reader();
    // A process has appended and dies before it publishes. Here its commit is put into the store alone.
    let elsewhere = System::new();
    let lonely = elsewhere.process().await;
    handle(&lonely, request("a", open("a lamp"))).await.unwrap();
    leave_unpublished(&one, &lonely, "a").await;
    // The other finds version 1 unpublished, and may send version 2 only behind it.
    handle(&other, request("a", Command::Start)).await.unwrap();
    reader.read(2).await;
    assert_eq!(reader.versions("a"), [1, 2]);
}

#[tokio::test]
async fn the_relay_publishes_what_was_left_and_nothing_twice_once_it_is_marked() {
    let system = System::new();
    let process = system.process().await;
    for stream in ["a", "b", "c"] {
        leave_start_unpublished(&process, stream).await;
    }
    let mut reader = system.reader();
    let swept = within(relay(&process).sweep()).await.unwrap();
    assert_eq!((swept.streams, swept.commits, swept.failed), (3, 6, 0));
    reader.read(6).await;
    for stream in ["a", "b", "c"] {
        assert_eq!(reader.versions(stream), [1, 2], "{stream}");
    }
    within(process.publisher().idle()).await;
    assert_eq!(within(relay(&process).sweep()).await.unwrap().streams, 0);
}

#[tokio::test]
async fn what_may_not_be_marked_is_published_once_and_marked_when_it_may_be() {
    let system = System::new();
    let process = system.process().await;
    let mut reader = system.reader();
    let publisher = process.publisher();
    let (now, later) = (Instant::now(), Instant::now() + Duration::from_secs(3600));
    publisher.allow_marks_until("tasks", now);
    publisher.allow_marks_until("labels", later);
    for command in [open("a lamp"), Command::Start] {
        handle(&process, request("a", command)).await.unwrap();
    }
    leave_start_unpublished(&process, "b").await;
    within(relay(&process).sweep()).await.unwrap();
    reader.read(4).await;
    within(publisher.idle()).await;
    // They are left to other processes, and this one publishes none of them again.
    assert_eq!(unpublished(&process).await, 4);
    assert_eq!(within(relay(&process).sweep()).await.unwrap().commits, 0);
    assert_eq!((reader.versions("a"), reader.versions("b")), (vec![1, 2], vec![1, 2]));

    publisher.allow_marks_until("tasks", later);
    failed(&process).await;
    assert_eq!(within(relay(&process).sweep()).await.unwrap().commits, 4);
    reader.read(4).await;
    within(publisher.idle()).await;
    assert_eq!(unpublished(&process).await, 0);
}

#[tokio::test]
async fn the_relay_leaves_alone_what_is_young_and_what_is_in_flight_here() {
    let system = System::new();
    let process = system.process().await;
    let _reader = system.reader();
    handle(&process, request("a", open("a lamp"))).await.unwrap();
    // Accepted, and not yet read by the reader: in flight.
    assert!(process.publisher().is_in_flight(&id("a")));
    assert_eq!(within(relay(&process).sweep()).await.unwrap().streams, 0);
    let patient = command_handler::Relay::new(
        process.store().clone(),
        system.process().await.publisher().clone(),
        Duration::from_secs(3600),
    );
    assert_eq!(within(patient.sweep()).await.unwrap().streams, 0);
}

#[tokio::test]
async fn the_relay_sends_what_failed_here_however_young_it_is() {
    let system = System::with_channel("memory:?partitions=1&capacity=1");
    let process = system.process().await;
    let mut reader = system.reader();
    for stream in ["a", "b"] {
        handle(&process, request(stream, open("a lamp"))).await.unwrap();
    }
    // The first took the only place.
    failed(&process).await;
    reader.read(1).await;
    let (store, publisher) = (process.store().clone(), process.publisher().clone());
    let patient = command_handler::Relay::new(store, publisher, Duration::from_secs(3600));
    let (_stop, stopped) = watch::channel(false);
    let relay = tokio::spawn(patient.run(stopped));
    reader.read(1).await;
    assert_eq!((reader.versions("a"), reader.versions("b")), (vec![1], vec![1]));
    relay.abort();
}

#[tokio::test]
async fn a_long_run_gets_through_a_small_channel() {
    let system = System::with_channel("memory:?partitions=1&capacity=2");
    let process = system.process().await;
    let elsewhere = System::new();
    let lonely = elsewhere.process().await;
    handle(&lonely, request("a", open("a lamp"))).await.unwrap();
    for _ in 0..20 {
        handle(&lonely, request("a", Command::Start)).await.unwrap();
        handle(&lonely, request("a", Command::Stop)).await.unwrap();
    }
    leave_unpublished(&process, &lonely, "a").await;
    let mut reader = system.reader();
    let (_stop, stopped) = watch::channel(false);
    let relay = tokio::spawn(relay(&process).run(stopped));
    within(async {
        while reader.first_occurrences().get(&id("a")).is_none_or(|versions| versions.len() < 41) {
            reader.read_some(2).await;
        }
    })
    .await;
    assert_eq!(reader.first_occurrences()[&id("a")], (1..=41).collect::<Vec<_>>());
    relay.abort();
}

#[tokio::test]
async fn whoever_waits_for_a_publish_is_told_when_it_fails() {
    let system = System::with_channel("memory:?partitions=1&capacity=1");
    let process = system.process().await;
    let _reader = system.reader();
    handle(&process, request("a", open("a lamp"))).await.unwrap();
    let elsewhere = System::new();
    let lonely = elsewhere.process().await;
    handle(&lonely, request("b", open("a lamp"))).await.unwrap();
    let run = stream(&lonely, "b").await.commits.into_iter().map(Into::into).collect();
    assert!(!within(process.publisher().submit_and_tell(&id("b"), run, PublishStage::Marked)).await);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Commands come at the same time, through two processes and a channel of any size. Each stream's events come in order, first
    /// occurrences without a gap. In the end no commit is unpublished.
    #[test]
    fn events_of_a_stream_arrive_in_sequence_and_all_of_them(
        commands in prop::collection::vec((0..3_usize, 0..4_u8, any::<bool>()), 1..60),
        capacity in 1..6_usize,
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(events_arrive(commands, capacity));
    }
}

async fn events_arrive(commands: Vec<(usize, u8, bool)>, capacity: usize) {
    let system = System::with_channel(&format!("memory:?partitions=2&capacity={capacity}"));
    let processes = [system.process().await, system.process().await];
    let mut reader = system.reader();
    let (stop, stopped) = watch::channel(false);
    let relays = processes.each_ref().map(|process| tokio::spawn(relay(process).run(stopped.clone())));

    let streams = ["a", "b", "c"];
    let work = commands.iter().map(|&(stream, command, second)| {
        let command = match command {
            0 => open("a lamp"),
            1 => Command::Start,
            2 => Command::Stop,
            _ => rename(),
        };
        handle(&processes[usize::from(second)], request(streams[stream], command))
    });
    let reading = async {
        loop {
            reader.read_some(3).await;
        }
    };
    let everything = async {
        // Rejections are answers like any other.
        join_all(work).await;
        while unpublished(&processes[0]).await > 0 {
            tokio::task::yield_now().await;
        }
    };
    within(async {
        tokio::select! {
            () = reading => {}
            () = everything => {}
        }
    })
    .await;
    let _ = stop.send(true);
    for relay in relays {
        within(relay).await.unwrap();
    }
    let arrived = reader.first_occurrences();
    for name in streams {
        let events: usize =
            stream(&processes[0], name).await.commits.iter().map(|commit| commit.events.len()).sum();
        let expected: Vec<u64> = (1..=events as u64).collect();
        assert_eq!(arrived.get(&id(name)).cloned().unwrap_or_default(), expected, "{name}");
    }
}
