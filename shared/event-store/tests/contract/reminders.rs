//! Reminders: the mark sets a commit's reminder, one relay claims it, and the mark of the stream's next commit ends it.

use std::time::Duration;

use event_sourcing::Version;
use event_store::{Mark, REMINDERS, Reminder, ReminderCounts, ReminderPolicy, Reminders};
use futures_util::future::join_all;

use crate::build::{append_each, place};
use crate::stores::Stores;

/// A delay so long that no reminder of a scenario is due by itself.
const LONG: Duration = Duration::from_secs(900);

fn waits(stream: &str, version: u64) -> Mark {
    Mark { remind: ReminderPolicy::UntilFollowed, ..place(stream, version).into() }
}

fn ends(stream: &str, version: u64, ended: u64) -> Mark {
    Mark { ends: Some(Version::new(ended)), ..place(stream, version).into() }
}

/// Returns the reminders of another process, with this delay.
async fn reminders(stores: &impl Stores, after: Duration) -> Reminders {
    Reminders::new(stores.open().await, after)
}

/// Appends two commits to each stream. The second is marked, and waits for its stream to move on.
async fn waiting(stores: &impl Stores, streams: &[&str]) {
    let store = stores.open().await;
    for stream in streams {
        append_each(&store, stream, 1..=2).await;
    }
    store.mark_published(streams.iter().map(|stream| waits(stream, 2)).collect()).await.unwrap();
}

async fn due(reminders: &Reminders) -> Vec<Reminder> {
    let mut due = reminders.due(100).await.unwrap();
    due.sort_by(|a, b| a.commit.cmp(&b.commit));
    due
}

fn places(reminders: &[Reminder]) -> Vec<String> {
    reminders
        .iter()
        .map(|reminder| format!("{}@{}", reminder.commit.stream, reminder.commit.version))
        .collect()
}

pub(crate) async fn a_reminder_is_set_with_its_mark_and_due_after_its_delay(stores: &impl Stores) {
    let now = reminders(stores, Duration::ZERO).await;
    let store = stores.open().await;
    append_each(&store, "a", 1..=2).await;
    assert_eq!(due(&now).await, []);
    store.mark_published(vec![place("a", 1).into(), waits("a", 2)]).await.unwrap();
    assert_eq!(store.backlog().await.unwrap().commits, 0);
    assert_eq!(places(&due(&now).await), ["a@2"]);
    let later = reminders(stores, LONG).await;
    assert_eq!(due(&later).await, []);
    let listed = later.list(None, 10).await.unwrap();
    assert_eq!((places(&listed), listed[0].sent), (vec!["a@2".to_owned()], 0));
    let delay = listed[0].due.duration_since(due(&now).await[0].due);
    assert_eq!(delay, LONG.try_into().unwrap());
}

pub(crate) async fn the_mark_of_the_next_commit_ends_a_reminder(stores: &impl Stores) {
    waiting(stores, &["a", "b"]).await;
    let (store, now) = (stores.open().await, reminders(stores, Duration::ZERO).await);
    append_each(&store, "a", 3..=3).await;
    store.mark_published(vec![ends("a", 3, 2)]).await.unwrap();
    assert_eq!(places(&due(&now).await), ["b@2"]);
    // If both are marked together, no reminder is set at all.
    append_each(&store, "c", 1..=3).await;
    store.mark_published(vec![waits("c", 2), ends("c", 3, 2)]).await.unwrap();
    append_each(&store, "b", 3..=3).await;
    now.end(vec![place("b", 2), place("nowhere", 2)]).await.unwrap();
    assert_eq!(due(&now).await, []);
    assert_eq!(now.count().await.unwrap(), ReminderCounts::default());
    assert_eq!(store.backlog().await.unwrap().commits, 4, "the first of each, and what was not marked of b");
}

pub(crate) async fn of_many_who_claim_a_reminder_one_gets_it(stores: &impl Stores) {
    waiting(stores, &["a", "b", "c"]).await;
    let mut relays = Vec::new();
    for _ in 0..4 {
        let relay = reminders(stores, Duration::from_millis(1)).await;
        // A server's clock may not have moved since the mark.
        tokio::time::sleep(Duration::from_millis(5)).await;
        let due = due(&relay).await;
        relays.push((relay, due));
    }
    for place in 0..3 {
        let claims = relays.iter().map(|(relay, due)| relay.claim(&due[place]));
        let claims = join_all(claims).await.into_iter().filter_map(Result::unwrap);
        assert_eq!(claims.count(), 1);
    }
    assert_eq!(due(&relays[0].0).await, [], "a claim holds for a while");
}

