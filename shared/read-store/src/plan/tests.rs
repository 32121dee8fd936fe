use event_sourcing::testing::{Event, LabelEvent, LabelsView, REFUSED_TITLE, TaskRow, TasksView};
use event_sourcing::{EncodedEvent, Recorded, Refused, Version, wire};
use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::types::{HeldId, HeldReason, Origin, ProjectionCounts};

type Incoming = crate::Incoming<Event>;

fn id(text: &str) -> StreamId {
    StreamId::parse(text).unwrap()
}

fn time(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn record(value: Vec<u8>, key: &str, offset: i64) -> Incoming {
    Incoming {
        origin: Origin { topic: "tasks".into(), partition: 0, offset },
        key: Some(key.into()),
        event: wire::decode(&value),
        value: Some(value),
        received_at: time(0),
    }
}

fn event_of(stream: &str, version: u64) -> Event {
    match (version, version % 3) {
        (1, _) => Event::TaskOpened { title: stream.to_owned() },
        (_, 2) => Event::TaskStarted,
        (_, 0) => Event::TaskStopped,
        _ => Event::TaskRenamed { title: format!("{stream} at {version}") },
    }
}

fn event(stream: &str, version: u64) -> Incoming {
    let seconds = i64::try_from(version).unwrap();
    let value = wire::encode(
        &id(stream),
        Version::new(version),
        time(seconds),
        &EncodedEvent::encode(&event_of(stream, version)),
    );
    record(value, stream, seconds)
}

fn unknown(stream: &str, version: u64) -> Incoming {
    let value = format!(
        r#"{{"type":"TaskPainted","schema":1,"stream":"{stream}","version":{version},"time":"1970-01-01T00:00:09Z","data":{{}}}}"#
    );
    record(value.into_bytes(), stream, i64::try_from(version).unwrap())
}

fn fold(stream: &str, versions: u64) -> Entry<TaskRow> {
    let events: Vec<_> = (1..=versions).map(|version| event(stream, version).event.unwrap()).collect();
    Entry::fold::<TasksView>(id(stream), &events).unwrap()
}

/// A view in memory that carries out plans.
#[derive(Default)]
struct MemoryView {
    entries: HashMap<StreamId, Entry<TaskRow>>,
    held: Vec<(HeldId, Verdict, UnaddressedRecord)>,
    ids: i64,
}

impl MemoryView {
    fn known(&self, streams: &[StreamId]) -> ViewSlice<TasksView> {
        let mut known = ViewSlice::default();
        for stream in streams {
            known.entries.extend(self.entries.get(stream).map(|entry| (stream.clone(), entry.clone())));
            let held = self.held.iter().filter(|(_, verdict, _)| verdict.stream.as_ref() == Some(stream));
            let held = held.map(|(id, verdict, record)| {
                let (version, reason, value) = (verdict.version, verdict.reason, record.value.clone());
                HeldRow { id: *id, version, reason, value }
            });
            known.held.insert(stream.clone(), held.collect());
        }
        known.unaddressed = self.held.iter().map(|(_, _, record)| record.clone()).collect();
        known
    }

    fn take(&mut self, batch: &[Incoming]) -> ProjectionCounts {
        let plan = plan::<TasksView>(self.known(&touched_streams(batch)), batch, &Part::WHOLE);
        for upsert in &plan.upserts {
            let have = self.entries.get(&upsert.entry.id).map_or(Version::NONE, |entry| entry.version);
            assert_eq!(have, upsert.from, "an entry is folded from what the view has");
            self.entries.insert(upsert.entry.id.clone(), upsert.entry.clone());
        }
        let gone = |id: &HeldId| plan.releases.iter().any(|r| r.id == *id) || plan.passed.contains(id);
        self.held.retain(|(id, _, _)| !gone(id));
        for (id, verdict) in &plan.rejudged {
            let held = self.held.iter_mut().find(|(held, _, _)| held == id).unwrap();
            held.1 = verdict.clone();
        }
        for hold in &plan.holds {
            self.ids += 1;
            let record = UnaddressedRecord { value: hold.value(), ..UnaddressedRecord::from(hold.record) };
            self.held.push((HeldId(self.ids), hold.verdict.clone(), record));
        }
        for Upsert { entry, held, .. } in &plan.upserts {
            let stream = Some(&entry.id);
            assert_eq!(*held, self.held.iter().any(|(_, verdict, _)| verdict.stream.as_ref() == stream));
        }
        plan.counts(0..batch.len())
    }

    fn versions_of(&self, stream: &str) -> u64 {
        self.entries.get(&id(stream)).map_or(0, |entry| entry.version.get())
    }

    fn reasons(&self) -> Vec<HeldReason> {
        self.held.iter().map(|(_, verdict, _)| verdict.reason).collect()
    }
}

fn counts(applied: usize, ignored: usize, held: usize, released: usize) -> ProjectionCounts {
    ProjectionCounts { applied, ignored, held, released }
}

#[test]
fn the_next_version_is_applied_and_what_is_not_newer_is_ignored() {
    let mut view = MemoryView::default();
    assert_eq!(view.take(&[event("a", 1), event("a", 2), event("a", 1)]), counts(2, 1, 0, 0));
    assert_eq!(view.take(&[event("a", 2), event("a", 3)]), counts(1, 1, 0, 0));
    assert_eq!(view.entries[&id("a")], fold("a", 3));
}

#[test]
fn a_stream_has_one_upsert_however_many_of_its_events_come() {
    let batch = [event("b", 1), event("a", 1), event("b", 2), event("b", 3)];
    let plan = plan::<TasksView>(ViewSlice::default(), &batch, &Part::WHOLE);
    let upserts: Vec<_> = plan.upserts.iter().map(|u| (u.from, u.entry.clone())).collect();
    assert_eq!(upserts, [(Version::NONE, fold("a", 1)), (Version::NONE, fold("b", 3))]);
}

#[test]
fn a_gap_is_held_once_and_heals_when_the_missing_version_comes() {
    let mut view = MemoryView::default();
    assert_eq!(view.take(&[event("a", 1), event("a", 3), event("a", 3)]), counts(1, 1, 1, 0));
    assert_eq!(view.take(&[event("a", 3), event("a", 4)]), counts(0, 1, 1, 0));
    assert_eq!(view.reasons(), [HeldReason::Gap, HeldReason::Gap]);
    assert_eq!(view.take(&[event("b", 1), event("a", 2)]), counts(2, 0, 0, 2));
    assert_eq!(view.entries[&id("a")], fold("a", 4));
    assert_eq!(view.reasons(), []);
}

#[test]
fn a_gap_that_heals_within_a_batch_is_never_held() {
    let mut view = MemoryView::default();
    assert_eq!(view.take(&[event("a", 3), event("a", 2), event("a", 1)]), counts(3, 0, 0, 0));
    assert_eq!(view.ids, 0);
}

#[test]
fn a_problem_is_kept_short_however_large_the_record_is() {
    let kind = "Päint".repeat(200_000);
    let value = format!(
        r#"{{"type":"{kind}","schema":1,"stream":"a","version":2,"time":"2026-01-01T00:00:00Z","data":{{}}}}"#
    );
    let problem = Verdict::again::<Event>(None, Some(value.as_bytes())).problem;
    assert!(
        problem.len() < 510 && problem.starts_with("unknown event type") && problem.contains('…'),
        "{problem}"
    );
}

#[test]
fn each_caller_gets_its_own_counts_of_a_common_plan() {
    let mut view = MemoryView::default();
    view.take(&[event("a", 2)]);
    let batch = [event("b", 1), event("c", 2), event("a", 1)];
    let plan = plan::<TasksView>(view.known(&touched_streams(&batch)), &batch, &Part::WHOLE);
    assert_eq!(plan.counts(0..2), counts(1, 0, 1, 0));
    assert_eq!(plan.counts(2..3), counts(1, 0, 0, 1));
}

#[test]
fn poison_touches_no_stream_but_its_own() {
    let mut view = MemoryView::default();
    let taken = view.take(&[
        event("a", 1),
        unknown("a", 2),
        event("a", 3),
        event("b", 1),
        record(b"{".to_vec(), "b", 7),
        event("b", 2),
        record(b"\xff".to_vec(), "no stream!", 8),
    ]);
    assert_eq!(taken, counts(3, 0, 4, 0));
    assert_eq!((view.versions_of("a"), view.versions_of("b")), (1, 2));
    let verdicts: Vec<_> =
        view.held.iter().map(|(_, v, _)| (v.reason, v.stream.clone(), v.version)).collect();
    let expected = [
        (HeldReason::UnknownType, Some(id("a")), Some(Version::new(2))),
        (HeldReason::Gap, Some(id("a")), Some(Version::new(3))),
        (HeldReason::Undecodable, Some(id("b")), None),
        (HeldReason::Undecodable, None, None),
    ];
    assert_eq!(verdicts, expected);
}

#[test]
fn each_kind_of_poison_has_its_reason_and_says_its_stream_by_value_else_by_key() {
    let verdict = |value: &str, key: &str| {
        let verdict = Verdict::again::<Event>(Some(key.as_bytes()), Some(value.as_bytes()));
        (verdict.reason, verdict.stream.map(|stream| stream.to_string()))
    };
    let value = |kind: &str, stream: &str, version: u64, data: &str| {
        format!(
            r#"{{"type":"{kind}","schema":1,"stream":"{stream}","version":{version},"time":"1970-01-01T00:00:00Z","data":{data}}}"#
        )
    };
    let (key, by_key, by_value) = ("k", Some("k".to_owned()), Some("v".to_owned()));
    assert_eq!(verdict("nonsense", key), (HeldReason::Undecodable, by_key.clone()));
    assert_eq!(verdict("nonsense", "not an id"), (HeldReason::Undecodable, None));
    assert_eq!(verdict(&value("TaskOpened", "/", 1, "{}"), key), (HeldReason::NoValidStream, by_key));
    assert_eq!(verdict(&value("Other", "v", 1, "{}"), key), (HeldReason::UnknownType, by_value.clone()));
    assert_eq!(verdict(&value("TaskOpened", "v", 1, "{}"), key), (HeldReason::Undecodable, by_value.clone()));
    assert_eq!(verdict(&value("TaskOpened", "v", 0, "{}"), key), (HeldReason::Undecodable, by_value.clone()));
    assert_eq!(
        verdict(&value("TaskStarted", "v", 2, "{}"), key),
        (HeldReason::Gap, by_value),
        "an event is at a gap until it turns out to be next"
    );
    assert_eq!(Verdict::again::<Event>(None, None).reason, HeldReason::Undecodable);
}

#[test]
fn a_redelivered_poison_record_is_held_once_but_another_at_its_place_is_not_it() {
    let mut view = MemoryView::default();
    let poison = |text: &str| record(text.as_bytes().to_vec(), "a", 5);
    assert_eq!(view.take(&[poison("x"), poison("x")]), counts(0, 1, 1, 0));
    assert_eq!(view.take(&[poison("x"), poison("y")]), counts(0, 1, 1, 0));
}

#[test]
fn poison_does_not_take_the_place_of_the_event_of_its_version() {
    let mut view = MemoryView::default();
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
            &EncodedEvent::encode(&Event::TaskOpened { title: "another".to_owned() }),
        );
        record(value, "a", 0)
    };
    let mut view = MemoryView::default();
    assert_eq!(view.take(&[event("a", 1), out_of_place(2), out_of_place(3)]), counts(3, 0, 0, 0));
    assert_eq!(view.entries[&id("a")].row, fold("a", 1).row);
}

