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

    /// Follows a path from the root, links included.
    pub(super) fn follow(&self, path: &[u8]) -> Found {
        let mut rest: VecDeque<Vec<u8>> = components(path).map(<[u8]>::to_vec).collect();
        let mut here: Vec<u8> = Vec::new();
        let mut links = 0;
        while let Some(component) = rest.pop_front() {
            if component == b".." {
                here.truncate(here.iter().rposition(|&byte| byte == b'/').unwrap_or(0));
                continue;
            }
            let candidate = if here.is_empty() { component } else { [&here[..], b"/", &component].concat() };
            let node = self.get(&candidate);
            match node {
                Some((_, Node::Symlink(target))) => {
                    if target.starts_with(b"/") {
                        here.clear();
                    }
                    for component in components(&target).collect::<Vec<_>>().into_iter().rev() {
                        rest.push_front(component.to_vec());
                    }
                }
                Some((_, Node::HardLink(target))) => {
                    here.clear();
                    for component in components(&target).collect::<Vec<_>>().into_iter().rev() {
                        rest.push_front(component.to_vec());
                    }
                }
                Some((layer, Node::Program(head))) if rest.is_empty() => {
                    return Found::Program { path: candidate, layer, head };
                }
                // Archives need not list a directory before what is in it.
                None if !rest.is_empty() => {
                    here = candidate;
                    continue;
                }
                None => return Found::Nothing,
                Some((_, Node::Directory)) => {
                    here = candidate;
                    continue;
                }
                Some(_) if rest.is_empty() => return Found::NotExecutable,
                Some(_) => return Found::Nothing,
            }
            links += 1;
            if links > LINK_LIMIT {
                return Found::Loop;
            }
        }
        Found::NotExecutable
    }
}

#[cfg(test)]
mod properties;
