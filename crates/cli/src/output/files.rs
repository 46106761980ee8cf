//! Small files about a build, for CI: `--metadata-file`, `--iidfile`, `--digestfile`.
//!
//! They are asked for before anything is built, and appear by rename once everything went well. What is in them is taken
//! from the document that `--format json` prints, so that the two never differ.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nixoci_core::codes::BUG;
use nixoci_core::{Error, Remedy, Result, shell};
use nixoci_image::codes::{DESTINATION_UNUSABLE, DISK_FULL, WRITE_FAILED};
use serde_json::{Value, json};

use crate::args::FileArgs;
use crate::codes::USAGE;

/// What goes into a file.
type Content = fn(&Value) -> Option<String>;

/// The files that were asked for.
pub(crate) struct SideFiles(Vec<(PathBuf, Content)>);

impl SideFiles {
    /// The files of a command line; relative ones are in `cwd`. `goes_somewhere` tells whether the image does.
    ///
    /// # Errors
    /// [`DESTINATION_UNUSABLE`] if one cannot be written, [`USAGE`] if there will be nothing to write.
    pub(crate) fn check(args: &FileArgs, cwd: &Path, goes_somewhere: bool) -> Result<SideFiles> {
        if args.digestfile.is_some() && !goes_somewhere {
            let text = "--digestfile has no digest to write: the image goes nowhere, so it gets no manifest";
            return Err(Error::new(&USAGE, text)
                .remedy(Remedy::advice("leave out --no-link, or name a place with -o or --load")));
        }
        let wanted: [(&Option<PathBuf>, Content); 3] =
            [(&args.metadata_file, metadata), (&args.iidfile, image_id), (&args.digestfile, digest)];
        let files: Vec<(PathBuf, Content)> = wanted
            .into_iter()
            .filter_map(|(path, content)| Some((cwd.join(path.as_ref()?), content)))
            .collect();
        files.iter().try_for_each(|(path, _)| check(path))?;
        Ok(SideFiles(files))
    }

    /// Writes them. `report` is the document of the build.
    ///
    /// # Errors
    /// [`WRITE_FAILED`] and [`DISK_FULL`].
    pub(crate) fn write(&self, report: &Value) -> Result<()> {
        for (path, content) in &self.0 {
            let text = content(report).ok_or_else(|| {
                Error::new(&BUG, format!("there is nothing to write to {}", path.display()))
            })?;
            write(path, &text).map_err(|error| failed(path, &error))?;
        }
        Ok(())
    }
}

fn failed(path: &Path, error: &io::Error) -> Error {
    let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    let code = if full { &DISK_FULL } else { &WRITE_FAILED };
    Error::new(code, format!("{} could not be written", path.display()))
        .caused_by(error)
        .because("the image itself is where it was to go")
}

/// Whether a file can be written, without leaving anything: a new file in the directory of a flake would be part of it.
fn check(path: &Path) -> Result<()> {
    let unusable = |why: String| {
        Error::new(&DESTINATION_UNUSABLE, format!("{} cannot be written", path.display())).because(why)
    };
    if path.is_dir() {
        return Err(unusable("it is a directory".to_owned()));
    }
    let tried = if is_special(path) {
        fs::OpenOptions::new().write(true).open(path).map(drop)
    } else {
        part(&target(path)).map(drop)
    };
    tried.map_err(|error| {
        let failed = unusable(error.to_string());
        match path.parent().filter(|parent| !parent.exists()) {
            Some(parent) => {
                failed.remedy(Remedy::command("make the directory", shell!("mkdir -p -- {}", parent)))
            }
            None => failed,
        }
    })
}

/// A file to rename later, with the rights that a new file has.
fn part(target: &Path) -> io::Result<tempfile::NamedTempFile> {
    let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    tempfile::Builder::new()
        .prefix(".nixoci-")
        .permissions(fs::Permissions::from_mode(0o666))
        .tempfile_in(parent)
}

/// `/dev/stdout`, a pipe: what is no file cannot be replaced by one.
fn is_special(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|about| !about.is_file())
}

/// A link to a file is written through.
fn target(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    if is_special(path) {
        return fs::OpenOptions::new().write(true).open(path)?.write_all(text.as_bytes());
    }
    let target = target(path);
    let mut part = part(&target)?;
    part.write_all(text.as_bytes())?;
    part.persist(&target).map(drop).map_err(|error| error.error)
}

