//! The article's way for sources: Multipass mounts the project's directory. Slower than sending files, and with more that can
//! be in the way, so what is mounted is looked at before every build.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nixoci_core::backend::Cx;
use nixoci_core::runner::{Command, output};
use nixoci_core::text::hex;
use nixoci_core::{Error, Remedy, Result, ResultExt};
use nixoci_nix::guest::codes::SOURCES;
use nixoci_nix::guest::sources::Tree;
use nixoci_nix::guest::{HOME, Seen};
use sha2::{Digest, Sha256};

use crate::driver::Owners;
use crate::error::MOUNT;
use crate::machine::Machine;

/// So many entries of a directory are asked for their owners.
const ASKED: usize = 1000;

/// Has the guest see these directories.
///
/// # Errors
/// [`MOUNT`], [`crate::error::NO_MOUNTS`]; a directory that cannot be written.
pub(crate) async fn mount(cx: &Cx<'_>, machine: &Machine<'_>, trees: &[Tree]) -> Result<Vec<Seen>> {
    let name = &machine.settings.instance;
    let mut seen = Vec::new();
    let mounted = machine.multipass.info(cx, name).await?.mounts;
    for tree in trees {
        let hash = Sha256::digest(tree.root.as_os_str().as_encoded_bytes());
        let at = format!("{HOME}/mounts/{}", hex(&hash[..8]));
        let is_there = mounted.get(&at).is_some_and(|from| Path::new(from) == tree.root);
        if !is_there {
            machine.multipass.mount(cx, name, &tree.root, &at, &owners(&tree.root)).await?;
        }
        if !shows(cx, machine, &tree.root, &at).await? {
            // One that was lost when the machine started comes back like this.
            let _ = machine.multipass.umount(cx, name, &at).await;
            machine.multipass.mount(cx, name, &tree.root, &at, &owners(&tree.root)).await?;
            if !shows(cx, machine, &tree.root, &at).await? {
                return Err(empty(name, &tree.root));
            }
        }
        seen.push(Seen { from: PathBuf::from(at), at: tree.root.clone() });
    }
    Ok(seen)
}

/// Whether a file that is written here is seen there.
async fn shows(cx: &Cx<'_>, machine: &Machine<'_>, root: &Path, at: &str) -> Result<bool> {
    let word = format!("{:016x}", RandomState::new().hash_one(std::process::id()));
    let name = format!(".nixoci-{word}");
    let path = root.join(&name);
    let _guard = cx.temporary.guard(&path);
    let written = std::fs::File::create_new(&path).and_then(|mut file| file.write_all(word.as_bytes()));
    written.or_error(&SOURCES, || {
        format!("{} cannot be written to, to see whether it is mounted", root.display())
    })?;
    let command = Command::new("cat").arg(format!("{at}/{name}"));
    let answer = output(&machine.guest(cx), &command, cx.cancel).await;
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

fn empty(name: &str, root: &Path) -> Error {
    Error::new(
        &MOUNT,
        format!("the virtual machine {name} does not see {} through its mount", root.display()),
    )
    .because("a file that was written here is not to be seen there")
    .remedy(Remedy::lines(
        "let nixoci send the files, which needs no permission, in nixoci.toml",
        "[backend.multipass]\nsources = \"stream\"",
    ))
    .remedy(Remedy::advice(
        "or give Multipass's daemon Full Disk Access: System Settings, Privacy & Security, Full Disk Access, \
             /Library/Application Support/com.canonical.multipass/bin/multipassd",
    ))
}