#[test]
fn without_records_the_known_held_events_go_on() {
    let mut view = MemoryView::default();
    view.take(&[event("a", 2), event("a", 4), event("a", 5)]);
    view.entries.insert(id("a"), fold("a", 3));
    let plan = plan::<TasksView>(view.known(&[id("a")]), &[], &Part::WHOLE);
    assert_eq!(plan.passed, [HeldId(1)]);
    assert_eq!(plan.releases.iter().map(|r| r.id).collect::<Vec<_>>(), [HeldId(2), HeldId(3)]);
    assert_eq!(plan.upserts, [Upsert { from: Version::new(3), entry: fold("a", 5), held: false }]);
}

#[test]
fn a_held_record_that_still_is_not_an_event_stays_when_it_becomes_next() {
    let mut view = MemoryView::default();
    view.take(&[unknown("a", 2)]);
    assert_eq!(view.take(&[event("a", 1)]), counts(1, 0, 0, 0));
    assert_eq!(view.reasons(), [HeldReason::UnknownType]);
}

fn refused(stream: &str, version: u64) -> Incoming {
    let renamed = EncodedEvent::encode(&Event::TaskRenamed { title: REFUSED_TITLE.to_owned() });
    let value = wire::encode(&id(stream), Version::new(version), time(1), &renamed);
    record(value, stream, i64::try_from(version).unwrap())
}

