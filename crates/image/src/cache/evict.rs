//! Keeping the cache within its limit, and sweeping up after processes that died.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::{Cache, lock};

/// An archive in the cache.
pub(super) struct Entry {
    pub(super) archive: PathBuf,
    pub(super) size: u64,
    pub(super) used: SystemTime,
}

impl Cache {
    /// Deletes what was not used for longest until the limit holds. Never fails: a cache that is too large is
    /// no reason not to build.
    pub(super) fn evict(&self) {
        let _ = self.collect(self.limit);
    }

    /// All archives; what belongs to none is deleted.
    pub(super) fn sweep(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        for file in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let path = file.path();
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("tar") => entries.extend(entry(&path)),
                // Also `KEY.json.part`, which only lives while `KEY.part` is locked.
                Some("part") => sweep_part(&path),
                Some("json") => sweep_record(&path),
                _ => {}
            }
        }
        entries
    }
}

pub(super) fn oldest_first(mut entries: Vec<Entry>) -> Vec<Entry> {
    entries.sort_by_key(|entry| entry.used);
    entries
}

fn entry(archive: &Path) -> Option<Entry> {
    let size = fs::metadata(archive).ok()?.len();
    // An archive without a record is useless, and the first to go.
    let record = fs::metadata(archive.with_extension("json"));
    let used = record.and_then(|record| record.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    Some(Entry { archive: archive.to_owned(), size, used })
}

fn sweep_part(path: &Path) {
    let made = path.to_string_lossy().replace(".json.part", ".part");
    let made = Path::new(&made);
    if made == path {
        if let Some(_lock) = lock::try_exclusive(path) {
            let _ = fs::remove_file(path);
        }
    } else if !made.exists() {
        let _ = fs::remove_file(path);
    }
}

/// A record appears just before its archive, and with the whole cache locked.
fn sweep_record(path: &Path) {
    if !path.with_extension("tar").exists() && !path.with_extension("part").exists() {
        let _ = fs::remove_file(path);
    }
}

pub(super) fn delete(archive: &Path) -> bool {
    // Whoever uses it holds a shared lock.
    let Some(_lock) = lock::try_exclusive(archive) else { return false };
    if fs::remove_file(archive).is_err() {
        return false;
    }
    let _ = fs::remove_file(archive.with_extension("json"));
    true
}
