//! What every variant writes into its columns alike.

use domain::{Order, Reason, Version};

/// A version as a column. Versions are parsed to be at most 2^63 - 1.
pub(crate) fn number(version: Version) -> i64 {
    i64::try_from(version.get()).unwrap_or(i64::MAX)
}

pub(crate) fn version(number: i64) -> Version {
    Version::new(u64::try_from(number).unwrap_or_default())
}

/// The order's details as columns: status, name, reason.
pub(crate) fn details(order: &Order) -> (Option<&str>, Option<&str>, Option<&str>) {
    match order {
        Order::Absent => (None, None, None),
        Order::Present(details) => (
            Some(details.status.into()),
            Some(details.name.as_str()),
            details.reason.as_ref().map(Reason::as_str),
        ),
    }
}
