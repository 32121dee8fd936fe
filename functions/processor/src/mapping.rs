//! The mapping of the topic onto the function.

use std::time::Duration;

use event_source_mapping::{FilterCriteria, Mapping, NO_WINDOW};

/// The time that brokers gather records. No client waits for an outcome as it waits for a command's answer. Orders that come
/// together are loaded with one query, and their outcomes are appended with one insert. This leaves more of the servers to
/// clients that do wait.
const GATHER: Duration = Duration::from_millis(25);

/// Returns the function's mapping. It limits neither retries nor age, because a dropped record would leave an order without its
/// outcome.
#[must_use]
pub fn mapping() -> Mapping {
    Mapping {
        filter: FilterCriteria::field_is("type", "ProcessingStarted"),
        gather: GATHER,
        window: NO_WINDOW,
        concurrency: 4,
        ..Mapping::new(env!("CARGO_PKG_NAME"))
    }
}

#[cfg(test)]
mod tests {
    use domain::{EncodedEvent, Event, OrderId, Version, wire};

    use super::*;

    #[test]
    fn the_function_gets_the_records_that_ask_for_an_outcome_and_no_others() {
        let id = OrderId::parse("a").unwrap();
        let record =
            |event| wire::encode(&id, Version::new(2), Default::default(), &EncodedEvent::encode(&event));
        let filter = mapping().filter;
        assert!(filter.matches(Some(&record(Event::ProcessingStarted))));
        assert!(!filter.matches(Some(&record(Event::OrderProcessed))));
    }
}
