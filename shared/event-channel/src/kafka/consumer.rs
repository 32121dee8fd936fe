//! A member of a consumer group. It joins with its first poll, when the topic is known to be there.
//!
//! Every partition has its own queue. To pause a partition, the member takes nothing from its queue: librdkafka's own pause would
//! throw away the records that it has fetched.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use std::{mem, thread};

use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::{Message as _, Offset};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::{task, time};
use tracing::{info, warn};

use super::group::Group;
use super::options::Options;
use super::ownership::{self, UnownedPartitions};
use super::pulse::{Pulse, SILENCE, STATISTICS};
use super::{Filter, Shared, beginning, client, record, unavailable};
use crate::{ConsumerSettings, Doubt, PollResult, PublishError};

/// The kilobytes that one partition may hold fetched. A paused partition keeps them, so this limit bounds the memory.
const READY_KILOBYTES: &str = "256";
/// The bytes that one partition brings in one answer. A larger batch of records comes all the same.
const FETCHED_BYTES: &str = "131072";
const READY_RECORDS: &str = "10000";

/// The bytes at which brokers stop gathering and answer. One partition may bring more than this in one answer, so a full
/// partition does not wait.
const GATHERED_BYTES: &str = "65536";

/// The interval of a member's heartbeats. A member also hears within it that a rebalance has begun.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// The longest time until a finished record's offset is committed, so that several commits go together. A member that is killed
/// has finished up to that much more than it committed.
pub(super) const COMMIT_INTERVAL: Duration = Duration::from_millis(100);

/// The longest time that the drop of a member waits for it to leave its group.
const LEAVE: Duration = Duration::from_secs(5);

/// The longest time that a leaving member waits until it has joined. Statistics tell that it has; they come every two seconds, so
/// this is a little longer.
const JOINING: Duration = Duration::from_millis(2_500);
const POLL: Duration = Duration::from_millis(50);

/// The longest delay that a missed wake-up can cost a poll.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A member of a group.
pub struct KafkaConsumer {
    shared: Arc<Shared>,
    group: String,
    settings: ConsumerSettings,
    filter: Filter,
    wake: Arc<Notify>,
    joining: Option<JoinHandle<KafkaResult<BaseConsumer<Group>>>>,
    member: Option<Member>,
    paused: BTreeSet<i32>,
    /// The place among the partitions where the next poll begins. It moves on, so that no partition always comes first.
    first: usize,
    /// A lasting error that a poll found. That poll returns its records first, and the next one returns the error.
    trouble: Option<PublishError>,
    watch: Box<GroupWatch>,
}

/// The state of the group's partitions beyond this member.
#[derive(Default)]
struct GroupWatch {
    asked: Option<Instant>,
    answer: Option<oneshot::Receiver<Option<BTreeSet<i32>>>>,
    unowned: UnownedPartitions,
    /// The channel's count of lost topics when this member joined.
    losses: usize,
    /// `true` when the brokers did not know the topic. librdkafka may take minutes to look again.
    is_lost: bool,
}

/// The longest time for a seek to a partition's beginning.
const SEEK: Duration = Duration::from_secs(1);

/// The client of a member that has joined. Its drop commits the finished records and leaves the group, so that another member
/// takes over at once.
struct Member {
    /// Dropped before the consumer closes, because each queue keeps it open.
    queues: BTreeMap<i32, PartitionQueue<Group>>,
    consumer: Option<Arc<BaseConsumer<Group>>>,
    pulse: Pulse,
}

impl KafkaConsumer {
    pub(super) fn new(shared: Arc<Shared>, group: &str, settings: ConsumerSettings, filter: Filter) -> Self {
        Self {
            group: format!("{}{group}", shared.options.group_prefix),
            shared,
            settings,
            filter,
            wake: Arc::new(Notify::new()),
            joining: None,
            member: None,
            paused: BTreeSet::new(),
            first: 0,
            trouble: None,
            watch: Box::default(),
        }
    }

