//! Files that images are written to.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use nixoci_core::digest::Digest;
use nixoci_core::temporary::TemporaryFiles;
use nixoci_core::{Error, Remedy, Result};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::cache::CachedImage;
use crate::hybrid::{self, DockerManifest, MANIFEST_TYPE};
use crate::summary::ImageSummary;
use crate::tar::{file_header, padding};
use crate::{codes, write_error};

/// What Docker calls an image's configuration.
const DOCKER_CONFIG_TYPE: &str = "application/vnd.docker.container.image.v1+json";
/// How much is copied before progress is told and cancellation looked for.
const STEP: u64 = 16 << 20;

/// A file that an image is written to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Destination {
    /// The hybrid archive that every container runtime loads.
    Archive(PathBuf),
    /// The form of `docker save`, with the image's configuration as it came.
    DockerArchive(PathBuf),
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Delivered {
    /// Where to, as one would write it: `archive:/tmp/x.tar`.
    pub dest: String,
    /// What the image is called there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// What the digest is of.
    pub media_type: String,
    /// The digest of the manifest, or in a docker-archive, which has none, of the configuration.
    pub digest: Digest,
    /// Length of the file in bytes.
    pub size: u64,
}

/// Hears how many bytes were written, and how many there are.
type Progress<'a> = &'a (dyn Fn(u64, Option<u64>) + Sync);

impl std::fmt::Display for Destination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Destination::Archive(path) => write!(f, "archive:{}", path.display()),
            Destination::DockerArchive(path) => write!(f, "docker-archive:{}", path.display()),
        }
    }
}

impl Destination {
    /// Understands `archive:FILE`, `docker-archive:FILE` and a path that ends in `.tar`. Relative paths are
    /// taken from `base`.
    pub fn parse(text: &str, base: &Path) -> Result<Self> {
        let fail = |why: &str| {
            Error::new(&codes::BAD_DESTINATION, format!("`{text}` is not a destination")).because(why).remedy(
                Remedy::advice("write archive:FILE, docker-archive:FILE, or a path that ends in .tar"),
            )
        };
        let (make, file): (fn(PathBuf) -> Destination, &str) = match text.split_once(':') {
            Some(("archive", file)) => (Destination::Archive, file),
            Some(("docker-archive", file)) => (Destination::DockerArchive, file),
            Some((scheme, _))
                if scheme.chars().all(|letter| letter.is_ascii_lowercase() || letter == '-') =>
            {
                return Err(fail(&format!("`{scheme}:` is not among those that this version writes")));
            }
            _ if text.starts_with("type=") => return Err(fail("`type=…` is not understood by this version")),
            _ if text.ends_with(".tar") => (Destination::Archive, text),
            _ => return Err(fail("a plain path must end in .tar; archives are not compressed")),
        };
        if file.is_empty() {
            return Err(fail("the file is missing"));
        }
        // skopeo takes a name for the image after the file.
        if let Some((path, name)) = file.rsplit_once(".tar:").filter(|_| text.starts_with("docker-archive:"))
        {
            return Err(fail("the image's name is given with -t")
                .remedy(Remedy::command("write it so", format!("-t {name} -o docker-archive:{path}.tar"))));
        }
        Ok(make(base.join(file)))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        match self {
            Destination::Archive(path) | Destination::DockerArchive(path) => path,
        }
    }

    /// Whether the file can be written, as far as can be told without writing. Changes nothing.
    pub fn check(&self) -> Result<()> {
        let path = self.path();
        match fs::metadata(path) {
            Ok(metadata) if !metadata.is_file() => {
                let what = if metadata.is_dir() { "a directory" } else { "no regular file" };
                let text = format!("{} is {what}", path.display());
                return Err(Error::new(&codes::DESTINATION_UNUSABLE, text)
                    .remedy(Remedy::advice("name a file, which is made or replaced")));
            }
            _ => {}
        }
        check_directory(&target(path))
    }

    /// Writes the image: to a temporary file beside, which takes the place of the old one at the end. If it
    /// fails, the old file, if any, is as it was.
    pub fn write(
        &self,
        image: &CachedImage,
        temporary: &dyn TemporaryFiles,
        cancel: &CancellationToken,
        progress: Progress<'_>,
    ) -> Result<Delivered> {
        self.check()?;
        let path = target(self.path());
        let what = format!("{}", path.display());
        let fail = |error: io::Error| write_error(&error, &what);
        let mut source = File::open(&image.archive).map_err(fail)?;
        let part = Part::create(&path, temporary).map_err(fail)?;
        let mut copier = Copier { out: &part.file, done: 0, total: None, cancel, progress };
        let (media_type, digest) = match self {
            Destination::Archive(_) => {
                let size = source.metadata().map_err(fail)?.len();
                copier.total = Some(size);
                copier.copy(&mut source, size).map_err(|stop| stop.error(&what))?;
                (MANIFEST_TYPE, image.summary.manifest_digest)
            }
            Destination::DockerArchive(_) => {
                copier.docker_archive(&mut source, &image.summary).map_err(|stop| stop.error(&what))?;
                (DOCKER_CONFIG_TYPE, image.summary.source_config_digest)
            }
        };
        let size = copier.done;
        part.publish(&path).map_err(fail)?;
        Ok(Delivered {
            dest: self.to_string(),
            reference: image.summary.names.first().cloned(),
            media_type: media_type.to_owned(),
            digest,
            size,
        })
    }
}

