//! The open connections of a listener: what each is doing, and which are closed when there are too many or when clients do not take
//! their answers. The oldest is closed first, so that a client which uses its connection is in nobody's place, and no newcomer is
//! turned away for the sake of those who use nothing:
//! - where descriptors run out, the connection that has been idle for longest;
//! - of too many bodies that arrive, the slowest;
//! - of too many answers, the one that was not taken for longest.
//!
//! A look at all connections once a second finds the last two. On the hot path a connection writes one number.

use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::timeout;

/// How often connections are looked at. Everything below is in such ticks.
const TICK: Duration = Duration::from_secs(1);

/// How long a client may take none of its answer.
const STALLED: u64 = 30;

/// How many bodies may be arriving for longer than a tick.
const MOST_RECEIVING: usize = 1_024;

/// How many bytes of answers may lie here, untaken for longer than a tick. A connection has one answer at a time here: hyper reads the
/// next request of a pipeline once the answer before it is sent.
const MOST_UNSENT: u64 = 64 * 1024 * 1024;

/// How many bytes of answers may lie here in all, also those that were just made: what is beyond the bound above is not closed before two
/// ticks. A small answer is always sent.
const MOST_AT_ONCE: u64 = MOST_UNSENT / 2 * 3;
const SMALL: u64 = 16 * 1024;

/// How long a new connection waits for those that are closed in its favour.
const MAKE_ROOM: Duration = Duration::from_millis(100);

/// The connections of one listener.
pub struct Connections {
    open: Mutex<HashMap<u64, Arc<Connection>>>,
    most: usize,
    next: AtomicU64,
    tick: Arc<AtomicU64>,
    /// Bytes of all answers that are not sent.
    unsent: Arc<AtomicU64>,
    closed: Notify,
}

/// One connection, as those see it who are at work on it.
pub struct Connection {
    /// A [`Phase`], and since which tick.
    state: AtomicU64,
    /// How large the answer is that is not sent yet.
    answer: AtomicU64,
    /// The sum of all connections'.
    unsent: Arc<AtomicU64>,
    tick: Arc<AtomicU64>,
    cut: Notify,
}

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing, or a head is on its way.
    Idle,
    /// A body is on its way.
    Receiving,
    /// A request is in hand.
    Answering,
    /// The client does not take what is sent.
    Sending,
    /// It is being closed from here.
    Closing,
}

const PHASES: [Phase; 5] = [Phase::Idle, Phase::Receiving, Phase::Answering, Phase::Sending, Phase::Closing];

/// An open connection's place among the others; given back when dropped.
pub struct Place {
    connections: Arc<Connections>,
    number: u64,
    /// The connection.
    pub connection: Arc<Connection>,
}

impl Connections {
    /// Room for so many.
    pub fn new(most: usize) -> Arc<Self> {
        let (open, next, tick, unsent) =
            (Mutex::default(), AtomicU64::new(0), Arc::default(), Arc::default());
        Arc::new(Self { open, most, next, tick, unsent, closed: Notify::new() })
    }

    /// A place for a connection that was accepted. Where all are taken, those whose clients have done nothing for longest are closed; none
    /// when each has a request in hand.
    pub async fn take_place(self: &Arc<Self>) -> Option<Place> {
        let full = || self.open.lock().len() >= self.most;
        if full() {
            self.close_idle();
            let room = async {
                loop {
                    let closed = self.closed.notified();
                    if !full() {
                        return;
                    }
                    closed.await;
                }
            };
            timeout(MAKE_ROOM, room).await.ok()?;
        }
        let (tick, unsent) = (Arc::clone(&self.tick), Arc::clone(&self.unsent));
        let (state, answer) = (AtomicU64::new(0), AtomicU64::new(0));
        let connection = Connection { state, answer, unsent, tick, cut: Notify::new() };
        let (number, connection) = (self.next.fetch_add(1, Ordering::Relaxed), Arc::new(connection));
        connection.become_(Phase::Idle);
        self.open.lock().insert(number, Arc::clone(&connection));
        Some(Place { connections: Arc::clone(self), number, connection })
    }

