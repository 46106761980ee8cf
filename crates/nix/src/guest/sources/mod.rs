//! What Nix in a guest has to see of this host: the project, and local inputs.
//!
//! A flake in a Git repository is what Git tracks, as it lies there; with `?ref=` or `?rev=`, the files of that commit. A clean one is named to the guest's Nix as
//! `path:DIR?rev=…&revCount=…&lastModified=…`, which gives it the same attributes and the same derivations as `git+file:` has here; one with
//! uncommitted changes is sent as the files that are tracked, with a `.git` that is made in the guest, has this one commit, and
//! says the same of it as the one here. Both were compared with Nix 2.26 and 2.34.

mod archive;
mod git;
mod inputs;
mod quoted;
mod send;
mod tree;
mod walk;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nixoci_core::backend::Cx;
use nixoci_core::request::{BuildRequest, Installable};
use nixoci_core::{Error, Result, ResultExt, codes as core_codes};
use sha2::{Digest, Sha256};

pub use send::{Sent, send};
pub use tree::Tree;

use crate::reference::{Local, canonical_reference};
use git::{Repository, Revision};
use tree::{Entry, From};

/// What of a project is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// What a flake sees; of a file's directory what Git does not ignore.
    #[default]
    Seen,
    /// Everything that is there, ignored or not.
    All,
    /// The guest mounts the project's directory, which is not sent. Of the inputs outside of it, everything is sent.
    Mounted,
}

impl Scope {
    /// For inputs that are directories of this host.
    fn of_inputs(self) -> Scope {
        if self == Scope::Mounted { Scope::All } else { self }
    }
}

/// What has to be sent for a build, and what the guest's Nix calls it.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Directories of this host.
    pub trees: Vec<Tree>,
    /// The project's directory, with [`Scope::Mounted`].
    pub mount: Option<PathBuf>,
    /// References of flakes: as they are here, and as they are there, where that differs.
    pub references: BTreeMap<String, String>,
    /// Files that are reached by symbolic links here.
    pub files: BTreeMap<PathBuf, PathBuf>,
}

impl Sources {
    /// What a build needs.
    ///
    /// # Errors
    /// [`crate::guest::codes`]; a directory that does not exist.
    pub async fn of(cx: &Cx<'_>, request: &BuildRequest, scope: Scope) -> Result<Sources> {
        let here = std::env::current_dir()
            .or_error(&core_codes::PROCESS, || "the current directory is not known")?;
        let mut sources = Sources::default();
        match &request.installable {
            Installable::Flake { reference, .. } => {
                let reference = canonical_reference(reference, &here)?;
                let overridden: Vec<&str> =
                    request.flags.override_inputs.iter().map(|(name, _)| name.as_str()).collect();
                sources.flake(cx, &reference, &reference, scope, &overridden).await?;
            }
            Installable::File { path, .. } => sources.file(cx, &here.join(path), scope).await?,
            _ => {}
        }
        for (_, reference) in &request.flags.override_inputs {
            let canonical = canonical_reference(reference, &here)?;
            let before = sources.trees.len();
            sources.flake(cx, reference, &canonical, scope.of_inputs(), &[]).await?;
            if scope == Scope::Seen {
                sources.part(before, reference, &canonical);
            }
            if canonical != *reference {
                sources.references.entry(reference.clone()).or_insert(canonical);
            }
        }
        Ok(sources)
    }

    /// All of one directory.
    ///
    /// # Errors
    /// As [`Sources::of`].
    pub fn directory(dir: &Path) -> Result<Sources> {
        Ok(Sources { trees: vec![walk::all(dir)?], ..Sources::default() })
    }

    /// A directory within another tree, or around one, has no place there: what is read-only gets no directories, and whoever reads
    /// the outer one is not to see the inner one. So what somebody names has a place of its own, under which Nix is told of it.
    fn part(&mut self, before: usize, named: &str, canonical: &str) {
        let (others, new) = self.trees.split_at_mut(before);
        let Some(tree) = new.first_mut() else { return };
        let overlaps =
            |other: &Tree| other.root.starts_with(&tree.root) || tree.root.starts_with(&other.root);
        if !others.iter().any(overlaps) {
            return;
        }
        let hash = nixoci_core::text::hex(&Sha256::digest(tree.root.as_os_str().as_encoded_bytes())[..8]);
        tree.at = Path::new(crate::guest::HOME).join("inputs").join(hash);
        let reference = self.references.get(named).map_or(canonical, String::as_str);
        let moved = Local::of(reference).and_then(|local| {
            let below = local.path.strip_prefix(&tree.root).ok()?;
            Some(local.at(&tree.at.components().chain(below.components()).collect::<PathBuf>()))
        });
        if let Some(moved) = moved {
            self.references.insert(named.to_owned(), moved);
        }
    }

