//! What a directory holds already.

use std::path::{Path, PathBuf};

use nixoci_core::config::repository;
use nixoci_core::request::{Attribute, Installable};

pub(super) const FLAKE: &str = "flake.nix";
pub(super) const FILE: &str = "default.nix";

/// What a directory holds of Nix, and where nixoci.toml belongs.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Project {
    pub(super) root: PathBuf,
    pub(super) kind: Kind,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Empty,
    Flake,
    File,
}

impl Project {
    /// The directory's own expression; else the flake above it in the same repository, which Nix would find, too.
    pub(super) fn find(dir: &Path) -> Project {
        let has = |dir: &Path, name| dir.join(name).is_file();
        let here = |kind| Project { root: dir.to_owned(), kind };
        if has(dir, FLAKE) {
            return here(Kind::Flake);
        }
        if has(dir, FILE) {
            return here(Kind::File);
        }
        let repository = repository(dir);
        let inside = |dir: &&Path| repository.is_some_and(|root| dir.starts_with(root));
        match dir.ancestors().take_while(inside).find(|dir| has(dir, FLAKE)) {
            Some(root) => Project { root: root.to_owned(), kind: Kind::Flake },
            None => here(Kind::Empty),
        }
    }

    /// As the rest of nixoci names it.
    pub(super) fn installable(&self) -> Installable {
        match self.kind {
            Kind::File => Installable::File {
                path: self.root.join(FILE),
                attribute: None,
                args: std::collections::BTreeMap::new(),
            },
            _ => Installable::Flake {
                reference: self.root.display().to_string(),
                attribute: Attribute::Name("default".to_owned()),
            },
        }
    }

    /// A name for an image that is made of this directory: what a reference may consist of.
    pub(super) fn image_name(&self) -> String {
        let name = self.root.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let words: Vec<&str> =
            name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
        if words.is_empty() { "app".to_owned() } else { words.join("-") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_nearest_expression_counts_and_nothing_beyond_the_repository() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let below = root.join("repo/src");
        fs::create_dir_all(&below).unwrap();
        fs::write(root.join(FLAKE), "").unwrap();
        let found = |dir: &Path| {
            let project = Project::find(dir);
            (project.root.strip_prefix(root).unwrap().display().to_string(), project.kind)
        };
        assert_eq!(found(&below), ("repo/src".into(), Kind::Empty));
        fs::create_dir(root.join("repo/.git")).unwrap();
        assert_eq!(found(&below), ("repo/src".into(), Kind::Empty));
        fs::write(root.join("repo").join(FLAKE), "").unwrap();
        assert_eq!(found(&below), ("repo".into(), Kind::Flake));
        fs::write(below.join(FILE), "").unwrap();
        assert_eq!(found(&below), ("repo/src".into(), Kind::File));
        fs::write(below.join(FLAKE), "").unwrap();
        assert_eq!(found(&below), ("repo/src".into(), Kind::Flake));
    }

    #[test]
    fn a_directory_s_name_becomes_one_that_images_may_have() {
        let name = |path: &str| Project { root: path.into(), kind: Kind::Empty }.image_name();
        assert_eq!(name("/home/u/My App_2"), "my-app-2");
        assert_eq!(name("/tmp/tmp.Xy"), "tmp-xy");
        assert_eq!(name("/"), "app");
        assert_eq!(name("/Ä"), "app");
    }
}
