//! Generators of any value of the domain, for properties.

use domain::{Aggregate, Command, Event, Order, OrderId, OrderName, Reason, Version};
use jiff::Timestamp;
use proptest::collection::vec;
use proptest::prelude::*;

/// Writes no files beside the sources. A failure prints its input, and the developer turns that input into a test.
pub(crate) fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
}

fn line() -> impl Strategy<Value = String> {
    let character = any::<char>().prop_filter("control characters", |c| !c.is_control());
    vec(character, 1..=255).prop_map(String::from_iter)
}

pub(crate) fn any_name() -> impl Strategy<Value = OrderName> {
    // These two names come up often, so that a repeated create meets both its own name and another.
    let text = prop_oneof![Just("a lamp".to_owned()), Just("a chair".to_owned()), line()];
    text.prop_map(|text| OrderName::parse(&text).unwrap())
}

pub(crate) fn any_reason() -> impl Strategy<Value = Reason> {
    line().prop_map(|text| Reason::parse(&text).unwrap())
}

pub(crate) fn any_id() -> impl Strategy<Value = OrderId> {
    "[A-Za-z0-9._~-]{1,128}".prop_filter_map("dots", |text| OrderId::parse(&text).ok())
}

pub(crate) fn any_version() -> impl Strategy<Value = Version> {
    (1..=Version::MAX).prop_map(Version::new)
}

pub(crate) fn any_time() -> impl Strategy<Value = Timestamp> {
    let nanoseconds = Timestamp::MIN.as_nanosecond()..=Timestamp::MAX.as_nanosecond();
    nanoseconds.prop_map(|ns| Timestamp::from_nanosecond(ns).unwrap())
}

pub(crate) fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        any_name().prop_map(|name| Event::OrderCreated { name }),
        Just(Event::ProcessingStarted),
        Just(Event::OrderProcessed),
        any_reason().prop_map(|reason| Event::ProcessingFailed { reason }),
        any_reason().prop_map(|reason| Event::OrderCancelled { reason }),
    ]
}

pub(crate) fn any_command() -> impl Strategy<Value = Command> {
    prop_oneof![
        any_name().prop_map(|name| Command::Create { name }),
        Just(Command::Process),
        Just(Command::Complete),
        any_reason().prop_map(|reason| Command::Fail { reason }),
        any_reason().prop_map(|reason| Command::Cancel { reason }),
    ]
}

/// Generates any events, also such as can't follow each other. Most histories begin with a creation; without it, few events could
/// follow.
pub(crate) fn any_events() -> impl Strategy<Value = Vec<Event>> {
    let created = any_name().prop_map(|name| Event::OrderCreated { name });
    let any_start = vec(any_event(), 0..12);
    prop_oneof![
        1 => any_start.boxed(),
        4 => (created, vec(any_event(), 0..12))
            .prop_map(|(created, rest)| [vec![created], rest].concat())
            .boxed(),
    ]
}

pub(crate) fn fold<'a>(order: Order, events: impl IntoIterator<Item = &'a Event>) -> Order {
    events.into_iter().fold(order, Order::evolve)
}