#[test]
fn an_event_that_the_fold_refuses_is_held_with_its_reason_and_stops_its_stream_alone() {
    let mut view = MemoryView::default();
    let batch = [event("a", 1), refused("a", 2), event("a", 3), event("b", 1), event("b", 2)];
    assert_eq!(view.take(&batch), counts(3, 0, 2, 0));
    assert_eq!((view.versions_of("a"), view.versions_of("b")), (1, 2));
    assert_eq!(view.reasons(), [HeldReason::Refused, HeldReason::Gap]);
    assert!(view.held[0].1.problem.contains("not shown"), "{}", view.held[0].1.problem);
    assert_eq!(view.take(&batch), counts(0, 5, 0, 0), "a redelivery is held once");
}

#[test]
fn an_event_that_waited_and_is_refused_when_it_is_next_is_held_for_that() {
    let mut view = MemoryView::default();
    assert_eq!(view.take(&[refused("a", 2)]), counts(0, 0, 1, 0));
    assert_eq!(view.reasons(), [HeldReason::Gap]);
    assert_eq!(view.take(&[event("a", 1)]), counts(1, 0, 0, 0));
    assert_eq!((view.versions_of("a"), view.reasons()), (1, vec![HeldReason::Refused]));
    assert_eq!(view.take(&[refused("a", 2)]), counts(0, 1, 0, 0));
    // Within one batch.
    assert_eq!(view.take(&[refused("b", 2), event("b", 1)]), counts(1, 0, 1, 0));
    assert_eq!(view.reasons(), [HeldReason::Refused, HeldReason::Refused]);
}

