//! Sending trees to a guest: what it has already does not cross again.
//!
//! A guest keeps trees by what is in them. A new one is made of the last one that the guest confirmed, with hard links for what is the
//! same, and what differs comes as a tar archive on standard input.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use nixoci_core::backend::Cx;
use nixoci_core::runner::{Command, Feed, Input, Process, Stream, output, output_fed};
use nixoci_core::{Error, Remedy, Result};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::sync::Mutex;

use super::tree::{Entry, From, History, Name, Tree, hex, path_of};
use crate::guest::codes::SOURCES;
use crate::guest::{GuestRunner, HOME, Seen};

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
    /// How many bytes crossed.
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
        sender.sent.seen.push(Seen { from: place(&id), at: tree.root.clone() });
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
        let feed = Archive {
            cx: self.cx,
            tree,
            before: parts.map(Vec::as_slice).concat(),
            new: &difference.new,
            problem: Mutex::new(None),
        };
        let answer = output_fed(self.guest, &command, &feed, self.cx.cancel).await?;
        if let Some(problem) = feed.problem.into_inner() {
            return Err(problem);
        }
        if !answer.exit.success() {
            return Err(failed(tree, &answer.stderr_text()));
        }
        match answer.stdout_text().trim() {
            "nobase" => return Ok(false),
            "cut" => return Err(failed(tree, "what arrived there has no end")),
            _ => {}
        }
        self.sent.files += files;
        self.sent.bytes += bytes;
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
        let gone = names
            .flat_map(|(name, _)| [[b"./", name.as_slice()].concat().as_slice(), b"\0"].concat())
            .collect();
        Difference { gone, new }
    }

    fn weight(&self) -> (usize, u64) {
        self.new.iter().fold((0, 0), |(files, bytes), (_, entry)| match entry {
            Entry::File { size, .. } => (files + 1, bytes + size),
            _ => (files, bytes),
        })
    }
}

/// What the guest reads.
struct Archive<'a, 'b> {
    cx: &'a Cx<'b>,
    tree: &'a Tree,
    before: Vec<u8>,
    new: &'a [(&'a Name, &'a Entry)],
    problem: Mutex<Option<Error>>,
}

#[async_trait]
impl Feed for Archive<'_, '_> {
    async fn feed(&self, stdin: &mut Input) {
        if let Err(error) = self.write(stdin).await {
            *self.problem.lock().await = Some(error);
        }
    }
}

impl Archive<'_, '_> {
    async fn write(&self, out: &mut Input) -> Result<()> {
        let mut blobs = Blobs::open(self).await?;
        // A guest that stops reading says why itself.
        if out.write_all(&self.before).await.is_err() {
            return Ok(());
        }
        for (name, entry) in self.new {
            let path = [b"tree/", name.as_slice()].concat();
            let written = match entry {
                Entry::Directory => out.write_all(&header(&path, Kind::Directory, 0, b"")).await,
                Entry::Link { target } => out.write_all(&header(&path, Kind::Link, 0, target)).await,
                Entry::File { executable, size, from, .. } => {
                    let kind = if *executable { Kind::Program } else { Kind::File };
                    match out.write_all(&header(&path, kind, *size, b"")).await {
                        Err(error) => Err(error),
                        Ok(()) => {
                            let content = self.content(name, from, *size, &mut blobs).await?;
                            copy(content, *size, out).await.map_err(|why| self.changed(name, why))?
                        }
                    }
                }
            };
            if written.is_err() {
                return Ok(());
            }
        }
        let _ = out.write_all(&[header(b"end", Kind::File, 0, b"").as_slice(), &[0; 1024]].concat()).await;
        Ok(())
    }

    async fn content<'c>(
        &self,
        name: &Name,
        from: &From,
        size: u64,
        blobs: &'c mut Option<Blobs>,
    ) -> Result<Box<dyn tokio::io::AsyncRead + Send + Unpin + 'c>> {
        match (from, blobs) {
            (From::Blob(_), Some(blobs)) => {
                blobs.next(size).await.map_err(|why| self.changed(name, why.to_string()))?;
                Ok(Box::new(&mut blobs.out))
            }
            _ => {
                let file = tokio::fs::File::open(self.tree.root.join(path_of(name))).await;
                Ok(Box::new(file.map_err(|why| self.changed(name, why.to_string()))?))
            }
        }
    }

    fn changed(&self, name: &Name, why: String) -> Error {
        let path = self.tree.root.join(path_of(name));
        Error::new(&SOURCES, format!("{} was changed while it was sent", path.display()))
            .because(why)
            .remedy(Remedy::command("try again", "nixoci build"))
    }
}

/// Writes exactly `size` bytes and what fills them up to whole blocks. The inner result is the writing's.
async fn copy(
    mut content: Box<dyn tokio::io::AsyncRead + Send + Unpin + '_>,
    size: u64,
    out: &mut Input,
) -> Result<std::io::Result<()>, String> {
    let mut buffer = vec![0; 64 << 10];
    let mut left = size;
    while left > 0 {
        let most = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let count = content.read(&mut buffer[..most]).await.map_err(|error| error.to_string())?;
        if count == 0 {
            return Err(format!("it is {left} bytes shorter than before"));
        }
        if let Err(error) = out.write_all(&buffer[..count]).await {
            return Ok(Err(error));
        }
        left -= count as u64;
    }
    let over = usize::try_from(size % 512).unwrap_or_default();
    Ok(out.write_all(&[0; 512][..(512 - over) % 512]).await)
}

