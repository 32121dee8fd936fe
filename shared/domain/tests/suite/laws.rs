//! Properties of every order and every command, independent of the rules.

use domain::{Aggregate, Order, Snapshot, Version, order::follows};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::strategies::*;

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_decision_yields_only_events_that_follow(events in any_events(), command in any_command()) {
        let mut order = fold(Order::default(), &events);
        for event in order.decide(command).unwrap_or_default() {
            prop_assert!(follows(&order, &event), "{event:?} after {order:?}");
            order = order.evolve(&event);
        }
    }

    #[test]
    fn a_command_that_was_carried_out_is_already_true(events in any_events(), command in any_command()) {
        let order = fold(Order::default(), &events);
        if let Ok(decided) = order.decide(command.clone()) {
            let order = fold(order, &decided);
            prop_assert_eq!(order.decide(command), Ok(vec![]));
        }
    }

    #[test]
    fn an_event_that_follows_changes_the_order_and_no_other_does(events in any_events(), event in any_event()) {
        let before = fold(Order::default(), &events);
        let after = before.clone().evolve(&event);
        prop_assert_eq!(follows(&before, &event), after != before);
    }

    #[test]
    fn a_life_of_commands_is_told_by_its_events(commands in vec(any_command(), 0..24)) {
        let mut order = Order::default();
        let mut history = Vec::new();
        for command in commands {
            let decided = order.decide(command).unwrap_or_default();
            order = fold(order, &decided);
            history.extend(decided);
        }
        prop_assert_eq!(fold(Order::default(), &history), order);
    }

    #[test]
    fn replay_goes_on_from_any_prefix(events in any_events(), cut in any::<prop::sample::Index>()) {
        let (first, rest) = events.split_at(cut.index(events.len() + 1));
        let prefix = fold(Order::default(), first);
        prop_assert_eq!(fold(prefix, rest), fold(Order::default(), &events));
    }

    #[test]
    fn a_snapshot_goes_on_from_any_prefix(
        id in any_id(),
        events in any_events(),
        times in vec(any_time(), 13),
        cut in any::<prop::sample::Index>(),
    ) {
        let apply = |mut snapshot: Snapshot, from: usize, to: usize| {
            for index in from..to {
                let version = Version::NONE.plus(index + 1);
                snapshot.apply(version, times[index], &events[index]).unwrap();
            }
            snapshot
        };
        let whole = apply(Snapshot::absent(id.clone()), 0, events.len());
        let cut = cut.index(events.len() + 1);
        let prefix = apply(Snapshot::absent(id), 0, cut);

        prop_assert_eq!(&apply(prefix, cut, events.len()), &whole);
        prop_assert_eq!(whole.version, Version::new(events.len() as u64));
        prop_assert_eq!(&whole.state, &fold(Order::default(), &events));
        if !events.is_empty() {
            prop_assert_eq!(whole.created_at, times[0]);
            prop_assert_eq!(whole.updated_at, times[events.len() - 1]);
        }
    }
}
