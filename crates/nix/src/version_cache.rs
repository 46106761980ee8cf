//! Remembers which version a `nix` program is, because asking costs a process at every start.
//!
//! An entry is for a file with a length and a modification time. A script is never remembered: version
//! managers put scripts in Nix's place that start one version or another.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nixoci_core::text::hex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::version::Version;

#[derive(Serialize, Deserialize, PartialEq)]
struct Key {
    path: PathBuf,
    size: u64,
    seconds: i64,
    nanoseconds: i64,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    key: Key,
    text: String,
}

/// The remembered version of `program`.
pub(crate) fn get(cache: &Path, program: &Path) -> Option<Version> {
    let key = key(program)?;
    let entry: Entry = serde_json::from_slice(&std::fs::read(file(cache, &key)).ok()?).ok()?;
    (entry.key == key).then(|| Version::parse(&entry.text)).flatten()
}

/// Remembers it. Not being able to is no error; two nixoci at once each write a whole file.
pub(crate) fn put(cache: &Path, program: &Path, version: &Version) {
    let Some(key) = key(program) else { return };
    let path = file(cache, &key);
    let entry = Entry { key, text: version.text.clone() };
    let write = || -> std::io::Result<()> {
        std::fs::create_dir_all(cache)?;
        let mut temporary = tempfile::NamedTempFile::new_in(cache)?;
        serde_json::to_writer(&mut temporary, &entry)?;
        temporary.persist(&path)?;
        Ok(())
    };
    let _ = write();
}

fn key(program: &Path) -> Option<Key> {
    let path = program.canonicalize().ok()?;
    let mut start = [0; 2];
    let mut opened = std::fs::File::open(&path).ok()?;
    let meta = opened.metadata().ok()?;
    opened.read_exact(&mut start).ok()?;
    (start != *b"#!").then(|| Key {
        path,
        size: meta.size(),
        seconds: meta.mtime(),
        nanoseconds: meta.mtime_nsec(),
    })
}

fn file(cache: &Path, key: &Key) -> PathBuf {
    let hash = Sha256::digest(key.path.as_os_str().as_encoded_bytes());
    cache.join(format!("nix-version-{}.json", hex(&hash[..8])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_remembered_until_the_program_changes() {
        let dir = tempfile::tempdir().unwrap();
        let (cache, program) = (dir.path().join("cache"), dir.path().join("nix"));
        std::fs::write(&program, "\x7fELF one").unwrap();
        let version = Version::parse("nix (Nix) 2.34.8").unwrap();
        assert_eq!(get(&cache, &program), None);
        put(&cache, &program, &version);
        assert_eq!(get(&cache, &program), Some(version));
        std::fs::write(&program, "\x7fELF longer").unwrap();
        assert_eq!(get(&cache, &program), None);
    }

    #[test]
    fn a_script_is_not_remembered_and_a_broken_entry_is_ignored() {
        let dir = tempfile::tempdir().unwrap();
        let version = Version::parse("nix (Nix) 2.34.8").unwrap();
        let script = dir.path().join("script");
        std::fs::write(&script, "#!/bin/sh\n").unwrap();
        put(dir.path(), &script, &version);
        assert_eq!(get(dir.path(), &script), None);
        let program = dir.path().join("nix");
        std::fs::write(&program, "\x7fELF").unwrap();
        std::fs::write(file(dir.path(), &key(&program).unwrap()), "{").unwrap();
        assert_eq!(get(dir.path(), &program), None);
    }

    #[test]
    fn a_cache_that_cannot_be_written_does_no_harm() {
        put(Path::new("/dev/null/x"), Path::new("/bin/sh"), &Version::parse("nix (Nix) 2.34.8").unwrap());
    }
}
