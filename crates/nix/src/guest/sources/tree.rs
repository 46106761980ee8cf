//! A directory as a guest is to have it: names, kinds and contents, by which it is known.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nixoci_core::text::hex;
use nixoci_core::{Result, ResultExt};
use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::guest::codes::SOURCES;

/// A path within a tree, as bytes: names need not be text.
pub(super) type Name = Vec<u8>;

/// A directory of this host's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// Where it is on this host.
    pub root: PathBuf,
    /// Where a guest sees it: at the same place, as a rule.
    pub at: PathBuf,
    /// What is in it, directories among it.
    pub(super) entries: BTreeMap<Name, Entry>,
    /// When it was last modified, in seconds since 1970, as Nix is to see it.
    pub(super) time: u64,
    /// For a repository with changes that are not committed.
    pub(super) history: Option<Box<History>>,
}

/// One thing in a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Directory,
    Link { target: Vec<u8> },
    File { executable: bool, content: ContentId, size: u64, from: From },
}

/// Where the bytes of a file are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// At its path below the root.
    Disk,
    /// In the repository, under this name.
    Blob(String),
}

/// What a file holds, named as its repository names blobs: with Git's header, in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct ContentId(pub(super) String);

/// What a repository with uncommitted changes has beyond its files, as far as Nix looks at it: the commit that it is based on,
/// and what is staged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct History {
    /// How objects are named.
    pub(super) format: Format,
    /// The last commit, if there is one.
    pub(super) head: Option<Commit>,
    /// What the index has that the commit has not, as lines of `git update-index --index-info`, each with a NUL behind.
    pub(super) staged: Vec<u8>,
}

/// A commit, and the files it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Commit {
    pub(super) id: String,
    pub(super) tree_id: String,
    /// As Git keeps it.
    pub(super) bytes: Vec<u8>,
    pub(super) tree: Tree,
    /// Submodules, as lines of `git update-index --index-info`.
    pub(super) modules: Vec<u8>,
}

/// How a repository names its objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Sha1,
    Sha256,
}

impl Format {
    pub(super) fn name(self) -> &'static str {
        match self {
            Format::Sha1 => "sha1",
            Format::Sha256 => "sha256",
        }
    }

    /// The name of a blob.
    pub(super) fn blob(self, size: u64, content: &mut dyn Read) -> std::io::Result<ContentId> {
        match self {
            Format::Sha1 => hash::<Sha1>(size, content),
            Format::Sha256 => hash::<Sha256>(size, content),
        }
    }
}

fn hash<D: Digest>(size: u64, content: &mut dyn Read) -> std::io::Result<ContentId> {
    let mut hasher = D::new();
    hasher.update(format!("blob {size}\0"));
    let mut buffer = vec![0; 64 << 10];
    let mut left = size;
    loop {
        let count = content.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        left = left.checked_sub(count as u64).ok_or_else(changed)?;
        hasher.update(&buffer[..count]);
    }
    if left > 0 { Err(changed()) } else { Ok(ContentId(hex(&hasher.finalize()))) }
}

fn changed() -> std::io::Error {
    std::io::Error::other("it was changed while it was read")
}

pub(super) fn path_of(name: &[u8]) -> PathBuf {
    PathBuf::from(std::ffi::OsString::from_vec(name.to_vec()))
}

pub(super) fn name_of(path: &Path) -> Name {
    path.as_os_str().as_bytes().to_vec()
}

impl Tree {
    pub(super) fn empty(root: PathBuf, time: u64) -> Tree {
        Tree { at: root.clone(), root, entries: BTreeMap::new(), time, history: None }
    }

    /// Puts something in, and the directories that it is in.
    pub(super) fn put(&mut self, name: Name, entry: Entry) {
        let mut end = name.len();
        while let Some(slash) = name[..end].iter().rposition(|byte| *byte == b'/') {
            end = slash;
            if self.entries.insert(name[..end].to_vec(), Entry::Directory) == Some(Entry::Directory) {
                break;
            }
        }
        self.entries.insert(name, entry);
    }

