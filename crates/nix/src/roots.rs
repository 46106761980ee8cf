//! Garbage collector roots that keep what was built while nixoci reads it.
//!
//! A root is the link that `nix build --out-link` makes, in a directory of its own below nixoci's cache. When
//! nixoci is killed, the watchdog removes the link; what is left even so is swept once it is a day old.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use nixoci_core::artifact::ArtifactId;
use nixoci_core::backend::Cx;
use nixoci_core::runner::{Command, output};
use nixoci_core::{Error, Result, ResultExt};

use crate::codes::ROOT;
use crate::guest;
use crate::place::Place;

/// Roots that were not released yet, each known to the watchdog.
#[derive(Default)]
pub(crate) struct Held(Mutex<HashMap<ArtifactId, Guard>>);

/// What keeps a root known to the watchdog.
pub(crate) type Guard = Box<dyn Send + Sync>;

impl Held {
    pub(crate) fn keep(&self, id: ArtifactId, guard: Guard) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id, guard);
    }

    pub(crate) fn forget(&self, id: &ArtifactId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").finish_non_exhaustive()
    }
}

const STALE: Duration = Duration::from_secs(24 * 60 * 60);

/// Where roots are in a guest.
fn in_guest() -> PathBuf {
    Path::new(guest::HOME).join("roots")
}

/// A path for a root in this place's store that nobody else uses, and what keeps it known to the watchdog.
pub(crate) async fn begin(cx: &Cx<'_>, place: &Place) -> Result<(PathBuf, Guard)> {
    if let Place::Guest(_) = place {
        let time = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos();
        // What a killed nixoci leaves in a guest goes after a day: no watchdog reaches it.
        return Ok((in_guest().join(format!("{time}-{}", std::process::id())), Box::new(())));
    }
    let root = new_root(&cx.dirs.cache).await?;
    let guard = cx.temporary.guard(&root);
    Ok((root, guard))
}

/// Removes a root of this place's store. One that is gone already is fine.
pub(crate) async fn end(cx: &Cx<'_>, place: &Place, id: &ArtifactId) -> Result<()> {
    let Place::Guest(_) = place else { return release(&cx.dirs.cache, id).await };
    let path = Path::new(&id.0);
    if path.parent() != Some(&in_guest()) {
        return Err(Error::new(&ROOT, format!("{} is not a root of this backend", path.display())));
    }
    let script = r#"rm -f -- "$2"; find "$1" -type l -mtime +0 -delete"#;
    let command = Command::new("sh").args(["-c", script, "nixoci"]).arg(in_guest()).arg(path);
    output(cx.runner, &command, cx.cancel).await.map(drop)
}

/// A path for a root that nobody else uses.
async fn new_root(cache: &Path) -> Result<PathBuf> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let dir = cache.join("roots");
    tokio::fs::create_dir_all(&dir).await.or_error(&ROOT, || format!("{} cannot be made", dir.display()))?;
    sweep(&dir).await;
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    Ok(dir.join(format!("{}-{number}", std::process::id())))
}

/// Removes a root. One that is gone already is fine.
async fn release(cache: &Path, id: &ArtifactId) -> Result<()> {
    let path = Path::new(&id.0);
    // An artifact's id comes from outside once backends are plugins: only our own directory is touched.
    if path.parent() != Some(&cache.join("roots")) {
        return Err(Error::new(&ROOT, format!("{} is not a root of this backend", path.display())));
    }
    match tokio::fs::remove_file(path).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::new(&ROOT, format!("{} cannot be removed", path.display())).caused_by(&error))
        }
        _ => Ok(()),
    }
}

/// Best effort: a root that stays too long costs disk space, nothing else.
async fn sweep(dir: &Path) {
    let Ok(mut entries) = tokio::fs::read_dir(dir).await else { return };
    while let Ok(Some(entry)) = entries.next_entry().await {
        let age = async { entry.path().symlink_metadata().ok()?.modified().ok()?.elapsed().ok() };
        if age.await.is_some_and(|age| age > STALE) {
            let _ = tokio::fs::remove_file(entry.path()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_own_roots_are_removed_and_twice_is_fine() {
        let cache = tempfile::tempdir().unwrap();
        let root = new_root(cache.path()).await.unwrap();
        assert_ne!(root, new_root(cache.path()).await.unwrap());
        std::os::unix::fs::symlink("/nonexistent", &root).unwrap();
        let id = ArtifactId(root.to_string_lossy().into_owned());
        release(cache.path(), &id).await.unwrap();
        assert!(root.symlink_metadata().is_err());
        release(cache.path(), &id).await.unwrap();
        let stranger = cache.path().join("keep");
        std::fs::write(&stranger, "").unwrap();
        let escape = ArtifactId(format!("{}/roots/../keep", cache.path().display()));
        assert!(release(cache.path(), &escape).await.is_err());
        assert!(stranger.exists());
    }
}
