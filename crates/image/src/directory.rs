//! Layouts in directories, read as the archive that `tar` would make of them.
//!
//! Only what the index leads to is read: a layout may be shared by many images. Nothing is followed that a digest does
//! not name, so no path leads out of the directory.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};

use nixoci_core::digest::Digest;
use nixoci_core::file;
use nixoci_core::text::bytes;
use nixoci_core::{Error, Result, ResultExt};
use serde_json::Value;

use crate::codes;
use crate::detect::{self, Shape};
use crate::input::{Input, unreadable};
use crate::tar::{file_header, padding};

/// The longest JSON document that is followed; the reader has the same limit.
const JSON_LIMIT: u64 = 4 << 20;
/// The longest `oci-layout`, which holds a version.
const MARK_LIMIT: u64 = 4 << 10;
/// How many blobs are looked at: as many as an archive may have members.
const BLOB_LIMIT: usize = 1 << 14;

/// A member of the archive to be.
struct Member {
    name: String,
    path: PathBuf,
    size: u64,
}

/// The layout at `path` as a source.
pub(crate) fn input(path: &Path) -> Result<Input> {
    let members = match detect::describe(path)? {
        Shape::OciLayout => layout(path)?,
        Shape::SkopeoDir => skopeo(path)?,
        _ => return Err(detect::refuse(path)),
    };
    let size = members.iter().map(|member| 512 + member.size + padding(member.size)).sum::<u64>() + 1024;
    let reader = Stream { members: members.into_iter(), current: Box::new(io::empty()), ended: false };
    Ok(Input::reader(Box::new(reader), path.display().to_string(), Some(size)))
}

fn member(root: &Path, name: String) -> Result<Option<Member>> {
    let path = root.join(&name);
    match std::fs::metadata(&path) {
        Ok(metadata) if metadata.is_file() => Ok(Some(Member { name, path, size: metadata.len() })),
        // The reader says what is missing, and who wants it.
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(&path, &error)),
    }
}

fn layout(root: &Path) -> Result<Vec<Member>> {
    let mut walk = Walk::new(root, "blobs/sha256/");
    if let Some(mark) = member(root, "oci-layout".to_owned())? {
        mark.no_longer_than(MARK_LIMIT)?;
        walk.members.push(mark);
    }
    walk.reach("index.json")?;
    Ok(walk.members)
}

fn skopeo(root: &Path) -> Result<Vec<Member>> {
    let mut walk = Walk::new(root, "");
    walk.reach("manifest.json")?;
    Ok(walk.members)
}

impl Member {
    fn no_longer_than(&self, limit: u64) -> Result<()> {
        if self.size <= limit {
            return Ok(());
        }
        let (size, limit) = (bytes(self.size), bytes(limit));
        let text = format!("{} is {size} long, and {limit} is the limit", self.path.display());
        Err(Error::new(&codes::TOO_LARGE, text))
    }
}

/// The files that a document leads to, each once.
struct Walk<'a> {
    root: &'a Path,
    blobs: &'static str,
    members: Vec<Member>,
    seen: HashSet<String>,
    /// Documents that are not followed yet. A list, because indexes may lie in each other as deep as they like.
    waiting: Vec<Member>,
}

impl<'a> Walk<'a> {
    fn new(root: &'a Path, blobs: &'static str) -> Self {
        Walk { root, blobs, members: Vec::new(), seen: HashSet::new(), waiting: Vec::new() }
    }

    /// A document, and everything it names.
    fn reach(&mut self, name: &str) -> Result<()> {
        if let Some(first) = member(self.root, name.to_owned())? {
            first.no_longer_than(JSON_LIMIT)?;
            self.waiting.push(first);
        }
        while let Some(document) = self.waiting.pop() {
            self.follow(&document)?;
            self.members.push(document);
        }
        Ok(())
    }

    fn follow(&mut self, document: &Member) -> Result<()> {
        if document.size > JSON_LIMIT {
            // The reader knows whether it matters.
            return Ok(());
        }
        let unreadable = || format!("{} cannot be read", document.path.display());
        let bytes = file::read(&document.path, JSON_LIMIT).or_error(&codes::READ_FAILED, unreadable)?;
        // What is no JSON leads nowhere; the reader will say so.
        let document: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let list = |key: &str| document[key].as_array().map(Vec::as_slice).unwrap_or_default();
        for child in list("manifests") {
            if let Some(found) = self.blob(child, &["", ".manifest.json"])? {
                self.waiting.push(found);
            }
        }
        let config = Some(&document["config"]).filter(|config| config.is_object());
        for child in config.into_iter().chain(list("layers")) {
            if let Some(found) = self.blob(child, &[""])? {
                self.members.push(found);
            }
        }
        Ok(())
    }

    /// The file of a descriptor's blob, where it is new. skopeo's `dir:` gives the manifests of an index an ending of their
    /// own. Source: containers/image `directory/directory_transport.go`.
    fn blob(&mut self, descriptor: &Value, endings: &[&str]) -> Result<Option<Member>> {
        let hex = descriptor["digest"].as_str().and_then(|digest| digest.strip_prefix("sha256:"));
        let Some(digest) = hex.and_then(|hex| Digest::from_hex(hex).ok()) else { return Ok(None) };
        let name = format!("{}{}", self.blobs, digest.hex());
        if self.seen.len() >= BLOB_LIMIT || !self.seen.insert(name.clone()) {
            return Ok(None);
        }
        for ending in endings {
            if let Some(found) = member(self.root, format!("{name}{ending}"))? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

/// The members as one tar archive.
struct Stream {
    members: std::vec::IntoIter<Member>,
    current: Box<dyn Read + Send>,
    ended: bool,
}

impl Stream {
    fn next(&mut self) -> io::Result<bool> {
        match self.members.next() {
            Some(Member { name, path, size }) => {
                let header = Cursor::new(file_header(&name, size).to_vec());
                let pad = io::repeat(0).take(padding(size));
                // A file that shrinks meanwhile must not shift what follows.
                let content = Exactly { file: file::open(&path)?, left: size };
                self.current = Box::new(header.chain(content).chain(pad));
                Ok(true)
            }
            None if !self.ended => {
                self.ended = true;
                self.current = Box::new(io::repeat(0).take(1024));
                Ok(true)
            }
            None => Ok(false),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.current.read(buffer)? {
                0 if !buffer.is_empty() && self.next()? => {}
                count => return Ok(count),
            }
        }
    }
}

/// So many bytes of a file, or an error.
struct Exactly {
    file: File,
    left: u64,
}

impl Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if wanted == 0 {
            return Ok(0);
        }
        match self.file.read(&mut buffer[..wanted])? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a file became shorter while it was read")),
            count => {
                self.left -= count as u64;
                Ok(count)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_without_an_image_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("bin")).unwrap();
        let error = input(dir.path()).unwrap_err();
        assert!(error.is(&codes::NOT_AN_IMAGE));
    }
}
