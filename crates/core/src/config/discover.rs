//! Finding nixoci.toml.

use std::path::{Path, PathBuf};

/// The name of the project's configuration file.
pub const FILE_NAME: &str = "nixoci.toml";

/// Directories that mark the root of a repository: configuration above it belongs to something else.
const VCS: &[&str] = &[".git", ".hg", ".jj", ".sl", ".svn"];

/// The nearest nixoci.toml in `dir` or above it: not beyond the root of the repository, and outside of one not beyond `home`.
/// Elsewhere, as in /tmp, the directories above are other people's: only `dir` itself is looked at.
pub fn discover(dir: &Path, home: Option<&Path>) -> Option<PathBuf> {
    let last = repository(dir).or_else(|| home.filter(|home| dir.starts_with(home))).unwrap_or(dir);
    let searched = dir.ancestors().take_while(|ancestor| ancestor.starts_with(last));
    searched.map(|ancestor| ancestor.join(FILE_NAME)).find(|file| file.is_file())
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
        assert_eq!(discover(&inner, None), None);
        assert_eq!(discover(&inner, Some(root.path())), None);
        let file = root.path().join("repo").join(FILE_NAME);
        fs::write(&file, "").unwrap();
        assert_eq!(discover(&inner, None), Some(file));
    }

    #[test]
    fn outside_of_a_repository_the_search_stops_at_the_home_directory() {
        let root = tempfile::tempdir().unwrap();
        let (home, inner) = (root.path().join("home"), root.path().join("home/a/b"));
        fs::create_dir_all(&inner).unwrap();
        let above = root.path().join(FILE_NAME);
        fs::write(&above, "").unwrap();
        assert_eq!(discover(&inner, Some(&home)), None);
        assert_eq!(discover(&inner, None), None);
        let own = home.join(FILE_NAME);
        fs::write(&own, "").unwrap();
        assert_eq!(discover(&inner, Some(&home)), Some(own));
        // The directory itself is the user's choice.
        assert_eq!(discover(root.path(), Some(&home)), Some(above));
    }
}
