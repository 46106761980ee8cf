//! The directory of nixoci's own builder: everything that belongs to it, and the locks that keep two nixocis from each other.
//!
//! - `lock`: held by whoever changes something here;
//! - `use`: shared by everybody who builds; the keeper takes it alone before it stops an idle builder;
//! - `keeper`: held by the keeper for as long as the virtual machine runs, with its number in it.
//!
//! All are `flock`s: the kernel gives them back however their holder ends.

use std::fs::{DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nixoci_core::backend::Cx;
use nixoci_core::{Error, Result, ResultExt, codes as core_codes};
use nixoci_nix::keeper::{Keeper, lock_file};
use nixoci_nix::patience;

/// How long somebody who only looks may hold a lock.
const PAUSE: Duration = Duration::from_millis(100);
/// What it is called in nixoci's state directory.
const NAME: &str = "linux-builder";

/// Where everything is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dir(PathBuf);

impl Dir {
    pub(crate) fn of(cx: &Cx<'_>) -> Dir {
        Dir(cx.dirs.state.join(NAME))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The private key that opens the builder, which nobody else gets to see.
    pub(crate) fn key(&self) -> PathBuf {
        self.0.join("builder_ed25519")
    }

    /// Its public half.
    pub(crate) fn public_key(&self) -> PathBuf {
        self.0.join("builder_ed25519.pub")
    }

    /// A directory with the public half alone: a copy of it goes into the store, and is shared with the guest.
    pub(crate) fn authorized(&self) -> PathBuf {
        self.0.join("authorized-keys")
    }

    /// The link to that copy.
    pub(crate) fn keys(&self) -> PathBuf {
        self.0.join("keys")
    }

    /// The link to the virtual machine's program.
    pub(crate) fn program(&self) -> PathBuf {
        self.0.join("program")
    }

    /// The program itself.
    pub(crate) fn run(&self) -> PathBuf {
        self.program().join("bin/run-nixos-vm")
    }

    /// Where the virtual machine runs, and has its disk.
    pub(crate) fn vm(&self) -> PathBuf {
        self.0.join("vm")
    }

    pub(crate) fn disk(&self) -> PathBuf {
        self.vm().join("nixos.qcow2")
    }

    /// What the virtual machine's console said.
    pub(crate) fn log(&self) -> PathBuf {
        self.0.join("log")
    }

    pub(crate) fn known_hosts(&self) -> PathBuf {
        self.0.join("known_hosts")
    }

    /// How much its disk takes, in words, if there is one. An image has holes: its length says nothing.
    pub(crate) fn disk_size(&self) -> Option<String> {
        let disk = std::fs::metadata(self.disk()).ok()?;
        Some(nixoci_core::text::bytes(disk.blocks() * 512))
    }

    pub(crate) fn exists(&self) -> bool {
        self.0.is_dir()
    }

    /// Makes it, for its owner alone.
    pub(crate) fn make(&self) -> Result<()> {
        let make = || {
            let mut parents = DirBuilder::new();
            parents.recursive(true).create(self.0.parent().unwrap_or(&self.0))?;
            match DirBuilder::new().mode(0o700).create(&self.0) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
                _ => Ok(()),
            }
        };
        make().or_error(&core_codes::PROCESS, || format!("{} cannot be made", self.0.display()))
    }

    /// Keeps every other nixoci from changing anything here. It makes the directory.
    pub(crate) async fn lock(&self, cx: &Cx<'_>) -> Result<File> {
        let path = self.0.join("lock");
        loop {
            let file = patiently(cx, self, &path, File::try_lock).await?;
            // Whoever held it before us may have removed it.
            let ours = file.metadata().map(|meta| meta.ino());
            if ours.is_ok_and(|ours| std::fs::metadata(&path).is_ok_and(|there| there.ino() == ours)) {
                return Ok(file);
            }
        }
    }

    /// Says that somebody builds, for as long as the file is open. Waits for a keeper that is stopping the builder.
    pub(crate) async fn in_use(&self, cx: &Cx<'_>) -> Result<File> {
        patiently(cx, self, &self.used(), File::try_lock_shared).await
    }

    /// Whether somebody builds.
    pub(crate) fn is_used(&self) -> bool {
        // The keeper looks, too, for a moment at a time.
        let locked = || {
            lock_file(&self.used()).is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
        };
        locked() && {
            std::thread::sleep(PAUSE / 2);
            locked()
        }
    }

    pub(crate) fn used(&self) -> PathBuf {
        self.0.join("use")
    }

    pub(crate) fn keeper_lock(&self) -> PathBuf {
        self.0.join("keeper")
    }

    /// The keeper, if one is there.
    pub(crate) fn keeper(&self) -> Option<Option<Keeper>> {
        Keeper::of(&self.keeper_lock())
    }

    /// What of it is there, in words, for whoever removes it.
    pub(crate) fn contents(&self) -> Vec<String> {
        let mut words = Vec::new();
        if let Some(size) = self.disk_size() {
            words.push(format!(
                "the disk of nixoci's Linux builder, with what was built there: {} ({size})",
                self.disk().display()
            ));
        }
        if self.key().exists() {
            words.push(format!("its keys: {}", self.key().display()));
        }
        if let Ok(program) = std::fs::read_link(self.program()) {
            words.push(format!(
                "the link to its program, which Nix's garbage collector may take then: {}",
                program.display()
            ));
        }
        if self.exists() {
            words.push(format!("the rest of {}: its console's log, its locks", self.0.display()));
        }
        words
    }

    /// Removes it. The caller has the lock.
    pub(crate) fn remove(&self) -> Result<()> {
        match std::fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::new(&core_codes::PROCESS, format!("{} cannot be removed", self.0.display()))
                    .caused_by(&error))
            }
            _ => Ok(()),
        }
    }
}

