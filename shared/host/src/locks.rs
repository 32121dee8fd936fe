//! The locks on data that only one process at a time may serve. The data folder has one, because what is in memory belongs to one
//! process. Each file of a store has one, in whatever folder the file is and by whatever link it is named.
//! A tool opens the files beside the server and takes no lock, unless it publishes on the channel in memory.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use runtime::files;
use rustix::fs::OFlags;

use crate::{CannotStart, application};

/// The locks that the process holds. They are released when this value is dropped, or when the process ends in any way.
pub struct Locks {
    _files: Vec<File>,
}

/// A folder or a file that one process serves at a time.
struct Served<'a> {
    what: &'a str,
    path: &'a Path,
    /// The flag that names another one.
    elsewhere: &'a str,
}

impl Locks {
    /// Locks the data folder and the files of stores. It creates the folder if it does not exist. Each store comes with its name,
    /// its file and the flag that names the file.
    ///
    /// # Errors
    /// When one can't be created or its lock can't be written, or when another process holds the lock.
    pub fn take(folder: &Path, stores: &[(&str, PathBuf, &str)]) -> Result<Self, CannotStart> {
        let data = Served { what: "the data folder", path: folder, elsewhere: "--data" };
        files::create_folder(folder).map_err(|error| data.cannot("can't be created", &error))?;
        let mut locked = vec![data.lock(&folder.join(format!("{}.lock", application())))?];
        for (what, path, elsewhere) in stores {
            locked.push(Served { what, path, elsewhere }.lock_beside()?);
        }
        Ok(Self { _files: locked })
    }

    /// Locks the file of one store, and creates a missing one.
    ///
    /// # Errors
    /// As [`Locks::take`].
    pub fn of_file(what: &str, path: &Path, elsewhere: &str) -> Result<Self, CannotStart> {
        Ok(Self { _files: vec![Served { what, path, elsewhere }.lock_beside()?] })
    }
}

/// The path of a file's lock: beside the file itself, even if the given path is a link to the file. Creates the file if it does
/// not exist.
fn beside(path: &Path) -> io::Result<PathBuf> {
    if let Some(folder) = path.parent() {
        files::create_folder(folder)?;
    }
    files::create_file(path)?;
    let mut lock = fs::canonicalize(path)?.into_os_string();
    lock.push(".lock");
    Ok(lock.into())
}

impl Served<'_> {
    /// Locks a store's file.
    fn lock_beside(&self) -> Result<File, CannotStart> {
        let lock = beside(self.path).map_err(|error| self.cannot("can't be created", &error))?;
        self.lock(&lock)
    }

    fn lock(&self, path: &Path) -> Result<File, CannotStart> {
        let mut file = open(path).map_err(|error| self.cannot("can't be written", &error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(self.cannot("is in use", &self.holder(&mut file))),
            Err(TryLockError::Error(error)) => return Err(self.cannot("can't be locked", &error)),
        }
        note_holder(&mut file).map_err(|error| self.cannot("can't be written", &error))?;
        Ok(file)
    }

    fn holder(&self, file: &mut File) -> String {
        let mut pid = String::new();
        let process = match file.read_to_string(&mut pid) {
            Ok(_) if !pid.trim().is_empty() => format!("process {}", pid.trim()),
            _ => "another process".to_owned(),
        };
        format!("{process} serves it; give this one another {}", self.elsewhere)
    }

    fn cannot(&self, what: &str, error: &dyn std::fmt::Display) -> CannotStart {
        CannotStart(format!("{} {} {what}: {error}", self.what, self.path.display()))
    }
}

/// Opens the lock's own file. The process writes into it, so it refuses a symbolic or a hard link: the write would change another
/// file.
fn open(path: &Path) -> io::Result<File> {
    files::create_file(path)?;
    let no_link = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
    let file = File::options().read(true).write(true).custom_flags(no_link).open(path)?;
    let found = file.metadata()?;
    if !found.is_file() || found.nlink() != 1 {
        return Err(io::Error::other(format!("{} is a link, or no file", path.display())));
    }
    Ok(file)
}

fn note_holder(file: &mut File) -> io::Result<()> {
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
        let lock = Locks::take(&path, &[]).unwrap();
        let refused = Locks::take(&path, &[]).err().unwrap().to_string();
        assert!(refused.contains(&format!("process {} serves it", std::process::id())), "{refused}");
        drop(lock);
        Locks::take(&path, &[]).unwrap();
    }

    #[test]
    fn a_file_is_served_by_one_whatever_link_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::os::unix::fs::symlink(at("events.db"), at("link.db")).unwrap();
        fs::write(at("events.db"), "").unwrap();
        let events = |name: &str| [("the event store", at(name), "--event-store")];
        let _lock = Locks::take(&at("one"), &events("events.db")).unwrap();
        let refused = Locks::take(&at("other"), &events("link.db")).err().unwrap().to_string();
        assert!(refused.contains("the event store") && refused.contains("--event-store"), "{refused}");
        Locks::take(&at("third"), &events("another.db")).unwrap();
    }
}
