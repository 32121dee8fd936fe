//! The channel within one process: partitions, consumer groups and redelivery as Kafka has them, in bounded memory.
//!
//! Publishing never waits. The channel takes a run of records whole, into the queues of every group that wants it. When one of
//! those queues is full, it refuses the whole run, and the publisher keeps the records elsewhere. So a consumer may publish to
//! the partition that it is reading and never waits for itself.

mod consumer;
mod options;
mod queue;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use runtime::{KillPoint, kill_point};
use tokio::sync::{Notify, oneshot};
use tokio::time;
use tracing::debug;

pub(crate) use self::consumer::InMemoryConsumer;
use self::options::Options;
use self::queue::{Queue, Run};
use crate::{Delivery, Lag, OpenError, PublishError, Receipt, Record, TimestampType, partition};

/// A handle to the channel. Dropping the last one closes the channel: consumers get an error, and receipts return `false`.
#[derive(Clone)]
pub struct InMemoryChannel {
    handle: Arc<Handle>,
}

/// Closes the channel when it is dropped, together with the last [`InMemoryChannel`]. Consumers hold only [`Shared`], so they do
/// not keep the channel open.
struct Handle {
    shared: Arc<Shared>,
}

struct Shared {
    topic: Arc<str>,
    partitions: usize,
    capacity: usize,
    /// Locked for moments only, and never across an await.
    state: Mutex<State>,
    /// Wakes the publishers that wait for room.
    room: Notify,
}

struct State {
    /// The next offset of each partition.
    next_offsets: Vec<i64>,
    /// The partition of the last record without a key; the next such record goes to the one after it.
    next_keyless: usize,
    groups: Vec<Group>,
    /// Rises when a group joins. A run that was filtered before that must be filtered again.
    joined: u64,
    /// Rises with each commit that makes room.
    freed: u64,
    /// The value of `freed` when a run was last refused.
    refused_at: Option<u64>,
    closed: bool,
}

struct Group {
    name: Arc<str>,
    filter: Filter,
    has_member: bool,
    /// A queue for each partition.
    queues: Vec<Queue>,
    /// The partition where the next poll begins. It moves on, so that no partition always comes first.
    first: usize,
    wake: Arc<Notify>,
}

type Filter = Arc<dyn Fn(Option<&[u8]>) -> bool + Send + Sync>;

/// The groups that want each record of a run: a row for each record, a column for each group.
struct Recipients {
    joined: u64,
    groups: usize,
    cells: Vec<bool>,
}

impl Recipients {
    /// The row of the record at `place`: one flag for each group.
    fn by(&self, place: usize) -> &[bool] {
        &self.cells[place * self.groups..][..self.groups]
    }

    /// The column of the group at `column`: one flag for each record.
    fn of(&self, column: usize) -> impl Iterator<Item = bool> {
        // A caller has a group's column, so there is a group and the step is not 0.
        self.cells.iter().skip(column).step_by(self.groups).copied()
    }
}

impl InMemoryChannel {
    /// Opens a channel with the options that follow `memory:`.
    pub(crate) fn open(options: &str, part: Option<&str>) -> Result<Self, OpenError> {
        let Options { partitions, capacity, mut topic } = Options::parse(options)?;
        if let Some(part) = part {
            topic = format!("{topic}.{part}");
        }
        let state = State {
            next_offsets: vec![0; partitions],
            next_keyless: 0,
            groups: Vec::new(),
            joined: 0,
            freed: 0,
            refused_at: None,
            closed: false,
        };
        let shared = Shared {
            topic: topic.into(),
            partitions,
            capacity,
            state: Mutex::new(state),
            room: Notify::new(),
        };
        Ok(Self { handle: Arc::new(Handle { shared: Arc::new(shared) }) })
    }

    /// Takes all records or none, and never waits.
    pub(crate) fn publish(&self, records: Vec<Record>) -> Result<Receipt, PublishError> {
        let shared = &*self.handle.shared;
        loop {
            // A filter may parse a record, so it does not run under the lock. When a group joins meanwhile, the records are
            // filtered again.
            let wanted = shared.filter(&records);
            let mut state = shared.state.lock();
            if state.joined == wanted.joined {
                return shared.accept(&mut state, records, &wanted);
            }
        }
    }

    /// Waits until a commit has made room since the last refusal, for at most [`LOOK_AGAIN`].
    pub(crate) async fn available(&self) {
        let shared = &*self.handle.shared;
        let mut freed = std::pin::pin!(shared.room.notified());
        // From here on a wake-up counts, so none is lost between the check and the wait.
        freed.as_mut().enable();
        {
            let state = shared.state.lock();
            if state.refused_at != Some(state.freed) {
                return;
            }
        }
        // The room may have come before the last refusal of another publisher. Then no wake-up follows, so this wait has a limit.
        let _ = time::timeout(LOOK_AGAIN, freed).await;
    }

    /// Joins a group. A new group gets the records published from now on; a known one goes on where it stands.
    pub(crate) fn subscribe(
        &self,
        group: &str,
        filter: impl Fn(Option<&[u8]>) -> bool + Send + Sync + 'static,
    ) -> Result<InMemoryConsumer, OpenError> {
        let shared = &self.handle.shared;
        let mut state = shared.state.lock();
        let place = state.groups.iter().position(|known| &*known.name == group).unwrap_or(state.groups.len());
        if let Some(known) = state.groups.get_mut(place) {
            if known.has_member {
                return Err(OpenError::Refused(format!(
                    "the group {group:?} has a member already; in memory it may have one"
                )));
            }
            known.has_member = true;
            known.filter = Arc::new(filter);
        } else {
            state.groups.push(Group::new(group, Arc::new(filter), shared.partitions));
        }
        state.joined += 1;
        let wake = Arc::clone(&state.groups[place].wake);
        Ok(InMemoryConsumer::new(Arc::clone(shared), place, wake))
    }

