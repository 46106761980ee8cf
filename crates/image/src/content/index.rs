//! The entries of one layer, remembered by hash.
//!
//! A million entries must fit into a few megabytes, so their names are not kept: questions are always about a
//! known path, and a keyed 64-bit hash answers them. (Keyed, so that nobody can prepare names that collide.)

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use super::capture::Captured;
use super::path::{clean, components, split_last};
use crate::machine::Head;
use crate::tar::{Entry, Kind};

/// How many entries and how many bytes of texts are remembered of a whole image. Honest images stay far below
/// (the largest have a few hundred thousand files); beyond, contents go unchecked and the user is told.
pub(crate) const ENTRY_LIMIT: usize = 1 << 20;
const TEXT_LIMIT: usize = 24 << 20;

/// Programs kept per layer for a look at what is in it: those in directories for programs, and others.
const SAMPLE_PROGRAMS: usize = 16;
const SAMPLE_OTHERS: usize = 4;

/// What is still free of an image's limits, and the key of its hashes.
pub(crate) struct Budget {
    entries: usize,
    text: usize,
    key: RandomState,
    /// Something did not fit.
    pub(crate) exceeded: bool,
}

impl Budget {
    /// The limits of a new image.
    pub(crate) fn new() -> Self {
        Budget { entries: ENTRY_LIMIT, text: TEXT_LIMIT, key: RandomState::new(), exceeded: false }
    }

    fn take(&mut self, text: usize) -> bool {
        if self.entries == 0 || self.text < text {
            self.exceeded = true;
            return false;
        }
        self.entries -= 1;
        self.text -= text;
        true
    }

    /// The key that [`LayerIndex::get`] needs.
    pub(crate) fn key(&self) -> &RandomState {
        &self.key
    }
}

/// What is at a path of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    /// A directory.
    Directory,
    /// A file that may not be executed.
    File,
    /// A file that may be executed.
    Program(Head),
    /// A symbolic link.
    Symlink(Box<[u8]>),
    /// A list of users or groups, which nobody executes.
    List(Box<[u8]>),
    /// Another name of this path.
    HardLink(Box<[u8]>),
    /// A device and the like.
    Other,
}

/// Marks of overlay layers. Source: OCI image specification, `layer.md`, "Whiteouts".
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
enum Slot {
    Directory,
    File,
    Other,
    /// The rest of the number is an index into the nodes.
    Node,
}

/// A remembered entry: hash, and what it is in the two upper bits of the number beside it.
type Row = (u64, u32);
const SLOT_SHIFT: u32 = 30;

/// Names that live beside the entries: what a layer hides of those below.
#[derive(Clone, Copy)]
enum Space {
    Entry,
    /// A directory that the layer has because something in it is listed.
    Implied,
    Whiteout,
    Opaque,
    /// A library, by its name alone, wherever it is.
    Library,
}

/// The entries of one layer.
#[derive(Default)]
pub(crate) struct LayerIndex {
    rows: Vec<Row>,
    nodes: Vec<Node>,
    sample: Vec<(Box<[u8]>, Head)>,
    others: usize,
    /// The directories that are known, until the index is sealed.
    directories: HashSet<u64>,
    sealed: bool,
}

fn hash(key: &RandomState, space: Space, path: &[u8]) -> u64 {
    key.hash_one((space as u8, path))
}

