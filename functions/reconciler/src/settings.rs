//! How much the comparison may cost.

use std::time::Duration;

use clap::Args;

/// Two bounds: the lower one holds.
#[derive(Args, Clone, Debug)]
pub struct ReconcilerSettings {
    // A page of heads is a range of the commits' ids, so the walk reads every commit. At ten million streams a day, these are about 350
    // commits a second.
    /// Streams a second that are compared with the view while nothing is in doubt: 120 are ten million in a day; 0 compares
    /// nothing, in doubt neither
    #[arg(long, env = "RECONCILE_RATE", value_name = "STREAMS", default_value_t = 120)]
    pub reconcile_rate: u32,
    /// Percent of the time that comparing may take up, also while the view is in doubt
    #[arg(long, env = "RECONCILE_SHARE", value_name = "PERCENT", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub reconcile_share: u32,
}

impl ReconcilerSettings {
    /// Returns how long to rest after a step that took `took`.
    pub(crate) fn rest(&self, took: Duration, streams: usize, in_doubt: bool) -> Duration {
        let by_share = took * (100 - self.reconcile_share.min(100)) / self.reconcile_share.max(1);
        if in_doubt {
            return by_share;
        }
        let by_rate = Duration::from_secs_f64(streams as f64 / f64::from(self.reconcile_rate.max(1)));
        by_share.max(by_rate.saturating_sub(took))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_rests_as_long_as_the_lower_bound_asks() {
        let settings = ReconcilerSettings { reconcile_rate: 120, reconcile_share: 20 };
        let rest = |took, streams, in_doubt| {
            settings.rest(Duration::from_millis(took), streams, in_doubt).as_millis()
        };
        assert_eq!(rest(10, 240, false), 1_990, "the rate");
        assert_eq!(rest(1_000, 240, false), 4_000, "the share");
        assert_eq!(rest(10, 240, true), 40, "the share alone");
        assert_eq!(rest(0, 0, false), 0);
    }

    #[test]
    fn ten_million_streams_are_compared_in_a_day() {
        let rate = 120;
        assert!(10_000_000 / rate < 24 * 60 * 60);
    }
}
