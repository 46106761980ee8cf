//! What is in the cache, and letting go of it on request.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nixoci_core::Result;

use super::evict::{delete, oldest_first};
use crate::imported::Imported;
use crate::summary::Image;

use super::{Cache, CacheKey, Record, links, lock};

/// An image in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheEntry {
    /// The archive.
    pub archive: PathBuf,
    /// Its names; none for an image without one, and for an entry that cannot be read any more.
    pub names: Vec<String>,
    /// Its platforms: `linux/amd64, linux/arm64`; `None` for an entry that cannot be read any more.
    pub platform: Option<String>,
    /// The bytes it takes.
    pub size: u64,
    /// When it was made or found the last time.
    pub last_used: SystemTime,
    /// The links that keep it.
    pub links: Vec<PathBuf>,
    /// Whether a nixoci works with it right now.
    pub in_use: bool,
}

/// What was let go of, and what is left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Images that went.
    pub removed: usize,
    /// The bytes they took.
    pub freed: u64,
    /// Images that stay, although they are beyond the limit: a link keeps them, or somebody works with them.
    pub held: usize,
    /// The bytes of all that stays.
    pub left: u64,
}

/// What is known about all images in the cache that an archive is in. Records that cannot be read are left out.
pub(crate) fn neighbours(archive: &Path) -> Vec<Imported> {
    let dir = archive.parent().unwrap_or(Path::new(""));
    let files = fs::read_dir(dir).into_iter().flatten().flatten().map(|file| file.path());
    let archives = files.filter(|path| path.extension() == Some(OsStr::new("tar")));
    archives.filter_map(|archive| record(&archive)).map(|record| record.content).collect()
}

impl Cache {
    /// Where the cache is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// How many bytes are kept.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Lets go of an image. One that is in use stays for those who use it.
    pub fn forget(&self, key: &CacheKey) {
        let archive = self.file(key, "tar");
        // Its users have the file open; the name is all that goes.
        let _ = fs::remove_file(archive.with_extension("json"));
        let _ = fs::remove_file(archive);
    }

    /// All images, the last used first.
    ///
    /// # Errors
    /// The cache cannot be locked.
    pub fn entries(&self) -> Result<Vec<CacheEntry>> {
        let _guard = self.lock_all()?;
        let kept = links::by_target(&self.dir);
        let entries = oldest_first(self.sweep()).into_iter().rev();
        let entries = entries.map(|entry| {
            let links = kept.get(entry.archive.file_name().unwrap_or_default());
            let images = record(&entry.archive).map(|record| record.content.images).unwrap_or_default();
            let platforms: Vec<String> = images.iter().map(Image::platform_names).collect();
            CacheEntry {
                names: images.iter().flat_map(|image| image.names().to_vec()).collect(),
                platform: platforms.first().cloned(),
                size: entry.size,
                last_used: entry.used,
                links: links.cloned().unwrap_or_default(),
                in_use: is_in_use(&entry.archive),
                archive: entry.archive,
            }
        });
        Ok(entries.collect())
    }

    /// Deletes images, the longest unused first, until at most `limit` bytes are left. What a link keeps and what
    /// somebody works with stays in any case.
    ///
    /// # Errors
    /// The cache cannot be locked.
    pub fn collect(&self, limit: u64) -> Result<Collected> {
        let _guard = self.lock_all()?;
        let entries = self.sweep();
        let mut collected =
            Collected { left: entries.iter().map(|entry| entry.size).sum(), ..Collected::default() };
        if collected.left <= limit {
            return Ok(collected);
        }
        let linked = links::by_target(&self.dir);
        for entry in oldest_first(entries) {
            if collected.left <= limit {
                break;
            }
            let name: &OsStr = entry.archive.file_name().unwrap_or_default();
            if linked.contains_key(name) || !delete(&entry.archive) {
                collected.held += 1;
                continue;
            }
            collected.removed += 1;
            collected.freed += entry.size;
            collected.left -= entry.size;
        }
        Ok(collected)
    }
}

fn record(archive: &Path) -> Option<Record> {
    serde_json::from_slice(&fs::read(archive.with_extension("json")).ok()?).ok()
}

/// Whoever uses an archive holds a shared lock on it. With the cache as a whole locked, nobody deletes it meanwhile,
/// and who wants to use it waits for the moment that this takes.
fn is_in_use(archive: &Path) -> bool {
    File::open(archive).is_ok() && lock::try_exclusive(archive).is_none()
}
