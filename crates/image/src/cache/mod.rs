//! Images that were read once, kept for the next time.
//!
//! One directory, two files for each image: `KEY.tar`, the hybrid archive, and `KEY.json`, what is known about
//! it. `KEY.part` is an archive in the making. Rules that make it safe for several processes at once:
//! - An archive appears by rename, after its `KEY.json`; where there is an archive, it is complete.
//! - `KEY.part` is locked by whoever makes it. Others wait for the lock, and then find the archive.
//! - A user of an archive holds a shared lock on it; only who gets it exclusively may delete it.
//! - A process that dies leaves at most an unlocked `KEY.part`. The watchdog removes it, or else the next process.
//!
//! Locks are those of `flock(2)`, through the standard library.

mod entries;
mod evict;
mod links;
mod lock;

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use nixoci_core::digest::Digest;
use nixoci_core::file::{self, Shared};
use nixoci_core::platform::OciPlatform;
use nixoci_core::temporary::{TemporaryFiles, Unguarded};
use nixoci_core::{Error, Remedy, Result, shell};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use crate::codes;
use crate::destination::{Writing, merge_cached};
use crate::imported::Imported;
use crate::reference::Naming;
use crate::summary::{Image, ImageSummary};

pub(crate) use entries::neighbours;
pub use entries::{CacheEntry, Collected};
pub use links::check_link;

/// Part of every key: another number, and nothing that was cached before is found any more. Raise it when the
/// archive, the summary, or a check changes.
const FORMAT: u32 = 3;

/// How many bytes of images are kept by default.
pub const DEFAULT_LIMIT: u64 = 20 << 30;

/// Says which image is meant: what it is made from, and what is done with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CacheKey(String);

impl CacheKey {
    /// The key of the images made from a store path with this narHash, named and dated so.
    pub fn new(nar_hash: &Digest, naming: &Naming, created: Option<&str>) -> CacheKey {
        let naming = serde_json::to_string(naming).unwrap_or_default();
        let created = created.unwrap_or_default();
        CacheKey::of(&format!("nixoci image {FORMAT}\n{nar_hash}\n{naming}\n{created}\n"))
    }

    /// The key of one image for several platforms, made of those with these keys.
    pub fn merged(parts: &[CacheKey]) -> CacheKey {
        let parts: Vec<&str> = parts.iter().map(|part| part.0.as_str()).collect();
        CacheKey::of(&format!("nixoci merged {FORMAT}\n{}\n", parts.join("\n")))
    }

    /// The key of a part of the images of a source: these platforms, that name.
    #[must_use]
    pub fn only(self, platforms: &[OciPlatform], name: Option<&str>) -> CacheKey {
        if platforms.is_empty() && name.is_none() {
            return self;
        }
        let platforms: Vec<String> = platforms.iter().map(ToString::to_string).collect();
        CacheKey::of(&format!("{self}\n{}\n{}\n", platforms.join(" "), name.unwrap_or_default()))
    }

    fn of(text: &str) -> CacheKey {
        CacheKey(Digest::from_bytes(Sha256::digest(text.as_bytes()).into()).hex())
    }
}

impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An image in the cache. It is not evicted while this value, or a clone of it, exists.
#[derive(Clone, Debug)]
pub struct CachedImage {
    /// The hybrid archive.
    pub archive: PathBuf,
    content: Arc<Imported>,
    /// Holds a shared lock on the archive.
    _lock: Arc<File>,
}

#[cfg(test)]
impl CachedImage {
    /// Images that are in no cache.
    pub(crate) fn imagined(archive: impl Into<PathBuf>, images: Vec<Image>) -> std::io::Result<Self> {
        let content = Arc::new(Imported { images, out: Vec::new() });
        Ok(CachedImage { archive: archive.into(), content, _lock: Arc::new(File::open("/dev/null")?) })
    }
}

impl CachedImage {
    /// The images in it; there is at least one. [`accept`](ImageSummary::accept) says whether they are what was asked
    /// for.
    pub fn images(&self) -> &[Image] {
        &self.content.images
    }

    /// Every platform of every image.
    pub fn platforms(&self) -> impl Iterator<Item = &ImageSummary> {
        self.content.images.iter().flat_map(|image| &image.platforms)
    }

