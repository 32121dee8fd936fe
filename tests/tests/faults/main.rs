//! Faults that the system survives. Processes are killed at every step, files are deleted, and servers are gone, frozen or cut
//! off. There is poison, and more load than the system can bear. `deploy/test --faults` runs these tests.

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

/// Checks that all commands that a load noted in this file as acknowledged took effect, and that processing is done. Returns the
/// number of orders.
async fn expect_acknowledged(system: &System, check: &Path) -> u64 {
    let words = ["--verify", check.to_str().unwrap(), "--json", "--within", "120"];
    let verified = system.load(&words).run().await.with_code(0).json();
    assert_eq!(verified["missed"], 0, "{verified}");
    verified["orders"].as_u64().unwrap()
}
