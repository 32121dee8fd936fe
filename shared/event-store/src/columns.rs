//! The values of columns: versions and times. The variants on SQL share this code.

use event_sourcing::Version;
use jiff::Timestamp;

/// Returns a version in the type that a column holds. No version is above [`Version::MAX`], and no stream has come near it.
pub(crate) fn number(version: Version) -> i64 {
    i64::try_from(version.get()).unwrap_or(i64::MAX)
}

/// Returns a version in the type that callers use. No program has ever written one below 0.
pub(crate) fn version(number: i64) -> Version {
    Version::new(number.unsigned_abs())
}

pub(crate) fn time(microseconds: i64) -> Result<Timestamp, String> {
    Timestamp::from_microsecond(microseconds).map_err(|error| error.to_string())
}