    pub(crate) fn topic(&self) -> &Arc<str> {
        &self.shared.topic
    }

    /// Waits for records or revocations, and takes up to `limit` records.
    pub(crate) async fn poll(&mut self, limit: usize) -> Result<PollResult, PublishError> {
        loop {
            if let Some(trouble) = self.trouble.take() {
                return Err(trouble);
            }
            if self.member.is_none() {
                self.shared.link().await?;
                self.join().await?;
            }
            let mut polled = self.take(limit.max(1));
            if self.member.as_mut().is_some_and(Member::hangs) {
                warn!(
                    group = self.group,
                    "librdkafka has not been heard of for {SILENCE:?}: joining the group anew"
                );
                self.abandon(&mut polled);
            }
            if self.is_unread() {
                self.abandon(&mut polled);
            }
            if !polled.revoked.is_empty() || !polled.deliveries.is_empty() {
                return Ok(polled);
            }
            if self.trouble.is_none() && self.member.is_some() {
                // A record or event that came after the look has left a permit here, so this wait ends at once.
                let _ = time::timeout(LOOK_AGAIN, self.wake.notified()).await;
            }
        }
    }

    /// Joins the group, in a task of its own. When the caller drops its poll, the work goes on and the next poll uses the result.
    async fn join(&mut self) -> Result<(), PublishError> {
        let joining = self.joining.get_or_insert_with(|| {
            // While the group is joined, partitions have no owner for a moment. So the first question comes later.
            let (asked, losses) = (Some(Instant::now()), self.shared.losses.load(Ordering::Relaxed));
            *self.watch = GroupWatch { asked, losses, ..GroupWatch::default() };
            let (shared, wake) = (Arc::clone(&self.shared), Arc::clone(&self.wake));
            let (name, settings) = (self.group.clone(), self.settings);
            task::spawn_blocking(move || {
                let group = Group::new(&name, &shared.topic, &shared.options, &shared.doubts);
                let consumer = start(&shared.options, &name, group, settings.gather, &wake)?;
                beginning::settle(&consumer, &shared.topic, settings.beginning)?;
                consumer.subscribe(&[&shared.topic])?;
                Ok(consumer)
            })
        });
        let joined = joining.await;
        self.joining = None;
        let joined = joined.map_err(|error| unavailable(error.to_string()))?;
        let consumer = Arc::new(joined.map_err(|error| unavailable(error.to_string()))?);
        self.shared.watch(&consumer);
        let pulse = Pulse::new(Instant::now());
        self.member = Some(Member { queues: BTreeMap::new(), consumer: Some(consumer), pulse });
        Ok(())
    }

    /// Returns whether this member must join anew because partitions have no reader. Either the topic was lost, or a partition
    /// has had no owner for longer than a rebalance takes.
    fn is_unread(&mut self) -> bool {
        let Some(member) = &self.member else { return false };
        let owned = member.queues.len();
        if self.watch.is_lost || self.watch.losses != self.shared.losses.load(Ordering::Relaxed) {
            info!(group = self.group, "the topic was lost: joining the group anew");
            return true;
        }
        let unread = self.take_answer();
        self.ask_who_owns(owned);
        let is_unread = unread > ownership::longest_rebalance(self.shared.options.session_timeout);
        if is_unread {
            warn!(group = self.group, "nobody has had a partition for {unread:?}: joining the group anew");
            self.shared.doubts.note(&self.shared.topic, Doubt::PartitionUnowned);
        }
        is_unread
    }

    /// The time for which some partition has had no owner, from the last answer.
    fn take_answer(&mut self) -> Duration {
        let Some(answer) = &mut self.watch.answer else { return Duration::ZERO };
        let found = match answer.try_recv() {
            Err(oneshot::error::TryRecvError::Empty) => return Duration::ZERO,
            found => found.unwrap_or_default(),
        };
        self.watch.answer = None;
        if let Some((group, _)) = self.member.as_ref().and_then(Member::parts) {
            group.state().set_unowned(found.clone().unwrap_or_default());
        }
        self.watch.unowned.take(found, Instant::now())
    }

