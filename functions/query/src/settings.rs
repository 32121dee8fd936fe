//! The settings of the function as a Lambda, and how long its queries wait.

use std::time::Duration;

use clap::Parser;
use runtime::settings::{ViewFunctionSettings, seconds};

/// The function `query`. Its settings come from its environment.
#[derive(Parser, Clone, Debug)]
pub struct Settings {
    /// The read store, and the log.
    #[command(flatten)]
    pub view: ViewFunctionSettings,
    /// Seconds that `min_version` waits at the most: an invocation that waits is one of those that the account may run at a time.
    #[arg(long, env = "LONGEST_WAIT", value_parser = seconds, default_value = "1")]
    pub longest_wait: Duration,
}

/// How long `min_version` waits.
#[derive(Clone, Copy, Debug)]
pub struct Waits {
    /// The wait of a client that does not say how long.
    pub usual: Duration,
    /// The longest wait.
    pub longest: Duration,
}

impl Waits {
    /// Returns waits that are no longer than this.
    #[must_use]
    pub fn up_to(longest: Duration) -> Self {
        Self { usual: Self::default().usual.min(longest), longest }
    }
}

/// The waits of a server, where a request that waits takes no other request's place.
impl Default for Waits {
    fn default() -> Self {
        Self { usual: Duration::from_secs(2), longest: Duration::from_secs(20) }
    }
}