#[test]
fn an_event_without_a_record_is_held_as_the_record_that_it_would_have_been() {
    let bare = |version| Incoming { key: None, value: None, ..event("a", version) };
    let mut view = MemoryView::default();
    view.take(&[bare(2)]);
    assert_eq!(view.take(&[bare(1)]), counts(1, 0, 0, 1));
    assert_eq!(view.entries[&id("a")], fold("a", 2));
}

#[test]
fn the_parts_of_a_batch_are_together_the_whole_of_it() {
    let batch = [event("b", 1), event("a", 1), record(b"{".to_vec(), "a", 7), event("c", 2), event("a", 2)];
    let known = || MemoryView::default().known(&[id("a"), id("b"), id("c")]);
    let whole = plan::<TasksView>(known(), &batch, &Part::WHOLE);
    let mut parts = plan::<TasksView>(known(), &batch, &Part::UNADDRESSED);
    for streams in [&[id("a")][..], &[id("b"), id("c")]] {
        let of_part = plan::<TasksView>(MemoryView::default().known(streams), &batch, &Part::of(streams));
        assert_eq!(of_part.counts(0..batch.len()).ignored, 0, "no record of another part is counted");
        parts.join(of_part);
    }
    assert_eq!(parts.counts(0..5), counts(3, 0, 2, 0));
    for index in 0..batch.len() {
        assert_eq!(parts.counts(index..index + 1), whole.counts(index..index + 1));
    }
    assert_eq!((parts.upserts.len(), parts.holds.len()), (whole.upserts.len(), whole.holds.len()));
}