    /// All names of all images, in the form people type.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.content.images.iter().flat_map(Image::names)
    }

    /// Takes the image out of its cache: it is not what it was. Those who use it have the file open; the name is all that goes.
    pub(crate) fn remove(&self) {
        let _ = fs::remove_file(self.archive.with_extension("json"));
        let _ = fs::remove_file(&self.archive);
    }

    pub(crate) fn content(&self) -> &Imported {
        &self.content
    }
}

/// The cache of images.
#[derive(Clone, Debug)]
pub struct Cache {
    dir: PathBuf,
    limit: u64,
    cancel: CancellationToken,
    temporary: Arc<dyn TemporaryFiles>,
}

/// The content of `KEY.json`.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    archive_size: u64,
    content: Imported,
}

fn cache_error(what: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
    let what = what.into();
    move |error| match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => crate::write_error(&error, "the cache"),
        _ => Error::new(&codes::CACHE, what)
            .caused_by(&error)
            .remedy(Remedy::command("keep the cache elsewhere", "export XDG_CACHE_HOME=/some/where")),
    }
}

fn not_own(dir: &Path, uid: u32, shared: &Shared) -> Error {
    let text = format!("the cache {} is not yours alone", dir.display());
    let error = Error::new(&codes::CACHE_SHARED, text);
    let elsewhere = Remedy::command("keep the cache elsewhere", "export XDG_CACHE_HOME=/some/where");
    match shared {
        Shared::Owned(path, owner) => {
            let why = format!(
                "{} belongs to the user with the number {owner}, and nixoci runs as {uid}",
                path.display()
            );
            let error = error.because(why);
            match uid {
                0 => error.remedy(Remedy::command("use root's own home directory", "sudo -H nixoci ...")),
                _ => error,
            }
        }
        Shared::Open(path) => error
            .because(format!("others may write to {}", path.display()))
            .remedy(Remedy::command("take that away", shell!("chmod go-w {}", path))),
    }
    .remedy(elsewhere)
}

