//! The lock on the data folder: on the embedded default one process serves it, since what is in memory is its alone.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use crate::CannotStart;

/// Holds the folder until it is dropped, or the process ends in any way.
pub struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Takes the folder, and creates it if it is not there.
    ///
    /// # Errors
    /// When the folder can't be written, or another process has it.
    pub fn take(folder: &Path) -> Result<Self, CannotStart> {
        let cannot = |what: &str, error: &dyn std::fmt::Display| {
            CannotStart(format!("the data folder {} {what}: {error}", folder.display()))
        };
        std::fs::create_dir_all(folder).map_err(|error| cannot("can't be created", &error))?;
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        let mut file =
            options.open(folder.join("orders.lock")).map_err(|error| cannot("can't be written", &error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(cannot("is in use", &holder(&mut file))),
            Err(TryLockError::Error(error)) => return Err(cannot("can't be locked", &error)),
        }
        note_holder(&mut file).map_err(|error| cannot("can't be written", &error))?;
        Ok(Self { _file: file })
    }
}

fn holder(file: &mut File) -> String {
    let mut pid = String::new();
    match file.read_to_string(&mut pid) {
        Ok(_) if !pid.trim().is_empty() => {
            format!("process {} serves it; give this one another --data", pid.trim())
        }
        _ => "another process serves it; give this one another --data".to_owned(),
    }
}

fn note_holder(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_served_by_one_and_free_again_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new");
        let lock = FolderLock::take(&path).unwrap();
        let refused = FolderLock::take(&path).err().unwrap().to_string();
        assert!(refused.contains(&format!("process {} serves it", std::process::id())), "{refused}");
        drop(lock);
        FolderLock::take(&path).unwrap();
    }
}
