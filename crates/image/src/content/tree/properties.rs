//! The stacked layers against a model that unpacks them one after the other.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::capture::Captured;
use super::super::index::Budget;
use super::*;
use crate::tar::{Entry, Kind};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    File,
    Link,
    Directory,
    /// The mark that hides the path.
    Whiteout,
    /// The mark that hides what lower layers have in the directory.
    Opaque,
}

type Layer = Vec<(String, Op)>;
type Unpacked = BTreeMap<String, Op>;

fn path() -> impl Strategy<Value = String> {
    proptest::collection::vec(prop_oneof!["a", "b", "wh"], 1..4).prop_map(|parts| parts.join("/"))
}

fn below(path: &str, ancestor: &str) -> bool {
    path.strip_prefix(ancestor).is_some_and(|rest| rest.starts_with('/'))
}

/// A layer that can be unpacked: nothing in it lies in something that it says is no directory. Paths may come twice.
fn layer() -> impl Strategy<Value = Layer> {
    let op = prop_oneof![
        Just(Op::File),
        Just(Op::Link),
        Just(Op::Directory),
        Just(Op::Whiteout),
        Just(Op::Opaque)
    ];
    proptest::collection::vec((path(), op), 0..12).prop_map(|entries| {
        let mut kept: Layer = Vec::new();
        let is_leaf = |op: Op| matches!(op, Op::File | Op::Link);
        for (path, op) in entries {
            let into_leaf = |(leaf, other): &(String, Op)| {
                is_leaf(*other) && (below(&path, leaf) || (op == Op::Opaque && *leaf == path))
            };
            let buries = |(inner, other): &(String, Op)| {
                is_leaf(op) && (below(inner, &path) || (*other == Op::Opaque && *inner == path))
            };
            if !kept.iter().any(|one| into_leaf(one) || buries(one)) {
                kept.push((path, op));
            }
        }
        kept
    })
}

/// OCI image specification, `layer.md`: what a layer hides concerns the layers below it alone, wherever in it the mark is.
fn unpack(layers: &[Layer]) -> Unpacked {
    let mut tree = Unpacked::new();
    for layer in layers {
        let entries: Unpacked =
            layer.iter().filter(|(_, op)| !matches!(op, Op::Whiteout | Op::Opaque)).cloned().collect();
        for (path, op) in layer {
            match op {
                Op::Whiteout => tree.retain(|old, _| old != path && !below(old, path)),
                Op::Opaque => tree.retain(|old, _| !below(old, path)),
                _ => {}
            }
        }
        for directory in layer.iter().flat_map(|(path, op)| implied(path, *op)) {
            tree.insert(directory, Op::Directory);
        }
        for (path, op) in entries {
            if op != Op::Directory {
                tree.retain(|old, _| !below(old, &path) || layer.iter().any(|(new, _)| new == old));
            }
            tree.insert(path, op);
        }
    }
    tree
}

/// The directories that unpacking this entry makes.
fn implied(path: &str, op: Op) -> Vec<String> {
    let own = (op == Op::Opaque).then(|| path.to_owned());
    own.into_iter().chain(path.match_indices('/').map(|(at, _)| path[..at].to_owned())).collect()
}

fn index(layer: &Layer, budget: &mut Budget) -> LayerIndex {
    let mut index = LayerIndex::default();
    for (path, op) in layer {
        let (parent, name) =
            path.rsplit_once('/').map_or(("", path.as_str()), |(parent, name)| (parent, name));
        let slash = if parent.is_empty() { "" } else { "/" };
        let (path, kind) = match op {
            Op::File => (path.clone(), Kind::File),
            Op::Link => (path.clone(), Kind::Symlink),
            Op::Directory => (path.clone(), Kind::Directory),
            Op::Whiteout => (format!("{parent}{slash}.wh.{name}"), Kind::File),
            Op::Opaque => (format!("{path}/.wh..wh..opq"), Kind::File),
        };
        let entry = Entry { kind, name: Vec::new(), link: b"x".to_vec(), size: 0, mode: 0o644 };
        index.add(budget, path.as_bytes(), &entry, Captured::Nothing);
    }
    index.seal();
    index
}

proptest! {
    #[test]
    fn stacked_layers_are_what_unpacking_them_gives(layers in proptest::collection::vec(layer(), 1..5), asked in path()) {
        let mut budget = Budget::new();
        let indexes: Vec<LayerIndex> = layers.iter().map(|layer| index(layer, &mut budget)).collect();
        let tree = Tree { layers: indexes.iter().collect(), key: budget.key() };
        let unpacked = unpack(&layers);
        let paths = layers.iter().flatten().map(|(path, _)| path).chain([&asked]);
        for path in paths {
            let found = tree.get(path.as_bytes()).map(|(_, node)| match node {
                Node::File => Op::File,
                Node::Symlink(_) => Op::Link,
                Node::Directory => Op::Directory,
                other => panic!("{other:?}"),
            });
            prop_assert_eq!(found, unpacked.get(path).copied(), "{} in {:?}", path, &layers);
        }
    }
}