    fn add(&mut self, tree: Tree) -> Result<()> {
        if tree.weight().1 > walk::MOST_BYTES {
            return Err(walk::too_much(&tree.root));
        }
        if !self.trees.iter().any(|there| there.root == tree.root) {
            self.trees.push(tree);
        }
        Ok(())
    }

    /// A flake that Nix is told of as `named`, and is at `reference`. One that is not on this host needs nothing.
    async fn flake(
        &mut self,
        cx: &Cx<'_>,
        named: &str,
        reference: &str,
        scope: Scope,
        overridden: &[&str],
    ) -> Result<()> {
        let Some(local) = Local::of(reference) else { return Ok(()) };
        let is_path = local.scheme.starts_with("path:");
        let dir = if local.scheme.is_empty() { with_flake(&local.path) } else { local.path.clone() };
        let repository = repository_of(&dir).filter(|_| !is_path);
        let root = repository.clone().unwrap_or_else(|| dir.clone());
        match repository {
            // With the whole repository, Git and Nix do there what they do here.
            Some(root) if scope != Scope::Seen => self.whole(cx, &root, scope)?,
            Some(root) => self.repository(cx, named, &root, &dir, &local).await?,
            None => self.whole(cx, &dir, scope)?,
        }
        let below = local.parameter("dir").map_or(dir.clone(), |below| dir.join(below));
        for input in inputs::local(&below, &root, overridden)? {
            if self.mount.as_ref().is_some_and(|mount| input.starts_with(mount)) {
                continue;
            }
            match self.trees.iter().find(|tree| input.starts_with(&tree.root)) {
                Some(tree) if scope == Scope::Seen && !tree.holds(&input) => {
                    return Err(inputs::left_out(&input, &tree.root));
                }
                Some(_) => {}
                None => self.whole(cx, &input, scope.of_inputs())?,
            }
        }
        Ok(())
    }

    /// Adds all of a directory that can be a project.
    fn whole(&mut self, cx: &Cx<'_>, dir: &Path, scope: Scope) -> Result<()> {
        if scope == Scope::Mounted {
            self.mount = Some(dir.to_owned());
            return Ok(());
        }
        let home = cx.host.home.as_ref().and_then(|home| home.canonicalize().ok());
        if dir == Path::new("/") || Some(dir) == home.as_deref() {
            return Err(walk::too_much(dir));
        }
        self.add(walk::all(dir)?)
    }

    async fn repository(
        &mut self,
        cx: &Cx<'_>,
        named: &str,
        root: &Path,
        dir: &Path,
        local: &Local<'_>,
    ) -> Result<()> {
        let repository = Repository::at(cx, root).await?;
        let asked = |key: &str| local.parameter(key);
        let switch = |key: &str| matches!(asked(key), Some("1" | "true"));
        let name = asked("rev").or(asked("ref"));
        let revision = match name {
            Some(name) => Some(repository.revision(cx, name).await?.ok_or_else(|| no_commit(root, name))?),
            None if repository.is_clean(cx, switch("submodules")).await? => {
                repository.revision(cx, "HEAD").await?
            }
            None => None,
        };
        let mut tree = match (&revision, name) {
            (Some(revision), Some(_)) => repository.committed(cx, revision).await?,
            (Some(revision), None) => repository.tracked(cx, revision.time).await?,
            (None, _) => repository.changed(cx).await?,
        };
        if switch("submodules") {
            if revision.is_none() {
                cx.observer.warn(
                    "the repository has changes that are not committed, and its submodules come along: `self.dirtyRev` is not known there",
                    Vec::new(),
                );
                tree.history = None;
            }
            submodules(cx, &repository, &mut tree, b"").await?;
        }
        if switch("lfs") {
            smudged(&mut tree, repository.format())?;
        }
        // Without a repository there, its Nix is told what this one knows of it.
        if tree.history.is_none() {
            self.call(named, root, dir, local, revision.as_ref());
        }
        self.add(tree)
    }

    /// Has the guest's Nix see a directory with what is known of its repository.
    fn call(&mut self, named: &str, root: &Path, dir: &Path, local: &Local<'_>, revision: Option<&Revision>) {
        let mut query = Vec::new();
        let below =
            dir.strip_prefix(root).unwrap_or(Path::new("")).join(local.parameter("dir").unwrap_or(""));
        if !below.as_os_str().is_empty() {
            query.push(format!("dir={}", crate::reference::percent_encode(&below.to_string_lossy())));
        }
        if let Some(Revision { id, count, time }) = revision {
            query.push(format!("rev={id}"));
            query.extend(count.map(|count| format!("revCount={count}")));
            query.push(format!("lastModified={time}"));
        }
        let separator = if query.is_empty() { "" } else { "?" };
        let root = crate::reference::percent_encode(&root.to_string_lossy());
        self.references.insert(named.to_owned(), format!("path:{root}{separator}{}", query.join("&")));
    }

