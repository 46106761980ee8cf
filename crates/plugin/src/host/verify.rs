//! Whether a file may be run: it is the one that was trusted, and nobody else could have changed it.
//!
//! The file is opened once, without following a link. Everything after that is about what was opened: whose it is, what its
//! bytes are. Those bytes, in a copy that only the user may touch, are what is loaded.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nixoci_core::host::{Dirs, Host};
use nixoci_core::runner::Command;
use nixoci_core::text::hex;
use nixoci_core::{Error, Remedy, Result, ResultExt, shell};
use rustix::fs::OFlags;
use sha2::{Digest, Sha256};

use super::codes::{AS_ROOT, CHANGED, LIBRARY, LINK, NOT_FOUND, WRITABLE};
use super::inspect;

/// A library beyond this size is a mistake.
const SIZE_LIMIT: u64 = 1 << 30;

/// A copy that somebody began to write so long ago was not finished.
const PART_AGE: Duration = Duration::from_secs(3600);

const NIX_STORE: &str = "/nix/store";

/// A library that may be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// What is loaded: a private copy, or the file itself where nobody can change it.
    pub path: PathBuf,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
}

/// Checks a file and makes the copy that is loaded. With `expected` its bytes must have this SHA-256; without, they are taken as
/// they are. Nothing of it is run.
///
/// # Errors
/// [`NOT_FOUND`], [`LINK`], [`WRITABLE`], [`AS_ROOT`], [`CHANGED`], and those of [`inspect::inspect`].
pub fn verify(path: &Path, expected: Option<&str>, host: &Host, dirs: &Dirs) -> Result<Verified> {
    let Seen { bytes, sha256, in_store } = look(path, expected, host)?;
    let path = if in_store { path.to_owned() } else { private_copy(&bytes, &sha256, host, dirs)? };
    Ok(Verified { path, sha256 })
}

/// As [`verify`], without making a copy: the SHA-256 of a file that could be loaded.
///
/// # Errors
/// As [`verify`].
pub fn examine(path: &Path, expected: Option<&str>, host: &Host) -> Result<String> {
    look(path, expected, host).map(|seen| seen.sha256)
}

/// A file that may be loaded.
struct Seen {
    bytes: Vec<u8>,
    sha256: String,
    in_store: bool,
}

fn look(path: &Path, expected: Option<&str>, host: &Host) -> Result<Seen> {
    let fail = || format!("{} cannot be read", path.display());
    if path.canonicalize().is_ok_and(|real| real != path) {
        return Err(linked(path));
    }
    let options = (OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK).bits();
    let opened = OpenOptions::new().read(true).custom_flags(options.cast_signed()).open(path);
    let mut file = opened.map_err(|error| match error.raw_os_error() {
        Some(code) if code == rustix::io::Errno::LOOP.raw_os_error() => linked(path),
        _ => Error::new(&NOT_FOUND, fail()).caused_by(&error),
    })?;
    let in_store = may_nobody_change(path, &file, host)?;
    let bytes = read(&mut file).or_error(&LIBRARY, fail)?;
    let sha256 = hex(&Sha256::digest(&bytes));
    if let Some(expected) = expected.filter(|expected| *expected != sha256) {
        return Err(changed(path, expected, &sha256));
    }
    inspect::inspect(path, &bytes)?;
    Ok(Seen { bytes, sha256, in_store })
}

fn linked(path: &Path) -> Error {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    Error::new(&LINK, format!("{} leads through a symbolic link", path.display()))
        .because(format!("it leads to {}", real.display()))
        .remedy(Remedy::command("if that is the plugin", shell!("nixoci plugin trust {}", real)))
}

fn changed(path: &Path, expected: &str, found: &str) -> Error {
    Error::new(&CHANGED, format!("{} is not the plugin that was trusted", path.display()))
        .because(format!("its SHA-256 is {found}"))
        .because(format!("what was trusted has {expected}"))
        .remedy(Remedy::command(
            "if you have updated it, trust it again",
            shell!("nixoci plugin trust {}", path),
        ))
}

/// Makes sure that only this user and root could have changed the file. Whether it is in the Nix store, where not even
/// they do.
fn may_nobody_change(path: &Path, file: &File, host: &Host) -> Result<bool> {
    let meta = file.metadata().or_error(&LIBRARY, || format!("{} cannot be looked at", path.display()))?;
    if !meta.is_file() {
        return Err(Error::new(&LIBRARY, format!("{} is no regular file", path.display())));
    }
    let mut places = vec![Place { path, owner: meta.uid(), mode: meta.mode() }];
    let read_only = meta.mode() & 0o222 == 0;
    let mut in_store = false;
    for parent in path.ancestors().skip(1) {
        // Nix's builders may write there, and nobody may change what is in it.
        in_store = parent == Path::new(NIX_STORE) && read_only;
        if in_store {
            break;
        }
        places.push(Place::of(parent)?);
    }
    check(&places, host)?;
    Ok(in_store)
}

/// Something on the way to a file.
struct Place<'a> {
    path: &'a Path,
    owner: u32,
    mode: u32,
}

impl<'a> Place<'a> {
    fn of(path: &'a Path) -> Result<Self> {
        let meta = std::fs::symlink_metadata(path)
            .or_error(&LIBRARY, || format!("{} cannot be looked at", path.display()))?;
        Ok(Place { path, owner: meta.uid(), mode: meta.mode() })
    }

    /// Others may write there.
    fn is_open(&self) -> bool {
        self.mode & 0o022 != 0
    }

