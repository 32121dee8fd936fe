//! The contract of every variant of the read store. A scenario gets a fresh store and opens it as often as it likes: two handles
//! stand for two processes.

pub(crate) mod held;
pub(crate) mod projecting;
pub(crate) mod reading;
pub(crate) mod rebuilding;
pub(crate) mod refusing;
pub(crate) mod shapes;
pub(crate) mod shared;

use std::any::Any;
use std::future::Future;
use std::time::{Duration, Instant};

use event_sourcing::testing::{Event, TaskRow, TasksView};
use event_sourcing::{Entry, EventType, Recorded, StreamId, Undecodable, UnknownEvent, Version, View, wire};
use jiff::Timestamp;
use read_store::Origin;

pub(crate) type ReadStore = read_store::ReadStore<TasksView>;
pub(crate) type Incoming = read_store::Incoming<Event>;

/// Makes a test of each scenario, with a store from `$fresh`. That async function returns a [`Shared`], or `None` after it has
/// said that there is no server.
macro_rules! contract {
    ($fresh:ident) => {
        contract! { $fresh:
            projecting::duplicates_redelivery_and_any_batches_end_in_the_fold,
            projecting::batches_through_two_handles_at_once_apply_each_event_once,
            projecting::a_gap_is_held_and_heals_through_another_handle,
            projecting::poison_of_each_kind_touches_its_stream_only,
            projecting::what_the_fold_refuses_is_held_and_goes_on_after_a_repair,
            projecting::calls_at_the_same_time_get_their_own_counts,
            projecting::what_was_answered_is_there_after_a_restart,
            reading::pages_by_each_filter_have_what_it_says_and_no_more,
            reading::pages_repeat_and_miss_nothing_while_others_write,
            reading::many_streams_are_read_at_once_and_absent_ones_left_out,
            reading::a_version_is_waited_for_and_not_longer_than_patience,
            reading::a_version_that_another_handle_writes_is_seen_too,
            reading::a_stream_is_seen_with_whether_anything_is_held_for_it,
            reading::who_waited_is_told_what_is_held_too,
            reading::a_stream_whose_events_make_nothing_of_it_is_in_no_list,
            held::held_events_are_shown_by_page_and_stream_with_all_that_is_known,
            held::a_redrive_applies_what_can_be_decoded_today,
            held::a_redrive_of_one_stream_leaves_the_others,
            held::a_redrive_goes_through_more_than_a_page,
            held::only_what_no_next_version_needs_is_dropped,
            held::a_repaired_row_goes_on_with_what_was_held,
            held::a_repair_leaves_a_later_row_alone,
            held::removed_streams_are_gone_with_what_was_held_for_them,
            rebuilding::a_rebuild_while_events_come_ends_in_the_fold_and_no_query_goes_back,
            rebuilding::a_swap_is_refused_while_a_stream_is_behind,
            rebuilding::what_the_event_store_cant_tell_is_taken_over_from_the_active_view,
            rebuilding::a_swap_is_refused_at_a_gap_and_done_when_it_healed,
            rebuilding::a_stream_that_is_stopped_in_both_views_stops_no_swap,
            rebuilding::what_was_held_is_carried_over_with_its_number,
            rebuilding::an_unfinished_rebuild_is_deleted_by_the_next,
            shapes::each_shape_has_its_own_rows_held_events_and_comparison,
            shapes::a_rebuild_of_one_shape_touches_no_other,
            shared::batches_of_many_lanes_at_once_apply_each_event_once,
            shared::repeats_are_ignored_and_gaps_heal,
            shared::an_event_without_keys_moves_its_stream_on,
            shared::rows_without_a_fold_are_deleted_and_come_again,
            shared::an_event_changes_all_of_its_rows_or_none,
            shared::held_events_are_redriven_or_needed,
            shared::rows_are_read_by_key_and_by_page,
            shared::a_streams_version_is_waited_for_and_compared,
            shared::a_rebuild_under_writes_ends_in_the_fold,
            shared::a_swap_is_refused_while_a_version_is_behind,
            shared::a_stream_that_cant_be_read_is_set_aside_and_stops_no_swap,
            shared::a_view_is_compared_with_one_that_was_built_beside_it,
            shared::rows_of_a_view_by_stream_are_read_by_key_too,
            refusing::a_refused_row_holds_its_stream_alone,
            refusing::many_refused_rows_of_a_large_batch_hold_their_streams_alone,
            refusing::a_refused_row_of_shared_rows_changes_none_of_them,
            refusing::values_that_a_server_refuses_stop_neither_batches_nor_builds,
            refusing::refused_rows_in_lanes_at_once_leave_the_other_rows_right,
            refusing::keys_that_a_server_refuses_hold_their_streams_alone,
            shapes::a_new_view_is_filled_by_one_program_at_a_time,
            shapes::a_view_of_an_empty_event_store_need_not_be_filled,
            shapes::programs_of_other_shapes_learn_of_each_other,
            shapes::the_tables_of_a_shape_go_with_its_last_program,
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
        self.open_as().await
    }

    /// Runs a statement that is not the store's.
    pub(crate) async fn execute(&self, sql: &str) {
        match self.url.strip_prefix("sqlite:") {
            Some(path) => rusqlite::Connection::open(path).unwrap().execute_batch(sql).unwrap(),
            #[cfg(feature = "postgres")]
            None => {
                use sqlx::Connection;
                let mut connection = sqlx::PgConnection::connect(&self.url).await.unwrap();
                sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
            }
            #[cfg(not(feature = "postgres"))]
            None => panic!("{} is no file", self.url),
        }
    }

    pub(crate) async fn open_as<V: View>(&self) -> read_store::ReadStore<V> {
        read_store::ReadStore::open(&self.url).await.unwrap()
    }
}

pub(crate) fn id(text: &str) -> StreamId {
    StreamId::parse(text).unwrap()
}

pub(crate) fn version(number: u64) -> Version {
    Version::new(number)
}

/// The event of this version in every stream here: opened, then started and stopped in turn.
pub(crate) fn recorded(stream: &str, number: u64) -> Recorded<Event> {
    let event = match number {
        1 => Event::TaskOpened { title: format!("title of {stream}") },
        even if even % 2 == 0 => Event::TaskStarted,
        _ => Event::TaskStopped,
    };
    let time = Timestamp::from_second(1_700_000_000 + i64::try_from(number).unwrap()).unwrap();
    Recorded { stream: id(stream), version: version(number), time, event }
}

/// The entry after so many events.
pub(crate) fn fold(stream: &str, events: u64) -> Entry<TaskRow> {
    let events: Vec<_> = (1..=events).map(|number| recorded(stream, number)).collect();
    Entry::fold::<TasksView>(id(stream), &events).unwrap()
}

/// The record of an event.
pub(crate) fn incoming(stream: &str, number: u64) -> Incoming {
    let event = recorded(stream, number);
    let value = event.encode();
    raw(&value, stream, i64::try_from(number).unwrap())
}

/// The records of versions of a stream.
pub(crate) fn events(stream: &str, numbers: impl IntoIterator<Item = u64>) -> Vec<Incoming> {
    numbers.into_iter().map(|number| incoming(stream, number)).collect()
}

/// Any record.
pub(crate) fn raw<E: EventType>(value: &[u8], key: &str, offset: i64) -> read_store::Incoming<E> {
    read_store::Incoming {
        origin: Origin { topic: "tasks".to_owned(), partition: 3, offset },
        key: Some(key.as_bytes().to_vec()),
        value: Some(value.to_vec()),
        event: wire::decode(value),
        received_at: Timestamp::from_second(1_800_000_000).unwrap(),
    }
}

/// The record of an event, as a program takes it in that does not know its type yet.
pub(crate) fn not_known_yet(stream: &str, number: u64) -> Incoming {
    let problem = UnknownEvent::Type("Future".to_owned());
    let event = Err(Undecodable::Unknown { stream: id(stream), version: version(number), problem });
    Incoming { event, ..incoming(stream, number) }
}

/// The record of an event of a type that nobody knows.
pub(crate) fn unknown(stream: &str, number: u64) -> Incoming {
    let value = format!(
        r#"{{"type":"TaskPainted","schema":1,"stream":"{stream}","version":{number},"time":"2026-01-01T00:00:00Z","data":{{}}}}"#
    );
    raw(value.as_bytes(), stream, i64::try_from(number).unwrap())
}

/// The record of an event, as a program takes it in that can't read it at all.
pub(crate) fn not_readable_yet(stream: &str, number: u64) -> Incoming {
    Incoming { event: Err(Undecodable::Malformed("what is this?".to_owned())), ..incoming(stream, number) }
}

pub(crate) async fn version_of(store: &ReadStore, stream: &str) -> u64 {
    store.get(&id(stream)).await.unwrap().map_or(0, |row| row.version.get())
}

pub(crate) async fn assert_rows(store: &ReadStore, streams: &[(&str, u64)]) {
    for (stream, events) in streams {
        assert_eq!(store.get(&id(stream)).await.unwrap(), Some(fold(stream, *events)));
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
