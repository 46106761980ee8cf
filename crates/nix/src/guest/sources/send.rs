//! Sending trees to a guest: what it has already does not cross again.
//!
//! A guest keeps trees by what is in them. A new one is made of the last one that the guest confirmed, with hard links for what is the
//! same, and what differs comes as a tar archive on standard input.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nixoci_core::backend::Cx;
use nixoci_core::runner::{Command, output, output_fed};
use nixoci_core::{Error, Remedy, Result};
use sha2::{Digest, Sha256};

use super::archive::Archive;
use super::tree::{Entry, History, Name, Tree};
use crate::guest::codes::SOURCES;
use crate::guest::{GuestRunner, HOME, Seen};
use nixoci_core::text::hex;

const RECEIVE: &str = include_str!("receive.sh");
/// Prints which of some trees are there, and which have the repository of a commit; they were used now.
const HAVE: &str = r#"cd "$1" 2>/dev/null || exit 0; shift
for id; do [ ! -d "$id/tree" ] || { touch -c "$id"; echo "tree $id"; }; [ ! -d "$id/git" ] || echo "git $id"; done"#;

/// What was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Where the guest has the trees.
    pub seen: Vec<Seen>,
    /// How many files crossed.
    pub files: usize,
    /// How many bytes crossed, with what says which files they are.
    pub bytes: u64,
}

/// Sends trees to a guest. What it confirmed last is remembered below `memory`.
///
/// # Errors
/// [`SOURCES`]; those of the way into the guest.
pub async fn send(cx: &Cx<'_>, guest: &GuestRunner<'_>, memory: &Path, trees: &[Tree]) -> Result<Sent> {
    let mut sender =
        Sender { cx, guest, memory, there: have(cx, guest, trees).await?, sent: Sent::default() };
    for tree in trees {
        let id = tree.id();
        if !sender.has("tree", &id) {
            if let Some(head) = tree.history.as_ref().and_then(|history| history.head.as_ref()) {
                let head_id = head.tree.id();
                if !sender.has("tree", &head_id) && !sender.has("git", &head_id) {
                    sender.send(&head.tree, &head_id).await?;
                }
            }
            sender.send(tree, &id).await?;
        }
        sender.sent.seen.push(Seen { from: place(&id), at: tree.at.clone() });
    }
    Ok(sender.sent)
}

fn sources() -> String {
    format!("{HOME}/sources")
}

fn place(id: &str) -> PathBuf {
    Path::new(&sources()).join(id).join("tree")
}

/// What is there already, as `tree ID` and `git ID`.
async fn have(cx: &Cx<'_>, guest: &GuestRunner<'_>, trees: &[Tree]) -> Result<Vec<String>> {
    let heads = trees.iter().filter_map(|tree| tree.history.as_ref()?.head.as_ref().map(|head| &head.tree));
    let ids = trees.iter().chain(heads).map(Tree::id);
    let command = Command::new("sh").args(["-c", HAVE, "nixoci"]).arg(sources()).args(ids);
    let answer = output(guest, &command, cx.cancel).await?;
    Ok(answer.stdout_text().lines().map(str::to_owned).collect())
}

struct Sender<'a, 'b> {
    cx: &'a Cx<'b>,
    guest: &'a GuestRunner<'b>,
    memory: &'a Path,
    there: Vec<String>,
    sent: Sent,
}

impl Sender<'_, '_> {
    fn has(&self, kind: &str, id: &str) -> bool {
        self.there
            .iter()
            .any(|line| line.strip_prefix(kind).and_then(|rest| rest.strip_prefix(' ')) == Some(id))
    }

    async fn send(&mut self, tree: &Tree, id: &str) -> Result<()> {
        let file = self.memory.join(hex(&Sha256::digest(tree.root.as_os_str().as_encoded_bytes())[..16]));
        let last = Last::read(&file);
        // What the guest has lost is sent anew.
        for base in [last.as_ref(), None] {
            if self.send_over(tree, id, base).await? {
                Last::of(tree, id).write(&file);
                return Ok(());
            }
        }
        Err(failed(tree, "the directory that it starts from is gone"))
    }

