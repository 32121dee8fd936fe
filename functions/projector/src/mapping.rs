//! The mapping of the topic onto the function.

use event_source_mapping::{Mapping, NO_WINDOW};

/// The function's mapping. Nothing limits retries or age: a record that is given up would be missing in the view.
#[must_use]
pub fn mapping() -> Mapping {
    Mapping {
        batch_size: 1_000,
        window: NO_WINDOW,
        concurrency: 2,
        // A small transaction costs nearly as much as a large one.
        full_beside_others: true,
        ..Mapping::new(env!("CARGO_PKG_NAME"))
    }
}
