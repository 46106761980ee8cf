//! Layouts in directories, read as the archive that `tar` would make of them.
//!
//! Only what the index leads to is read: a layout may be shared by many images. Nothing is followed that a digest does
//! not name, so no path leads out of the directory.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};

use nixoci_core::digest::Digest;
use nixoci_core::{Result, ResultExt};
use serde_json::Value;

use crate::codes;
use crate::detect::{self, Shape};
use crate::input::{Input, unreadable};
use crate::tar::{file_header, padding};

/// The longest JSON document that is followed; the reader has the same limit.
const JSON_LIMIT: u64 = 4 << 20;
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
    let mut walk = Walk { root, members: Vec::new(), seen: HashSet::new(), blobs: "blobs/sha256/" };
    walk.members.extend(member(root, "oci-layout".to_owned())?);
    walk.document("index.json".to_owned())?;
    Ok(walk.members)
}

fn skopeo(root: &Path) -> Result<Vec<Member>> {
    let mut walk = Walk { root, members: Vec::new(), seen: HashSet::new(), blobs: "" };
    walk.document("manifest.json".to_owned())?;
    Ok(walk.members)
}

struct Walk<'a> {
    root: &'a Path,
    members: Vec<Member>,
    seen: HashSet<String>,
    blobs: &'static str,
}

impl Walk<'_> {
    /// A document, and everything it names.
    fn document(&mut self, name: String) -> Result<()> {
        if self.seen.len() >= BLOB_LIMIT || !self.seen.insert(name.clone()) {
            return Ok(());
        }
        let Some(found) = member(self.root, name)? else { return Ok(()) };
        let (path, size) = (found.path.clone(), found.size);
        self.members.push(found);
        if size > JSON_LIMIT {
            return Ok(());
        }
        let bytes = std::fs::read(&path)
            .or_error(&codes::READ_FAILED, || format!("{} cannot be read", path.display()))?;
        // What is no JSON leads nowhere; the reader will say so.
        let document: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let list = |key: &str| document[key].as_array().cloned().unwrap_or_default();
        for child in list("manifests") {
            if let Some(name) = self.name(&child) {
                self.document(name)?;
            }
        }
        let config = Some(document["config"].clone()).filter(Value::is_object);
        for child in config.into_iter().chain(list("layers")) {
            if let Some(name) = self.name(&child)
                && self.seen.len() < BLOB_LIMIT
                && self.seen.insert(name.clone())
            {
                self.members.extend(member(self.root, name)?);
            }
        }
        Ok(())
    }

    /// The file of a descriptor's blob.
    fn name(&self, descriptor: &Value) -> Option<String> {
        let hex = descriptor["digest"].as_str()?.strip_prefix("sha256:")?;
        let digest = Digest::from_hex(hex).ok()?;
        Some(format!("{}{}", self.blobs, digest.hex()))
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
                let content = Exactly { file: File::open(path)?, left: size };
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
