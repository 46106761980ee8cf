//! `sources = "mount"`: Multipass mounts the project's directory in the virtual machine.
//!
//! A mount belongs to one build. It is read-only in the virtual machine, and is removed when the build ends. Multipass remembers its mounts
//! across restarts, so those of a nixoci that was killed are removed by the next one: each mount has a file of its name on this host, which its
//! nixoci keeps locked. Only mounts with such a file are looked at: others belong to a nixoci with another state directory.

use std::collections::BTreeSet;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nixoci_core::backend::Cx;
use nixoci_core::runner::{Command, output};
use nixoci_core::text::hex;
use nixoci_core::{Error, Remedy, Result, ResultExt, codes as core_codes, release, shell};
use nixoci_nix::guest::codes::SOURCES;
use nixoci_nix::guest::{HOME, Seen};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use crate::driver::{Owners, State};
use crate::error::MOUNT;
use crate::machine::Machine;
use crate::receipt::dir;

/// As long may Multipass take to remove a mount.
const PATIENCE: Duration = Duration::from_secs(30);
/// The owners of so many entries of a directory are mapped.
const ASKED: usize = 1000;

/// A directory of this host that the virtual machine sees, until [`Mount::remove`].
#[derive(Debug)]
pub(crate) struct Mount {
    at: String,
    seen: Seen,
    lock: PathBuf,
    /// Locked for as long as the mount is in use.
    _locked: File,
}

impl Mount {
    /// Mounts a directory, and checks that the virtual machine sees it.
    ///
    /// # Errors
    /// [`MOUNT`], [`crate::error::NO_MOUNTS`]; a directory that cannot be written.
    pub(crate) async fn new(cx: &Cx<'_>, machine: &Machine<'_>, root: &Path) -> Result<Mount> {
        let name = &machine.settings.instance;
        sweep(cx, machine).await?;
        let mount = Mount::claim(cx, name, root)?;
        let made = machine.multipass.mount(cx, name, root, &mount.at, &owners(root)).await;
        let writable = match made {
            Ok(()) => read_only(cx, machine, &mount.at).await,
            Err(error) => Err(error),
        };
        let usable = match writable {
            Ok(()) => shows(cx, machine, root, &mount.at).await,
            Err(error) => Err(error),
        };
        match usable {
            Ok(true) => Ok(mount),
            Ok(false) => {
                mount.remove(cx, machine).await;
                Err(empty(name, root))
            }
            Err(error) => {
                mount.remove(cx, machine).await;
                Err(error)
            }
        }
    }

    /// A place of its own in the virtual machine, and the lock on this host that says that it is in use.
    fn claim(cx: &Cx<'_>, instance: &str, root: &Path) -> Result<Mount> {
        let hash = Sha256::digest(root.as_os_str().as_encoded_bytes());
        let random = RandomState::new().hash_one(std::process::id());
        let name = format!("{}-{random:016x}", hex(&hash[..8]));
        let (at, locks) = (format!("{HOME}/mounts/{name}"), locks(cx, instance));
        let lock = locks.join(&name);
        // It is locked before others see it.
        let claim = || {
            std::fs::create_dir_all(&locks)?;
            let new = locks.join(format!(".{name}"));
            let file = File::create_new(&new)?;
            file.lock()?;
            std::fs::rename(new, &lock)?;
            Ok::<_, std::io::Error>(file)
        };
        let locked =
            claim().or_error(&core_codes::PROCESS, || format!("{} cannot be written", lock.display()))?;
        let seen = Seen { from: PathBuf::from(&at), at: root.to_owned() };
        Ok(Mount { at, seen, lock, _locked: locked })
    }

    /// The directory that a command in the virtual machine sees through it.
    pub(crate) fn seen(&self) -> Seen {
        self.seen.clone()
    }

    /// Removes the mount, also after a cancellation. A failure is a warning: the build has its result, and the lock's file has a later build
    /// try again.
    pub(crate) async fn remove(self, cx: &Cx<'_>, machine: &Machine<'_>) {
        let never = CancellationToken::new();
        let own = Cx { cancel: &never, ..*cx };
        let gone = tokio::select! {
            gone = tokio::time::timeout(PATIENCE, unmount(&own, machine, &self.at)) => gone.unwrap_or(false),
            () = release::overdue(cx) => false,
        };
        if gone {
            let _ = std::fs::remove_file(&self.lock);
        }
    }
}

/// The mount of one build. The build may be stopped at any await, so its caller keeps this, and removes it.
#[derive(Debug, Default)]
pub(crate) struct Mounted(Mutex<Option<Mount>>);

impl Mounted {
    pub(crate) fn keep(&self, mount: Mount) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(mount);
    }

    pub(crate) async fn remove(self, cx: &Cx<'_>, machine: &Machine<'_>) {
        let mount = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(mount) = mount {
            mount.remove(cx, machine).await;
        }
    }
}

/// Removes what a nixoci with these files left mounted when it was killed.
///
/// # Errors
/// Multipass's own, when it is asked for the mounts.
pub(crate) async fn sweep(cx: &Cx<'_>, machine: &Machine<'_>) -> Result<()> {
    let instance = &machine.settings.instance;
    let left = left(&locks(cx, instance));
    if left.is_empty() {
        return Ok(());
    }
    let mounted = machine.multipass.info(cx, instance).await?.mounts;
    for (lock, _locked) in left {
        let name = lock.file_name().unwrap_or_default().to_string_lossy();
        let at = format!("{HOME}/mounts/{name}");
        if !mounted.contains_key(&at) || unmount(cx, machine, &at).await {
            let _ = std::fs::remove_file(&lock);
        }
    }
    Ok(())
}

