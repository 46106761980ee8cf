//! Outputs in the making: beside the place where they will be, and gone if nothing comes of them.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use nixoci_core::temporary::TemporaryFiles;

/// A temporary file beside the one it will be. Dropped, it is gone.
pub(super) struct Part {
    pub(super) file: File,
    path: PathBuf,
    _guard: Box<dyn Send + Sync>,
}

const PART_SUFFIX: &str = ".nixoci-part";

impl Part {
    pub(super) fn create(path: &Path, temporary: &dyn TemporaryFiles) -> io::Result<Part> {
        let path = unused(path);
        let guard = temporary.guard(&path);
        // Never through a file or a link that somebody has put there.
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        // A file system without locks loses only the sweeping.
        let _ = file.try_lock();
        Ok(Part { file, path, _guard: guard })
    }

    pub(super) fn publish(self, path: &Path) -> io::Result<()> {
        fs::rename(&self.path, path)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // After the rename there is nothing to delete.
        let _ = fs::remove_file(&self.path);
    }
}

/// A name beside this one that nothing has; what killed processes have left there is swept away.
fn unused(path: &Path) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    sweep(path, &name);
    let unique = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    path.with_file_name(format!(".{name}.{unique}{PART_SUFFIX}"))
}

/// A directory in the making: a name that nothing has, on the file system of the one it will be.
pub(super) struct Stage {
    pub(super) path: PathBuf,
    _guard: Box<dyn Send + Sync>,
}

impl Stage {
    /// Beside a directory that is to be, or in one that is there.
    pub(super) fn new(target: &Path, temporary: &dyn TemporaryFiles) -> Stage {
        let path = if target.is_dir() { unused(&target.join("layout")) } else { unused(target) };
        let guard = temporary.guard(&path);
        Stage { path, _guard: guard }
    }
}

/// Whether the process that made a file or a directory is gone. nixoci makes nothing that is neither.
fn is_unlocked(path: &Path) -> bool {
    let opened = if path.is_dir() { File::open(path) } else { nixoci_core::file::open(path) };
    opened.is_ok_and(|file| file.try_lock().is_ok())
}

/// Deletes what a killed process has left beside this file.
fn sweep(path: &Path, name: &str) {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let prefix = format!(".{name}.");
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let found = entry.file_name().to_string_lossy().into_owned();
        let stale = found.starts_with(&prefix) && found.ends_with(PART_SUFFIX) && is_unlocked(&entry.path());
        if stale {
            let path = entry.path();
            let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        }
    }
}
