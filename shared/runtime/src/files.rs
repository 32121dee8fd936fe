//! The files of the embedded default. They are for their owner alone, and must still be there while they are in use.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Modes that admit the owner alone.
const FILE: u32 = 0o600;
const FOLDER: u32 = 0o700;

/// Creates the folder and its missing parents for their owner alone, whatever the umask is.
///
/// # Errors
/// When one can't be created.
pub fn create_folder(folder: &Path) -> io::Result<()> {
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(FOLDER).create(folder)?;
    fs::set_permissions(folder, Permissions::from_mode(FOLDER))
}

/// Creates an empty file for its owner alone, whatever the umask is. An existing file stays as it is.
///
/// # Errors
/// When the file does not exist and can't be created.
pub fn create_file(path: &Path) -> io::Result<()> {
    match File::options().write(true).create_new(true).mode(FILE).open(path) {
        Ok(file) => file.set_permissions(Permissions::from_mode(FILE)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// A file in use is no longer the one at its path. Data that is written to it now is lost when the process ends.
#[derive(Clone, Debug, Error)]
#[error("the file {} was deleted or replaced while it was in use; start again on the one that is to be used", .path.display())]
pub struct LostFile {
    path: PathBuf,
}

/// An opened file, known by its device and inode.
#[derive(Clone, Debug)]
pub struct OpenedFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl OpenedFile {
    /// Notes the file at this path. Call it right after the file was opened.
    ///
    /// # Errors
    /// When there is no file at the path.
    pub fn at(path: &Path) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let found = fs::metadata(&path)?;
        Ok(Self { device: found.dev(), inode: found.ino(), path })
    }

    /// Checks that the file is still the one at its path. This costs one look at the file system, which has it in memory.
    ///
    /// # Errors
    /// [`LostFile`] when it is not.
    pub fn check(&self) -> Result<(), LostFile> {
        match fs::metadata(&self.path) {
            Ok(found) if (found.dev(), found.ino()) == (self.device, self.inode) => Ok(()),
            _ => Err(LostFile { path: self.path.clone() }),
        }
    }
}
