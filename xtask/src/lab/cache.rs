//! The cache outside the checkout: what is expensive to make and never changes once it is made.
//!
//! An entry's name carries the hash of its recipe, and an entry appears by rename when it is complete. So an entry that
//! exists is right, a changed recipe makes a new one, and a run that dies leaves nothing that looks finished.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, flock};
use sha2::{Digest, Sha256};

use crate::sh;

/// Set by people (and CI) who want the cache elsewhere.
const VARIABLE: &str = "NIXOCI_LAB_CACHE";

#[derive(Debug, Clone)]
pub(crate) struct Cache {
    root: PathBuf,
}

/// A lock that the kernel gives back when its holder dies.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Cache {
    pub(crate) fn open() -> Result<Self> {
        let root = if let Some(root) = set("NIXOCI_LAB_CACHE") {
            root
        } else if let Some(root) = set("XDG_CACHE_HOME") {
            root.join("nixoci-lab")
        } else {
            let home = set("HOME").with_context(|| format!("neither {VARIABLE} nor HOME is set"))?;
            home.join(".cache/nixoci-lab")
        };
        fs::create_dir_all(&root).with_context(|| format!("cannot make {}", root.display()))?;
        let root = root.canonicalize()?;
        Ok(Self { root })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The entry `name`, made by `make` in a directory of its own if it is not there yet.
    pub(crate) fn entry(&self, name: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        let path = self.path(name);
        if path.exists() {
            return Ok(path);
        }
        let _lock = self.lock(&format!("locks/{}", name.replace('/', "-")))?;
        if path.exists() {
            return Ok(path);
        }
        let unfinished = self.path(&format!("unfinished/{}", name.replace('/', "-")));
        remove_all(&unfinished)?;
        fs::create_dir_all(&unfinished)?;
        make(&unfinished)?;
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::rename(&unfinished, &path).with_context(|| format!("cannot put {} in place", path.display()))?;
        Ok(path)
    }

    /// Waits for the lock `name`, and says so if it has to.
    pub(crate) fn lock(&self, name: &str) -> Result<Lock> {
        let file = self.lock_file(name)?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            sh::say(format!("  waiting for another run that holds {name}"));
            flock(&file, FlockOperation::LockExclusive)?;
        }
        Ok(Lock { _file: file })
    }

    /// The lock `name`, if nobody holds it in a way that excludes us.
    pub(crate) fn try_lock(&self, name: &str, shared: bool) -> Result<Option<Lock>> {
        let file = self.lock_file(name)?;
        let how = if shared {
            FlockOperation::NonBlockingLockShared
        } else {
            FlockOperation::NonBlockingLockExclusive
        };
        Ok(flock(&file, how).ok().map(|()| Lock { _file: file }))
    }

    fn lock_file(&self, name: &str) -> Result<File> {
        let path = self.path(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))
    }
}

/// A short name for a recipe: the same parts give the same name.
pub(crate) fn recipe(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    sh::hex(&hash.finalize()[..6])
}

pub(crate) fn remove_all(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

fn set(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from)
}
