//! The settings of a comparison.

use std::time::Duration;

use clap::Args;
use runtime::settings::seconds;

/// How a view is compared.
#[derive(Args, Clone, Debug)]
pub struct VerifySettings {
    /// Mend what is found: write the {kind} as the event store has it, delete what it does not have
    #[arg(long)]
    pub(super) repair: bool,
    /// Seconds that the view may be behind before {a-kind} counts as stale
    #[arg(long, value_name = "S", default_value = "5", value_parser = seconds)]
    pub(super) patience: Duration,
    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
}