    /// Asks the brokers, in a task, which partitions have no owner; not when this member has all partitions. A member without
    /// partitions asks more often.
    fn ask_who_owns(&mut self, owned: usize) {
        let every = if owned == 0 { ownership::LOOK } else { ownership::LOOK_OF_OWNERS };
        let is_due = self.watch.asked.is_none_or(|at| at.elapsed() >= every);
        if !is_due || self.watch.answer.is_some() || self.shared.has_as_many(owned) {
            return;
        }
        let (answer, answered) = oneshot::channel();
        let (shared, group) = (Arc::clone(&self.shared), self.group.clone());
        self.watch.asked = Some(Instant::now());
        self.watch.answer = Some(answered);
        tokio::spawn(async move {
            // The member may have left meanwhile and dropped the receiver.
            let _ = answer.send(shared.unowned(group).await);
        });
    }

    /// Gives this member up, so that the next poll joins the group anew. When this member hangs, its partitions stay its own
    /// until its session ends.
    fn abandon(&mut self, polled: &mut PollResult) {
        let Some(mut member) = self.member.take() else { return };
        polled.deliveries.clear();
        polled.revoked.extend(member.queues.keys());
        self.paused.clear();
        if let Some((group, _)) = member.parts() {
            group.forget();
        }
        // This does not wait until the member has left, because one that hangs may never do so.
        drop(member.leave());
    }

    /// Takes the records that are there. An error goes to `trouble`.
    fn take(&mut self, limit: usize) -> PollResult {
        let mut polled = PollResult::default();
        self.listen(&mut polled, limit);
        self.refuse_strange_positions(&mut polled);
        self.draw(&mut polled, limit);
        if let Some((group, consumer)) = self.member.as_ref().and_then(Member::parts) {
            group.note_what_is_done(consumer);
        }
        polled
    }

    /// Seeks to the beginning of each partition whose position belongs to an earlier topic of the same name.
    fn refuse_strange_positions(&mut self, polled: &mut PollResult) {
        let Some(consumer) = self.member.as_ref().and_then(|member| member.consumer.clone()) else { return };
        let group = consumer.context();
        for partition in group.strange() {
            // A seek fails while the partition is not read yet. The next poll tries again.
            if consumer.seek(&self.shared.topic, partition, Offset::Beginning, SEEK).is_ok() {
                group.begin_anew(partition);
                self.void(partition, polled);
            }
        }
    }

    /// Voids the deliveries of a partition, so that nobody finishes them. The caller gets the partition as revoked.
    fn void(&mut self, partition: i32, polled: &mut PollResult) {
        self.paused.remove(&partition);
        polled.deliveries.retain(|delivery| delivery.partition != partition);
        polled.revoked.push(partition);
    }

    /// Runs librdkafka's callbacks until there are none left. Records come this way only before their partition has its queue.
    fn listen(&mut self, polled: &mut PollResult, limit: usize) {
        while let Some(consumer) = self.member.as_ref().and_then(|member| member.consumer.clone())
            && polled.deliveries.len() < limit
        {
            let group = consumer.context();
            let told = group.told();
            match consumer.poll(Duration::ZERO) {
                Some(Ok(message)) => self.take_in(&message, group, polled),
                Some(Err(error)) => self.judge(&error, group),
                None if group.told() == told => return,
                None => {}
            }
            self.change_hands(&consumer, polled);
        }
    }

    /// Reports each revoked partition, and drops the records just taken from it. Gives each assigned partition a queue.
    fn change_hands(&mut self, consumer: &Arc<BaseConsumer<Group>>, polled: &mut PollResult) {
        let (assigned, revoked) = {
            let mut state = consumer.context().state();
            (std::mem::take(&mut state.assigned), std::mem::take(&mut state.revoked))
        };
        for partition in revoked {
            if let Some(member) = &mut self.member {
                member.queues.remove(&partition);
            }
            self.void(partition, polled);
        }
        let Some(member) = &mut self.member else { return };
        for partition in assigned {
            let Some(mut queue) = consumer.split_partition_queue(&self.shared.topic, partition) else {
                continue;
            };
            let wake = Arc::clone(&self.wake);
            queue.set_nonempty_callback(move || wake.notify_one());
            member.queues.insert(partition, queue);
        }
    }