#[test]
fn an_event_whose_row_the_database_refuses_is_held_with_the_words_of_the_database() {
    let batch = [event("a", 1), event("a", 2), event("a", 3)];
    let streams = [id("a")];
    let part = |version| Part::refusing(&streams, Version::new(version), Refused("too long".to_owned()));
    let plan = plan::<TasksView>(ViewSlice::default(), &batch, &part(2));
    assert_eq!(plan.upserts[0].entry, fold("a", 1));
    let held: Vec<_> = plan.holds.iter().map(|hold| (hold.verdict.version, hold.verdict.reason)).collect();
    let expected = [(Some(Version::new(2)), HeldReason::Refused), (Some(Version::new(3)), HeldReason::Gap)];
    assert_eq!(held, expected);
    assert_eq!(plan.holds[0].verdict.problem, "the view refused it: too long");
}

#[test]
fn only_rows_of_events_that_become_next_are_needed() {
    let added = |stream: &str, version, labels: &[&str]| {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        let event = LabelEvent::LabelsAdded { labels };
        let (stream, version) = (id(stream), Version::new(version));
        crate::Incoming::from_event_store(Recorded { stream, version, time: time(0), event }, time(0))
    };
    let batch = [
        added("a", 1, &["x", "y"]),
        added("a", 2, &["z"]),
        added("a", 2, &["again"]),
        added("a", 4, &["late"]),
        added("b", 1, &["refused", ""]),
        added("b", 2, &["behind"]),
    ];
    let reached = reach::<LabelsView>(&ViewSlice::default(), &batch, &Part::WHOLE);
    assert_eq!(reached.keys.iter().map(String::as_str).collect::<Vec<_>>(), ["again", "x", "y", "z"]);
    assert_eq!((reached.versions[&id("a")], reached.versions[&id("b")]), (Version::new(2), Version::NONE));
    let plan = plan::<LabelsView>(ViewSlice::default(), &batch, &Part::WHOLE);
    assert_eq!(plan.rows.keys().map(String::as_str).collect::<Vec<_>>(), ["x", "y", "z"]);
    assert!(plan.upserts.iter().all(|upsert| upsert.entry.row.is_none()));
    assert_eq!(plan.counts(0..batch.len()), counts(2, 1, 3, 0));
    let streams = [id("a")];
    let part = Part::refusing(&streams, Version::new(1), Refused(String::new()));
    assert!(reach::<LabelsView>(&ViewSlice::default(), &batch, &part).keys.is_empty());
}

const STREAMS: [&str; 4] = ["a", "b", "c", "d"];

/// Streams of up to 9 events, each event delivered 1 to 3 times, in any order, cut into batches anywhere.
fn deliveries() -> impl Strategy<Value = (Vec<u64>, Vec<(usize, u64)>, Vec<usize>)> {
    let lengths = proptest::collection::vec(0..=9_u64, STREAMS.len());
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
    fn any_arrival_ends_in_the_fold_with_nothing_held((lengths, arrivals, cuts) in deliveries()) {
        let mut view = MemoryView::default();
        let (mut rest, mut taken) = (&arrivals[..], ProjectionCounts::default());
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (batch, later) = rest.split_at(rest.len().min(*cut));
            let batch: Vec<_> = batch.iter().map(|(stream, version)| event(STREAMS[*stream], *version)).collect();
            let counts = view.take(&batch);
            prop_assert_eq!(counts.applied + counts.ignored + counts.held, batch.len());
            taken.applied += counts.applied;
            taken.released += counts.released;
            rest = later;
        }
        for (stream, length) in STREAMS.iter().zip(&lengths) {
            let expected = (*length > 0).then(|| fold(stream, *length));
            prop_assert_eq!(view.entries.get(&id(stream)), expected.as_ref());
        }
        prop_assert!(view.held.is_empty());
        let events: u64 = lengths.iter().sum();
        prop_assert_eq!((taken.applied + taken.released) as u64, events, "each event has its effect once");
    }
}
