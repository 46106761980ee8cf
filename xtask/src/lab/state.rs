//! The state of one checkout's lab: where everything that a running lab writes lies, and how to tell whether it runs.
//!
//! A lab is up while its guard holds `guard.lock`. The state is made new on every start: nothing of an earlier lab, also of
//! one that was killed, is believed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::cache::{Cache, recipe};
use super::parts::Parts;
use crate::{sh, workspace};

/// A lab's directory.
#[derive(Debug, Clone)]
pub(crate) struct State {
    dir: PathBuf,
}

/// What a lab is made of: a lab that runs with another one is started anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Spec {
    pub(crate) parts: Parts,
    pub(crate) checkout: PathBuf,
    /// Directories outside the checkout that hosts see at their own path: what `lab produce` made, and
    /// cargo's target directory and git's where they lie elsewhere.
    pub(crate) shared: Vec<PathBuf>,
    /// Which build of this program made it.
    pub(crate) program: String,
}

impl State {
    pub(crate) fn of(cache: &Cache) -> Result<Self> {
        let hash = recipe(&[workspace().as_os_str().as_encoded_bytes()]);
        let dir = cache.path(&format!("labs/{hash}"));
        fs::create_dir_all(&dir)?;
        Ok(Self { dir })
    }

    pub(crate) fn at(dir: PathBuf) -> Self {
        Self { dir }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// What names this lab wherever a name is global: control groups, the kernel's binary formats.
    pub(crate) fn id(&self) -> String {
        self.dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Files that live as long as the lab; everything in here is made new on start.
    pub(crate) fn live(&self, name: &str) -> PathBuf {
        self.dir.join("live").join(name)
    }

    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.dir.join("logs").join(format!("{name}.log"))
    }

    /// The guard's lock: held means up (or coming up, or going down).
    pub(crate) fn guard_lock(&self) -> Result<Option<File>> {
        let file = open(&self.path("guard.lock"))?;
        Ok(flock(&file, FlockOperation::NonBlockingLockExclusive).ok().map(|()| file))
    }

    /// A lease: while anybody holds one, the lab stays up. The kernel ends it with its holder.
    pub(crate) fn lease(&self) -> Result<File> {
        let file = open(&self.path("lease.lock"))?;
        flock(&file, FlockOperation::LockShared)?;
        Ok(file)
    }

    /// If nobody holds a lease: what keeps everybody from getting one, for as long as it lives.
    pub(crate) fn no_more_leases(&self) -> Result<Option<File>> {
        let file = open(&self.path("lease.lock"))?;
        Ok(flock(&file, FlockOperation::NonBlockingLockExclusive).ok().map(|()| file))
    }

    /// Held by whoever starts or stops the lab.
    pub(crate) fn change_lock(&self) -> Result<File> {
        let file = open(&self.path("change.lock"))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            sh::say("  waiting for another run that starts or stops this checkout's lab");
            flock(&file, FlockOperation::LockExclusive)?;
        }
        Ok(file)
    }

    pub(crate) fn is_up(&self) -> Result<bool> {
        Ok(self.guard_lock()?.is_none() && self.live("ready").exists())
    }

    pub(crate) fn spec(&self) -> Result<Spec> {
        let text = fs::read(self.path("spec.json"))
            .context("the lab has no spec: start it with `cargo xtask lab up`")?;
        Ok(serde_json::from_slice(&text)?)
    }

    pub(crate) fn write_spec(&self, spec: &Spec) -> Result<()> {
        fs::write(self.path("spec.json"), serde_json::to_vec_pretty(spec)?)?;
        Ok(())
    }

    /// A number that some process of the lab left in a file.
    pub(crate) fn pid(&self, name: &str) -> Result<i32> {
        let path = self.live(name);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        text.trim().parse().with_context(|| format!("{} holds no process id", path.display()))
    }
}

fn open(path: &Path) -> Result<File> {
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .with_context(|| format!("cannot open {}", path.display()))
}
