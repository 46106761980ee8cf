//! What crosses when a tree is sent: a tar archive of what is new in it, written while it is read from the disk and from Git.

use std::sync::Arc;

use async_trait::async_trait;
use nixoci_core::backend::Cx;
use nixoci_core::runner::{Feed, Input, Process, Stream};
use nixoci_core::stall::{Meter, Progress};
use nixoci_core::{Error, Remedy, Result};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

use super::tree::{Entry, From, Name, Tree, path_of};
use crate::guest::codes::{SOURCES, STALLED};
use crate::guest::upload::{Sink, unless_stalled};

/// What the guest reads.
pub(super) struct Archive<'a, 'b> {
    cx: &'a Cx<'b>,
    tree: &'a Tree,
    before: Vec<u8>,
    new: &'a [(&'a Name, &'a Entry)],
    progress: Arc<Progress>,
}

#[async_trait]
impl Feed for Archive<'_, '_> {
    async fn feed(&self, stdin: &mut Input) -> Result<()> {
        let mut out = Meter::new(stdin, Arc::clone(&self.progress));
        let (limit, root) = (self.cx.stall_timeout, self.tree.root.display().to_string());
        let again = Remedy::command("try again", "nixoci build");
        let sent = unless_stalled(&self.progress, limit, &root, self.write(&mut out)).await;
        sent.map_err(|error| if error.is(&STALLED) { error.remedy_first(again) } else { error })
    }
}

impl<'a, 'b> Archive<'a, 'b> {
    /// With `before` in front of the archive, and these entries of the tree in it.
    pub(super) fn new(
        cx: &'a Cx<'b>,
        tree: &'a Tree,
        before: Vec<u8>,
        new: &'a [(&'a Name, &'a Entry)],
    ) -> Self {
        Archive { cx, tree, before, new, progress: Arc::default() }
    }

    /// How many bytes were written.
    pub(super) fn written(&self) -> u64 {
        self.progress.bytes()
    }
}

impl Archive<'_, '_> {
    async fn write(&self, out: Sink<'_>) -> Result<()> {
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
        let end = [header(b"end", Kind::File, 0, b"").as_slice(), &[0; 1024]].concat();
        let _ = out.write_all(&end).await;
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
                // Regular when it was listed, which it need not be any more.
                let file = nixoci_core::file::open(&self.tree.root.join(path_of(name)));
                let file = file.map_err(|why| self.changed(name, why.to_string()))?;
                Ok(Box::new(tokio::fs::File::from_std(file)))
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
    out: Sink<'_>,
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
        let command = crate::git::command(&archive.tree.root).args(["cat-file", "--batch"]).with_stdin();
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
    }
}