pub(crate) async fn a_reminder_that_was_sent_comes_again_later_until_it_is_exhausted(stores: &impl Stores) {
    waiting(stores, &["a"]).await;
    let now = reminders(stores, Duration::ZERO).await;
    for sent in 0..REMINDERS {
        let mut found = due(&now).await;
        assert_eq!((found.len(), found[0].sent), (1, sent));
        let claimed = now.claim(&found.remove(0)).await.unwrap().unwrap();
        // The delay is zero, so each wait is zero.
        now.sent(&claimed).await.unwrap();
    }
    assert_eq!(due(&now).await, []);
    let counts = ReminderCounts { waiting: 1, set_aside: 0, overdue: 1 };
    assert_eq!(now.count().await.unwrap(), counts);
    let listed = now.list(None, 10).await.unwrap();
    assert!(listed[0].is_overdue(), "{listed:?}");
}

pub(crate) async fn what_a_receiver_sets_aside_is_due_before_its_delay_and_says_why(stores: &impl Stores) {
    waiting(stores, &["a", "b"]).await;
    let later = reminders(stores, LONG).await;
    later.set_aside(&place("a", 2), 0, "the service answered 503", Duration::ZERO).await.unwrap();
    later.set_aside(&place("b", 2), 2, "no answer", Duration::from_secs(60)).await.unwrap();
    let listed = later.list(None, 10).await.unwrap();
    let problems: Vec<_> = listed.iter().map(|reminder| reminder.problem.as_deref().unwrap()).collect();
    assert_eq!(
        (places(&listed), problems),
        (vec!["a@2".to_owned(), "b@2".to_owned()], vec!["the service answered 503", "no answer"])
    );
    // The waits are five seconds, and the minute that the service asked for instead of twenty seconds.
    let apart = listed[1].due.duration_since(listed[0].due);
    assert!((54..=56).contains(&apart.as_secs()), "{apart}");
    assert_eq!(places(&later.list(Some(&place("a", 2)), 10).await.unwrap()), ["b@2"]);
    assert_eq!(later.count().await.unwrap(), ReminderCounts { waiting: 2, set_aside: 2, overdue: 0 });
    // With a delay that is half a minute shorter, the first is due and the second is not.
    let sooner = reminders(stores, LONG - Duration::from_secs(30)).await;
    let mut due = due(&sooner).await;
    assert_eq!((places(&due), due[0].sent), (vec!["a@2".to_owned()], 0));
    let claimed = sooner.claim(&due.remove(0)).await.unwrap().unwrap();
    assert_eq!(claimed.problem.as_deref(), Some("the service answered 503"));
    // The channel may lose it again, so its next wait is ten seconds, and not twice the delay.
    sooner.sent(&claimed).await.unwrap();
    let listed = sooner.list(None, 1).await.unwrap();
    assert!(listed[0].due.duration_since(claimed.due).as_secs() <= 10, "{listed:?}");
}

/// A receiver may set a commit aside before the sender has marked it.
pub(crate) async fn what_a_receiver_has_set_aside_before_the_mark_stays_as_it_is(stores: &impl Stores) {
    let (store, later) = (stores.open().await, reminders(stores, LONG).await);
    append_each(&store, "a", 1..=1).await;
    append_each(&store, "b", 1..=1).await;
    later.set_aside(&place("a", 1), 0, "no answer", Duration::ZERO).await.unwrap();
    store.mark_published(vec![waits("a", 1), waits("b", 1)]).await.unwrap();
    assert_eq!(store.backlog().await.unwrap().commits, 0);
    let listed = later.list(None, 10).await.unwrap();
    let problems: Vec<_> = listed.iter().map(|reminder| reminder.problem.as_deref()).collect();
    assert_eq!(
        (places(&listed), problems),
        (vec!["a@1".to_owned(), "b@1".to_owned()], vec![Some("no answer"), None])
    );
    let sooner = listed[1].due.duration_since(listed[0].due);
    assert!(sooner.as_secs() > 800, "five seconds, and not the whole delay: {sooner}");
}

pub(crate) async fn what_a_clock_that_was_ahead_has_set_is_due(stores: &impl Stores) {
    waiting(stores, &["a", "b"]).await;
    stores.put_reminder_ahead(&place("a", 2)).await;
    let later = reminders(stores, LONG).await;
    let mut found = due(&later).await;
    assert_eq!(places(&found), ["a@2"]);
    let claimed = later.claim(&found.remove(0)).await.unwrap().unwrap();
    later.sent(&claimed).await.unwrap();
    let listed = later.list(None, 1).await.unwrap();
    assert!(
        listed[0].due.duration_since(claimed.due).as_hours() < 1,
        "by the clock as it is now: {listed:?}"
    );
}

/// This happens after a crash between the publish and the mark.
pub(crate) async fn a_commit_that_is_marked_again_keeps_waiting(stores: &impl Stores) {
    waiting(stores, &["a"]).await;
    let store = stores.open().await;
    store.mark_published(vec![waits("a", 2), waits("nowhere", 2)]).await.unwrap();
    let now = reminders(stores, Duration::ZERO).await;
    assert_eq!(places(&due(&now).await), ["a@2"]);
    assert_eq!(now.count().await.unwrap().waiting, 1);
}