    /// Takes from the partitions' queues, in equal shares as far as possible.
    fn draw(&mut self, polled: &mut PollResult, limit: usize) {
        let Some(member) = &mut self.member else { return };
        let queues = std::mem::take(&mut member.queues);
        let Some(consumer) = member.consumer.clone() else { return };
        let mut ready: Vec<_> =
            queues.iter().filter(|(partition, _)| !self.paused.contains(partition)).collect();
        if !ready.is_empty() {
            let first = self.first % ready.len();
            ready.rotate_left(first);
            self.first = first + 1;
        }
        while !ready.is_empty() && polled.deliveries.len() < limit {
            let share = (limit - polled.deliveries.len()).div_ceil(ready.len());
            ready.retain(|(_, queue)| {
                let until = (polled.deliveries.len() + share).min(limit);
                self.drain(queue, consumer.context(), until, polled)
            });
        }
        if let Some(member) = &mut self.member {
            member.queues = queues;
        }
    }

    /// Takes from one queue until `until` records are taken in all. Returns `false` when the queue is empty before that.
    fn drain(
        &mut self,
        queue: &PartitionQueue<Group>,
        group: &Group,
        until: usize,
        polled: &mut PollResult,
    ) -> bool {
        while polled.deliveries.len() < until {
            match queue.poll(Duration::ZERO) {
                Some(Ok(message)) => self.take_in(&message, group, polled),
                Some(Err(error)) => self.judge(&error, group),
                None => return false,
            }
        }
        true
    }

    fn take_in(&mut self, message: &BorrowedMessage<'_>, group: &Group, polled: &mut PollResult) {
        let (partition, offset) = (message.partition(), message.offset());
        // The filter runs first, so that refused records are not copied.
        let is_wanted = (self.filter)(message.payload());
        let goes_on = {
            let progress = &mut group.state().progress;
            if is_wanted {
                progress.deliver(partition, offset)
            } else {
                progress.pass_over(partition, offset)
            }
        };
        if !goes_on {
            self.void(partition, polled);
        }
        if is_wanted {
            polled.deliveries.push(record::delivery(message, &self.shared.topic));
        }
    }

    /// Keeps a lasting error for the next poll. librdkafka recovers from most errors by itself, and logs them.
    fn judge(&mut self, error: &KafkaError, group: &Group) {
        let (KafkaError::MessageConsumption(code) | KafkaError::MessageConsumptionFatal(code)) = error else {
            return;
        };
        let is_lasting = matches!(
            code,
            RDKafkaErrorCode::Authentication
                | RDKafkaErrorCode::SaslAuthenticationFailed
                | RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::GroupAuthorizationFailed
                | RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
        );
        if super::speaks_of_topic(*code) {
            self.watch.is_lost = true;
            self.shared.look_soon(super::LOOK_AFTER_ERROR);
        }
        if is_lasting || matches!(error, KafkaError::MessageConsumptionFatal(_)) {
            self.trouble = Some(unavailable(group.explain(error)));
        }
    }

    pub(crate) fn commit(&mut self, partition: i32, next_offset: i64) -> Result<(), PublishError> {
        let Some((group, consumer)) = self.member.as_ref().and_then(Member::parts) else { return Ok(()) };
        let refused = group.state().finish(partition, next_offset);
        group.note_what_is_done(consumer);
        refused.map_err(|code| unavailable(format!("a commit was refused: {code}")))
    }

    pub(crate) fn pause(&mut self, partition: i32) {
        self.paused.insert(partition);
    }

    pub(crate) fn resume(&mut self, partition: i32) {
        self.paused.remove(&partition);
    }
}

