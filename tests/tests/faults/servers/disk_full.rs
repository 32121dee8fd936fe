//! The disk of the embedded default's files is full. Commands are told to come again, and go on once there is room.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;

use serde_json::json;
use tempfile::TempDir;
use tests::load::expect_nothing_lost;
use tests::poll::until;
use tests::report;
use tests::stores::Stores;
use tests::system::Setup;

/// A file system of its own, of 32 MiB.
struct Disk {
    folder: TempDir,
}

impl Disk {
    /// Mounts the file system. Returns `None` when this process may not mount one, and prints that.
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=32m", "tmpfs"])
            .arg(folder.path())
            .status();
        if !mounted.is_ok_and(|status| status.success()) {
            report::not_run("a full disk; this process may not mount one");
            return None;
        }
        Some(Self { folder })
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Fills the disk, so that no room is left at all.
    fn fill(&self) {
        let mut ballast = File::create(self.path().join("ballast")).unwrap();
        for size in [64 * 1024, 1] {
            while ballast.write_all(&vec![0; size]).is_ok() {}
        }
    }

    fn clear(&self) {
        fs::remove_file(self.path().join("ballast")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}

#[tokio::test]
async fn a_full_disk_loses_nothing_and_all_goes_on_once_there_is_room() {
    let Some(disk) = Disk::mount() else { return };
    let mut system = Setup::on(Stores::Embedded).within(disk.path()).start().await;
    let check = disk.path().join("acknowledged");
    let file = check.to_str().unwrap();
    let load = ["--orders", "500", "--clients", "16", "--json", "--check", file];
    system.load(&load).run().await.with_code(0);
    until("every order to be published", async || {
        (system.metrics().await.sum("orders_unpublished_commits", &[]) == 0.0).then_some(())
    })
    .await;

    let (mut tried, mut refused) = (0, 0);
    let mut accepted = vec![];
    disk.fill();
    // Room that the files have reserved before may still hold some commands.
    until("a command to be refused", async || {
        for _ in 0..50 {
            tried += 1;
            let id = format!("full-{tried}");
            let answer = system.post("/").key(&id).json(&json!({"id": id, "name": "x".repeat(255)})).await;
            match answer.status {
                201 => accepted.push(id),
                _ => {
                    answer.problem(503, "unavailable");
                    assert!(!answer.header("retry-after").is_empty());
                    refused += 1;
                }
            }
        }
        (refused > 0).then_some(())
    })
    .await;
    system.get("/?limit=5").await.with_status(200);

    disk.clear();
    let healed = until("commands to succeed", async || {
        let answer = system.post("/").key("healed").json(&json!({"id": "healed", "name": "a lamp"})).await;
        (answer.status != 503).then_some(answer)
    })
    .await;
    assert!(matches!(healed.status, 200 | 201), "{}", healed.text());
    for id in &accepted {
        system.until_version(id, 1).await;
    }
    system.create_and_process("after").await;
    expect_nothing_lost(&system, &check).await;
    // The data on the disk is whole too.
    system.stop().await;
    system.start_again().await;
    system.until_status("healed", "new").await;
    expect_nothing_lost(&system, &check).await;
    let figures = json!({"faults": 1, "accepted": accepted.len(), "refused": refused, "lost": 0});
    report::note("disk full", "embedded", &figures);
}