    async fn file(&mut self, cx: &Cx<'_>, file: &Path, scope: Scope) -> Result<()> {
        let is_dir = file.is_dir();
        let dir = if is_dir { file } else { file.parent().unwrap_or(file) };
        // What does not exist is told where it is looked for.
        let Ok(real) = dir.canonicalize() else { return Ok(()) };
        let there = if is_dir { real.clone() } else { real.join(file.file_name().unwrap_or_default()) };
        if there != file {
            self.files.insert(file.to_owned(), there);
        }
        match repository_of(&real) {
            Some(root) if scope == Scope::Seen => {
                self.add(Repository::at(cx, &root).await?.present(cx).await?)
            }
            Some(root) => self.whole(cx, &root, scope),
            None => self.whole(cx, &real, scope),
        }
    }
}

/// The directory with the flake: this one or one above it, but not above the repository's.
fn with_flake(dir: &Path) -> PathBuf {
    let root = repository_of(dir);
    let up = dir.ancestors().take_while(|dir| root.as_ref().is_none_or(|root| dir.starts_with(root)));
    up.into_iter().find(|dir| dir.join("flake.nix").exists()).unwrap_or(dir).to_owned()
}

fn repository_of(dir: &Path) -> Option<PathBuf> {
    dir.ancestors().find(|dir| dir.join(".git").exists()).map(Path::to_owned)
}

fn no_commit(root: &Path, name: &str) -> Error {
    Error::new(&crate::guest::codes::GIT, format!("{} has no commit {name}", root.display()))
        .remedy(nixoci_core::Remedy::command("see which there are", "git log --oneline --all"))
}

/// Puts what is in the submodules where they are, and what is in theirs.
async fn submodules(cx: &Cx<'_>, repository: &Repository, tree: &mut Tree, below: &[u8]) -> Result<()> {
    for (name, id) in repository.modules(cx).await? {
        let name = [below, name.as_slice()].concat();
        let root = tree.root.join(tree::path_of(&name));
        if !root.join(".git").exists() {
            let text = format!("the submodule {} is not checked out", root.display());
            return Err(Error::new(&crate::codes::SUBMODULE, text).remedy(nixoci_core::Remedy::command(
                "check it out",
                "git submodule update --init --recursive",
            )));
        }
        let module = Repository::at(cx, &root).await?;
        let revision = module.revision(cx, &id).await?.ok_or_else(|| no_commit(&root, &id))?;
        let inner = module.committed(cx, &revision).await?;
        let below = [name.as_slice(), b"/"].concat();
        for (inner_name, entry) in inner.entries {
            // Its blobs are in a repository of its own: what is checked out stands for them.
            let name = [below.as_slice(), &inner_name].concat();
            match entry {
                Entry::File { .. } => tree.put_from_disk(name, repository.format())?,
                other => tree.put(name, other),
            }
        }
        Box::pin(submodules(cx, &module, tree, &below)).await?;
    }
    Ok(())
}

/// Files that are pointers in the repository are taken as they are checked out.
fn smudged(tree: &mut Tree, format: tree::Format) -> Result<()> {
    const POINTER: u64 = 1024;
    let small: Vec<tree::Name> = tree
        .entries
        .iter()
        .filter(
            |(_, entry)| matches!(entry, Entry::File { size, from: From::Blob(_), .. } if *size < POINTER),
        )
        .map(|(name, _)| name.clone())
        .collect();
    for name in small {
        let path = tree.root.join(tree::path_of(&name));
        if path.metadata().is_ok_and(|meta| meta.len() >= POINTER) {
            tree.put_from_disk(name, format)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(root: &str) -> Tree {
        Tree::empty(root.into(), 1)
    }

    #[test]
    fn what_lies_within_another_tree_is_seen_elsewhere() {
        for (root, named, canonical, wanted) in [
            ("/p/vendor/x", "./vendor/x", "/p/vendor/x", "AT"),
            ("/p/vendor/x", "path:./vendor/x", "path:/p/vendor/x?dir=a", "path:AT?dir=a"),
            ("/p/vendor/x", "./vendor/x/sub", "git+file:///p/vendor/x/sub", "git+file://AT/sub"),
            ("/", "path:..", "path:/", "path:AT"),
        ] {
            let mut sources = Sources { trees: vec![tree("/p"), tree(root)], ..Sources::default() };
            sources.part(1, named, canonical);
            let at = sources.trees[1].at.to_string_lossy().into_owned();
            assert!(at.starts_with("/var/lib/nixoci/inputs/"), "{at}");
            assert_eq!(sources.references[named], wanted.replace("AT", &at), "{named}");
        }
        let mut sources = Sources { trees: vec![tree("/p"), tree("/q")], ..Sources::default() };
        sources.part(1, "../q", "/q");
        assert!(sources.references.is_empty() && sources.trees[1].at == Path::new("/q"));
    }
}