    /// Whether that could be done: what is there already may be gone.
    async fn send_over(&mut self, tree: &Tree, id: &str, base: Option<&Last>) -> Result<bool> {
        let difference = Difference::of(tree, base);
        let (files, bytes) = difference.weight();
        self.cx
            .observer
            .debug(format!("sending {files} files ({bytes} bytes) of {} to the guest", tree.root.display()));
        let history = tree.history.as_deref();
        let head = history.and_then(|history| history.head.as_ref());
        let empty = Vec::new();
        let parts = [
            &difference.gone,
            head.map_or(&empty, |head| &head.modules),
            head.map_or(&empty, |head| &head.bytes),
            history.map_or(&empty, |history: &History| &history.staged),
        ];
        let command = Command::new("sh")
            .args([
                "-c",
                RECEIVE,
                "nixoci",
                &sources(),
                id,
                base.map_or("", |base| &base.id),
                &tree.time.to_string(),
            ])
            .arg(history.map_or("", |history| history.format.name()))
            .arg(head.map_or_else(String::new, |head| head.tree.id()))
            .args(head.map_or(["", ""], |head| [&head.id, &head.tree_id]))
            .args(parts.map(|part| part.len().to_string()))
            .with_stdin();
        let archive = Archive::new(self.cx, tree, parts.map(Vec::as_slice).concat(), &difference.new);
        let answer = output_fed(self.guest, &command, &archive, self.cx.cancel).await?;
        if !answer.exit.success() {
            return Err(failed(tree, &answer.stderr_text()));
        }
        match answer.stdout_text().trim() {
            "nobase" => return Ok(false),
            "cut" => return Err(failed(tree, "what arrived there has no end")),
            _ => {}
        }
        self.sent.files += files;
        self.sent.bytes += archive.written();
        Ok(true)
    }
}

fn failed(tree: &Tree, said: &str) -> Error {
    let said: Vec<String> = said.lines().map(crate::log_line).filter(|line| !line.is_empty()).collect();
    let error =
        Error::new(&SOURCES, format!("{} could not be sent to the virtual machine", tree.root.display()));
    let error = said.iter().rev().take(3).rev().fold(error, |error, line| error.because(line));
    if said.iter().any(|line| line.contains("No space left")) {
        return error.remedy(Remedy::command("make room there", "nixoci shell -- nix store gc"));
    }
    error.remedy(Remedy::command("try again; what arrived is kept", "nixoci build"))
}

/// What the guest confirmed last of a directory.
struct Last {
    id: String,
    kinds: BTreeMap<Name, Vec<u8>>,
}

impl Last {
    fn of(tree: &Tree, id: &str) -> Last {
        let kinds = tree.entries.iter().map(|(name, entry)| (name.clone(), entry.kind()));
        Last { id: id.to_owned(), kinds: kinds.collect() }
    }

    /// Names and kinds, each with a NUL behind; the first is the tree's own.
    fn read(file: &Path) -> Option<Last> {
        let bytes = std::fs::read(file).ok()?;
        let mut parts = bytes.strip_suffix(b"\0")?.split(|byte| *byte == 0);
        let id = String::from_utf8(parts.next()?.to_vec()).ok()?;
        let mut kinds = BTreeMap::new();
        while let Some(name) = parts.next() {
            kinds.insert(name.to_vec(), parts.next()?.to_vec());
        }
        let plain = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        plain.then_some(Last { id, kinds })
    }

    /// Best effort: without it, everything is sent again.
    fn write(&self, file: &Path) {
        let mut bytes = [self.id.as_bytes(), b"\0"].concat();
        for part in self.kinds.iter().flat_map(|(name, kind)| [name, kind]) {
            bytes.extend_from_slice(part);
            bytes.push(0);
        }
        let Some(dir) = file.parent() else { return };
        let write = || {
            std::fs::create_dir_all(dir)?;
            let mut new = tempfile::NamedTempFile::new_in(dir)?;
            std::io::Write::write_all(&mut new, &bytes)?;
            new.persist(file).map_err(std::io::Error::other)
        };
        let _ = write();
    }
}

