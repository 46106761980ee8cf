//! Opening files that somebody else put there.
//!
//! A named pipe keeps who opens it waiting for a writer, a device may do anything, and a sparse file is as long as it likes:
//! what comes from a project, an archive or another user is opened here.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::text::bytes;

/// Opens a regular file for reading. Symbolic links are followed.
///
/// # Errors
/// Those of the system; [`io::ErrorKind::InvalidInput`] for a pipe, a device, a socket or a directory.
pub fn open(path: &Path) -> io::Result<File> {
    // A pipe opens at once with it, and a regular file does not know it.
    let flags = (OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY).bits();
    let file = OpenOptions::new().read(true).custom_flags(flags.cast_signed()).open(path)?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"))
}

/// All of a regular file.
///
/// # Errors
/// Those of [`open`]; [`io::ErrorKind::FileTooLarge`] where it is longer than `limit` bytes.
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    open(path)?.take(limit.saturating_add(1)).read_to_end(&mut content)?;
    if content.len() as u64 > limit {
        let text = format!("it is longer than {}, which is the limit", bytes(limit));
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    Ok(content)
}

/// As [`read`], for a text in UTF-8.
///
/// # Errors
/// Those of [`read`]; [`io::ErrorKind::InvalidData`] for other bytes.
pub fn read_to_string(path: &Path, limit: u64) -> io::Result<String> {
    String::from_utf8(read(path, limit)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not valid UTF-8"))
}

/// Replaces a file as a whole, and makes its directory: of two that are written at once, one remains. Only the user reads it.
///
/// # Errors
/// Those of the system.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir)?;
    let mut part = tempfile::NamedTempFile::new_in(dir)?;
    part.write_all(content)?;
    part.persist(path).map(drop).map_err(|error| error.error)
}

/// Why a directory is not a user's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shared {
    /// This one belongs to the user with this number.
    Owned(PathBuf, u32),
    /// Others may write to this one.
    Open(PathBuf),
}

/// Whether somebody other than this user and root could put files into a directory, or replace it: by its owner and mode, or
/// by those of a directory above it. A path that does not exist yet is judged by the nearest
/// directory that does. Links are resolved.
///
/// # Errors
/// Those of the system.
pub fn shared(dir: &Path, uid: u32) -> io::Result<Option<Shared>> {
    let real = resolved(dir);
    for (depth, path) in real.ancestors().enumerate() {
        let about = match path.symlink_metadata() {
            Ok(about) => about,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if ![uid, 0].contains(&about.uid()) {
            return Ok(Some(Shared::Owned(path.to_owned(), about.uid())));
        }
        // In a sticky directory nobody moves what is not theirs. Above, a group is the user's own on most systems.
        let (writable, sticky) = (if depth == 0 { 0o022 } else { 0o002 }, about.mode() & 0o1000 != 0);
        if about.mode() & writable != 0 && !(sticky && depth > 0) {
            return Ok(Some(Shared::Open(path.to_owned())));
        }
    }
    Ok(None)
}

/// As many links as Linux follows in one path (`MAXSYMLINKS`).
const LINK_LIMIT: usize = 40;

/// Where an absolute path leads, every link resolved, whether or not something is there: a link to nothing is written through
/// as well.
pub fn resolved(path: &Path) -> PathBuf {
    let parts = |path: &Path| path.components().map(|part| part.as_os_str().to_owned()).collect::<Vec<_>>();
    let mut rest = parts(path);
    rest.reverse();
    let (mut real, mut links) = (PathBuf::new(), 0);
    while let Some(part) = rest.pop() {
        if part == ".." {
            real.pop();
            continue;
        }
        // `join` makes the root of a part that is one.
        let next = real.join(part);
        match std::fs::read_link(&next) {
            Ok(target) if links < LINK_LIMIT => {
                links += 1;
                rest.extend(parts(&target).into_iter().rev());
            }
            _ => real = next,
        }
    }
    real
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