/// The files of locks that nobody holds, which are held meanwhile.
fn left(locks: &Path) -> Vec<(PathBuf, File)> {
    let free = |path: PathBuf| {
        let is_whole = path.file_name().is_some_and(|name| !name.as_encoded_bytes().starts_with(b"."));
        let file = File::open(&path).ok().filter(|_| is_whole)?;
        file.try_lock().is_ok().then_some((path, file))
    };
    let entries = std::fs::read_dir(locks).into_iter().flatten().flatten();
    entries.filter_map(|entry| free(entry.path())).collect()
}

/// Whether a nixoci may have left something mounted.
pub(crate) fn may_be_left(cx: &Cx<'_>, instance: &str) -> bool {
    std::fs::read_dir(locks(cx, instance)).is_ok_and(|mut locks| locks.next().is_some())
}

/// Locks of the mounts that are in use, and of those that were left.
fn locks(cx: &Cx<'_>, instance: &str) -> PathBuf {
    dir(cx, instance).join("mounts")
}

/// Whether the mount is gone then.
async fn unmount(cx: &Cx<'_>, machine: &Machine<'_>, at: &str) -> bool {
    let name = &machine.settings.instance;
    if let Err(error) = machine.multipass.umount(cx, name, at).await {
        let still = machine.multipass.info(cx, name).await.map(|info| info.mounts.contains_key(at));
        if matches!(still, Ok(false)) {
            return true;
        }
        let text = format!("the project's directory stays mounted in the virtual machine {name}: {error}");
        let remedy = Remedy::command("unmount it", shell!("multipass umount {}", format!("{name}:{at}")));
        cx.observer.warn(text, vec![remedy]);
        return false;
    }
    // A command would start a machine that was switched off meanwhile.
    if matches!(machine.state(cx).await, Ok(Some(State::Running))) {
        let command = Command::new("sudo").args(["-n", "rmdir", "--", at]);
        if let Ok(guest) = machine.guest(cx).await {
            let _ = output(&guest, &command, cx.cancel).await;
        }
    }
    true
}

/// Makes the mount read-only: Multipass has no option for that.
async fn read_only(cx: &Cx<'_>, machine: &Machine<'_>, at: &str) -> Result<()> {
    let command = Command::new("sudo").args(["-n", "mount", "-o", "remount,bind,ro", at]);
    let answer = output(&machine.guest(cx).await?, &command, cx.cancel).await?;
    if answer.exit.success() {
        return Ok(());
    }
    let text = format!("{at} in the virtual machine {} cannot be made read-only", machine.settings.instance);
    Err(Error::new(&MOUNT, text).because(answer.stderr_text().trim()).remedy(stream()))
}

/// Whether a file that is written here is seen there.
async fn shows(cx: &Cx<'_>, machine: &Machine<'_>, root: &Path, at: &str) -> Result<bool> {
    let word = format!("{:016x}", RandomState::new().hash_one(std::process::id()));
    let name = format!(".nixoci-{word}");
    let path = root.join(&name);
    let _guard = cx.temporary.guard(&path);
    let written = File::create_new(&path).and_then(|mut file| file.write_all(word.as_bytes()));
    written.or_error(&SOURCES, || {
        format!("{} cannot be written to, to see whether it is mounted", root.display())
    })?;
    let command = Command::new("cat").arg(format!("{at}/{name}"));
    let answer = output(&machine.guest(cx).await?, &command, cx.cancel).await;
    let _ = std::fs::remove_file(&path);
    Ok(answer?.stdout_text() == word)
}

/// The owners of a directory and of what is in it: a file whose owner is not mapped cannot be read.
fn owners(root: &Path) -> Owners {
    let (mut uids, mut gids) = (Vec::new(), Vec::new());
    let (mut others, mut groups) = (BTreeSet::new(), BTreeSet::new());
    if let Ok(meta) = root.metadata() {
        (uids, gids) = (vec![meta.uid()], vec![meta.gid()]);
    }
    for entry in std::fs::read_dir(root).into_iter().flatten().flatten().take(ASKED) {
        if let Ok(meta) = entry.metadata() {
            others.insert(meta.uid());
            groups.insert(meta.gid());
        }
    }
    uids.extend(others.into_iter().filter(|id| uids.first() != Some(id)).collect::<Vec<_>>());
    gids.extend(groups.into_iter().filter(|id| gids.first() != Some(id)).collect::<Vec<_>>());
    Owners { uids, gids }
}

fn stream() -> Remedy {
    Remedy::lines(
        "let nixoci send the files, which needs no permission, in nixoci.toml",
        "[backend.multipass]\nsources = \"stream\"",
    )
}

fn empty(name: &str, root: &Path) -> Error {
    Error::new(
        &MOUNT,
        format!("the virtual machine {name} does not see {} through its mount", root.display()),
    )
    .because("a file that was written here is not to be seen there")
    .remedy(stream())
    .remedy(Remedy::advice(
        "or give Multipass's daemon Full Disk Access: System Settings, Privacy & Security, Full Disk Access, \
             /Library/Application Support/com.canonical.multipass/bin/multipassd",
    ))
}