/// The blobs of a repository, in the order in which they are asked for, from one process.
struct Blobs {
    process: Box<dyn Process>,
    out: BufReader<Stream>,
    asking: tokio::task::JoinHandle<()>,
    begun: bool,
}

impl Blobs {
    /// Nothing where everything is on the disk.
    async fn open(archive: &Archive<'_, '_>) -> Result<Option<Blobs>> {
        let blob = |(_, entry): &(&Name, &Entry)| match entry {
            Entry::File { from: From::Blob(id), .. } => Some(format!("{id}\n")),
            _ => None,
        };
        let ids: String = archive.new.iter().filter_map(blob).collect();
        if ids.is_empty() {
            return Ok(None);
        }
        let command =
            Command::new("git").arg("-C").arg(&archive.tree.root).args(["cat-file", "--batch"]).with_stdin();
        let mut process = archive.cx.runner.spawn(&command).await?;
        let (stdin, out) = (process.take_stdin(), process.take_stdout());
        let (Some(mut stdin), Some(out)) = (stdin, out) else {
            return Err(Error::new(&SOURCES, "git cannot be asked for its files"));
        };
        let asking = tokio::spawn(async move {
            let _ = stdin.write_all(ids.as_bytes()).await;
        });
        Ok(Some(Blobs { process, out: BufReader::new(out), asking, begun: false }))
    }

    /// Goes on to the next one, which has this size.
    async fn next(&mut self, size: u64) -> std::io::Result<()> {
        if std::mem::replace(&mut self.begun, true) {
            // The line end behind the one before.
            self.out.read_u8().await?;
        }
        let mut line = String::new();
        (&mut self.out).take(200).read_line(&mut line).await?;
        if line.trim_end().ends_with(&format!(" blob {size}")) {
            Ok(())
        } else {
            Err(std::io::Error::other(format!("git says: {}", line.trim_end())))
        }
    }
}

impl Drop for Blobs {
    fn drop(&mut self) {
        self.asking.abort();
        // Dropping the process ends it.
        let _ = &self.process;
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Directory,
    File,
    Program,
    Link,
}

/// The header of a member, in GNU's form: longer names have a member of their own before it.
fn header(path: &[u8], kind: Kind, size: u64, target: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (text, letter) in [(target, tar::EntryType::GNULongLink), (path, tar::EntryType::GNULongName)] {
        if text.len() > 100 {
            let mut long = tar::Header::new_gnu();
            long.set_entry_type(letter);
            put(&mut long.as_old_mut().name, b"././@LongLink");
            long.set_size(text.len() as u64 + 1);
            long.set_mode(0o644);
            long.set_cksum();
            bytes.extend_from_slice(long.as_bytes());
            bytes.extend_from_slice(text);
            let fill = 512 - text.len() % 512;
            bytes.extend(std::iter::repeat_n(0, fill));
        }
    }
    let mut header = tar::Header::new_gnu();
    let (letter, mode) = match kind {
        Kind::Directory => (tar::EntryType::Directory, 0o755),
        Kind::File => (tar::EntryType::Regular, 0o444),
        Kind::Program => (tar::EntryType::Regular, 0o555),
        Kind::Link => (tar::EntryType::Symlink, 0o777),
    };
    header.set_entry_type(letter);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(1);
    header.set_uid(0);
    header.set_gid(0);
    put(&mut header.as_old_mut().name, path);
    put(&mut header.as_old_mut().linkname, target);
    header.set_cksum();
    bytes.extend_from_slice(header.as_bytes());
    bytes
}

/// As much as fits.
fn put(field: &mut [u8], text: &[u8]) {
    let length = text.len().min(field.len());
    field[..length].copy_from_slice(&text[..length]);
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::guest::sources::tree::{ContentId, Format};

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
        assert_eq!(difference.gone, b"./b\0./d\0./d/e\0");
        assert_eq!(difference.weight(), (2, 2));
        assert!(Difference::of(&after, Some(&Last::of(&after, ""))).new.is_empty());
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

    #[test]
    fn headers_are_what_tar_reads() {
        let long = "d/".repeat(80) + "file";
        let mut bytes = header(b"tree/a", Kind::Program, 2, b"");
        bytes.extend_from_slice(b"hi");
        bytes.extend([0; 510]);
        bytes.extend(header(long.as_bytes(), Kind::Link, 0, long.as_bytes()));
        bytes.extend([0; 1024]);
        let mut archive = tar::Archive::new(bytes.as_slice());
        let mut entries = archive.entries().unwrap();
        let mut first = entries.next().unwrap().unwrap();
        assert_eq!(first.header().mode().unwrap(), 0o555);
        let mut text = String::new();
        first.read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), &*first.path_bytes()), ("hi", b"tree/a".as_slice()));
        let second = entries.next().unwrap().unwrap();
        assert_eq!(&*second.path_bytes(), long.as_bytes());
        assert_eq!(second.link_name_bytes().unwrap(), long.as_bytes());
        let _ = Format::Sha1;
    }
}