impl LayerIndex {
    /// Remembers an entry, whose path is clean, and what was seen of its content.
    pub(crate) fn add(&mut self, budget: &mut Budget, path: &[u8], entry: &Entry, content: Captured) {
        self.imply(budget, path);
        let (parent, name) = split_last(path);
        if name == OPAQUE {
            return self.push(budget, Space::Opaque, parent, Node::Other);
        }
        if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            let hidden = if parent.is_empty() { hidden.to_vec() } else { [parent, b"/", hidden].concat() };
            return self.push(budget, Space::Whiteout, &hidden, Node::Other);
        }
        let node = match entry.kind {
            Kind::Directory => Node::Directory,
            Kind::Symlink => Node::Symlink(entry.link.as_slice().into()),
            // Checked before: a hard link that leads out never gets here.
            Kind::HardLink => Node::HardLink(clean(&entry.link).unwrap_or_default().into()),
            Kind::File => match content {
                Captured::Program(head) => Node::Program(head),
                Captured::List(text) => Node::List(text),
                Captured::Nothing => Node::File,
            },
            Kind::Other => Node::Other,
        };
        if let Node::Program(head) = &node {
            self.sample(budget, path, head);
        }
        if !matches!(node, Node::Directory) && name.windows(3).any(|part| part == b".so") {
            self.push(budget, Space::Library, name, Node::Other);
        }
        self.push(budget, Space::Entry, path, node);
    }

    /// An archive need not list the directories that its entries lie in. Unpacked, they are there, also in place of what a
    /// lower layer has of that name.
    fn imply(&mut self, budget: &mut Budget, path: &[u8]) {
        let mut parent = split_last(path).0;
        while !parent.is_empty() && self.directories.insert(hash(&budget.key, Space::Implied, parent)) {
            self.push(budget, Space::Implied, parent, Node::Directory);
            parent = split_last(parent).0;
        }
    }

    fn push(&mut self, budget: &mut Budget, space: Space, path: &[u8], node: Node) {
        // What a row says by itself costs nothing more.
        let text = match &node {
            Node::Directory | Node::File | Node::Other => 0,
            Node::Program(Head::Script(text))
            | Node::Symlink(text)
            | Node::HardLink(text)
            | Node::List(text) => size_of::<Node>() + text.len(),
            Node::Program(head) => size_of::<Node>() + head.weight(),
        };
        if !budget.take(text) {
            return;
        }
        let (slot, index) = match node {
            Node::Directory => (Slot::Directory, 0),
            Node::File => (Slot::File, 0),
            Node::Other => (Slot::Other, 0),
            node => {
                self.nodes.push(node);
                // At most ENTRY_LIMIT, which is far below 2^30.
                (Slot::Node, self.nodes.len() as u32 - 1)
            }
        };
        self.rows.push((hash(&budget.key, space, path), (slot as u32) << SLOT_SHIFT | index));
    }

    /// Keeps a few compiled programs by name, those in `bin` and the like before others.
    fn sample(&mut self, budget: &mut Budget, path: &[u8], head: &Head) {
        if head.machine().is_none() {
            return;
        }
        let in_bin = components(split_last(path).0)
            .any(|component| matches!(component, b"bin" | b"sbin" | b"libexec"));
        let room = if in_bin {
            self.sample.len() - self.others < SAMPLE_PROGRAMS
        } else {
            self.others < SAMPLE_OTHERS
        };
        if room && budget.take(path.len() + head.weight()) {
            self.others += usize::from(!in_bin);
            self.sample.push((path.into(), head.clone()));
        }
    }

    /// Makes the index ready for questions.
    pub(crate) fn seal(&mut self) {
        // Stable: of several entries with one name the last stays last, and it is the one that counts.
        self.rows.sort_by_key(|row| row.0);
        self.rows.shrink_to_fit();
        self.directories = HashSet::new();
        self.sealed = true;
    }

    fn row(&self, key: &RandomState, space: Space, path: &[u8]) -> Option<u32> {
        debug_assert!(self.sealed);
        let wanted = hash(key, space, path);
        let end = self.rows.partition_point(|row| row.0 <= wanted);
        self.rows[..end].last().filter(|row| row.0 == wanted).map(|row| row.1)
    }

    /// What is at a clean path.
    pub(crate) fn get(&self, key: &RandomState, path: &[u8]) -> Option<Node> {
        let Some(row) = self.row(key, Space::Entry, path) else {
            return self.row(key, Space::Implied, path).map(|_| Node::Directory);
        };
        Some(match row >> SLOT_SHIFT {
            slot if slot == Slot::Directory as u32 => Node::Directory,
            slot if slot == Slot::File as u32 => Node::File,
            slot if slot == Slot::Node as u32 => self.nodes.get((row & !(3 << SLOT_SHIFT)) as usize)?.clone(),
            _ => Node::Other,
        })
    }

    /// Whether this layer hides what lower layers have at a clean path.
    pub(crate) fn hides(&self, key: &RandomState, path: &[u8]) -> bool {
        let mut ancestor = path;
        loop {
            if self.row(key, Space::Whiteout, ancestor).is_some() {
                return true;
            }
            if ancestor.len() < path.len() {
                let blocks = |node| !matches!(node, Node::Directory);
                if self.row(key, Space::Opaque, ancestor).is_some()
                    || self.get(key, ancestor).is_some_and(blocks)
                {
                    return true;
                }
            }
            if ancestor.is_empty() {
                return false;
            }
            ancestor = split_last(ancestor).0;
        }
    }

    /// Whether a library of this name is anywhere in it.
    pub(crate) fn has_library(&self, key: &RandomState, name: &[u8]) -> bool {
        self.row(key, Space::Library, name).is_some()
    }

    /// Some of the compiled programs.
    pub(crate) fn programs(&self) -> impl Iterator<Item = (&[u8], &Head)> {
        self.sample.iter().map(|(path, head)| (&**path, head))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn entry(kind: Kind, mode: u32, link: &str) -> Entry {
        Entry { kind, name: Vec::new(), link: link.into(), size: 0, mode }
    }

    #[test]
    fn the_last_of_equal_names_counts() {
        let mut budget = Budget::new();
        let mut index = LayerIndex::default();
        index.add(&mut budget, b"a", &entry(Kind::File, 0o644, ""), Captured::Nothing);
        index.add(&mut budget, b"b", &entry(Kind::Directory, 0o755, ""), Captured::Nothing);
        index.add(&mut budget, b"a", &entry(Kind::Symlink, 0o777, "b"), Captured::Nothing);
        index.seal();
        assert_eq!(index.get(budget.key(), b"a"), Some(Node::Symlink((*b"b").into())));
        assert_eq!(index.get(budget.key(), b"c"), None);
    }

    #[test]
    fn whiteouts_hide_what_is_below() {
        let mut budget = Budget::new();
        let mut index = LayerIndex::default();
        index.add(&mut budget, b"etc/.wh.gone", &entry(Kind::File, 0o644, ""), Captured::Nothing);
        index.add(&mut budget, b"opt/.wh..wh..opq", &entry(Kind::File, 0o644, ""), Captured::Nothing);
        index.add(&mut budget, b"usr", &entry(Kind::Symlink, 0o777, "x"), Captured::Nothing);
        index.seal();
        let hides = |path: &[u8]| index.hides(budget.key(), path);
        assert!(hides(b"etc/gone") && hides(b"etc/gone/deep") && hides(b"opt/x") && hides(b"usr/bin/sh"));
        assert!(!hides(b"etc/here") && !hides(b"opt") && !hides(b"usr") && !hides(b"bin"));
    }

    #[test]
    fn what_does_not_fit_is_noticed_and_costs_nothing() {
        let mut budget = Budget { entries: 2, ..Budget::new() };
        let mut index = LayerIndex::default();
        for name in [b"a", b"b", b"c"] {
            index.add(&mut budget, name, &entry(Kind::File, 0o644, ""), Captured::Nothing);
        }
        assert!(budget.exceeded);
        assert_eq!(index.rows.len(), 2);
    }
}
