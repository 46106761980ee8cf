//! Links such as `./result`, and the memory of them.
//!
//! As with Nix's indirect roots, `links/` has a file for every link that was made, with the link's path in it.
//! The archive is kept while that link exists and points to it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nixoci_core::digest::Digest;
use nixoci_core::{Error, Remedy, Result};
use sha2::{Digest as _, Sha256};

use super::cache_error;
use crate::codes;

fn link_error(link: &Path, error: &io::Error) -> Error {
    Error::new(&codes::WRITE_FAILED, format!("the link {} could not be made", link.display()))
        .caused_by(error)
}

/// Whether a link can be made here: nothing but a link is in the way, and its directory may be written. For
/// asking before anything is built; changes nothing.
pub fn check_link(link: &Path) -> Result<()> {
    match fs::symlink_metadata(link) {
        Ok(metadata) if !metadata.is_symlink() => {
            let what = if metadata.is_dir() { "a directory" } else { "a file" };
            let text = format!("{} is {what}, and is not replaced by a link", link.display());
            return Err(Error::new(&codes::LINK_IN_THE_WAY, text)
                .remedy(Remedy::command("leave the link elsewhere", "--out-link PATH"))
                .remedy(Remedy::command("do without a link", "--no-link")));
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(link_error(link, &error)),
    }
    crate::destination::check_directory(link)
}

/// Makes the link and remembers it.
pub(super) fn make(dir: &Path, archive: &Path, link: &Path) -> Result<()> {
    check_link(link)?;
    let fail = |error: io::Error| link_error(link, &error);
    let link = std::path::absolute(link).map_err(fail)?;
    let archive = std::path::absolute(archive).map_err(fail)?;
    let name = Digest::from_bytes(Sha256::digest(link.as_os_str().as_bytes()).into()).hex();
    let record = dir.join("links").join(name);
    fs::write(record, link.as_os_str().as_bytes())
        .map_err(cache_error("the link could not be remembered"))?;
    let file_name = link.file_name().unwrap_or(OsStr::new("result")).to_string_lossy();
    let temporary = link.with_file_name(format!(".{file_name}.nixoci-{}", std::process::id()));
    let _ = fs::remove_file(&temporary);
    std::os::unix::fs::symlink(&archive, &temporary).map_err(fail)?;
    fs::rename(&temporary, &link).map_err(|error| {
        let _ = fs::remove_file(&temporary);
        fail(error)
    })
}

/// The links that there are now, by the file name of the archive they point to. Links that are gone are forgotten.
pub(super) fn by_target(dir: &Path) -> BTreeMap<OsString, Vec<PathBuf>> {
    let mut links: BTreeMap<OsString, Vec<PathBuf>> = BTreeMap::new();
    // The cache may be reached by several paths, `~/.cache` being a link to another disk.
    let here = fs::canonicalize(dir).ok();
    for record in fs::read_dir(dir.join("links")).into_iter().flatten().flatten() {
        let Ok(link) = fs::read(record.path()) else { continue };
        let link = PathBuf::from(OsStr::from_bytes(&link));
        let ours = |target: &Path| target.parent().and_then(|parent| fs::canonicalize(parent).ok()) == here;
        match fs::read_link(&link) {
            Ok(target) if ours(&target) => {
                links.entry(target.file_name().unwrap_or_default().to_owned()).or_default().push(link);
            }
            // It may be on a disk that is not mounted now: only what is surely gone is forgotten.
            Err(error) if error.kind() != io::ErrorKind::NotFound => {}
            _ => {
                let _ = fs::remove_file(record.path());
            }
        }
    }
    links
}
