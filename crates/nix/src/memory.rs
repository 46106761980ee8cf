//! Remembers what other machines made of derivations.
//!
//! An image that has not changed is in nixoci's cache, under the hash of what the machine built; that hash is all that the
//! machine would be asked for. Asking takes a connection: seconds, on a slow network. An entry is for a derivation and a machine,
//! because two machines may build different bits; it only helps to find what was checked when it came.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nixoci_core::artifact::{PathInfo, StorePath};
use nixoci_core::text::hex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::machines::Machine;

/// Entries that were not written for so long are removed.
const STALE: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// A derivation is a few kilobytes.
const DERIVATION_LIMIT: u64 = 16 << 20;

#[derive(Serialize, Deserialize, PartialEq)]
struct Key {
    machine: String,
    host_key: Option<String>,
    drv: StorePath,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    key: Key,
    info: PathInfo,
}

impl Key {
    fn new(machine: &Machine, drv: &StorePath) -> Key {
        Key { machine: machine.uri.clone(), host_key: machine.host_key.clone(), drv: drv.clone() }
    }

    fn file(&self, cache: &Path) -> PathBuf {
        let text = serde_json::to_string(self).unwrap_or_default();
        dir(cache).join(format!("{}.json", hex(&Sha256::digest(text)[..16])))
    }
}

fn dir(cache: &Path) -> PathBuf {
    cache.join("built")
}

/// What the machine made of this derivation.
pub(crate) fn recall(cache: &Path, machine: &Machine, drv: &StorePath) -> Option<PathInfo> {
    let key = Key::new(machine, drv);
    let entry: Entry = serde_json::from_slice(&std::fs::read(key.file(cache)).ok()?).ok()?;
    (entry.key == key && names(drv.as_path(), &entry.info.path)).then_some(entry.info)
}

/// Whether a derivation says itself where its output will be. One whose output is known only once it is built may be one
/// that is built anew every time.
fn names(drv: &Path, output: &StorePath) -> bool {
    let small = std::fs::metadata(drv).is_ok_and(|metadata| metadata.len() <= DERIVATION_LIMIT);
    small && std::fs::read_to_string(drv).is_ok_and(|text| text.contains(&format!("\"{output}\"")))
}

/// Remembers it. Not being able to is no error; two nixoci at once each write a whole file.
pub(crate) fn remember(cache: &Path, machine: &Machine, drv: &StorePath, info: &PathInfo) {
    let key = Key::new(machine, drv);
    let file = key.file(cache);
    let write = || -> std::io::Result<()> {
        std::fs::create_dir_all(dir(cache))?;
        let mut temporary = tempfile::NamedTempFile::new_in(dir(cache))?;
        serde_json::to_writer(&mut temporary, &Entry { key, info: info.clone() })?;
        temporary.persist(&file)?;
        sweep(&dir(cache))
    };
    let _ = write();
}

fn sweep(dir: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(dir)?.flatten() {
        let age = entry.metadata().ok().and_then(|metadata| metadata.modified().ok()?.elapsed().ok());
        if age.is_some_and(|age| age > STALE) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "0mixbwv945yr64jsc6jla0384mdn9l4z";

    fn machine(uri: &str, host_key: Option<&str>) -> Machine {
        Machine { host_key: host_key.map(str::to_owned), ..Machine::at(uri) }
    }

    #[test]
    fn what_one_machine_built_is_not_what_another_did() {
        let store = tempfile::tempdir().unwrap();
        let path = |name: &str| -> StorePath {
            format!("{}/store/{HASH}-{name}", store.path().display()).parse().unwrap()
        };
        let (drv, image) = (path("x.drv"), path("x.tar.gz"));
        let info = PathInfo {
            path: image.clone(),
            nar_hash: "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=".parse().unwrap(),
            nar_size: 1,
            references: Vec::new(),
            deriver: None,
            local: None,
        };
        let cache = store.path().join("cache");
        let one = machine("ssh-ng://one", None);
        assert_eq!(recall(&cache, &one, &drv), None);
        remember(&cache, &one, &drv, &info);
        // A derivation that is gone, and one that does not know its output.
        assert_eq!(recall(&cache, &one, &drv), None);
        std::fs::create_dir(store.path().join("store")).unwrap();
        std::fs::write(drv.as_path(), r#"Derive([("out","","r:sha256","")]"#).unwrap();
        assert_eq!(recall(&cache, &one, &drv), None);
        std::fs::write(drv.as_path(), format!(r#"Derive([("out","{image}","","")]"#)).unwrap();
        assert_eq!(recall(&cache, &one, &drv), Some(info));
        for other in [machine("ssh-ng://two", None), machine("ssh-ng://one", Some("ssh-ed25519 AAAA"))] {
            assert_eq!(recall(&cache, &other, &drv), None, "{other:?}");
        }
        assert_eq!(recall(&cache, &one, &path("y.drv")), None);
    }
}
