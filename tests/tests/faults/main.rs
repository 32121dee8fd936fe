//! What the system survives: processes killed at every step, files deleted, servers that are gone, frozen or cut off, poison, more load than it can bear.
//! Run by `deploy/test --faults`.

// Helpers of tests may fail loudly too; clippy's own exception covers only functions marked as tests.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod apart;
mod clients;
mod files;
mod kills;
mod linearizability;
mod overload;
mod poison;
mod rebuild;
mod servers;
mod starts;

use std::path::Path;

use tests::system::System;

/// All that a load noted in this file as acknowledged is so, and what was to be processed is done; how many orders that are.
async fn expect_acknowledged(system: &System, check: &Path) -> u64 {
    let words = ["--verify", check.to_str().unwrap(), "--json", "--within", "120"];
    let verified = system.load(&words).run().await.with_code(0).json();
    assert_eq!(verified["missed"], 0, "{verified}");
    verified["orders"].as_u64().unwrap()
}