    /// The number of records that each group has not committed, for each partition.
    pub(crate) fn lag(&self) -> Vec<Lag> {
        let state = self.handle.shared.state.lock();
        state.groups.iter().flat_map(Group::lag).collect()
    }
}

/// The longest delay that a missed wake-up can cost a publisher that waits for room.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// A partition's number. [`Options`] bounds how many there are, so it fits.
fn number(partition: usize) -> i32 {
    i32::try_from(partition).unwrap_or(i32::MAX)
}

impl Drop for Handle {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.closed = true;
        for group in &mut state.groups {
            group.queues.iter_mut().for_each(Queue::clear);
            group.wake.notify_one();
        }
        debug!(topic = &*self.shared.topic, "the channel is closed");
    }
}

impl Shared {
    fn filter(&self, records: &[Record]) -> Recipients {
        let (joined, filters) = {
            let state = self.state.lock();
            let filters: Vec<Filter> = state.groups.iter().map(|group| Arc::clone(&group.filter)).collect();
            (state.joined, filters)
        };
        let values = records.iter().map(|record| record.value.as_deref());
        let cells = values.flat_map(|value| filters.iter().map(move |wants| wants(value))).collect();
        Recipients { joined, groups: filters.len(), cells }
    }

    fn accept(
        &self,
        state: &mut State,
        records: Vec<Record>,
        wanted: &Recipients,
    ) -> Result<Receipt, PublishError> {
        if state.closed {
            return Err(closed());
        }
        let partitions = self.assign(state, &records);
        // All queues are checked before any of them changes: so a run is taken whole or refused whole.
        if !self.has_room(state, &partitions, wanted) {
            state.refused_at = Some(state.freed);
            return Err(PublishError::Full);
        }
        let (settles, settled) = oneshot::channel();
        let run = Arc::new(Run(settles));
        let timestamp = now();
        for (place, (record, &partition)) in records.into_iter().zip(&partitions).enumerate() {
            let delivery = self.deliver(state, record, partition, timestamp);
            for (group, _) in state.groups.iter_mut().zip(wanted.by(place)).filter(|(_, wants)| **wants) {
                group.queues[partition].push(delivery.clone(), Arc::clone(&run));
            }
            kill_point(KillPoint::DuringPublish);
        }
        for (column, group) in state.groups.iter().enumerate() {
            if wanted.of(column).any(|wants| wants) {
                group.wake.notify_one();
            }
        }
        Ok(match Arc::into_inner(run) {
            // No queue holds the run, because no group wanted any of its records.
            Some(_) => Receipt::Settled,
            None => Receipt::InMemory(InMemoryReceipt { settled }),
        })
    }

    fn assign(&self, state: &mut State, records: &[Record]) -> Vec<usize> {
        let mut place = |record: &Record| match &record.key {
            Some(key) => partition::of_key(key, self.partitions),
            None => {
                state.next_keyless = (state.next_keyless + 1) % self.partitions;
                state.next_keyless
            }
        };
        records.iter().map(&mut place).collect()
    }

    fn has_room(&self, state: &State, partitions: &[usize], wanted: &Recipients) -> bool {
        let mut needed = vec![0; self.partitions];
        state.groups.iter().enumerate().all(|(column, group)| {
            needed.fill(0);
            for (&partition, _) in partitions.iter().zip(wanted.of(column)).filter(|(_, wants)| *wants) {
                needed[partition] += 1;
            }
            let mut queues = group.queues.iter().zip(&needed);
            queues.all(|(queue, &needed)| needed == 0 || queue.has_room(needed, self.capacity))
        })
    }

    /// Gives a record its offset, which is the same for every group.
    fn deliver(&self, state: &mut State, record: Record, partition: usize, timestamp: i64) -> Delivery {
        let offset = state.next_offsets[partition];
        state.next_offsets[partition] += 1;
        let topic = Arc::clone(&self.topic);
        let timestamp_type = TimestampType::CreateTime;
        Delivery {
            topic,
            partition: number(partition),
            offset,
            timestamp,
            timestamp_type,
            record: Arc::new(record),
        }
    }
}

impl Group {
    fn new(name: &str, filter: Filter, partitions: usize) -> Self {
        Self {
            name: name.into(),
            filter,
            has_member: true,
            queues: std::iter::repeat_with(Queue::default).take(partitions).collect(),
            first: 0,
            wake: Arc::new(Notify::new()),
        }
    }

    fn lag(&self) -> impl Iterator<Item = Lag> {
        self.queues.iter().enumerate().map(|(partition, queue)| Lag {
            group: self.name.to_string(),
            partition: number(partition),
            records: Some(queue.len() as u64),
        })
    }
}

fn closed() -> PublishError {
    PublishError::Unavailable("the channel is closed".into())
}

/// Milliseconds since 1970; 0 when the clock is set to an earlier time.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The receipt of a run of records that was accepted.
pub struct InMemoryReceipt {
    settled: oneshot::Receiver<()>,
}

impl InMemoryReceipt {
    /// Waits until every group has committed the run. Returns `false` when the channel was closed before.
    pub(crate) async fn settled(self) -> bool {
        self.settled.await.is_ok()
    }
}