/// What makes one tree out of another.
struct Difference<'a> {
    /// Names that go, each with a NUL behind.
    gone: Vec<u8>,
    new: Vec<(&'a Name, &'a Entry)>,
}

impl<'a> Difference<'a> {
    fn of(tree: &'a Tree, base: Option<&Last>) -> Difference<'a> {
        let before = |name: &Name| base.and_then(|base| base.kinds.get(name));
        let new = tree.entries.iter().filter(|(name, entry)| before(name) != Some(&entry.kind())).collect();
        let is_directory = |kind: &[u8]| kind == b"d";
        // What becomes another kind of thing goes first; a file's new contents replace the old ones.
        let goes = |(name, kind): &(&Name, &Vec<u8>)| match tree.entries.get(*name) {
            None => true,
            Some(entry) => is_directory(kind) != (*entry == Entry::Directory),
        };
        let names = base.into_iter().flat_map(|base| base.kinds.iter()).filter(goes);
        // A repository that was made there is no part of what was sent.
        let made = base.filter(|base| !base.kinds.contains_key(b".git".as_slice()));
        let made = made.map(|_| b"./.git\0".to_vec()).unwrap_or_default();
        let names =
            names.flat_map(|(name, _)| [[b"./", name.as_slice()].concat().as_slice(), b"\0"].concat());
        let gone = made.into_iter().chain(names).collect();
        Difference { gone, new }
    }

    fn weight(&self) -> (usize, u64) {
        self.new.iter().fold((0, 0), |(files, bytes), (_, entry)| match entry {
            Entry::File { size, .. } => (files + 1, bytes + size),
            _ => (files, bytes),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::sources::tree::{ContentId, From};

    fn file(content: &str) -> Entry {
        Entry::File {
            executable: false,
            content: ContentId(content.into()),
            size: content.len() as u64,
            from: From::Disk,
        }
    }

    fn tree(entries: &[(&str, Entry)]) -> Tree {
        let mut tree = Tree::empty("/p".into(), 1);
        entries.iter().for_each(|(name, entry)| tree.put(name.as_bytes().to_vec(), entry.clone()));
        tree
    }

    #[test]
    fn only_what_differs_is_sent() {
        let before = tree(&[("a/f", file("1")), ("b", file("2")), ("c", file("3")), ("d/e", file("4"))]);
        let after = tree(&[("a/f", file("x")), ("b/in", file("2")), ("c", file("3"))]);
        let difference = Difference::of(&after, Some(&Last::of(&before, "")));
        let names: Vec<_> = difference.new.iter().map(|(name, _)| String::from_utf8_lossy(name)).collect();
        assert_eq!(names, ["a/f", "b", "b/in"]);
        assert_eq!(difference.gone, b"./.git\0./b\0./d\0./d/e\0");
        assert_eq!(difference.weight(), (2, 2));
        assert!(Difference::of(&after, Some(&Last::of(&after, ""))).new.is_empty());
        // A repository that was sent stays, as long as it is a part of what is there.
        let whole = tree(&[(".git/HEAD", file("5"))]);
        let gone = |tree: &Tree| Difference::of(tree, Some(&Last::of(&whole, ""))).gone;
        assert_eq!((gone(&whole), gone(&before)), (b"".to_vec(), b"./.git\0./.git/HEAD\0".to_vec()));
    }

    #[test]
    fn what_was_confirmed_is_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x/last");
        assert!(Last::read(&path).is_none());
        let id = "0123456789abcdef0123456789abcdef";
        let last = Last::of(&tree(&[("a\nb", file("1")), ("l", Entry::Link { target: b"t".to_vec() })]), id);
        last.write(&path);
        let read = Last::read(&path).unwrap();
        assert_eq!((read.id, read.kinds), (last.id, last.kinds));
        for odd in ["", "\0", "x\0a\0", "0123456789abcdef0123456789abcdef\0a\0"] {
            std::fs::write(&path, odd).unwrap();
            assert!(Last::read(&path).is_none(), "{odd:?}");
        }
    }
}
