//! The arguments that several measurements take.

use std::path::PathBuf;

use clap::Args;

#[derive(Args)]
pub(crate) struct Common {
    /// The `orders` binary. Default: built by cargo, in the profile of this program
    #[arg(long, value_name = "PATH")]
    pub(crate) orders_bin: Option<PathBuf>,

    /// Write the figures to this file as JSON too
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}
