//! The open connections of a listener, each with its phase. This module closes some of them when there are too many, or when
//! clients do not take their answers. It closes the oldest first. So a client that uses its connection takes nobody's place, and
//! unused connections turn no newcomer away:
//! - If descriptors run out, it closes the connection that has been idle for longest.
//! - If too many bodies are arriving, it closes the slowest.
//! - If too many answers are unsent, it closes the one that was not taken for longest.
//!
//! Once a second a look at all connections finds the last two. On the hot path a connection writes one number.

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

/// The pause between two looks at all connections. `STALLED` and the ages of phases count these ticks.
const TICK: Duration = Duration::from_secs(1);

/// How many ticks long a client may take nothing of its answer.
const STALLED: u64 = 30;

/// How many bodies may be arriving for longer than a tick.
const MOST_RECEIVING: usize = 1_024;

/// How many bytes of answers may be unsent for longer than a tick. A connection has one answer at a time: hyper reads the next
/// request of a pipeline after it has sent the answer before it.
const MOST_UNSENT: u64 = 64 * 1024 * 1024;

/// How many bytes of answers may be unsent in all, including answers that were just made. It is higher than the bound above,
/// because a connection beyond that bound is closed after two ticks at the earliest. A small answer is always sent.
const MOST_AT_ONCE: u64 = MOST_UNSENT / 2 * 3;
const SMALL: u64 = 16 * 1024;

/// How long a new connection waits for the connections that are closed to make room for it.
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

/// The state of one connection, shared by the tasks that work on it.
pub struct Connection {
    /// The [`Phase`], and the tick in which it began.
    state: AtomicU64,
    /// The size of the answer that is not sent yet, in bytes.
    answer: AtomicU64,
    /// The sum of the sizes of all connections' unsent answers.
    unsent: Arc<AtomicU64>,
    tick: Arc<AtomicU64>,
    cut: Notify,
}

/// The phase of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// There is no request, or a head is on its way.
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

/// The place of an open connection among the others. It is given back when this value is dropped.
pub struct Place {
    connections: Arc<Connections>,
    number: u64,
    /// The connection.
    pub connection: Arc<Connection>,
}

impl Connections {
    /// Creates room for `most` connections.
    pub fn new(most: usize) -> Arc<Self> {
        let (open, next, tick, unsent) =
            (Mutex::default(), AtomicU64::new(0), Arc::default(), Arc::default());
        Arc::new(Self { open, most, next, tick, unsent, closed: Notify::new() })
    }

    /// Returns a place for an accepted connection. If all places are taken, it closes the connections whose clients have done
    /// nothing for longest. Returns `None` if no place becomes free in time, as when each connection has a request in hand.
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

    /// Closes a few connections more than the one that is needed. So not every newcomer of a crowd has to search all connections.
    fn close_idle(&self) {
        let wanted = 1 + self.most / 100;
        let closing = self.oldest(&[Phase::Closing]).len();
        let mut idle = self.oldest(&[Phase::Idle, Phase::Receiving, Phase::Sending]);
        idle.truncate(wanted.saturating_sub(closing));
        idle.iter().for_each(|(_, connection)| connection.close("crowded-out"));
    }

    /// Closes stalled and slow connections every tick, until the future is dropped.
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
        // The newest come first, so that the oldest are those over the bound.
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

    /// The connections in these phases, each with the tick in which its phase began. The oldest come first.
    fn oldest(&self, phases: &[Phase]) -> Vec<(u64, Arc<Connection>)> {
        let of_phases = |(number, connection): (&u64, &Arc<Connection>)| {
            let (phase, since) = connection.state();
            phases.contains(&phase).then(|| (since, *number, Arc::clone(connection)))
        };
        let mut found: Vec<_> = self.open.lock().iter().filter_map(of_phases).collect();
        // For the same tick, the connection that was accepted first comes first.
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
    /// Notes that a request is in hand from now on.
    pub fn begin(&self) {
        self.become_(Phase::Answering);
    }

    /// Notes that an answer of this size is to be sent. Returns `false` if there is no room for it, because other clients do not
    /// take their answers.
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

    /// Notes that the system has taken all of the answer.
    fn sent(&self) {
        let bytes = self.answer.swap(0, Ordering::Relaxed);
        self.unsent.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Waits until the connection is to be closed.
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

    /// Changes the phase to `to` if it is `from`.
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

/// A stream that notes on its connection if the client does not take what is sent.
pub struct Watched {
    /// The stream.
    pub stream: TcpStream,
    /// The connection of the stream.
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
        // Hyper flushes once it has nothing left to write.
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

/// A request's body that notes on its connection while it is arriving.
pub struct Arriving {
    /// The body.
    pub body: Incoming,
    /// The connection over which the body arrives.
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