    /// Makes room for some more than one, so that a crowd of newcomers does not look through all of them each time.
    fn close_idle(&self) {
        let wanted = 1 + self.most / 100;
        let closing = self.oldest(&[Phase::Closing]).len();
        let mut idle = self.oldest(&[Phase::Idle, Phase::Receiving, Phase::Sending]);
        idle.truncate(wanted.saturating_sub(closing));
        idle.iter().for_each(|(_, connection)| connection.close("crowded-out"));
    }

    /// Looks after them until dropped.
    pub async fn look_after(&self) {
        let mut ticks = tokio::time::interval(TICK);
        loop {
            ticks.tick().await;
            let now = self.tick.fetch_add(1, Ordering::Relaxed);
            self.close_stalled(now);
            self.close_slow(now);
        }
    }

    fn close_stalled(&self, now: u64) {
        let mut unsent = 0;
        // Newest first: what is over the bound is the oldest of them.
        for (since, connection) in self.oldest(&[Phase::Sending]).iter().rev() {
            let waits = now.saturating_sub(*since);
            if waits > 1 {
                unsent += connection.answer.load(Ordering::Relaxed);
            }
            if waits > STALLED || unsent > MOST_UNSENT {
                connection.close("stalled");
            }
        }
    }

    fn close_slow(&self, now: u64) {
        let mut receiving = self.oldest(&[Phase::Receiving]);
        receiving.retain(|(since, _)| now.saturating_sub(*since) > 1);
        receiving.truncate(receiving.len().saturating_sub(MOST_RECEIVING));
        receiving.iter().for_each(|(_, connection)| connection.close("crowded-out"));
    }

    /// The connections in these phases with the tick since when they are, oldest first.
    fn oldest(&self, phases: &[Phase]) -> Vec<(u64, Arc<Connection>)> {
        let of_phases = |(number, connection): (&u64, &Arc<Connection>)| {
            let (phase, since) = connection.state();
            phases.contains(&phase).then(|| (since, *number, Arc::clone(connection)))
        };
        let mut found: Vec<_> = self.open.lock().iter().filter_map(of_phases).collect();
        // Of those since the same tick the one that was accepted first.
        found.sort_unstable_by_key(|(since, number, _)| (*since, *number));
        found.into_iter().map(|(since, _, connection)| (since, connection)).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.open.lock().remove(&self.number);
        self.connections.closed.notify_waiters();
    }
}

impl Connection {
    /// A request is in hand from now on.
    pub fn begin(&self) {
        self.become_(Phase::Answering);
    }

    /// An answer of this size is to be sent; `false` where there is no room for it, because others do not take theirs.
    #[must_use]
    pub fn answer(&self, bytes: u64) -> bool {
        self.sent();
        self.become_(Phase::Idle);
        let others = self.unsent.fetch_add(bytes, Ordering::Relaxed);
        if bytes > SMALL && others + bytes > MOST_AT_ONCE {
            self.unsent.fetch_sub(bytes, Ordering::Relaxed);
            metrics::counter!("http_bad_connections_total", "reason" => "crowded-out").increment(1);
            return false;
        }
        self.answer.store(bytes, Ordering::Relaxed);
        true
    }