/// The document, with the keys that `docker buildx build --metadata-file` writes as well.
/// Source: docs.docker.com, "docker buildx build", --metadata-file.
fn metadata(report: &Value) -> Option<String> {
    let mut document = report.as_object()?.clone();
    document.extend(digest(report).map(|digest| ("containerimage.digest".to_owned(), digest.into())));
    if let Some(id) = only(report.pointer("/images/0/platforms")).and_then(|platform| platform.get("imageId"))
    {
        document.insert("containerimage.config.digest".to_owned(), id.clone());
    }
    if let Some(name @ Value::String(_)) = report.pointer("/images/0/name") {
        document.insert("image.name".to_owned(), name.clone());
    }
    Some(format!("{:#}\n", json!(document)))
}

/// The image's id, as `docker build --iidfile` writes it: without a line end. Several platforms have only their index in
/// common.
fn image_id(report: &Value) -> Option<String> {
    match only(report.pointer("/images/0/platforms")) {
        Some(platform) => Some(platform.get("imageId")?.as_str()?.to_owned()),
        None => digest(report),
    }
}

/// The digest of the manifest, or of the index where there are several platforms, in the first place that has one.
fn digest(report: &Value) -> Option<String> {
    let outputs = report.pointer("/images/0/outputs")?.as_array()?;
    let mut digests = outputs.iter().filter_map(|output| match only(output.get("platforms")) {
        // A docker-archive has no manifest; its digest is the configuration's.
        Some(platform) => platform.get("manifestDigest")?.as_str(),
        None => output.get("digest")?.as_str(),
    });
    digests.next().map(str::to_owned)
}

/// The element of a list of one.
fn only(list: Option<&Value>) -> Option<&Value> {
    match list?.as_array()?.as_slice() {
        [one] => Some(one),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(platforms: &[&str]) -> Value {
        let of = |key: &str| -> Vec<Value> { platforms.iter().map(|name| json!({ key: name })).collect() };
        json!({
            "version": 1,
            "images": [{
                "name": "app:1",
                "platforms": of("imageId"),
                "outputs": [{ "digest": "sha256:index", "platforms": of("manifestDigest") }],
            }],
        })
    }

    #[test]
    fn one_platform_has_an_id_and_a_manifest() {
        let report = report(&["sha256:a"]);
        assert_eq!(image_id(&report).as_deref(), Some("sha256:a"));
        assert_eq!(digest(&report).as_deref(), Some("sha256:a"));
        let metadata: Value = serde_json::from_str(&metadata(&report).unwrap()).unwrap();
        assert_eq!(metadata["containerimage.digest"], "sha256:a");
        assert_eq!(metadata["containerimage.config.digest"], "sha256:a");
        assert_eq!(metadata["image.name"], "app:1");
        assert_eq!(metadata["images"][0]["name"], "app:1");
    }

    #[test]
    fn several_have_an_index() {
        let report = report(&["sha256:a", "sha256:b"]);
        assert_eq!(image_id(&report).as_deref(), Some("sha256:index"));
        assert_eq!(digest(&report).as_deref(), Some("sha256:index"));
        let metadata: Value = serde_json::from_str(&metadata(&report).unwrap()).unwrap();
        assert_eq!(metadata.get("containerimage.config.digest"), None);
    }

    #[test]
    fn files_appear_whole_and_are_readable_for_all_who_may() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("iid");
        check(&path).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "asking leaves nothing");
        std::os::unix::fs::symlink(dir.path().join("real"), dir.path().join("link")).unwrap();
        fs::write(dir.path().join("real"), "old").unwrap();
        write(&dir.path().join("link"), "new").unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("real")).unwrap(), "new");
        write(&path, "x").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o400, 0o400);
        assert!(check(&dir.path().join("no/such/file")).unwrap_err().is(&DESTINATION_UNUSABLE));
        assert!(check(dir.path()).unwrap_err().is(&DESTINATION_UNUSABLE));
        check(Path::new("/dev/null")).unwrap();
        write(Path::new("/dev/null"), "x").unwrap();
    }
}
