//! Finding nixoci.toml.

use std::path::{Path, PathBuf};

/// The name of the project's configuration file.
pub const FILE_NAME: &str = "nixoci.toml";

/// Directories that mark the root of a repository: configuration above it belongs to something else.
const VCS: &[&str] = &[".git", ".hg", ".jj", ".sl", ".svn"];

/// The nearest nixoci.toml in `dir` or above it, not beyond the root of the repository.
pub fn discover(dir: &Path) -> Option<PathBuf> {
    for ancestor in dir.ancestors() {
        let file = ancestor.join(FILE_NAME);
        if file.is_file() {
            return Some(file);
        }
        if is_repository(ancestor) {
            return None;
        }
    }
    None
}

/// The root of the repository that `dir` is in.
pub fn repository(dir: &Path) -> Option<&Path> {
    dir.ancestors().find(|dir| is_repository(dir))
}

fn is_repository(dir: &Path) -> bool {
    // `.git` is a file in worktrees and submodules.
    VCS.iter().any(|marker| dir.join(marker).exists())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_search_stops_at_the_root_of_the_repository() {
        let root = tempfile::tempdir().unwrap();
        let inner = root.path().join("repo/a/b");
        fs::create_dir_all(&inner).unwrap();
        fs::create_dir(root.path().join("repo/.git")).unwrap();
        fs::write(root.path().join(FILE_NAME), "").unwrap();
        assert_eq!(discover(&inner), None);
        let file = root.path().join("repo").join(FILE_NAME);
        fs::write(&file, "").unwrap();
        assert_eq!(discover(&inner), Some(file));
    }
}
