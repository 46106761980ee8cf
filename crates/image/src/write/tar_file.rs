//! A tar archive as a store: blobs are its first members, in the order in which they came.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use nixoci_core::digest::Digest;

use super::blobs::BlobStore;
use crate::tar::{BLOCK, directory_header, file_header, padding};

const ZEROS: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// A blob in the file.
struct Placed {
    digest: Digest,
    /// Where its header goes.
    start: u64,
    size: u64,
}

impl Placed {
    /// Header, data and padding.
    fn length(&self) -> u64 {
        BLOCK as u64 + self.size + padding(self.size)
    }
}

/// A tar archive that is being written to a file.
pub(crate) struct TarFile<'f> {
    file: &'f File,
    /// Members before the blobs.
    head: Vec<u8>,
    name: fn(&Digest) -> String,
    start: u64,
    next: u64,
    placed: Vec<Placed>,
    seen: HashSet<Digest>,
}

impl<'f> TarFile<'f> {
    /// An archive in this file, which is open for reading and writing and empty. `head` are its first members, files
    /// and directories (`name/`); `name` says what a blob is called.
    pub(crate) fn new(file: &'f File, head: &[(&str, &[u8])], name: fn(&Digest) -> String) -> Self {
        let mut bytes = Vec::new();
        for (name, content) in head {
            match name.ends_with('/') {
                true => bytes.extend_from_slice(&directory_header(name)),
                false => member(&mut bytes, name, content),
            }
        }
        let next = bytes.len() as u64;
        TarFile { file, head: bytes, name, start: next, next, placed: Vec::new(), seen: HashSet::new() }
    }
}

/// A whole member.
fn member(out: &mut Vec<u8>, name: &str, content: &[u8]) {
    let size = content.len() as u64;
    out.extend_from_slice(&file_header(name, size));
    out.extend_from_slice(content);
    out.resize(out.len() + padding(size) as usize, 0);
}

impl BlobStore for TarFile<'_> {
    /// Room for the header is left: its name and size are known at the end.
    fn begin(&mut self) -> io::Result<()> {
        self.start = self.next;
        self.next += BLOCK as u64;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.next)?;
        self.next += bytes.len() as u64;
        Ok(())
    }

    fn copy(&mut self, source: &File, at: u64, size: u64) -> io::Result<()> {
        let (mut source, mut out) = (source, self.file);
        source.seek(SeekFrom::Start(at))?;
        out.seek(SeekFrom::Start(self.next))?;
        if io::copy(&mut source.take(size), &mut out)? != size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.next += size;
        Ok(())
    }

    /// One that was there already is written over by the next.
    fn end(&mut self, digest: Digest, size: u64) -> io::Result<()> {
        let pad = padding(size) as usize;
        self.file.write_all_at(&ZEROS[..pad], self.next)?;
        self.next += pad as u64;
        if self.seen.insert(digest) {
            self.placed.push(Placed { digest, start: self.start, size });
        } else {
            self.next = self.start;
        }
        Ok(())
    }

    fn finish(self: Box<Self>, used: &HashSet<Digest>, files: &[(String, Vec<u8>)]) -> io::Result<u64> {
        let file = self.file;
        file.write_all_at(&self.head, 0)?;
        let mut at = self.head.len() as u64;
        for blob in self.placed.iter().filter(|blob| used.contains(&blob.digest)) {
            move_down(file, blob, at)?;
            file.write_all_at(&file_header(&(self.name)(&blob.digest), blob.size), at)?;
            at += blob.length();
        }
        for (name, content) in files {
            let mut bytes = Vec::new();
            member(&mut bytes, name, content);
            file.write_all_at(&bytes, at)?;
            at += bytes.len() as u64;
        }
        file.write_all_at(&ZEROS, at)?;
        at += ZEROS.len() as u64;
        file.set_len(at)?;
        Ok(at)
    }
}

/// Closes the gap that a blob left which no image turned out to use.
fn move_down(file: &File, blob: &Placed, to: u64) -> io::Result<()> {
    if blob.start == to {
        return Ok(());
    }
    let mut buffer = vec![0; 1 << 20];
    let mut moved = 0;
    while moved < blob.length() {
        let step = buffer.len().min(usize::try_from(blob.length() - moved).unwrap_or(usize::MAX));
        file.read_exact_at(&mut buffer[..step], blob.start + moved)?;
        file.write_all_at(&buffer[..step], to + moved)?;
        moved += step as u64;
    }
    Ok(())
}
