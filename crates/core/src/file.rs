//! Opening files that somebody else put there.
//!
//! A named pipe keeps who opens it waiting for a writer, a device may do anything, and a sparse file is as long as it likes:
//! what comes from a project, an archive or another user is opened here.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
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
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_of_a_bounded_length_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("text"), "text").unwrap();
        std::os::unix::fs::symlink("text", path("link")).unwrap();
        assert_eq!(read_to_string(&path("link"), 4).unwrap(), "text");
        assert_eq!(read(&path("text"), 3).unwrap_err().kind(), io::ErrorKind::FileTooLarge);

        let pipe = path("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        for odd in [pipe.as_path(), dir.path(), Path::new("/dev/zero"), Path::new("/dev/tty")] {
            assert!(open(odd).is_err(), "{}", odd.display());
        }
        File::create(path("sparse")).unwrap().set_len(1 << 40).unwrap();
        assert_eq!(read(&path("sparse"), 1 << 10).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }
}
