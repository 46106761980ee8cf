//! An OCI image layout in a directory as a store.
//!
//! Everything is made in a directory beside; a new layout appears by one rename. Into a layout that is there already, blobs
//! move one by one, which changes nothing that its index names, and then the index is replaced.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use nixoci_core::digest::Digest;
use serde_json::Value;

use super::blobs::BlobStore;

const BLOBS: &str = "blobs/sha256";
/// The largest index of an existing layout that is added to.
const INDEX_LIMIT: u64 = 4 << 20;

/// A layout in the making.
pub(crate) struct LayoutDir {
    target: PathBuf,
    stage: PathBuf,
    current: Option<File>,
    blobs: HashSet<Digest>,
    /// As long as it is locked, nobody takes it for what a killed process left.
    _lock: Option<File>,
}

impl LayoutDir {
    /// A layout that will be at `target`, made in `stage`, which is on the same file system and does not exist.
    pub(crate) fn create(target: PathBuf, stage: PathBuf) -> io::Result<Self> {
        fs::create_dir(&stage)?;
        let lock = File::open(&stage).ok().filter(|stage| stage.try_lock().is_ok());
        fs::create_dir_all(stage.join(BLOBS))?;
        Ok(LayoutDir { target, stage, current: None, blobs: HashSet::new(), _lock: lock })
    }

    fn part(&self) -> PathBuf {
        self.stage.join("part")
    }

    fn blob(root: &Path, digest: &Digest) -> PathBuf {
        root.join(BLOBS).join(digest.hex())
    }

    /// Moves everything into the layout that is there.
    fn add(&self, files: &[(String, Vec<u8>)]) -> io::Result<()> {
        fs::create_dir_all(self.target.join(BLOBS))?;
        let lock = File::open(&self.target)?;
        // Two at once would each lose the other's image. A file system without locks loses only that.
        let _ = lock.lock();
        for entry in fs::read_dir(self.stage.join(BLOBS))? {
            let entry = entry?;
            fs::rename(entry.path(), self.target.join(BLOBS).join(entry.file_name()))?;
        }
        for (name, content) in files.iter().filter(|(name, _)| !name.starts_with("blobs/")) {
            let content = match name.as_str() {
                "index.json" => merged(&self.target.join(name), content)?,
                _ => content.clone(),
            };
            fs::write(self.stage.join(name), content)?;
            fs::rename(self.stage.join(name), self.target.join(name))?;
        }
        Ok(())
    }
}

impl BlobStore for LayoutDir {
    fn begin(&mut self) -> io::Result<()> {
        self.current = Some(File::create(self.part())?);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.current.as_mut().map_or(Ok(()), |file| file.write_all(bytes))
    }

    fn end(&mut self, digest: Digest, _: u64) -> io::Result<()> {
        self.current = None;
        self.blobs.insert(digest);
        fs::rename(self.part(), Self::blob(&self.stage, &digest))
    }

    fn finish(self: Box<Self>, used: &HashSet<Digest>, files: &[(String, Vec<u8>)]) -> io::Result<u64> {
        for digest in self.blobs.difference(used) {
            fs::remove_file(Self::blob(&self.stage, digest))?;
        }
        for (name, content) in files {
            fs::write(self.stage.join(name), content)?;
        }
        let mut size = files.iter().map(|(_, content)| content.len() as u64).sum();
        for digest in self.blobs.intersection(used) {
            size += fs::metadata(Self::blob(&self.stage, digest))?.len();
        }
        if self.target.exists() {
            self.add(files)?
        } else {
            fs::rename(&self.stage, &self.target)?
        }
        Ok(size)
    }
}

impl Drop for LayoutDir {
    fn drop(&mut self) {
        // After the rename there is nothing.
        let _ = fs::remove_dir_all(&self.stage);
    }
}

/// The index of a layout with our images in it; of two images with one name the new one stays.
fn merged(path: &Path, ours: &[u8]) -> io::Result<Vec<u8>> {
    let there = match fs::metadata(path) {
        Ok(metadata) if metadata.len() > INDEX_LIMIT => {
            return Err(io::Error::other(format!("{} is too large", path.display())));
        }
        Ok(_) => fs::read(path)?,
        Err(_) => return Ok(ours.to_vec()),
    };
    let mut index: Value = serde_json::from_slice(&there)?;
    let ours: Value = serde_json::from_slice(ours)?;
    let new = ours["manifests"].as_array().cloned().unwrap_or_default();
    let name =
        |one: &Value| one["annotations"]["org.opencontainers.image.ref.name"].as_str().map(str::to_owned);
    let Some(manifests) = index.get_mut("manifests").and_then(Value::as_array_mut) else {
        return Err(io::Error::other(format!("{} has no list of manifests", path.display())));
    };
    manifests
        .retain(|old| !new.iter().any(|one| name(one) == name(old) && (name(one).is_some() || one == old)));
    manifests.extend(new);
    Ok(serde_json::to_vec(&index)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_takes_the_place_of_its_older_self_in_the_index() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index.json");
        let index = |entries: &[(&str, &str)]| {
            let entries = entries.iter().map(|(name, digest)| {
                serde_json::json!({"digest": digest, "annotations": {"org.opencontainers.image.ref.name": name}})
            });
            serde_json::json!({"schemaVersion": 2, "x": 1, "manifests": entries.collect::<Vec<_>>()})
        };
        fs::write(&path, index(&[("a", "1"), ("b", "2")]).to_string()).unwrap();
        let merged: Value =
            serde_json::from_slice(&merged(&path, index(&[("a", "3")]).to_string().as_bytes()).unwrap())
                .unwrap();
        assert_eq!(merged, index(&[("b", "2"), ("a", "3")]));
    }
}