/// The file that is meant: a link to a file is written through, not replaced.
fn target(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// Whether a file can be made in the directory of `path`.
pub(crate) fn check_directory(path: &Path) -> Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let fail = |why: &str| {
        let text = format!("{} cannot be written", path.display());
        Error::new(&codes::DESTINATION_UNUSABLE, text).because(format!("{} {why}", parent.display()))
    };
    match fs::metadata(parent) {
        Ok(metadata) if !metadata.is_dir() => Err(fail("is no directory")),
        Ok(_) => rustix::fs::access(parent, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK)
            .map_err(|error| fail("may not be written").caused_by(&io::Error::from(error))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(fail("does not exist")
            .remedy(Remedy::command("make the directory", format!("mkdir -p {}", parent.display())))),
        Err(error) => Err(fail("cannot be looked at").caused_by(&error)),
    }
}

/// A temporary file beside the one it will be. Dropped, it is gone.
struct Part {
    file: File,
    path: PathBuf,
    _guard: Box<dyn Send + Sync>,
}

const PART_SUFFIX: &str = ".nixoci-part";

impl Part {
    fn create(path: &Path, temporary: &dyn TemporaryFiles) -> io::Result<Part> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        sweep(path, &name);
        let unique = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = path.with_file_name(format!(".{name}.{unique}{PART_SUFFIX}"));
        let guard = temporary.guard(&path);
        // Never through a file or a link that somebody has put there.
        let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        // A file system without locks loses only the sweeping.
        let _ = file.try_lock();
        Ok(Part { file, path, _guard: guard })
    }

    fn publish(self, path: &Path) -> io::Result<()> {
        fs::rename(&self.path, path)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // After the rename there is nothing to delete.
        let _ = fs::remove_file(&self.path);
    }
}

/// Deletes what a killed process has left beside this file.
fn sweep(path: &Path, name: &str) {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let prefix = format!(".{name}.");
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let found = entry.file_name().to_string_lossy().into_owned();
        let stale = found.starts_with(&prefix)
            && found.ends_with(PART_SUFFIX)
            && File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok());
        if stale {
            let _ = fs::remove_file(entry.path());
        }
    }
}

enum Stop {
    Cancelled,
    Io(io::Error),
    Damaged,
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Stop::Io(error)
    }
}

impl Stop {
    fn error(self, what: &str) -> Error {
        match self {
            Stop::Cancelled => {
                Error::new(&nixoci_core::codes::CANCELLED, format!("writing {what} was stopped"))
            }
            Stop::Io(error) => write_error(&error, what),
            Stop::Damaged => {
                Error::new(&codes::CACHE, "the image in the cache is damaged").remedy(Remedy::advice(
                    "delete the cache, $XDG_CACHE_HOME/nixoci/images or ~/.cache/nixoci/images, and run it again",
                ))
            }
        }
    }
}

struct Copier<'a> {
    out: &'a File,
    done: u64,
    total: Option<u64>,
    cancel: &'a CancellationToken,
    progress: Progress<'a>,
}

impl Copier<'_> {
    /// Copies bytes within the kernel where it can (`std::io::copy` uses copy_file_range), step by step.
    fn copy(&mut self, source: &mut File, mut count: u64) -> Result<(), Stop> {
        while count > 0 {
            if self.cancel.is_cancelled() {
                return Err(Stop::Cancelled);
            }
            let step = count.min(STEP);
            if io::copy(&mut (&*source).take(step), &mut self.out)? != step {
                return Err(Stop::Damaged);
            }
            count -= step;
            self.done += step;
            (self.progress)(self.done, self.total);
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        self.out.write_all(bytes)?;
        self.done += bytes.len() as u64;
        Ok(())
    }

    fn pad(&mut self, size: u64) -> Result<(), Stop> {
        self.write(&[0; 512][..padding(size) as usize])
    }

    /// Layout as skopeo writes it: `<diffID>.tar`, `<config>.json`, `manifest.json`.
    fn docker_archive(&mut self, source: &mut File, summary: &ImageSummary) -> Result<(), Stop> {
        self.total = Some(summary.size);
        let blobs = hybrid::locate(source)?;
        let blob = |digest: &Digest| blobs.get(&hybrid::blob_name(digest)).copied().ok_or(Stop::Damaged);
        let mut written: HashMap<Digest, String> = HashMap::new();
        for layer in &summary.layers {
            let name = format!("{}.tar", layer.diff_id.hex());
            if written.insert(layer.diff_id, name.clone()).is_some() {
                continue;
            }
            let (at, size) = blob(&layer.diff_id)?;
            self.write(&file_header(&name, size))?;
            source.seek(SeekFrom::Start(at))?;
            self.copy(source, size)?;
            self.pad(size)?;
        }
        let config = match &summary.source_config {
            Some(text) => text.clone().into_bytes(),
            None => {
                let (at, size) = blob(&summary.image_id)?;
                source.seek(SeekFrom::Start(at))?;
                let mut bytes = Vec::new();
                (&*source).take(size).read_to_end(&mut bytes)?;
                bytes
            }
        };
        let config_name = format!("{}.json", summary.source_config_digest.hex());
        let manifest = hybrid::to_json(&[DockerManifest {
            config: config_name.clone(),
            repo_tags: hybrid::repo_tags(summary.names.iter().cloned()),
            layers: summary.layers.iter().map(|layer| format!("{}.tar", layer.diff_id.hex())).collect(),
        }]);
        for (name, bytes) in [(config_name.as_str(), &config), ("manifest.json", &manifest)] {
            self.write(&file_header(name, bytes.len() as u64))?;
            self.write(bytes)?;
            self.pad(bytes.len() as u64)?;
        }
        self.write(&[0; 1024])
    }
}