impl Cache {
    /// Opens a cache, which lives in one directory of its own: `$XDG_CACHE_HOME/nixoci/images`.
    ///
    /// # Errors
    /// [`codes::CACHE_SHARED`]: what is in it is trusted, and written to without a further look. [`codes::CACHE`].
    pub fn open(dir: PathBuf) -> Result<Cache> {
        let uid = rustix::process::geteuid().as_raw();
        let shared = file::shared(&dir, uid);
        if let Some(shared) = shared.map_err(cache_error(format!("{} cannot be looked at", dir.display())))? {
            return Err(not_own(&dir, uid, &shared));
        }
        let make = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir.join("links"));
        make.map_err(cache_error(format!("the cache {} cannot be made", dir.display())))?;
        let (cancel, temporary) = (CancellationToken::new(), Arc::new(Unguarded));
        Ok(Cache { dir, limit: DEFAULT_LIMIT, cancel, temporary })
    }

    /// Keeps at most this many bytes. What is in use, and what a link points to, is kept in any case.
    #[must_use]
    pub fn with_limit(mut self, bytes: u64) -> Self {
        self.limit = bytes;
        self
    }

    /// Stops waiting for other processes when this fires.
    #[must_use]
    pub fn cancelled_by(mut self, cancel: CancellationToken) -> Self {
        self.cancel = cancel;
        self
    }

    /// Has archives in the making removed when nixoci is killed.
    #[must_use]
    pub fn guarded_by(mut self, temporary: Arc<dyn TemporaryFiles>) -> Self {
        self.temporary = temporary;
        self
    }

    fn file(&self, key: &CacheKey, suffix: &str) -> PathBuf {
        self.dir.join(format!("{key}.{suffix}"))
    }

    /// The image of this key, if it is here. Finding it counts as using it.
    pub fn lookup(&self, key: &CacheKey) -> Result<Option<CachedImage>> {
        let archive = self.file(key, "tar");
        let Some(lock) = lock::shared(&archive).map_err(cache_error("the cache cannot be read"))? else {
            return Ok(None);
        };
        let record = self.file(key, "json");
        // A record that does not parse is one of another version, or damaged: as good as none.
        let Some(content) =
            fs::read(&record).ok().and_then(|text| serde_json::from_slice::<Record>(&text).ok())
        else {
            return Ok(None);
        };
        if lock.metadata().map_or(0, |metadata| metadata.len()) != content.archive_size {
            return Ok(None);
        }
        // Only the order of eviction hangs on this.
        let _ = File::open(&record).and_then(|file| file.set_modified(SystemTime::now()));
        Ok(Some(CachedImage { archive, content: Arc::new(content.content), _lock: Arc::new(lock) }))
    }

    /// The image whose archive is at this path, if that is one of the cache's, as what `./result` points to is.
    ///
    /// # Errors
    /// The cache cannot be read.
    pub fn at(&self, archive: &Path) -> Result<Option<CachedImage>> {
        let Ok(path) = fs::canonicalize(archive) else { return Ok(None) };
        let here = fs::canonicalize(&self.dir).ok();
        let (Some(name), true) =
            (path.file_stem().and_then(|name| name.to_str()), path.parent() == here.as_deref())
        else {
            return Ok(None);
        };
        self.lookup(&CacheKey(name.to_owned()))
    }

    /// The image of this key; `make` writes it if it is not here. Of several processes that want the same image
    /// one makes it, and the others wait. If `make` fails, nothing is left behind.
    pub fn fill(
        &self,
        key: &CacheKey,
        make: impl FnOnce(&mut File) -> Result<Imported>,
    ) -> Result<CachedImage> {
        let part = self.file(key, "part");
        let mut file = lock::exclusive(&part, &self.cancel)?;
        // Only now: as long as another process has the lock, the file is that process's.
        let _guard = self.temporary.guard(&part);
        let unfinished = lock::RemoveOnDrop(&part);
        if let Some(image) = self.lookup(key)? {
            return Ok(image);
        }
        self.evict();
        // A process that died may have left a beginning.
        file.set_len(0).map_err(cache_error("the cache cannot be written"))?;
        let content = make(&mut file).map_err(|error| self.explain(error))?;
        let size = file.metadata().map_err(cache_error("the cache cannot be read"))?.len();
        let archive = self.file(key, "tar");
        {
            // Nobody may sweep the record before its archive appears, nor evict the archive before it is in use.
            let _guard = self.lock_all()?;
            self.write_record(key, &Record { archive_size: size, content: content.clone() })?;
            fs::rename(&part, &archive).map_err(cache_error("the cache cannot be written"))?;
            unfinished.keep();
            file.unlock()
                .and_then(|()| file.lock_shared())
                .map_err(cache_error("the cache cannot be locked"))?;
        }
        let image = CachedImage { archive, content: Arc::new(content), _lock: Arc::new(file) };
        self.evict();
        Ok(image)
    }

    /// One image for several platforms, made of images that are in the cache.
    ///
    /// # Errors
    /// [`codes::CANNOT_MERGE`], and those of the cache.
    pub fn merge(
        &self,
        key: &CacheKey,
        parts: &[&CachedImage],
        writing: &Writing<'_>,
    ) -> Result<CachedImage> {
        match self.lookup(key)? {
            Some(image) => Ok(image),
            None => self.fill(key, |file| merge_cached(parts, writing, file)),
        }
    }

    /// A full disk is only of use with the directory that is on it.
    fn explain(&self, error: Error) -> Error {
        if !error.is(&codes::DISK_FULL) {
            return error;
        }
        let room = "keep images on another disk";
        error
            .because(format!("images are kept in {}", self.dir.display()))
            .remedy(Remedy::command(room, "export XDG_CACHE_HOME=/path/with/room"))
    }

    fn write_record(&self, key: &CacheKey, record: &Record) -> Result<()> {
        let text = serde_json::to_vec(record).unwrap_or_default();
        let (part, path) = (self.file(key, "json.part"), self.file(key, "json"));
        let written = lock::own(&part).and_then(|mut file| {
            file.set_len(0)?;
            file.write_all(&text)
        });
        written.and_then(|()| fs::rename(&part, &path)).map_err(cache_error("the cache cannot be written"))
    }

    /// Locks the cache as a whole, for moments only.
    fn lock_all(&self) -> Result<File> {
        lock::exclusive(&self.dir.join("lock"), &self.cancel)
    }

    /// Makes `link` a symbolic link to the archive, atomically, and keeps the archive while the link is there and
    /// points to it. An older link is replaced; anything else is not.
    pub fn link(&self, image: &CachedImage, link: &Path) -> Result<()> {
        let _guard = self.lock_all()?;
        links::make(&self.dir, &image.archive, link)
    }
}

#[cfg(test)]
mod tests;
