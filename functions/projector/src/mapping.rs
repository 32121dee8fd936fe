//! The mapping of the topic onto the function.

use event_source_mapping::{Mapping, NO_WINDOW};

/// Returns the function's mapping. It limits neither retries nor age, because a dropped record would be missing in the view.
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