/// Tries a lock until it is there, or until the work is to stop.
async fn patiently(
    cx: &Cx<'_>,
    dir: &Dir,
    path: &Path,
    lock: fn(&File) -> std::result::Result<(), TryLockError>,
) -> Result<File> {
    let open = || {
        // Somebody may remove it while we wait.
        dir.make()?;
        lock_file(path).or_error(&core_codes::PROCESS, || format!("{} cannot be locked", path.display()))
    };
    patience::patiently(cx, open, lock, "waiting for another nixoci that starts or stops the Linux builder")
        .await
}

#[cfg(test)]
mod tests {
    use nixoci_testkit::World;

    use super::*;

    fn world() -> (World, Dir) {
        let world = World::without_processes("aarch64-darwin").unwrap();
        let dir = Dir::of(&world.cx());
        dir.make().unwrap();
        (world, dir)
    }

    #[tokio::test]
    async fn nobody_stops_what_is_used_and_nobody_uses_what_is_being_stopped() {
        let (world, dir) = world();
        assert!(!dir.is_used());
        let first = dir.in_use(&world.cx()).await.unwrap();
        let second = dir.in_use(&world.cx()).await.unwrap();
        drop(first);
        assert!(dir.is_used());
        drop(second);
        let stopping = lock_file(&dir.used()).unwrap();
        stopping.try_lock().unwrap();
        let cx = world.cx();
        let waiting = dir.in_use(&cx);
        // In this order: it has tried, and waits, when the lock is freed.
        let (used, ()) = tokio::join!(biased; waiting, async { drop(stopping) });
        assert!(used.is_ok() && dir.is_used());
    }

    #[tokio::test]
    async fn whoever_waited_for_what_was_removed_meanwhile_makes_it_anew() {
        let (world, dir) = world();
        let lock = dir.lock(&world.cx()).await.unwrap();
        let cx = world.cx();
        let remove = async {
            dir.remove().unwrap();
            assert!(!dir.exists());
            drop(lock);
        };
        let (second, ()) = tokio::join!(biased; dir.lock(&cx), remove);
        assert!(second.is_ok() && dir.exists());
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(dir.path()).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn what_is_there_is_listed() {
        let (_world, dir) = world();
        std::fs::write(dir.key(), "secret").unwrap();
        std::fs::create_dir(dir.vm()).unwrap();
        std::fs::write(dir.disk(), [1; 9000]).unwrap();
        let words = dir.contents().join("\n");
        assert!(words.contains("nixos.qcow2 (") && words.contains("builder_ed25519"), "{words}");
        dir.remove().unwrap();
        dir.remove().unwrap();
        assert!(dir.contents().is_empty());
    }
}
