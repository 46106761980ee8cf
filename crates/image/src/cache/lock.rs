//! Locked files that stay the ones at their path.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use nixoci_core::{Error, Result};
use rustix::fs::OFlags;
use tokio_util::sync::CancellationToken;

use super::cache_error;

/// How often a lock that another process holds is asked for.
const POLL: Duration = Duration::from_millis(20);

/// Deletes a file at the end: whoever holds its lock may.
pub(super) struct RemoveOnDrop<'a>(pub(super) &'a Path);

impl RemoveOnDrop<'_> {
    /// Leaves the path alone: what is there now is not ours.
    pub(super) fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for RemoveOnDrop<'_> {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.0);
    }
}

/// Whether this open file is the one at the path: it may have been replaced or deleted since.
fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(open), Ok(there)) => (open.dev(), open.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

/// Opens a file of the cache, made if need be. Not through a link: nixoci makes none there.
pub(super) fn own(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC).bits();
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .custom_flags(flags.cast_signed())
        .open(path)
}

/// Opens a file, made if need be, and locks it for this process alone. Waits for others.
pub(super) fn exclusive(path: &Path, cancel: &CancellationToken) -> Result<File> {
    let fail = || cache_error(format!("{} cannot be locked", path.display()));
    loop {
        let file = own(path).map_err(fail())?;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if cancel.is_cancelled() => {
                    let text = "waiting for another nixoci was stopped";
                    return Err(Error::new(&nixoci_core::codes::CANCELLED, text));
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(POLL),
                Err(TryLockError::Error(error)) => return Err(fail()(error)),
            }
        }
        if is_at(&file, path) {
            return Ok(file);
        }
    }
}

/// As [`exclusive`], but only if the file is there and nobody has locked it.
pub(super) fn try_exclusive(path: &Path) -> Option<File> {
    let file = File::open(path).ok()?;
    file.try_lock().ok()?;
    is_at(&file, path).then_some(file)
}

/// Opens a file for use, so that it is not deleted meanwhile; nothing if it is not there.
pub(super) fn shared(path: &Path) -> io::Result<Option<File>> {
    loop {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        file.lock_shared()?;
        if is_at(&file, path) {
            return Ok(Some(file));
        }
    }
}
