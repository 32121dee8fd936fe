//! Scenarios of a server alone: indexes, cut connections, servers that are down.

use std::sync::Arc;
use std::time::{Duration, Instant};

use event_sourcing::Version;
use event_store::{AppendError, EventStore, OpenError, StoreError};
use futures_util::future::{join_all, try_join_all};
use mongodb::IndexModel;
use mongodb::bson::doc;
use mongodb::options::IndexOptions;

use crate::build::{answer, append, append_each, commit, commit_by, load, namespace, versions, whole};
use crate::proxy::{Proxy, Weather, append_at_last, append_through};
use crate::stores::{MongoDb, Stores};

/// The time limit for an answer. A command must be answered while its caller still waits.
const SOON: Duration = Duration::from_secs(8);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_that_begin_at_once_make_the_indexes_once() {
    let Some(stores) = MongoDb::fresh().await else { return };
    let handles = join_all((0..8).map(|_| stores.open())).await;
    try_join_all(handles.iter().map(EventStore::ping)).await.unwrap();
    let mut names = stores.commits().list_index_names().await.unwrap();
    names.sort_unstable();
    assert_eq!(names, ["_id_", "commands", "forget", "reminders", "unpublished"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collection_that_is_dropped_is_noticed_and_nothing_is_put_behind_what_is_gone() {
    let Some(stores) = MongoDb::fresh().await else { return };
    let store = stores.open().await;
    append(&store, commit("a", 1, 1)).await;
    store.ping().await.unwrap();
    stores.commits().drop().await.unwrap();
    let problem = store.ping().await.unwrap_err().to_string();
    assert!(problem.contains("lacks the indexes commands, unpublished, forget, reminders"), "{problem}");
    store.ping().await.unwrap();
    let behind = store.append(Arc::new(commit("a", 2, 1))).await;
    assert!(matches!(behind, Err(AppendError::Conflict)), "{behind:?}");
    append(&store, commit("a", 1, 1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_of_the_same_name_that_does_something_else_is_named() {
    let Some(stores) = MongoDb::fresh().await else { return };
    let other = IndexOptions::builder().name("commands".to_owned()).build();
    let other = IndexModel::builder().keys(doc! { "stream": 1, "command_id": 1 }).options(other).build();
    stores.commits().create_index(other).await.unwrap();
    let store = stores.open().await;
    for problem in [
        store.ping().await.unwrap_err().to_string(),
        store.append(Arc::new(commit("a", 1, 1))).await.unwrap_err().to_string(),
    ] {
        assert!(problem.contains("the index commands of events_test_"), "{problem}");
        assert!(problem.contains("unique=false") && problem.contains("unique=true"), "{problem}");
    }
    // The store checks the index again, so it works as soon as the index is right. FerretDB drops the index, but the driver can't
    // read its answer.
    let _ = stores.commits().drop_index("commands").await;
    assert_eq!(stores.commits().list_index_names().await.unwrap(), ["_id_"]);
    append(&store, commit("a", 1, 1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_is_there_once_however_connections_are_cut() {
    let Some(stores) = MongoDb::fresh().await else { return };
    let proxy = Proxy::to(stores.host(), Weather::Cutting(12)).await;
    let store = EventStore::open(stores.url_at(proxy.address), &namespace()).await.unwrap();
    append_through(&proxy, &store, &stores.open().await).await;
}

fn assert_unavailable<T: std::fmt::Debug>(began: Instant, outcome: Result<T, StoreError>) {
    assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{outcome:?}");
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_not_there_is_unavailable_soon_and_used_when_it_comes() {
    let Some(stores) = MongoDb::fresh().await else { return };
    let proxy = Proxy::to(stores.host(), Weather::Down).await;
    let store = EventStore::open(stores.url_at(proxy.address), &namespace()).await.unwrap();
    let began = Instant::now();
    let asked = join_all((0..20).map(|number| store.load(whole(&format!("stream-{number}")))));
    let (appended, loaded, pinged, marked) = tokio::join!(
        store.append(Arc::new(commit("a", 1, 1))),
        asked,
        store.ping(),
        store.mark_published(vec![crate::build::place("a", 1)]),
    );
    assert!(matches!(appended, Err(AppendError::Store(StoreError::Unavailable(_)))), "{appended:?}");
    loaded.into_iter().for_each(|loaded| assert_unavailable(began, loaded));
    assert_unavailable(began, pinged);
    assert_unavailable(began, marked);

    proxy.turn(Weather::Fair);
    append_at_last(&store, "a", 1).await;
    assert_eq!(load(&stores.open().await, "a").await, [commit("a", 1, 1)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_falls_silent_is_unavailable_soon_and_used_when_it_is_back() {
    let Some(stores) = MongoDb::fresh().await else { return };
    let proxy = Proxy::to(stores.host(), Weather::Fair).await;
    let store = EventStore::open(stores.url_at(proxy.address), &namespace()).await.unwrap();
    append_each(&store, "a", [1]).await;
    proxy.turn(Weather::Silent);
    let began = Instant::now();
    let (appended, loaded) = tokio::join!(store.append(Arc::new(commit("a", 2, 1))), store.load(whole("a")));
    assert!(matches!(appended, Err(AppendError::Store(StoreError::Unavailable(_)))), "{appended:?}");
    assert_unavailable(began, loaded);
    proxy.turn(Weather::Fair);
    append_at_last(&store, "a", 2).await;
    append_at_last(&store, "a", 3).await;
    assert_eq!(versions(&load(&stores.open().await, "a").await), [1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_keys_hold_when_the_other_process_left_nothing_known_here() {
    let Some(stores) = MongoDb::fresh().await else { return };
    let writer = stores.open().await;
    append_each(&writer, "a", 1..=3).await;
    // This process has loaded nothing, so it looks up the commit before, and finds it or not.
    let other = stores.open().await;
    let late = other.append(Arc::new(commit_by("late", "a", 3))).await;
    assert!(matches!(late, Err(AppendError::Conflict)), "{late:?}");
    let early = other.append(Arc::new(commit_by("early", "a", 5))).await;
    assert!(matches!(early, Err(AppendError::Conflict)), "{early:?}");
    append(&other, commit_by("next", "a", 4)).await;
    assert_eq!(answer(&writer, "a", "next").await.unwrap().version, Version::new(4));
}

#[tokio::test]
async fn a_url_is_refused_without_its_password() {
    for url in ["mongo://someone:hunter2@somewhere", "mongodb://someone:hunter2@somewhere/?journall=true"] {
        let Err(error @ (OpenError::UnknownScheme { .. } | OpenError::Refused(_))) =
            EventStore::open(url, &namespace()).await
        else {
            panic!("{url} was opened");
        };
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}
