//! The layers stacked: one file system, as a container sees it.

use std::collections::VecDeque;
use std::hash::RandomState;

use super::index::{LayerIndex, Node};
use super::path::components;
use crate::machine::Head;

/// As many links as Linux follows in one path (`MAXSYMLINKS`).
const LINK_LIMIT: usize = 40;

/// The stacked layers of an image, the lowest first.
pub(crate) struct Tree<'a> {
    pub(crate) layers: Vec<&'a LayerIndex>,
    pub(crate) key: &'a RandomState,
}

/// Where a path led.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A file that may be executed: its path without links, its layer, its beginning.
    Program { path: Vec<u8>, layer: usize, head: Head },
    /// Something that may not be executed.
    NotExecutable,
    /// Nothing.
    Nothing,
    /// Links in a circle.
    Loop,
}

impl Tree<'_> {
    /// What is at a clean path: in the highest layer that has it, unless a layer above hides it.
    fn get(&self, path: &[u8]) -> Option<(usize, Node)> {
        for (number, layer) in self.layers.iter().enumerate().rev() {
            if let Some(node) = layer.get(self.key, path) {
                return Some((number, node));
            }
            if layer.hides(self.key, path) {
                return None;
            }
        }
        None
    }

    /// Follows a path from the root to something that may be executed, links included.
    pub(super) fn follow(&self, path: &[u8]) -> Found {
        match self.resolve(path) {
            Ok((path, layer, Node::Program(head))) => Found::Program { path, layer, head },
            Ok(_) => Found::NotExecutable,
            Err(none) => none,
        }
    }

    /// Whether a path leads to a directory, links included; nothing where it leads nowhere.
    pub(super) fn is_directory(&self, path: &[u8]) -> Option<bool> {
        self.resolve(path).ok().map(|(_, _, node)| node == Node::Directory)
    }

    /// The list of users or groups at a path, links included.
    pub(super) fn list(&self, path: &[u8]) -> Option<Box<[u8]>> {
        match self.resolve(path) {
            Ok((_, _, Node::List(text))) => Some(text),
            _ => None,
        }
    }

    /// Where a path leads, its layer, and what is there.
    fn resolve(&self, path: &[u8]) -> Result<(Vec<u8>, usize, Node), Found> {
        let mut rest: VecDeque<Vec<u8>> = components(path).map(<[u8]>::to_vec).collect();
        let mut here: (Vec<u8>, usize, Node) = (Vec::new(), 0, Node::Directory);
        let mut links = 0;
        while let Some(component) = rest.pop_front() {
            let (directory, _, node) = &mut here;
            if *node != Node::Directory {
                return Err(Found::Nothing);
            }
            if component == b".." {
                directory.truncate(directory.iter().rposition(|&byte| byte == b'/').unwrap_or(0));
                continue;
            }
            let candidate = if directory.is_empty() {
                component
            } else {
                [directory.as_slice(), b"/", &component].concat()
            };
            let (target, from_root) = match self.get(&candidate) {
                Some((_, Node::Symlink(target))) => (target.clone(), target.starts_with(b"/")),
                Some((_, Node::HardLink(target))) => (target, true),
                Some((layer, node)) => {
                    here = (candidate, layer, node);
                    continue;
                }
                None => return Err(Found::Nothing),
            };
            if from_root {
                here.0.clear();
            }
            for component in components(&target).collect::<Vec<_>>().into_iter().rev() {
                rest.push_front(component.to_vec());
            }
            links += 1;
            if links > LINK_LIMIT {
                return Err(Found::Loop);
            }
        }
        Ok(here)
    }
}

#[cfg(test)]
mod properties;