impl Member {
    fn parts(&self) -> Option<(&Arc<Group>, &BaseConsumer<Group>)> {
        let consumer = self.consumer.as_deref()?;
        Some((consumer.context(), consumer))
    }

    fn hangs(&mut self) -> bool {
        let Some(heard) = self.parts().map(|(group, _)| group.heard()) else { return false };
        self.pulse.is_silent(heard, Instant::now())
    }

    /// Closes the client in a thread: it gives up every partition, commits the finished records, and tells the brokers. The
    /// receiver gets a message at the end.
    ///
    /// The brokers answer late while the group waits for a member that hangs, and a librdkafka that hangs never returns. So this
    /// needs a thread of its own.
    fn leave(&mut self) -> Option<mpsc::Receiver<()>> {
        let (queues, consumer) = (mem::take(&mut self.queues), self.consumer.take()?);
        let (left, leaving) = mpsc::channel();
        let leave = move || {
            drop(queues);
            finish_joining(&consumer);
            drop(consumer);
            // The receiver may have stopped waiting.
            let _ = left.send(());
        };
        match thread::Builder::new().name("leave-group".to_owned()).spawn(leave) {
            Ok(_) => Some(leaving),
            Err(error) => {
                warn!(%error, "no thread to leave a group with");
                None
            }
        }
    }
}

/// Waits until the member has joined, for at most [`JOINING`].
///
/// The problem: a broker does not read a leave request while it owes the member the answer to its join. So one that leaves
/// earlier stays a member, and all others wait for its session to end. The test
/// `members_that_leave_while_they_join_keep_nobody_waiting` covers this.
fn finish_joining(consumer: &BaseConsumer<Group>) {
    let until = Instant::now() + JOINING;
    while !consumer.context().has_joined() && Instant::now() < until {
        drop(consumer.poll(POLL));
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let Some(leaving) = self.leave() else { return };
        waiting(move || {
            if leaving.recv_timeout(LEAVE).is_err() {
                warn!("the brokers have not confirmed yet that a member left its group");
            }
        });
    }
}

/// Runs a blocking closure. On a multi-threaded runtime, other threads take over the tasks of this one meanwhile.
fn waiting(blocks: impl FnOnce()) {
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => task::block_in_place(blocks),
        _ => blocks(),
    }
}

fn start(
    options: &Options,
    name: &str,
    group: Group,
    gather: Duration,
    wake: &Arc<Notify>,
) -> KafkaResult<BaseConsumer<Group>> {
    let session = options.session_timeout;
    let mut config = client::settings_with_identity(options);
    config
        .set("group.id", name)
        // librdkafka commits only the offsets that this crate stores: those of finished records.
        .set("enable.auto.commit", "true")
        .set("auto.commit.interval.ms", COMMIT_INTERVAL.as_millis().to_string())
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "earliest")
        // With this strategy a member that keeps a partition goes on reading it during a rebalance.
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", session.as_millis().to_string())
        // librdkafka requires it to be no less than the session's timeout.
        .set("max.poll.interval.ms", ownership::MAX_POLL_INTERVAL.max(session).as_millis().to_string())
        .set("heartbeat.interval.ms", HEARTBEAT.min(session / 3).as_millis().to_string())
        .set("queued.max.messages.kbytes", READY_KILOBYTES)
        .set("queued.min.messages", READY_RECORDS)
        .set("max.partition.fetch.bytes", FETCHED_BYTES)
        // A partition holds few fetched records, so it must not wait the default of one second for its next fetch.
        .set("fetch.queue.backoff.ms", "10")
        .set("statistics.interval.ms", STATISTICS.as_millis().to_string());
    if !gather.is_zero() {
        config
            .set("fetch.min.bytes", GATHERED_BYTES)
            .set("fetch.wait.max.ms", gather.as_millis().max(1).to_string());
    }
    let mut consumer: BaseConsumer<Group> = config.create_with_context(group)?;
    let wake = Arc::clone(wake);
    consumer.set_nonempty_callback(move || wake.notify_one());
    Ok(consumer)
}
