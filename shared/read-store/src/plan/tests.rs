use domain::{EncodedEvent, Event, OrderName, Reason};
use jiff::Timestamp;
use proptest::prelude::*;

use super::*;

fn id(text: &str) -> OrderId {
    OrderId::parse(text).unwrap()
}

fn time(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn record(value: Vec<u8>, key: &str, offset: i64) -> Incoming {
    Incoming {
        origin: Origin { topic: "orders".into(), partition: 0, offset },
        key: Some(key.into()),
        event: wire::decode(&value),
        value: Some(value),
        received_at: time(0),
    }
}

fn event_of(order: &str, version: u64) -> Event {
    let reason = || Reason::parse("why").unwrap();
    match (version, version % 3) {
        (1, _) => Event::OrderCreated { name: OrderName::parse(order).unwrap() },
        (_, 2) => Event::ProcessingStarted,
        (_, 0) => Event::ProcessingFailed { reason: reason() },
        _ => Event::OrderCancelled { reason: reason() },
    }
}

fn event(order: &str, version: u64) -> Incoming {
    let seconds = i64::try_from(version).unwrap();
    let value = wire::encode(
        &id(order),
        Version::new(version),
        time(seconds),
        &EncodedEvent::encode(&event_of(order, version)),
    );
    record(value, order, seconds)
}

fn unknown(order: &str, version: u64) -> Incoming {
    let value = format!(
        r#"{{"type":"OrderPainted","schema":1,"stream":"{order}","version":{version},"time":"1970-01-01T00:00:09Z","data":{{}}}}"#
    );
    record(value.into_bytes(), order, i64::try_from(version).unwrap())
}

fn fold(order: &str, versions: u64) -> Snapshot {
    let mut row = Snapshot::absent(id(order));
    for version in 1..=versions {
        let seconds = i64::try_from(version).unwrap();
        row.apply(Version::new(version), time(seconds), &event_of(order, version)).unwrap();
    }
    row
}

/// A view in memory, which does what a plan says.
#[derive(Default)]
struct View {
    rows: HashMap<OrderId, Snapshot>,
    held: Vec<(HeldId, Verdict, Stray)>,
    ids: i64,
}

impl View {
    fn known(&self, orders: &[OrderId]) -> Known {
        let mut known = Known::default();
        for order in orders {
            known.rows.extend(self.rows.get(order).map(|row| (order.clone(), row.clone())));
            let held = self.held.iter().filter(|(_, verdict, _)| verdict.order.as_ref() == Some(order));
            let held = held.map(|(id, verdict, stray)| {
                let (version, reason, value) = (verdict.version, verdict.reason, stray.value.clone());
                HeldRow { id: *id, version, reason, value }
            });
            known.held.insert(order.clone(), held.collect());
        }
        known.strays = self.held.iter().map(|(_, _, stray)| stray.clone()).collect();
        known
    }

    fn take(&mut self, batch: &[Incoming]) -> Projected {
        let plan = plan(self.known(&touched_orders(batch)), batch);
        for upsert in &plan.upserts {
            let have = self.rows.get(&upsert.row.id).map_or(Version::NONE, |row| row.version);
            assert_eq!(have, upsert.from, "a row is folded from what the view has");
            self.rows.insert(upsert.row.id.clone(), upsert.row.clone());
        }
        let gone = |id: &HeldId| plan.releases.iter().any(|r| r.id == *id) || plan.passed.contains(id);
        self.held.retain(|(id, _, _)| !gone(id));
        for hold in &plan.holds {
            self.ids += 1;
            let stray = Stray { value: hold.value(), ..Stray::from(hold.record) };
            self.held.push((HeldId(self.ids), hold.verdict.clone(), stray));
        }
        for Upsert { row, held, .. } in &plan.upserts {
            let order = Some(&row.id);
            assert_eq!(*held, self.held.iter().any(|(_, verdict, _)| verdict.order.as_ref() == order));
        }
        plan.counts(0..batch.len())
    }

    fn versions_of(&self, order: &str) -> u64 {
        self.rows.get(&id(order)).map_or(0, |row| row.version.get())
    }

    fn reasons(&self) -> Vec<HeldReason> {
        self.held.iter().map(|(_, verdict, _)| verdict.reason).collect()
    }
}

fn counts(applied: usize, ignored: usize, held: usize, released: usize) -> Projected {
    Projected { applied, ignored, held, released }
}

#[test]
fn the_next_version_is_applied_and_what_is_not_newer_is_ignored() {
    let mut view = View::default();
    assert_eq!(view.take(&[event("a", 1), event("a", 2), event("a", 1)]), counts(2, 1, 0, 0));
    assert_eq!(view.take(&[event("a", 2), event("a", 3)]), counts(1, 1, 0, 0));
    assert_eq!(view.rows[&id("a")], fold("a", 3));
}

#[test]
fn an_order_has_one_upsert_however_many_of_its_events_come() {
    let batch = [event("b", 1), event("a", 1), event("b", 2), event("b", 3)];
    let plan = plan(Known::default(), &batch);
    let upserts: Vec<_> = plan.upserts.iter().map(|u| (u.from, u.row.clone())).collect();
    assert_eq!(upserts, [(Version::NONE, fold("a", 1)), (Version::NONE, fold("b", 3))]);
}

#[test]
fn a_gap_is_held_once_and_heals_when_the_missing_version_comes() {
    let mut view = View::default();
    assert_eq!(view.take(&[event("a", 1), event("a", 3), event("a", 3)]), counts(1, 1, 1, 0));
    assert_eq!(view.take(&[event("a", 3), event("a", 4)]), counts(0, 1, 1, 0));
    assert_eq!(view.reasons(), [HeldReason::Gap, HeldReason::Gap]);
    assert_eq!(view.take(&[event("b", 1), event("a", 2)]), counts(2, 0, 0, 2));
    assert_eq!(view.rows[&id("a")], fold("a", 4));
    assert_eq!(view.reasons(), []);
}

#[test]
fn a_gap_that_heals_within_a_batch_is_never_held() {
    let mut view = View::default();
    assert_eq!(view.take(&[event("a", 3), event("a", 2), event("a", 1)]), counts(3, 0, 0, 0));
    assert_eq!(view.ids, 0);
}

#[test]
fn a_problem_is_kept_short_however_large_the_record_is() {
    let kind = "Päint".repeat(200_000);
    let value = format!(
        r#"{{"type":"{kind}","schema":1,"stream":"a","version":2,"time":"2026-01-01T00:00:00Z","data":{{}}}}"#
    );
    let problem = Verdict::again(None, Some(value.as_bytes())).problem;
    assert!(
        problem.len() < 510 && problem.starts_with("unknown event type") && problem.contains('…'),
        "{problem}"
    );
}

#[test]
fn each_caller_gets_its_own_counts_of_a_common_plan() {
    let mut view = View::default();
    view.take(&[event("a", 2)]);
    let batch = [event("b", 1), event("c", 2), event("a", 1)];
    let plan = plan(view.known(&touched_orders(&batch)), &batch);
    assert_eq!(plan.counts(0..2), counts(1, 0, 1, 0));
    assert_eq!(plan.counts(2..3), counts(1, 0, 0, 1));
}

#[test]
fn poison_touches_no_order_but_its_own() {
    let mut view = View::default();
    let taken = view.take(&[
        event("a", 1),
        unknown("a", 2),
        event("a", 3),
        event("b", 1),
        record(b"{".to_vec(), "b", 7),
        event("b", 2),
        record(b"\xff".to_vec(), "no order!", 8),
    ]);
    assert_eq!(taken, counts(3, 0, 4, 0));
    assert_eq!((view.versions_of("a"), view.versions_of("b")), (1, 2));
    let verdicts: Vec<_> = view.held.iter().map(|(_, v, _)| (v.reason, v.order.clone(), v.version)).collect();
    let expected = [
        (HeldReason::UnknownType, Some(id("a")), Some(Version::new(2))),
        (HeldReason::Gap, Some(id("a")), Some(Version::new(3))),
        (HeldReason::Undecodable, Some(id("b")), None),
        (HeldReason::Undecodable, None, None),
    ];
    assert_eq!(verdicts, expected);
}

#[test]
fn each_kind_of_poison_has_its_reason_and_says_its_order_by_value_else_by_key() {
    let verdict = |value: &str, key: &str| {
        let verdict = Verdict::again(Some(key.as_bytes()), Some(value.as_bytes()));
        (verdict.reason, verdict.order.map(|order| order.to_string()))
    };
    let value = |kind: &str, order: &str, version: u64, data: &str| {
        format!(
            r#"{{"type":"{kind}","schema":1,"stream":"{order}","version":{version},"time":"1970-01-01T00:00:00Z","data":{data}}}"#
        )
    };
    let (key, by_key, by_value) = ("k", Some("k".to_owned()), Some("v".to_owned()));
    assert_eq!(verdict("nonsense", key), (HeldReason::Undecodable, by_key.clone()));
    assert_eq!(verdict("nonsense", "not an id"), (HeldReason::Undecodable, None));
    assert_eq!(verdict(&value("OrderCreated", "/", 1, "{}"), key), (HeldReason::NoValidOrder, by_key));
    assert_eq!(verdict(&value("Other", "v", 1, "{}"), key), (HeldReason::UnknownType, by_value.clone()));
    assert_eq!(
        verdict(&value("OrderCreated", "v", 1, "{}"), key),
        (HeldReason::Undecodable, by_value.clone())
    );
    assert_eq!(
        verdict(&value("OrderCreated", "v", 0, "{}"), key),
        (HeldReason::Undecodable, by_value.clone())
    );
    assert_eq!(
        verdict(&value("ProcessingStarted", "v", 2, "{}"), key),
        (HeldReason::Gap, by_value),
        "an event is at a gap until it turns out to be next"
    );
    assert_eq!(Verdict::again(None, None).reason, HeldReason::Undecodable);
}

#[test]
fn a_redelivered_poison_record_is_held_once_but_another_at_its_place_is_not_it() {
    let mut view = View::default();
    let poison = |text: &str| record(text.as_bytes().to_vec(), "a", 5);
    assert_eq!(view.take(&[poison("x"), poison("x")]), counts(0, 1, 1, 0));
    assert_eq!(view.take(&[poison("x"), poison("y")]), counts(0, 1, 1, 0));
}

#[test]
fn poison_does_not_take_the_place_of_the_event_of_its_version() {
    let mut view = View::default();
    view.take(&[unknown("a", 2), event("a", 2)]);
    assert_eq!(view.reasons(), [HeldReason::UnknownType, HeldReason::Gap]);
    assert_eq!(view.take(&[event("a", 1)]), counts(1, 0, 0, 1));
    assert_eq!((view.versions_of("a"), view.reasons()), (2, vec![]), "what the row has passed is removed");
    assert_eq!(view.take(&[unknown("a", 2)]), counts(0, 1, 0, 0));
}

#[test]
fn an_event_that_cannot_follow_the_state_still_moves_the_version_on() {
    let out_of_place = |version| {
        let value = wire::encode(
            &id("a"),
            Version::new(version),
            time(1),
            &EncodedEvent::encode(&Event::OrderProcessed),
        );
        record(value, "a", 0)
    };
    let mut view = View::default();
    assert_eq!(view.take(&[event("a", 1), out_of_place(2), out_of_place(3)]), counts(3, 0, 0, 0));
    assert_eq!(view.rows[&id("a")].state, fold("a", 1).state);
}

#[test]
fn without_records_the_known_orders_held_events_go_on() {
    let mut view = View::default();
    view.take(&[event("a", 2), event("a", 4), event("a", 5)]);
    view.rows.insert(id("a"), fold("a", 3));
    let plan = plan(view.known(&[id("a")]), &[]);
    assert_eq!(plan.passed, [HeldId(1)]);
    assert_eq!(plan.releases.iter().map(|r| r.id).collect::<Vec<_>>(), [HeldId(2), HeldId(3)]);
    assert_eq!(plan.upserts, [Upsert { from: Version::new(3), row: fold("a", 5), held: false }]);
}

#[test]
fn a_held_record_that_still_is_not_an_event_stays_when_it_becomes_next() {
    let mut view = View::default();
    view.take(&[unknown("a", 2)]);
    assert_eq!(view.take(&[event("a", 1)]), counts(1, 0, 0, 0));
    assert_eq!(view.reasons(), [HeldReason::UnknownType]);
}

#[test]
fn an_event_without_a_record_is_held_as_the_record_that_it_would_have_been() {
    let bare = |version| Incoming { key: None, value: None, ..event("a", version) };
    let mut view = View::default();
    view.take(&[bare(2)]);
    assert_eq!(view.take(&[bare(1)]), counts(1, 0, 0, 1));
    assert_eq!(view.rows[&id("a")], fold("a", 2));
}

const ORDERS: [&str; 4] = ["a", "b", "c", "d"];

/// Streams of up to 9 events, each event delivered 1 to 3 times, in any order, cut into batches anywhere.
fn deliveries() -> impl Strategy<Value = (Vec<u64>, Vec<(usize, u64)>, Vec<usize>)> {
    let lengths = proptest::collection::vec(0..=9_u64, ORDERS.len());
    lengths.prop_flat_map(|lengths| {
        let each: Vec<_> =
            lengths.iter().enumerate().flat_map(|(o, n)| (1..=*n).map(move |v| (o, v))).collect();
        let total = each.len();
        let copies = proptest::collection::vec(1..=3_usize, total);
        let shuffled = copies.prop_flat_map(move |copies| {
            let all = each.iter().zip(copies).flat_map(|(e, n)| std::iter::repeat_n(*e, n));
            Just(all.collect::<Vec<_>>()).prop_shuffle()
        });
        (Just(lengths), shuffled, proptest::collection::vec(1..=7_usize, 1..=20))
    })
}

proptest! {
    #[test]
    fn every_order_of_arrival_ends_in_the_fold_with_nothing_held((lengths, arrivals, cuts) in deliveries()) {
        let mut view = View::default();
        let (mut rest, mut taken) = (&arrivals[..], Projected::default());
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (batch, later) = rest.split_at(rest.len().min(*cut));
            let batch: Vec<_> = batch.iter().map(|(order, version)| event(ORDERS[*order], *version)).collect();
            let counts = view.take(&batch);
            prop_assert_eq!(counts.applied + counts.ignored + counts.held, batch.len());
            taken.applied += counts.applied;
            taken.released += counts.released;
            rest = later;
        }
        for (order, length) in ORDERS.iter().zip(&lengths) {
            let expected = (*length > 0).then(|| fold(order, *length));
            prop_assert_eq!(view.rows.get(&id(order)), expected.as_ref());
        }
        prop_assert!(view.held.is_empty());
        let events: u64 = lengths.iter().sum();
        prop_assert_eq!((taken.applied + taken.released) as u64, events, "each event has its effect once");
    }
}
