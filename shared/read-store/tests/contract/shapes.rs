//! Programs whose views have other shapes, on one store.

use event_sourcing::testing::{Event, TaskRow, TasksView};
use event_sourcing::{Keys, Recorded, Refused, StreamId, View, row};
use read_store::HeldReason;

use super::{Shared, assert_rows, events, fold, id, recorded, version_of};

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
struct WiderView;

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