    /// It is meant to be so: nobody moves away what is not theirs.
    fn is_sticky(&self) -> bool {
        self.mode & 0o1000 != 0
    }
}

/// Makes sure that these are the user's or root's alone.
fn check(places: &[Place<'_>], host: &Host) -> Result<()> {
    places.iter().try_for_each(|place| owned(place, host))?;
    let Some(first) = places.iter().find(|place| place.is_open()) else { return Ok(()) };
    let error = Error::new(&WRITABLE, format!("others may write to {}", first.path.display()))
        .because(format!("its mode is {:o}", first.mode & 0o7777));
    if let Some(meant) = places.iter().find(|place| place.is_open() && place.is_sticky()) {
        let advice =
            format!("move the plugin to a directory of your own: {} is everybody's", meant.path.display());
        return Err(error.remedy(Remedy::advice(advice)));
    }
    // All at once: nobody wants to hear of one after the other.
    let open = places.iter().filter(|place| place.is_open()).map(|place| place.path);
    let close = Command::new("chmod").arg("go-w").args(open);
    Err(error.remedy(Remedy::command("if nobody has, take that away", close.to_string())))
}

fn owned(Place { path, owner, .. }: &Place<'_>, host: &Host) -> Result<()> {
    let (shown, owner) = (path.display(), *owner);
    if owner != 0 && host.is_root() {
        return Err(Error::new(&AS_ROOT, "root does not run a user's plugin")
            .because(format!("{shown} belongs to the user with the id {owner}"))
            .remedy(Remedy::advice("run nixoci as yourself")));
    }
    if owner != 0 && owner != host.uid {
        return Err(Error::new(&WRITABLE, format!("{shown} belongs to somebody else"))
            .because(format!("its owner is the user with the id {owner}"))
            .remedy(Remedy::advice("copy the plugin to a directory of your own")));
    }
    Ok(())
}

fn read(file: &mut File) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(SIZE_LIMIT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > SIZE_LIMIT {
        return Err(std::io::Error::other("it is larger than 1 GiB"));
    }
    Ok(bytes)
}

/// SHA-256 of a file, in hexadecimal.
pub(super) fn hash_of(path: &Path) -> std::io::Result<String> {
    Ok(hex(&Sha256::digest(read(&mut File::open(path)?)?)))
}

/// Where the copies are, and what was found out about them.
pub(super) fn copies(dirs: &Dirs) -> PathBuf {
    dirs.cache.join("plugins")
}

/// The directory of the copies, made if it is not there.
pub(super) fn directory(dirs: &Dirs) -> std::io::Result<PathBuf> {
    let dir = copies(dirs);
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
    Ok(dir)
}

/// The copy of these bytes that is loaded, made if it is not there. (Whoever loads it compares it once more, and between that and the
/// loading nobody else may put something in its place.)
fn private_copy(bytes: &[u8], sha256: &str, host: &Host, dirs: &Dirs) -> Result<PathBuf> {
    let failed = || "the plugin cannot be copied to nixoci's cache".to_owned();
    let dir = directory(dirs).and_then(|dir| dir.canonicalize()).or_error(&LIBRARY, failed)?;
    own(&dir, &dirs.cache, host);
    let places = dir.ancestors().map(Place::of).collect::<Result<Vec<_>>>()?;
    let places: Vec<Place<'_>> =
        places.into_iter().filter(|place| !(place.owner == 0 && place.is_sticky())).collect();
    check(&places, host)
        .map_err(|error| error.context("the plugin's copy would not be safe in nixoci's cache"))?;
    let copy = dir.join(sha256);
    if std::fs::symlink_metadata(&copy).is_ok_and(|meta| meta.is_file() && meta.len() == bytes.len() as u64) {
        return Ok(copy);
    }
    let mut part = tempfile::Builder::new().prefix(".part-").tempfile_in(&dir).or_error(&LIBRARY, failed)?;
    part.write_all(bytes).or_error(&LIBRARY, failed)?;
    part.persist(&copy).map_err(|error| error.error).or_error(&LIBRARY, failed)?;
    Ok(copy)
}

/// Takes from others the right to write to nixoci's own directories, which an old `umask` may have given them.
fn own(dir: &Path, cache: &Path, host: &Host) {
    for path in [dir, cache] {
        let Ok(place) = Place::of(path) else { continue };
        if place.is_open() && place.owner == host.uid {
            // Should it not be possible, that is said next.
            let _ = std::fs::set_permissions(path, Permissions::from_mode(place.mode & !0o022));
        }
    }
}

/// Lets go of the copy of a library that nobody trusts, and of what was found out about it.
pub fn forget(dirs: &Dirs, sha256: &str) {
    let copy = copies(dirs).join(sha256);
    let _ = std::fs::remove_file(copy.with_extension("json"));
    let _ = std::fs::remove_file(copy);
}

/// Lets go of copies, and of what was found out about them, that are not of one of these SHA-256. Who runs one keeps it.
pub fn sweep(dirs: &Dirs, keep: &[&str]) {
    for entry in std::fs::read_dir(copies(dirs)).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let of = name.strip_suffix(".json").unwrap_or(&name);
        // Somebody may be writing one.
        let written = || {
            entry
                .metadata()
                .and_then(|meta| meta.modified())
                .and_then(|at| at.elapsed().map_err(std::io::Error::other))
        };
        let keeps = if name.starts_with('.') {
            written().is_ok_and(|age| age < PART_AGE)
        } else {
            keep.contains(&of)
        };
        if !keeps {
            // One that stays costs its room until the next time.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}
