//! A client of SFTP, version 3, over an ssh process: one question at a time, as multipass asks them.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use anyhow::{Context, Result, bail};

use super::exec::Way;

/// How much is asked for or sent at once.
pub(super) const BLOCK: usize = 32 << 10;

const INIT: u8 = 1;
const OPEN: u8 = 3;
const CLOSE: u8 = 4;
const READ: u8 = 5;
const WRITE: u8 = 6;
const LSTAT: u8 = 7;
const SETSTAT: u8 = 9;
const OPENDIR: u8 = 11;
const READDIR: u8 = 12;
const REMOVE: u8 = 13;
const MKDIR: u8 = 14;
const STAT: u8 = 17;
const READLINK: u8 = 19;
const SYMLINK: u8 = 20;
const STATUS: u8 = 101;
const HANDLE: u8 = 102;
const DATA: u8 = 103;
const NAME: u8 = 104;
const ATTRS: u8 = 105;

const READ_ONLY: u32 = 1;
/// To write, made where it is not, emptied where it is.
const FRESH: u32 = 2 | 8 | 16;
const HAS_MODE: u32 = 4;
const END: u32 = 1;
pub(super) const NO_SUCH_FILE: u32 = 2;

/// A connection.
#[derive(Debug)]
pub(super) struct Sftp {
    child: Child,
    to: ChildStdin,
    from: ChildStdout,
    last: u32,
}

/// The server's refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) code: u32,
}

impl Refused {
    /// libssh's words for it.
    pub(super) fn text(&self) -> String {
        let what = match self.code {
            NO_SUCH_FILE => "No such file",
            3 => "Permission denied",
            _ => "Failure",
        };
        format!("SFTP server: {what}")
    }
}

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Directory,
    Link,
    Other,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Attributes {
    pub(super) kind: Kind,
    pub(super) mode: u32,
}

/// A file that is open there.
#[derive(Debug)]
pub(super) struct Handle(Vec<u8>);

/// Either the connection fails, or the server refuses.
type Answered<T> = Result<Result<T, Refused>>;

