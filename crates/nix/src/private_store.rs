//! The store in nixoci's cache that machines build into: how much it holds, and letting go of it.
//!
//! It is a chroot store, `DIR/nix/store`. What is in it is only needed while a build uses it, and so that a second build need not
//! fetch it again.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use nixoci_core::Result;
use nixoci_core::backend::Cx;
use nixoci_core::runner::output;

use crate::cli;
use crate::driver::Nix;

/// Where it is.
pub fn dir(cache: &Path) -> PathBuf {
    cache.join("store")
}

/// The bytes it holds; 0 where it was never needed.
pub fn size(cache: &Path) -> u64 {
    fn of(path: &Path) -> u64 {
        let Ok(metadata) = path.symlink_metadata() else { return 0 };
        if !metadata.is_dir() {
            return metadata.len();
        }
        let Ok(entries) = fs::read_dir(path) else { return 0 };
        entries.filter_map(|entry| Some(of(&entry.ok()?.path()))).sum()
    }
    of(&dir(cache).join("nix/store"))
}

/// A lock that many may hold, as long as they use the store: nothing holds there what machines have just sent back.
pub(crate) fn used(cache: &Path) -> std::io::Result<File> {
    let file = lock(cache)?;
    file.lock_shared()?;
    Ok(file)
}

fn lock(cache: &Path) -> std::io::Result<File> {
    fs::create_dir_all(cache)?;
    File::options().create(true).append(true).open(cache.join("store.lock"))
}

/// Deletes what is in it; the bytes that are free then. Nothing, while somebody uses it.
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
    let command = cli::collect(&nix, &dir(&cx.dirs.cache));
    let answer = output(cx.runner, &command, cx.cancel).await?;
    if !answer.exit.success() {
        return Err(nix.failed(cx, &answer, "the store of remote builds could not be emptied"));
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
        let store = dir(cache.path()).join("nix/store/a-b/c");
        fs::create_dir_all(&store).unwrap();
        fs::write(store.join("file"), vec![0; 1000]).unwrap();
        fs::write(dir(cache.path()).join("nix/store/x"), vec![0; 10]).unwrap();
        assert_eq!(size(cache.path()), 1010);
    }
}
