//! The mapping of the topic onto the function.

use std::time::Duration;

use event_source_mapping::{FilterCriteria, Mapping, NO_WINDOW};

/// How long brokers gather records. Nobody waits for an outcome as for a command's answer. Orders that come together are loaded with
/// one question, and their outcomes are appended with one insert. This leaves the servers to clients that do wait.
const GATHER: Duration = Duration::from_millis(25);

/// The function's mapping. Nothing limits retries or age: an order would stay without its outcome.
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