impl Drop for Sftp {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Sftp {
    pub(super) fn open(way: &Way) -> Result<Self> {
        let mut ssh = way.ssh();
        ssh.args(["-T", "-s", "sftp"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = ssh.spawn().context("cannot run ssh")?;
        let to = child.stdin.take().context("no way in")?;
        let from = child.stdout.take().context("no way out")?;
        let mut sftp = Self { child, to, from, last: 0 };
        sftp.send(&[&[INIT][..], &3_u32.to_be_bytes()].concat())?;
        sftp.receive()?;
        Ok(sftp)
    }

    fn send(&mut self, packet: &[u8]) -> Result<()> {
        self.to.write_all(&u32::try_from(packet.len())?.to_be_bytes())?;
        Ok(self.to.write_all(packet)?)
    }

    fn receive(&mut self) -> Result<Vec<u8>> {
        let mut length = [0; 4];
        self.from.read_exact(&mut length).context("[sftp] the connection is lost")?;
        let mut packet = vec![0; usize::try_from(u32::from_be_bytes(length))?];
        self.from.read_exact(&mut packet)?;
        Ok(packet)
    }

    /// Asks, and reads the answer: its kind, and what comes after its number.
    fn ask(&mut self, kind: u8, body: &[&[u8]]) -> Answered<(u8, Reader)> {
        self.last += 1;
        let packet = [&[kind][..], &self.last.to_be_bytes(), &body.concat()].concat();
        self.send(&packet)?;
        let packet = self.receive()?;
        let kind = *packet.first().context("an empty answer")?;
        let mut reader = Reader { bytes: packet, at: 5 };
        if kind == STATUS {
            let code = reader.number()?;
            if code != 0 {
                return Ok(Err(Refused { code }));
            }
        }
        Ok(Ok((kind, reader)))
    }

    /// A request whose answer is that it is done.
    fn do_it(&mut self, kind: u8, body: &[&[u8]]) -> Answered<()> {
        Ok(self.ask(kind, body)?.map(drop))
    }

    fn stat_by(&mut self, how: u8, path: &str) -> Answered<Attributes> {
        match self.ask(how, &[&text(path)])? {
            Ok((ATTRS, mut reader)) => Ok(Ok(reader.attributes()?)),
            Ok((kind, _)) => bail!("an answer of kind {kind} to stat"),
            Err(refused) => Ok(Err(refused)),
        }
    }

    pub(super) fn stat(&mut self, path: &str) -> Answered<Attributes> {
        self.stat_by(STAT, path)
    }

    pub(super) fn lstat(&mut self, path: &str) -> Answered<Attributes> {
        self.stat_by(LSTAT, path)
    }

    pub(super) fn is_dir(&mut self, path: &str) -> Result<bool> {
        Ok(self.stat(path)?.is_ok_and(|found| found.kind == Kind::Directory))
    }

    pub(super) fn set_mode(&mut self, path: &str, mode: u32) -> Answered<()> {
        self.do_it(SETSTAT, &[&text(path), &attributes(mode)])
    }

    pub(super) fn mkdir(&mut self, path: &str) -> Answered<()> {
        self.do_it(MKDIR, &[&text(path), &attributes(0o777)])
    }

    pub(super) fn remove(&mut self, path: &str) -> Answered<()> {
        self.do_it(REMOVE, &[&text(path)])
    }

    /// OpenSSH takes the two the other way round than the protocol says.
    pub(super) fn symlink(&mut self, points_to: &str, path: &str) -> Answered<()> {
        self.do_it(SYMLINK, &[&text(points_to), &text(path)])
    }

    pub(super) fn read_link(&mut self, path: &str) -> Answered<String> {
        match self.ask(READLINK, &[&text(path)])? {
            Ok((_, mut reader)) => {
                reader.number()?;
                Ok(Ok(String::from_utf8_lossy(reader.string()?).into_owned()))
            }
            Err(refused) => Ok(Err(refused)),
        }
    }

    fn handle(&mut self, kind: u8, body: &[&[u8]]) -> Answered<Handle> {
        match self.ask(kind, body)? {
            Ok((HANDLE, mut reader)) => Ok(Ok(Handle(reader.string()?.to_vec()))),
            Ok((kind, _)) => bail!("an answer of kind {kind} to open"),
            Err(refused) => Ok(Err(refused)),
        }
    }

    pub(super) fn open_to_read(&mut self, path: &str) -> Answered<Handle> {
        self.handle(OPEN, &[&text(path), &READ_ONLY.to_be_bytes(), &0_u32.to_be_bytes()])
    }

    pub(super) fn open_to_write(&mut self, path: &str) -> Answered<Handle> {
        self.handle(OPEN, &[&text(path), &FRESH.to_be_bytes(), &attributes(0o664)])
    }

    pub(super) fn close(&mut self, handle: &Handle) -> Answered<()> {
        self.do_it(CLOSE, &[&bytes(&handle.0)])
    }

    pub(super) fn write(&mut self, handle: &Handle, offset: u64, data: &[u8]) -> Answered<()> {
        self.do_it(WRITE, &[&bytes(&handle.0), &offset.to_be_bytes(), &bytes(data)])
    }

    /// Empty: there is no more.
    pub(super) fn read(&mut self, handle: &Handle, offset: u64) -> Answered<Vec<u8>> {
        let length = u32::try_from(BLOCK)?.to_be_bytes();
        match self.ask(READ, &[&bytes(&handle.0), &offset.to_be_bytes(), &length])? {
            Ok((DATA, mut reader)) => Ok(Ok(reader.string()?.to_vec())),
            Ok((kind, _)) => bail!("an answer of kind {kind} to read"),
            Err(Refused { code: END }) => Ok(Ok(Vec::new())),
            Err(refused) => Ok(Err(refused)),
        }
    }

    /// The names in a directory, with what they are.
    pub(super) fn list(&mut self, path: &str) -> Answered<Vec<(String, Attributes)>> {
        let handle = match self.handle(OPENDIR, &[&text(path)])? {
            Ok(handle) => handle,
            Err(refused) => return Ok(Err(refused)),
        };
        let mut found = Vec::new();
        while let Ok((NAME, mut reader)) = self.ask(READDIR, &[&bytes(&handle.0)])? {
            for _ in 0..reader.number()? {
                let name = String::from_utf8_lossy(reader.string()?).into_owned();
                reader.string()?;
                let attributes = reader.attributes()?;
                if name != "." && name != ".." {
                    found.push((name, attributes));
                }
            }
        }
        let _ = self.close(&handle)?;
        found.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(Ok(found))
    }
}

fn bytes(data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], data].concat()
}

fn text(text: &str) -> Vec<u8> {
    bytes(text.as_bytes())
}

fn attributes(mode: u32) -> Vec<u8> {
    [HAS_MODE.to_be_bytes(), mode.to_be_bytes()].concat()
}

/// An answer while it is read.
#[derive(Debug)]
struct Reader {
    bytes: Vec<u8>,
    at: usize,
}

impl Reader {
    fn take(&mut self, count: usize) -> Result<&[u8]> {
        let part = self.bytes.get(self.at..self.at + count).context("an answer that is too short")?;
        self.at += count;
        Ok(part)
    }

    fn number(&mut self) -> Result<u32> {
        Ok(u32::from_be_bytes(self.take(4)?.try_into()?))
    }

    fn string(&mut self) -> Result<&[u8]> {
        let length = usize::try_from(self.number()?)?;
        self.take(length)
    }

    fn attributes(&mut self) -> Result<Attributes> {
        let flags = self.number()?;
        // Size, owners.
        self.take(if flags & 1 == 0 { 0 } else { 8 })?;
        self.take(if flags & 2 == 0 { 0 } else { 8 })?;
        let mode = if flags & HAS_MODE == 0 { 0 } else { self.number()? };
        // Times.
        self.take(if flags & 8 == 0 { 0 } else { 8 })?;
        let kind = match mode & 0o170_000 {
            0o100_000 => Kind::File,
            0o040_000 => Kind::Directory,
            0o120_000 => Kind::Link,
            _ => Kind::Other,
        };
        Ok(Attributes { kind, mode: mode & 0o7777 })
    }
}
