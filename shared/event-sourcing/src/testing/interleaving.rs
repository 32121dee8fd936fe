//! The test that the rows of a view do not depend on how the events of its streams interleave.

use thiserror::Error;

use crate::{Recorded, Row, Rows, View};

/// The number of random interleavings.
const ROUNDS: u64 = 100;

/// Two interleavings of the same streams make different rows.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "interleaved as {steps:?}, the streams make other rows than one after the other: {found}, not {expected}"
)]
pub struct InterleavingConflict {
    /// The streams whose next event was folded, by their places in the argument.
    pub steps: Vec<usize>,
    /// The rows of this interleaving.
    pub found: String,
    /// The rows of the streams one after the other.
    pub expected: String,
}

/// Folds these streams one after the other, and then in many other interleavings, and returns the rows.
///
/// The author of a view whose rows are shared calls it in a test with streams that share rows. A stream whose event is refused
/// stops there, as it does in a store. The random interleavings are the same in each run.
///
/// # Errors
/// [`InterleavingConflict`] with the first interleaving that makes other rows. Such a view must not be used: nothing puts the events of
/// different streams in a sequence.
pub fn any_interleaving<V: View>(
    streams: &[Vec<Recorded<V::Event>>],
) -> Result<Rows<V>, InterleavingConflict> {
    let one_after_the_other: Vec<usize> =
        streams.iter().enumerate().flat_map(|(place, events)| vec![place; events.len()]).collect();
    let rows = fold::<V>(streams, &one_after_the_other);
    let expected = shown(&rows);
    let backwards = one_after_the_other.iter().rev().copied().collect();
    let random = (0..ROUNDS).map(|seed| shuffled(one_after_the_other.clone(), seed));
    for steps in std::iter::once(backwards).chain(random) {
        let found = shown(&fold::<V>(streams, &steps));
        if found != expected {
            return Err(InterleavingConflict { steps, found, expected });
        }
    }
    Ok(rows)
}

/// Folds the next event of these streams, step by step.
fn fold<V: View>(streams: &[Vec<Recorded<V::Event>>], steps: &[usize]) -> Rows<V> {
    let mut rows = Rows::default();
    let mut rest: Vec<&[Recorded<V::Event>]> = streams.iter().map(Vec::as_slice).collect();
    for place in steps {
        let Some((event, later)) = rest[*place].split_first() else { continue };
        rest[*place] = if rows.apply(event).is_ok() { later } else { &[] };
    }
    rows
}

/// The rows as a store keeps them.
fn shown<V: View>(rows: &Rows<V>) -> String {
    let rows = rows.iter().map(|(key, row)| format!("{key:?}: {:?}", row.values()));
    rows.collect::<Vec<_>>().join(", ")
}

/// Shuffles (Fisher and Yates) with the generator SplitMix64.
fn shuffled(mut steps: Vec<usize>, mut seed: u64) -> Vec<usize> {
    for place in (1..steps.len()).rev() {
        seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut random = seed;
        random = (random ^ (random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        random = (random ^ (random >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        random ^= random >> 31;
        steps.swap(place, (random % (place as u64 + 1)) as usize);
    }
    steps
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{LabelEvent, LabelRow, LabelsView, REFUSED_LABEL};
    use crate::{Keys, Refused, StreamId, Version, row};

    const LABELS: [&str; 4] = ["home", "work", "size:small", REFUSED_LABEL];

    fn stream(place: usize, events: Vec<LabelEvent>) -> Vec<Recorded<LabelEvent>> {
        let stream = StreamId::parse(&format!("task-{place}")).unwrap();
        let recorded = |(version, event)| Recorded {
            stream: stream.clone(),
            version: Version::new(version),
            time: Timestamp::UNIX_EPOCH,
            event,
        };
        (1..).zip(events).map(recorded).collect()
    }

    fn label() -> impl Strategy<Value = String> {
        (0..LABELS.len()).prop_map(|place| LABELS[place].to_owned())
    }

    fn events() -> impl Strategy<Value = Vec<LabelEvent>> {
        let event = prop_oneof![
            4 => prop::collection::vec(label(), 1..3).prop_map(|labels| LabelEvent::LabelsAdded { labels }),
            3 => (label(), label()).prop_map(|(from, to)| LabelEvent::LabelReplaced { from, to }),
            2 => label().prop_map(|label| LabelEvent::LabelRemoved { label }),
            1 => Just(LabelEvent::CommentAdded),
        ];
        prop::collection::vec(event, 0..6)
    }

    proptest! {
        #[test]
        fn the_labels_are_the_same_however_the_events_of_tasks_interleave(
            streams in prop::collection::vec(events(), 1..5)
        ) {
            let streams: Vec<_> = streams.into_iter().enumerate().map(|(place, events)| stream(place, events)).collect();
            prop_assert!(any_interleaving::<LabelsView>(&streams).is_ok());
        }
    }

    #[test]
    fn rows_are_those_of_all_streams() {
        let added = |labels: &[&str]| LabelEvent::LabelsAdded {
            labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        };
        let replaced = LabelEvent::LabelReplaced { from: "work".to_owned(), to: "home".to_owned() };
        let streams =
            [stream(0, vec![added(&["home", "work"]), replaced]), stream(1, vec![added(&["home"])])];
        let rows = any_interleaving::<LabelsView>(&streams).unwrap();
        let row = LabelRow { subject: "home".to_owned(), tasks: 3, shared: true };
        assert_eq!(rows.iter().collect::<Vec<_>>(), [(&"home".to_owned(), &row)]);
    }

    row! {
        /// A label with the task that got it last.
        struct LatestRow {
            /// The task.
            pub task: StreamId,
        }
    }

    /// A view that must not be used: the task that got a label last depends on the interleaving.
    #[derive(Clone, Debug)]
    struct LatestView;

    impl View for LatestView {
        const NAME: &'static str = "latest";
        type Event = LabelEvent;
        type Key = String;
        type Row = LatestRow;

        fn keys(recorded: &Recorded<LabelEvent>) -> Result<Keys<String>, Refused> {
            LabelsView::keys(recorded)
        }

        fn apply(
            _: &String,
            _: Option<LatestRow>,
            recorded: &Recorded<LabelEvent>,
        ) -> Result<Option<LatestRow>, Refused> {
            Ok(Some(LatestRow { task: recorded.stream.clone() }))
        }
    }

    #[test]
    fn a_view_in_which_the_last_event_wins_is_found_out() {
        let added = || LabelEvent::LabelsAdded { labels: vec!["home".to_owned()] };
        let streams = [stream(0, vec![added()]), stream(1, vec![added()])];
        let Err(interleaved) = any_interleaving::<LatestView>(&streams) else {
            panic!("it was not found out")
        };
        assert_eq!(interleaved.steps, [1, 0]);
        assert!(
            interleaved.to_string().contains("task-0") && interleaved.expected.contains("task-1"),
            "{interleaved}"
        );
    }
}
