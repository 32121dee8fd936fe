//! Programs whose views have other shapes, on one store.

use std::time::Duration;

use event_sourcing::testing::{Event, TaskRow, TasksView};
use event_sourcing::{Keys, Recorded, Refused, StreamId, View, row};
use read_store::{Filled, HeldReason, Program, Registration};

use super::{Shared, assert_rows, events, fold, id, recorded, until, version_of};

row! {
    /// A task of a later program, which shows one thing more.
    pub(crate) struct WiderRow {
        /// The title.
        pub title: String,
        /// How urgent it is.
        pub urgent: bool,
    }
}

/// The tasks as a later program shows them.
#[derive(Clone, Debug)]
pub(crate) struct WiderView;

impl View for WiderView {
    const NAME: &'static str = TasksView::NAME;
    type Event = Event;
    type Key = StreamId;
    type Row = WiderRow;

    fn keys(recorded: &Recorded<Event>) -> Result<Keys<StreamId>, Refused> {
        TasksView::keys(recorded)
    }

    fn apply(
        _: &StreamId,
        row: Option<WiderRow>,
        recorded: &Recorded<Event>,
    ) -> Result<Option<WiderRow>, Refused> {
        Ok(match &recorded.event {
            Event::TaskOpened { title } => {
                Some(WiderRow { title: title.clone(), urgent: title.contains('!') })
            }
            _ => row,
        })
    }
}

/// The same columns with another fold.
#[derive(Clone, Debug)]
struct RevisedView;

impl View for RevisedView {
    const NAME: &'static str = TasksView::NAME;
    const REVISION: u32 = 2;
    type Event = Event;
    type Key = StreamId;
    type Row = TaskRow;

    fn keys(recorded: &Recorded<Event>) -> Result<Keys<StreamId>, Refused> {
        TasksView::keys(recorded)
    }

    fn apply(
        key: &StreamId,
        row: Option<TaskRow>,
        recorded: &Recorded<Event>,
    ) -> Result<Option<TaskRow>, Refused> {
        let row = TasksView::apply(key, row, recorded)?;
        Ok(row.map(|row| TaskRow { title: row.title.to_uppercase(), ..row }))
    }
}

pub(crate) async fn each_shape_has_its_own_rows_held_events_and_comparison(shared: &Shared) {
    let store = shared.open().await;
    store.project(events("a", [1, 2, 4])).await.unwrap();
    store.doubt("of the first alone").await.unwrap();
    let wider = shared.open_as::<WiderView>().await;
    wider.migrate().await.unwrap();
    assert_eq!(wider.get(&id("a")).await.unwrap(), None, "it begins empty");
    let doubt = wider.walk().await.unwrap().doubt.unwrap().1;
    assert_ne!(doubt, "of the first alone", "and in doubt, so that it is filled");

    wider.project(events("a", [1])).await.unwrap();
    wider.project(events("b", [2])).await.unwrap();
    let entry = wider.get(&id("a")).await.unwrap().unwrap();
    assert_eq!(entry.row, Some(WiderRow { title: "title of a".to_owned(), urgent: false }));
    assert_rows(&store, &[("a", 2)]).await;
    let held = async |of: &super::ReadStore| of.held(None, None, 10).await.unwrap();
    assert_eq!(
        held(&store).await.iter().map(|held| held.stream.clone()).collect::<Vec<_>>(),
        [Some(id("a"))]
    );
    let held = wider.held_summary().await.unwrap();
    assert_eq!(
        held.iter().map(|held| (held.reason, held.streams)).collect::<Vec<_>>(),
        [(HeldReason::Gap, 1)]
    );

    let revised = shared.open_as::<RevisedView>().await;
    revised.migrate().await.unwrap();
    revised.project(events("a", [1])).await.unwrap();
    assert_eq!(revised.get(&id("a")).await.unwrap().unwrap().row.unwrap().title, "TITLE OF A");
    assert_rows(&store, &[("a", 2)]).await;
}

pub(crate) async fn a_rebuild_of_one_shape_touches_no_other(shared: &Shared) {
    let store = shared.open().await;
    let wider = shared.open_as::<WiderView>().await;
    wider.migrate().await.unwrap();
    store.project(events("a", 1..=3)).await.unwrap();
    wider.project(events("a", 1..=3)).await.unwrap();
    let (one, other) = (store.begin_rebuild().await.unwrap(), wider.begin_rebuild().await.unwrap());
    let page = || (1..=3).map(|number| recorded("a", number)).collect::<Vec<_>>();
    wider.backfill(other, page()).await.unwrap();
    wider.swap(other).await.unwrap();
    let late = store.backfill(other, page()).await.unwrap_err();
    assert!(late.to_string().contains("is not being built"), "{late}");
    store.backfill(one, page()).await.unwrap();
    store.swap(one).await.unwrap();
    assert_eq!(version_of(&store, "a").await, 3);
    assert_eq!(store.get(&id("a")).await.unwrap(), Some(fold("a", 3)));
    assert_eq!(wider.get(&id("a")).await.unwrap().unwrap().version, fold("a", 3).version);
}

