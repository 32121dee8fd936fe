//! The share of a processor that Lambda gives with a memory size, by a control group of Linux.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::Context;

/// The memory, in MiB, with which a function has one whole processor ("Configure Lambda function memory").
const WHOLE: u64 = 1_769;
/// The period, in microseconds, within which a function gets its share.
const PERIOD: u64 = 20_000;

/// The folder of the controllers: those of version 1 are under `cpu`, those of version 2 in one tree.
const ROOT: &str = "/sys/fs/cgroup";

/// A control group. Dropping it removes it.
pub(crate) struct Share {
    group: PathBuf,
}

impl Share {
    /// Makes the share that a function with so many MiB has.
    pub(crate) fn of_memory(mebibytes: u32) -> anyhow::Result<Self> {
        let quota = u64::from(mebibytes) * PERIOD / WHOLE;
        let name = format!("orders-bench-{}-{mebibytes}", std::process::id());
        let old = Path::new(ROOT).join("cpu");
        let this = if old.is_dir() {
            let this = Self::make(old.join(name))?;
            this.set("cpu.cfs_period_us", &PERIOD.to_string())?;
            this.set("cpu.cfs_quota_us", &quota.to_string())?;
            this
        } else {
            let controllers = Path::new(ROOT).join("cgroup.subtree_control");
            fs::write(&controllers, "+cpu").with_context(|| controllers.display().to_string())?;
            let this = Self::make(Path::new(ROOT).join(name))?;
            this.set("cpu.max", &format!("{quota} {PERIOD}"))?;
            this
        };
        Ok(this)
    }

    fn make(group: PathBuf) -> anyhow::Result<Self> {
        fs::create_dir(&group).with_context(|| format!("a control group {}", group.display()))?;
        Ok(Self { group })
    }

    /// Limits a process to this share.
    pub(crate) fn take(&self, process: u32) -> anyhow::Result<()> {
        self.set("cgroup.procs", &process.to_string())
    }

    fn set(&self, file: &str, value: &str) -> anyhow::Result<()> {
        let file = self.group.join(file);
        fs::write(&file, value).with_context(|| format!("{value} into {}", file.display()))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        // A process that was killed is in the group until it has ended.
        for _ in 0..100 {
            if fs::remove_dir(&self.group).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        eprintln!("{} can't be removed", self.group.display());
    }
}
