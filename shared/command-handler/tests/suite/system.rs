//! The setup of the tests: processes that share a store and a channel, and a reader of that channel.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use command_handler::{
    AnswerPolicy, CommandError, CommandHandler, CommandRequest, KeyOrigin, Outcome, Relay, command_hash,
};
use event_channel::{Consumer, EventChannel};
use event_sourcing::testing::{Command, Event, Task};
use event_sourcing::wire::{self, Recorded};
use event_sourcing::{CommandId, IdempotencyKey, Occasion, StreamId, Version};
use event_store::{Commit, EventStore, Load, Metadata, Namespace, Stream};
use tempfile::TempDir;

/// Long enough for any machine; a test that comes to it has failed.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct System {
    folder: TempDir,
    pub(crate) channel: EventChannel,
}

impl System {
    pub(crate) fn new() -> Self {
        Self::with_channel("memory:?partitions=2")
    }

    pub(crate) fn with_channel(url: &str) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), channel: EventChannel::open(url).unwrap() }
    }

    /// Another process on the same store and channel.
    pub(crate) async fn process(&self) -> CommandHandler<Task> {
        let url = format!("sqlite:{}", self.folder.path().join("events.db").display());
        let store = EventStore::open(url, &Namespace::of::<Task>("tasks").unwrap()).await.unwrap();
        CommandHandler::new(
            store,
            self.channel.clone(),
            NonZeroUsize::new(100).unwrap(),
            AnswerPolicy::Answer,
        )
    }

    pub(crate) fn reader(&self) -> Reader {
        let consumer = self.channel.subscribe("reader", |_| true).unwrap();
        Reader { consumer, seen: vec![], occasions: vec![] }
    }
}

pub(crate) struct Reader {
    consumer: Consumer,
    pub(crate) seen: Vec<Recorded<Event>>,
    pub(crate) occasions: Vec<Occasion>,
}

impl Reader {
    /// Reads until the channel has brought so many records.
    pub(crate) async fn read(&mut self, records: usize) -> &[Recorded<Event>] {
        let wanted = self.seen.len() + records;
        while self.seen.len() < wanted {
            self.read_some(wanted - self.seen.len()).await;
        }
        &self.seen
    }

    pub(crate) async fn read_some(&mut self, limit: usize) {
        let polled = within(self.consumer.poll(limit)).await.unwrap();
        for delivery in polled.deliveries {
            self.seen.push(wire::decode(delivery.record.value.as_ref().unwrap()).unwrap());
            let headers = delivery.record.headers.iter();
            self.occasions
                .push(wire::occasion(headers.map(|header| (&*header.name, header.value.as_deref()))));
            self.consumer.commit(delivery.partition, delivery.offset + 1).await.unwrap();
        }
    }

    pub(crate) fn versions(&self, stream: &str) -> Vec<u64> {
        self.seen
            .iter()
            .filter(|event| event.stream.as_str() == stream)
            .map(|event| event.version.get())
            .collect()
    }

    /// First occurrences, by stream: they must come in order and without a gap.
    pub(crate) fn first_occurrences(&self) -> HashMap<StreamId, Vec<u64>> {
        let mut first: HashMap<StreamId, Vec<u64>> = HashMap::new();
        for event in &self.seen {
            let versions = first.entry(event.stream.clone()).or_default();
            if !versions.contains(&event.version.get()) {
                versions.push(event.version.get());
            }
        }
        first
    }
}

pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("this should have come to an end")
}

pub(crate) fn id(stream: &str) -> StreamId {
    StreamId::parse(stream).unwrap()
}

pub(crate) fn open(title: &str) -> Command {
    Command::Open { title: title.to_owned() }
}

/// Allowed while nobody works on the task.
pub(crate) fn rename() -> Command {
    Command::Rename { title: "a chair".to_owned() }
}

/// A request as a client without a key makes it.
pub(crate) fn request(stream: &str, command: Command) -> CommandRequest<Task> {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let key = format!("fresh-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    CommandRequest { key: KeyOrigin::Fresh, ..keyed(stream, command, &key) }
}

/// A request as a client with a key makes it.
pub(crate) fn keyed(stream: &str, command: Command, key: &str) -> CommandRequest<Task> {
    let hash = command_hash("TEST", &id(stream), format!("{command:?}").as_bytes());
    CommandRequest {
        stream: id(stream),
        command,
        command_id: CommandId::client(&IdempotencyKey::parse(key).unwrap(), None),
        key: KeyOrigin::Sender,
        hash,
        if_match: None,
        metadata: Metadata::default(),
        published: Version::NONE,
    }
}

pub(crate) async fn handle(
    process: &CommandHandler<Task>,
    request: CommandRequest<Task>,
) -> Result<Outcome<Task>, CommandError<Task>> {
    within(process.handle(request)).await
}

pub(crate) async fn stream(process: &CommandHandler<Task>, name: &str) -> Stream {
    process.store().load(Load::whole(id(name))).await.unwrap()
}

/// Leaves the stream as it is after a crash between the append and the publish. `made_by` is a process of another system, which
/// handled the commands.
pub(crate) async fn leave_unpublished(
    process: &CommandHandler<Task>,
    made_by: &CommandHandler<Task>,
    name: &str,
) {
    for commit in stream(made_by, name).await.commits {
        process.store().append(Commit { unpublished: true, ..commit }.into()).await.unwrap();
    }
}

pub(crate) async fn unpublished(process: &CommandHandler<Task>) -> u64 {
    process.store().backlog().await.unwrap().commits
}

pub(crate) fn relay(process: &CommandHandler<Task>) -> Relay {
    Relay::new(process.store().clone(), process.publisher().clone(), Duration::ZERO)
}

/// Waits until a publish has failed, however the tasks are scheduled.
pub(crate) async fn failed(process: &CommandHandler<Task>) {
    within(process.publisher().failed()).await;
}
