//! A directory as it lies on the disk, with everything in it.

use std::path::Path;
use std::time::UNIX_EPOCH;

use nixoci_core::{Error, Remedy, Result, ResultExt};

use super::tree::{Entry, Format, Name, Tree, name_of, path_of};
use crate::guest::codes::{SOURCES, TOO_MUCH};

/// More than this is no project that somebody meant.
pub(super) const MOST_BYTES: u64 = 4 << 30;
const MOST_ENTRIES: usize = 500_000;

/// All of a directory. Its time is that of whatever was modified last, as Nix has it for `path:`.
pub(super) fn all(root: &Path) -> Result<Tree> {
    let mut tree = Tree::empty(root.to_owned(), modified(root));
    put_all(&mut tree, b"", Format::Sha1)?;
    Ok(tree)
}

/// Puts a directory with everything below it in.
pub(super) fn put_all(tree: &mut Tree, below: &[u8], format: Format) -> Result<()> {
    let below = path_of(below.strip_suffix(b"/").unwrap_or(below));
    let mut waiting = vec![below];
    let mut bytes = tree.weight().1;
    while let Some(dir) = waiting.pop() {
        let path = tree.root.join(&dir);
        let entries =
            std::fs::read_dir(&path).or_error(&SOURCES, || format!("{} cannot be read", path.display()))?;
        for entry in entries {
            let entry = entry.or_error(&SOURCES, || format!("{} cannot be read", path.display()))?;
            let name: Name = name_of(&dir.join(entry.file_name()));
            let kind =
                entry.file_type().or_error(&SOURCES, || format!("{} cannot be read", path.display()))?;
            tree.time = tree.time.max(modified(&entry.path()));
            if kind.is_dir() {
                tree.put(name.clone(), Entry::Directory);
                waiting.push(path_of(&name));
            } else {
                tree.put_from_disk(name.clone(), format)?;
                if let Some(Entry::File { size, .. }) = tree.entries.get(&name) {
                    bytes += size;
                }
            }
            if bytes > MOST_BYTES || tree.entries.len() > MOST_ENTRIES {
                return Err(too_much(&tree.root));
            }
        }
    }
    Ok(())
}

fn modified(path: &Path) -> u64 {
    let time = path.symlink_metadata().and_then(|meta| meta.modified());
    time.ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).map_or(0, |time| time.as_secs())
}

/// Everything would be sent, and that is not what anybody wants.
pub(super) fn too_much(root: &Path) -> Error {
    let text = format!("{} is too much to be sent to the virtual machine", root.display());
    let error = Error::new(&TOO_MUCH, text);
    if root.join(".git").exists() {
        return error
            .because(format!(
                "of a repository up to {} GiB and {MOST_ENTRIES} files are sent",
                MOST_BYTES >> 30
            ))
            .remedy(Remedy::command(
                "see what is big; what no build needs can be taken out of the repository",
                "git ls-files -z | xargs -0 du -k | sort -n | tail",
            ))
            .remedy(Remedy::lines(
                "or send nothing, and have the directory mounted, in nixoci.toml",
                "[backend.multipass]\nsources = \"mount\"",
            ));
    }
    error
        .because(format!(
            "all of a directory that is no Git repository is sent, up to {} GiB and {MOST_ENTRIES} files",
            MOST_BYTES >> 30
        ))
        .remedy(Remedy::command("make it a repository: then what it tracks is sent", "git init && git add ."))
        .remedy(Remedy::advice("or keep the project in a directory of its own"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_told_to_make_a_repository_of_one() {
        let dir = tempfile::tempdir().unwrap();
        let told = || format!("{:?}", too_much(dir.path()).report());
        assert!(told().contains("git init") && told().contains("no Git repository"));
        std::fs::create_dir(dir.path().join(".git")).unwrap();
        assert!(!told().contains("git init") && told().contains("sources = \\\"mount"), "{}", told());
    }
}