    /// Puts in what lies on the disk under this name: a file or a link. What is gone, or is neither, is left out.
    pub(super) fn put_from_disk(&mut self, name: Name, format: Format) -> Result<()> {
        let path = self.root.join(path_of(&name));
        let shown = || format!("{} cannot be read", path.display());
        let Ok(meta) = path.symlink_metadata() else { return Ok(()) };
        let entry = if meta.is_symlink() {
            let target = std::fs::read_link(&path).or_error(&SOURCES, shown)?;
            Entry::Link { target: target.as_os_str().as_bytes().to_vec() }
        } else if meta.is_file() {
            use std::os::unix::fs::PermissionsExt;
            let mut file = nixoci_core::file::open(&path).or_error(&SOURCES, shown)?;
            let size = meta.len();
            let content = format.blob(size, &mut file).or_error(&SOURCES, shown)?;
            let executable = meta.permissions().mode() & 0o100 != 0;
            Entry::File { executable, content, size, from: From::Disk }
        } else {
            return Ok(());
        };
        self.put(name, entry);
        Ok(())
    }

    /// What it is known by: everything that makes a difference to who reads it.
    pub(super) fn id(&self) -> String {
        let mut hasher = Sha256::new();
        hasher.update(format!("tree {}\0", self.time));
        for (name, entry) in &self.entries {
            hasher.update(name);
            hasher.update(b"\0");
            hasher.update(entry.kind());
            hasher.update(b"\0");
        }
        if let Some(history) = &self.history {
            hasher.update(history.head.as_ref().map_or("", |head| &head.id));
            hasher.update(&history.staged);
        }
        hex(&hasher.finalize()[..16])
    }

    /// Whether a directory of this host's is in it.
    pub(super) fn holds(&self, dir: &Path) -> bool {
        dir.strip_prefix(&self.root).is_ok_and(|below| {
            below.as_os_str().is_empty() || self.entries.get(&name_of(below)) == Some(&Entry::Directory)
        })
    }

    /// How many files there are, and how many bytes they have.
    pub fn weight(&self) -> (usize, u64) {
        self.entries.values().fold((0, 0), |(files, bytes), entry| match entry {
            Entry::File { size, .. } => (files + 1, bytes + size),
            _ => (files, bytes),
        })
    }
}

impl Entry {
    /// In a text what makes it differ from others.
    pub(super) fn kind(&self) -> Vec<u8> {
        match self {
            Entry::Directory => b"d".to_vec(),
            Entry::Link { target } => [b"l", target.as_slice()].concat(),
            Entry::File { executable, content, .. } => {
                format!("{}{}", if *executable { 'x' } else { 'f' }, content.0).into_bytes()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_named_as_git_names_it() {
        let id = |format: Format| format.blob(6, &mut b"hello\n".as_slice()).unwrap().0;
        assert_eq!(id(Format::Sha1), "ce013625030ba8dba906f756967f9e9ca394464a");
        assert_eq!(id(Format::Sha256), "2cf8d83d9ee29543b34a87727421fdecb7e3f3a183d337639025de576db9ebb4");
        assert!(Format::Sha1.blob(5, &mut b"hello\n".as_slice()).is_err());
        assert!(Format::Sha1.blob(7, &mut b"hello\n".as_slice()).is_err());
    }

    #[test]
    fn a_tree_is_known_by_everything_that_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("a")).unwrap();
        std::fs::write(dir.path().join("a/f"), "1").unwrap();
        std::os::unix::fs::symlink("f", dir.path().join("a/l")).unwrap();
        let tree = |time| {
            let mut tree = Tree::empty(dir.path().to_owned(), time);
            for name in ["a/f", "a/l", "a/gone"] {
                tree.put_from_disk(name.into(), Format::Sha1).unwrap();
            }
            tree
        };
        let one = tree(1);
        let names: Vec<_> = one.entries.keys().map(|name| String::from_utf8_lossy(name)).collect();
        assert_eq!(names, ["a", "a/f", "a/l"]);
        assert_eq!(one.weight(), (1, 1));
        assert_ne!(one.id(), tree(2).id());
        std::fs::write(dir.path().join("a/f"), "2").unwrap();
        assert_ne!(one.id(), tree(1).id());
    }
}
