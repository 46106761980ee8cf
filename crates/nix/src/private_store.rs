//! The stores in nixoci's cache that machines build into: how much they hold, and letting go of them.
//!
//! Each is a chroot store, `DIR/nix/store`. Its content is only needed while a build uses it, and so that a second build need
//! not fetch it again. The paths that a machine sends back carry no signature: every set of machines has a
//! store of its own, so that what one project's machines have made does not become a part of another project's image.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use nixoci_core::Result;
use nixoci_core::backend::Cx;
use nixoci_core::runner::output;
use sha2::{Digest as _, Sha256};

use crate::cli;
use crate::driver::Nix;
use crate::machines::Machine;

/// How much of a set's hash names its store: the paths in it count towards a limit of the system (sun_path).
const NAME: usize = 16;

/// Where all of them are.
pub fn dirs(cache: &Path) -> PathBuf {
    cache.join("stores")
}

/// The store of a set of machines: as long as they are the same to ssh, it is the same.
pub(crate) fn dir(cache: &Path, machines: &[Machine]) -> PathBuf {
    let identity = |machine: &Machine| {
        let key = machine.host_key.as_deref().unwrap_or_default();
        let address = machine.address.as_deref().unwrap_or_default();
        format!("{}\0{:?}\0{key}\0{address}\n", machine.store_uri(), machine.port())
    };
    let mut set: Vec<String> = machines.iter().map(identity).collect();
    set.sort_unstable();
    set.dedup();
    let hash = nixoci_core::text::hex(&Sha256::digest(set.concat()));
    dirs(cache).join(&hash[..NAME])
}

fn all(cache: &Path) -> Vec<PathBuf> {
    let found = fs::read_dir(dirs(cache)).into_iter().flatten().flatten().map(|entry| entry.path());
    // Before there was one for each set, there was one.
    found.chain([cache.join("store")]).filter(|dir| dir.join("nix/store").is_dir()).collect()
}

/// The bytes they hold; 0 where none was ever needed.
pub fn size(cache: &Path) -> u64 {
    all(cache).iter().map(|dir| held(dir)).sum()
}

fn held(store: &Path) -> u64 {
    fn of(path: &Path) -> u64 {
        let Ok(metadata) = path.symlink_metadata() else { return 0 };
        if !metadata.is_dir() {
            return metadata.len();
        }
        let Ok(entries) = fs::read_dir(path) else { return 0 };
        entries.filter_map(|entry| Some(of(&entry.ok()?.path()))).sum()
    }
    of(&store.join("nix/store"))
}

/// A lock that many may hold, as long as they use a store: nothing holds there what machines have just sent back.
pub(crate) fn used(cache: &Path) -> std::io::Result<File> {
    let file = lock(cache)?;
    file.lock_shared()?;
    Ok(file)
}

fn lock(cache: &Path) -> std::io::Result<File> {
    fs::create_dir_all(cache)?;
    File::options().create(true).append(true).open(cache.join("store.lock"))
}

/// Deletes what is in them; the bytes that are free then. Nothing, while somebody uses one.
///
/// # Errors
/// As [`Nix::discover`]; what keeps Nix from collecting.
pub async fn collect(cx: &Cx<'_>) -> Result<u64> {
    let before = size(&cx.dirs.cache);
    let alone = lock(&cx.dirs.cache).ok().filter(|file| file.try_lock().is_ok());
    if before == 0 || alone.is_none() {
        return Ok(0);
    }
    let nix = Nix::discover(cx).await?;
    for dir in all(&cx.dirs.cache) {
        let command = cli::collect(&nix, &dir);
        let answer = output(cx.runner, &command, cx.cancel).await?;
        if !answer.exit.success() {
            return Err(nix.failed(cx, &answer, "a store of remote builds could not be emptied"));
        }
    }
    Ok(before.saturating_sub(size(&cx.dirs.cache)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_weighs_what_its_files_weigh() {
        let cache = tempfile::tempdir().unwrap();
        assert_eq!(size(cache.path()), 0);
        for (place, length) in
            [("stores/one/nix/store/a-b/c", 1000), ("stores/two/nix/store", 10), ("store/nix/store", 1)]
        {
            let dir = cache.path().join(place);
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join("file"), vec![0; length]).unwrap();
        }
        assert_eq!(size(cache.path()), 1011);
    }

    #[test]
    fn every_set_of_machines_has_its_own() {
        let machine =
            |uri: &str, key: Option<&str>| Machine { host_key: key.map(str::to_owned), ..Machine::at(uri) };
        let (bee, ant) = (machine("ssh-ng://bee", None), machine("ssh://me@ant:22", None));
        let of = |machines: &[&Machine]| {
            let machines: Vec<Machine> = machines.iter().map(|machine| (*machine).clone()).collect();
            dir(Path::new("/c"), &machines)
        };
        assert_eq!(of(&[&bee, &ant]), of(&[&ant, &bee]));
        let pinned = machine("ssh-ng://bee", Some("ssh-ed25519 AAAA"));
        let other = machine("ssh-ng://bee:2222", None);
        let sets = [of(&[&bee]), of(&[&ant]), of(&[&bee, &ant]), of(&[&pinned]), of(&[&other])];
        let distinct: std::collections::HashSet<_> = sets.iter().collect();
        assert_eq!(distinct.len(), sets.len());
    }
}