    /// The system has taken all of the answer.
    fn sent(&self) {
        let bytes = self.answer.swap(0, Ordering::Relaxed);
        self.unsent.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Waits until it is to be closed.
    pub async fn cut(&self) {
        self.cut.notified().await;
    }

    fn close(&self, reason: &'static str) {
        self.become_(Phase::Closing);
        metrics::counter!("http_bad_connections_total", "reason" => reason).increment(1);
        self.cut.notify_one();
    }

    fn state(&self) -> (Phase, u64) {
        let state = self.state.load(Ordering::Relaxed);
        (PHASES[(state % 8) as usize % PHASES.len()], state / 8)
    }

    fn become_(&self, phase: Phase) {
        self.state.store(self.tick.load(Ordering::Relaxed) * 8 + phase as u64, Ordering::Relaxed);
    }

    /// Goes from one phase to the other, if it is in it.
    fn turn(&self, from: Phase, to: Phase) {
        if self.state().0 == from {
            self.become_(to);
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.sent();
    }
}

/// A connection's bytes, watched.
pub struct Watched {
    /// Where they go.
    pub stream: TcpStream,
    /// Whose they are.
    pub connection: Arc<Connection>,
}

impl Watched {
    fn watch(&self, wrote: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match wrote {
            Poll::Pending => self.connection.turn(Phase::Idle, Phase::Sending),
            Poll::Ready(_) => self.connection.turn(Phase::Sending, Phase::Idle),
        }
        wrote
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(wrote)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.watch(wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Asked for once nothing is left to be written.
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        if flushed.is_ready() {
            self.connection.sent();
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// A request's body, watched.
pub struct Arriving {
    /// The body.
    pub body: Incoming,
    /// What it comes over.
    pub connection: Arc<Connection>,
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if polled.is_pending() {
            self.connection.turn(Phase::Answering, Phase::Receiving);
        }
        let frame = ready!(polled);
        if !matches!(frame, Some(Ok(_))) {
            self.connection.turn(Phase::Receiving, Phase::Answering);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        self.connection.turn(Phase::Receiving, Phase::Answering);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_connection_that_is_idle_for_longest_makes_room() {
        let connections = Connections::new(2);
        let busy = connections.take_place().await.unwrap();
        busy.connection.begin();
        let idle = connections.take_place().await.unwrap();
        let cut = tokio::spawn(async move { idle.connection.cut().await });
        let _third = connections.take_place().await.unwrap();
        cut.await.unwrap();
        assert_eq!(busy.connection.state().0, Phase::Answering);
    }

    #[tokio::test(start_paused = true)]
    async fn where_every_connection_is_at_work_there_is_no_room() {
        let connections = Connections::new(1);
        let busy = connections.take_place().await.unwrap();
        busy.connection.begin();
        assert!(connections.take_place().await.is_none());
        drop(busy);
        assert!(connections.take_place().await.is_some());
    }

    #[tokio::test]
    async fn a_large_answer_finds_room_once_others_are_sent_and_a_small_one_always() {
        let connections = Connections::new(3);
        let [one, other, third] = [(); 3].map(|()| connections.take_place());
        let (one, other, third) = (one.await.unwrap(), other.await.unwrap(), third.await.unwrap());
        assert!(one.connection.answer(MOST_AT_ONCE - 2 * SMALL));
        assert!(other.connection.answer(2 * SMALL));
        assert!(!third.connection.answer(SMALL + 1));
        assert!(third.connection.answer(SMALL));
        one.connection.sent();
        assert!(third.connection.answer(SMALL + 1));
        drop((one, other, third));
        assert_eq!(connections.unsent.load(Ordering::Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn answers_that_are_not_taken_are_bounded_oldest_first_and_none_lies_longer_than_30_s() {
        let connections = Connections::new(10);
        let mut places = vec![];
        for number in 0..4 {
            let place = connections.take_place().await.unwrap();
            place.connection.answer.store(MOST_UNSENT / 2 - number, Ordering::Relaxed);
            place.connection.become_(Phase::Sending);
            places.push(place);
            connections.tick.fetch_add(1, Ordering::Relaxed);
        }
        let phases =
            |places: &[Place]| places.iter().map(|place| place.connection.state().0).collect::<Vec<_>>();
        connections.close_stalled(4);
        // The last is too young to count.
        assert_eq!(phases(&places), [Phase::Closing, Phase::Sending, Phase::Sending, Phase::Sending]);
        connections.close_stalled(2 + STALLED);
        assert_eq!(phases(&places), [Phase::Closing, Phase::Closing, Phase::Sending, Phase::Sending]);
    }

    #[tokio::test(start_paused = true)]
    async fn of_too_many_slow_bodies_the_oldest_are_given_up() {
        let connections = Connections::new(MOST_RECEIVING + 10);
        let mut places = vec![];
        for number in 0..MOST_RECEIVING + 2 {
            let place = connections.take_place().await.unwrap();
            place.connection.become_(Phase::Receiving);
            places.push(place);
            if number == 1 {
                connections.tick.fetch_add(1, Ordering::Relaxed);
            }
        }
        connections.close_slow(2);
        assert!(places.iter().all(|place| place.connection.state().0 == Phase::Receiving));
        connections.close_slow(3);
        let closing = |place: &Place| place.connection.state().0 == Phase::Closing;
        assert_eq!(places.iter().map(closing).collect::<Vec<_>>()[..3], [true, true, false]);
        assert_eq!(places.iter().filter(|place| closing(place)).count(), 2);
    }
}
