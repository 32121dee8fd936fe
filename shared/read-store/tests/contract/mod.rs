//! What every variant of the read store must do. A scenario gets a fresh store and opens it as often as it likes: two
//! handles are what two processes would be.

pub(crate) mod held;
pub(crate) mod projecting;
pub(crate) mod reading;
pub(crate) mod rebuilding;

use std::any::Any;
use std::future::Future;
use std::time::{Duration, Instant};

use domain::wire::{self, Undecodable};
use domain::{Event, OrderId, OrderName, Reason, Snapshot, Version};
use domain::{RecordedEvent, UnknownEvent};
use jiff::Timestamp;
use read_store::{Incoming, Origin, ReadStore};

/// Makes a test of each scenario, with a store from `$fresh`, an async function that answers with a [`Shared`], or with none
/// where no server is there and it has said so.
macro_rules! contract {
    ($fresh:ident) => {
        contract! { $fresh:
            projecting::duplicates_redelivery_and_any_batches_end_in_the_fold,
            projecting::batches_through_two_handles_at_once_apply_each_event_once,
            projecting::a_gap_is_held_and_heals_through_another_handle,
            projecting::poison_of_each_kind_touches_its_order_only,
            projecting::calls_at_the_same_time_get_their_own_counts,
            projecting::what_was_answered_is_there_after_a_restart,
            reading::pages_by_each_filter_have_what_it_says_and_no_more,
            reading::pages_repeat_and_miss_nothing_while_others_write,
            reading::many_orders_are_read_at_once_and_absent_ones_left_out,
            reading::a_version_is_waited_for_and_not_longer_than_patience,
            reading::a_version_that_another_handle_writes_is_seen_too,
            reading::an_order_is_seen_with_whether_anything_is_held_for_it,
            reading::who_waited_is_told_what_is_held_too,
            reading::an_order_whose_events_make_nothing_of_it_is_in_no_list,
            held::held_events_are_shown_by_page_and_order_with_all_that_is_known,
            held::a_redrive_applies_what_can_be_decoded_today,
            held::a_redrive_of_one_order_leaves_the_others,
            held::a_redrive_goes_through_more_than_a_page,
            held::only_what_no_next_version_needs_is_dropped,
            held::a_repaired_row_goes_on_with_what_was_held,
            held::a_repair_leaves_a_later_row_alone,
            held::removed_orders_are_gone_with_what_was_held_for_them,
            rebuilding::a_rebuild_while_events_come_ends_in_the_fold_and_no_query_goes_back,
            rebuilding::a_swap_is_refused_while_an_order_is_behind,
            rebuilding::what_the_event_store_cant_tell_is_taken_over_from_the_active_view,
            rebuilding::a_swap_is_refused_at_a_gap_and_done_when_it_healed,
            rebuilding::an_order_that_is_stopped_in_both_views_stops_no_swap,
            rebuilding::what_was_held_is_carried_over_with_its_number,
            rebuilding::an_unfinished_rebuild_is_deleted_by_the_next,
        }
    };
    ($fresh:ident: $($room:ident::$scenario:ident,)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $scenario() {
            if let Some(shared) = $fresh().await {
                contract::$room::$scenario(&shared).await;
            }
        }
    )*};
}

/// A store that any number of handles may open.
pub(crate) struct Shared {
    url: String,
    _until_dropped: Box<dyn Any + Send + Sync>,
}

impl Shared {
    pub(crate) fn new(url: String, until_dropped: impl Any + Send + Sync) -> Self {
        Self { url, _until_dropped: Box::new(until_dropped) }
    }

    pub(crate) async fn open(&self) -> ReadStore {
        ReadStore::open(&self.url).await.unwrap()
    }
}

pub(crate) fn id(text: &str) -> OrderId {
    OrderId::parse(text).unwrap()
}

pub(crate) fn version(number: u64) -> Version {
    Version::new(number)
}

/// The event of this version in the stream of every order here: created, then started and failed in turn.
pub(crate) fn recorded(order: &str, number: u64) -> RecordedEvent {
    let event = match number {
        1 => Event::OrderCreated { name: OrderName::parse(&format!("name of {order}")).unwrap() },
        even if even % 2 == 0 => Event::ProcessingStarted,
        _ => Event::ProcessingFailed { reason: Reason::from_any("out of stock") },
    };
    let time = Timestamp::from_second(1_700_000_000 + i64::try_from(number).unwrap()).unwrap();
    RecordedEvent { stream: id(order), version: version(number), time, event }
}

/// The row after so many events.
pub(crate) fn fold(order: &str, events: u64) -> Snapshot {
    let mut row = Snapshot::absent(id(order));
    for number in 1..=events {
        let event = recorded(order, number);
        row.apply(event.version, event.time, &event.event).unwrap();
    }
    row
}

/// The record of an event.
pub(crate) fn incoming(order: &str, number: u64) -> Incoming {
    let event = recorded(order, number);
    let value = event.encode();
    raw(&value, order, i64::try_from(number).unwrap())
}

/// The records of versions of an order.
pub(crate) fn events(order: &str, numbers: impl IntoIterator<Item = u64>) -> Vec<Incoming> {
    numbers.into_iter().map(|number| incoming(order, number)).collect()
}

/// Any record.
pub(crate) fn raw(value: &[u8], key: &str, offset: i64) -> Incoming {
    Incoming {
        origin: Origin { topic: "orders.events".to_owned(), partition: 3, offset },
        key: Some(key.as_bytes().to_vec()),
        value: Some(value.to_vec()),
        event: wire::decode(value),
        received_at: Timestamp::from_second(1_800_000_000).unwrap(),
    }
}

/// The record of an event as a program takes it in that does not know its type yet.
pub(crate) fn not_known_yet(order: &str, number: u64) -> Incoming {
    let problem = UnknownEvent::Type("Future".to_owned());
    let event = Err(Undecodable::Unknown { stream: id(order), version: version(number), problem });
    Incoming { event, ..incoming(order, number) }
}

/// The record of an event of a type that nobody knows.
pub(crate) fn unknown(order: &str, number: u64) -> Incoming {
    let value = format!(
        r#"{{"type":"OrderPainted","schema":1,"stream":"{order}","version":{number},"time":"2026-01-01T00:00:00Z","data":{{}}}}"#
    );
    raw(value.as_bytes(), order, i64::try_from(number).unwrap())
}

/// The record of an event as a program takes it in that can't read it at all.
pub(crate) fn not_readable_yet(order: &str, number: u64) -> Incoming {
    Incoming { event: Err(Undecodable::Malformed("what is this?".to_owned())), ..incoming(order, number) }
}

pub(crate) async fn version_of(store: &ReadStore, order: &str) -> u64 {
    store.get(&id(order)).await.unwrap().map_or(0, |row| row.version.get())
}

pub(crate) async fn assert_rows(store: &ReadStore, orders: &[(&str, u64)]) {
    for (order, events) in orders {
        assert_eq!(store.get(&id(order)).await.unwrap(), Some(fold(order, *events)));
    }
}

/// Asks until the answer is yes, for at most two minutes.
pub(crate) async fn until<F: Future<Output = bool>>(mut condition: impl FnMut() -> F) {
    let started = Instant::now();
    while !condition().await {
        assert!(started.elapsed() < Duration::from_secs(120), "it did not come to that in 120 s");
        tokio::task::yield_now().await;
    }
}