pub(crate) fn program(name: &str) -> Program {
    let filling = Some("nothing yet".to_owned());
    Program { name: name.to_owned(), lease: Duration::from_secs(60), filling, serves: true }
}

pub(crate) async fn a_new_view_is_filled_by_one_program_at_a_time(shared: &Shared) {
    let (one, other) = (shared.open().await, shared.open().await);
    let registered =
        async |store: &super::ReadStore, program: Program| store.register(program).await.unwrap().filled;
    let keeper = Program { filling: None, ..program("keeper") };
    assert_eq!(registered(&one, keeper.clone()).await, Filled::Others("it has not begun".to_owned()));
    assert_eq!(registered(&one, program("one")).await, Filled::Mine);
    assert_eq!(registered(&other, program("other")).await, Filled::Others("nothing yet".to_owned()));
    let further = Program { filling: Some("half".to_owned()), ..program("one") };
    assert_eq!(registered(&one, further).await, Filled::Mine);
    assert_eq!(registered(&other, program("other")).await, Filled::Others("half".to_owned()));
    one.leave("one").await.unwrap();
    assert_eq!(registered(&other, program("other")).await, Filled::Mine);

    let building = other.begin_rebuild().await.unwrap();
    other.swap(building).await.unwrap();
    assert_eq!(registered(&other, program("other")).await, Filled::Yes);
    assert_eq!(registered(&one, keeper).await, Filled::Yes);
}

pub(crate) async fn a_view_of_an_empty_event_store_need_not_be_filled(shared: &Shared) {
    let store = shared.open().await;
    store.register(program("one")).await.unwrap();
    store.note_filled().await.unwrap();
    assert_eq!(store.register(program("one")).await.unwrap().filled, Filled::Yes);
}

pub(crate) async fn programs_of_other_shapes_learn_of_each_other(shared: &Shared) {
    let (store, wider) = (shared.open().await, shared.open_as::<WiderView>().await);
    let of_store = async |program| {
        let Registration { other_shapes, unknown_to_others, .. } = store.register(program).await.unwrap();
        (other_shapes, unknown_to_others)
    };
    let of_wider = async || {
        let registration = wider.register(program("wider")).await.unwrap();
        (registration.other_shapes, registration.unknown_to_others)
    };
    assert_eq!(of_store(program("one")).await, (false, false));
    let keeper = Program { serves: false, ..program("keeper") };
    assert_eq!(of_store(keeper).await, (false, false));
    assert_eq!(of_wider().await, (true, true), "the other has not asked since");
    until(|| async { of_store(program("one")).await == (true, false) && of_wider().await == (true, false) })
        .await;
    store.leave("one").await.unwrap();
    assert_eq!(of_wider().await, (false, false), "who only keeps tables serves nobody");
}

pub(crate) async fn the_tables_of_a_shape_go_with_its_last_program(shared: &Shared) {
    let (store, wider) = (shared.open().await, shared.open_as::<WiderView>().await);
    for name in ["one", "other"] {
        store.register(program(name)).await.unwrap();
    }
    store.project(events("a", [1, 3])).await.unwrap();
    wider.register(program("wider")).await.unwrap();
    store.leave("one").await.unwrap();
    wider.register(program("wider")).await.unwrap();
    assert_rows(&store, &[("a", 1)]).await;

    // While nothing but the making of the table keeps it, it stays too.
    let brief = Program { lease: Duration::ZERO, ..program("other") };
    store.register(brief).await.unwrap();
    let is_gone = async || {
        wider.register(program("wider")).await.unwrap();
        store.ping().await.is_err()
    };
    assert!(!is_gone().await);
    store.leave("made").await.unwrap();
    until(is_gone).await;

    // A program that was away for so long begins anew.
    assert_eq!(store.register(program("other")).await.unwrap().filled, Filled::Mine);
    assert_eq!(store.get(&id("a")).await.unwrap(), None);
    assert_eq!(store.held_summary().await.unwrap(), []);
    store.project(events("a", [1])).await.unwrap();
    assert_rows(&store, &[("a", 1)]).await;
}
