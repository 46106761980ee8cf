//! Writing a NAR.

use std::io::{self, Read, Write};

use nixoci_core::{Error, Result, ResultExt};

use super::{DEPTH_LIMIT, MAGIC, bad, check_name, check_target, padding};
use crate::codes;

/// Writes one NAR: a node at the root, and in every directory [`enter`](Writer::enter) and a node for each entry,
/// in ascending order, then [`leave`](Writer::leave). What would not be a NAR is refused.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    /// Whether a node must come next.
    node: bool,
    open: Vec<Option<Vec<u8>>>,
}

impl<W: Write> Writer<W> {
    /// Begins to write.
    ///
    /// # Errors
    /// Whatever `out` says.
    pub fn new(out: W) -> Result<Self> {
        let mut writer = Writer { out, node: true, open: Vec::new() };
        writer.text(MAGIC)?;
        Ok(writer)
    }

    /// Begins a directory.
    ///
    /// # Errors
    /// [`codes::BAD_NAR`] if no node can stand here.
    pub fn directory(&mut self) -> Result<()> {
        if self.open.len() == DEPTH_LIMIT {
            return Err(bad("directories are nested too deeply"));
        }
        self.begin(b"directory")?;
        self.open.push(None);
        Ok(())
    }

    /// Begins an entry of the innermost directory.
    ///
    /// # Errors
    /// [`codes::BAD_NAR`] for a name that is impossible or out of order.
    pub fn enter(&mut self, name: &[u8]) -> Result<()> {
        if self.node {
            return Err(bad("an entry cannot stand here"));
        }
        let last = self.open.last_mut().ok_or_else(|| bad("an entry cannot stand here"))?;
        check_name(name, last.as_deref())?;
        *last = Some(name.to_owned());
        self.node = true;
        for text in [b"entry".as_slice(), b"(", b"name", name, b"node"] {
            self.text(text)?;
        }
        Ok(())
    }

    /// Ends the innermost directory.
    ///
    /// # Errors
    /// [`codes::BAD_NAR`] if none is open.
    pub fn leave(&mut self) -> Result<()> {
        if self.node || self.open.pop().is_none() {
            return Err(bad("no directory can end here"));
        }
        self.end()
    }

    /// Writes a regular file of `len` bytes from `contents`.
    ///
    /// # Errors
    /// [`codes::BAD_NAR`] if no node can stand here, [`codes::TRANSFER`] if `contents` fails or is shorter.
    pub fn regular(&mut self, executable: bool, len: u64, contents: impl Read) -> Result<()> {
        self.begin(b"regular")?;
        if executable {
            self.text(b"executable")?;
            self.text(b"")?;
        }
        self.text(b"contents")?;
        self.raw(&len.to_le_bytes())?;
        let copied = io::copy(&mut contents.take(len), &mut self.out)
            .or_error(&codes::TRANSFER, || "a file could not be copied to a Nix archive")?;
        if copied < len {
            return Err(Error::new(&codes::TRANSFER, format!("a file ended after {copied} of {len} bytes")));
        }
        self.raw(&[0; 8][..padding(len)])?;
        self.end()
    }

    /// Writes a symbolic link.
    ///
    /// # Errors
    /// [`codes::BAD_NAR`] if no node can stand here, or the target is impossible.
    pub fn symlink(&mut self, target: &[u8]) -> Result<()> {
        check_target(target)?;
        self.begin(b"symlink")?;
        self.text(b"target")?;
        self.text(target)?;
        self.end()
    }

    /// Ends the archive.
    ///
    /// # Errors
    /// [`codes::BAD_NAR`] if it is not complete.
    pub fn finish(mut self) -> Result<W> {
        if self.node || !self.open.is_empty() {
            return Err(bad("it is not complete"));
        }
        self.out.flush().or_error(&codes::TRANSFER, || "a Nix archive could not be written")?;
        Ok(self.out)
    }

    fn begin(&mut self, kind: &[u8]) -> Result<()> {
        if !std::mem::take(&mut self.node) {
            return Err(bad("nothing can stand here without a name"));
        }
        [b"(".as_slice(), b"type", kind].into_iter().try_for_each(|text| self.text(text))
    }

    /// Closes a node, and the entry it stands in.
    fn end(&mut self) -> Result<()> {
        self.text(b")")?;
        if self.open.is_empty() { Ok(()) } else { self.text(b")") }
    }

    fn text(&mut self, text: &[u8]) -> Result<()> {
        let len = text.len() as u64;
        self.raw(&len.to_le_bytes())?;
        self.raw(text)?;
        self.raw(&[0; 8][..padding(len)])
    }

    fn raw(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).or_error(&codes::TRANSFER, || "a Nix archive could not be written")
    }
}
