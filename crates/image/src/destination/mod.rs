//! Files and directories that images are written to.

mod part;
mod words;
mod write;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nixoci_core::digest::Digest;
use nixoci_core::file::resolved;
use nixoci_core::platform::OciPlatform;
use nixoci_core::{Error, Remedy, Result, shell};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::codes;
use crate::detect::{self, Shape};
use crate::write::{Codec, Encoding, Format};

pub use write::{Writing, convert, merge};
pub(crate) use write::{members, merge_cached};

/// A file or a directory that images are written to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Destination {
    format: Format,
    path: PathBuf,
    /// As the user would write it.
    shown: String,
    encoding: Encoding,
    /// A name that was given with it: `type=oci,name=…`.
    name: Option<String>,
}

/// What was written of one image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Delivered {
    /// Where to, as one would write it: `archive:/tmp/x.tar`.
    pub dest: String,
    /// What the image is called there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// What the digest is of.
    pub media_type: String,
    /// The digest of the manifest, of the index where there are several platforms, or in a docker-archive, which has
    /// neither, of the configuration.
    pub digest: Digest,
    /// Length of the output in bytes, with all images in it.
    pub size: u64,
    /// One for each platform.
    pub platforms: Vec<DeliveredPlatform>,
}

/// What was written for one platform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeliveredPlatform {
    /// Which platform.
    pub platform: OciPlatform,
    /// The digest of its manifest; in a docker-archive, of its configuration.
    pub manifest_digest: Digest,
    /// Its layers, the lowest first.
    pub layers: Vec<DeliveredLayer>,
}

/// A layer as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeliveredLayer {
    /// The digest of the uncompressed layer.
    pub diff_id: Digest,
    /// The digest of what was written.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
}

impl std::fmt::Display for Destination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown)
    }
}

impl Destination {
    /// Understands `archive:FILE`, `docker-archive:FILE`, `oci-archive:FILE`, `oci:DIR`, a path that ends in `.tar`, and
    /// buildx's `type=…,dest=…`. Relative paths are taken from `base`.
    ///
    /// # Errors
    /// [`codes::BAD_DESTINATION`].
    pub fn parse(text: &str, base: &Path) -> Result<Self> {
        words::parse(text, base)
    }

    /// Compresses layers so: every one of them, whatever it was. `None` leaves them uncompressed.
    ///
    /// # Errors
    /// [`codes::BAD_COMPRESSION`] for a docker-archive, which never has compressed layers.
    pub fn compressed(mut self, codec: Option<Codec>) -> Result<Self> {
        if let (Format::DockerArchive, Some(codec)) = (self.format, codec) {
            let text =
                format!("the layers of a docker-archive are not compressed, and {codec} was asked for");
            let other = shell!("-o {}", format!("oci-archive:{}", self.path.display()));
            return Err(Error::new(&codes::BAD_COMPRESSION, text)
                .remedy(Remedy::command("write a form that has compressed layers", other))
                .remedy(Remedy::advice("or leave --compression out")));
        }
        self.encoding = codec.map_or(Encoding::Plain, Encoding::Force);
        Ok(self)
    }

    /// The file, or the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The name that images get there, if it was given with the destination.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Whether a file that somebody else may have written may name it: it lies below `base`, the directory of that file,
    /// where links lead as well, and replaces nothing but an image. Changes nothing.
    ///
    /// # Errors
    /// [`codes::DESTINATION_OUTSIDE`], [`codes::DESTINATION_IN_THE_WAY`].
    pub fn check_confined(&self, base: &Path) -> Result<()> {
        let remedy =
            || Remedy::command("if that is what you want, type it", shell!("nixoci build -o {}", self.shown));
        let real = resolved(&self.path);
        if !real.starts_with(resolved(base)) {
            let text = format!("{} is outside of {}", self.path.display(), base.display());
            let error = Error::new(&codes::DESTINATION_OUTSIDE, text);
            let error = if real == self.path {
                error
            } else {
                error.because(format!("it leads to {}", real.display()))
            };
            return Err(error
                .because("a configuration file may have images written below its own directory only")
                .remedy(remedy()));
        }
        if self.format == Format::OciLayout || fs::symlink_metadata(&real).is_err() {
            return Ok(());
        }
        match detect::describe(&real)? {
            Shape::Empty => Ok(()),
            shape if shape.is_image() => Ok(()),
            shape => {
                let text = format!("{} is {shape}, and would be replaced", self.path.display());
                Err(Error::new(&codes::DESTINATION_IN_THE_WAY, text)
                    .because("a configuration file may have nothing but images replaced")
                    .remedy(remedy()))
            }
        }
    }

    /// Whether it can be written, as far as can be told without writing. Changes nothing.
    ///
    /// # Errors
    /// [`codes::DESTINATION_UNUSABLE`].
    pub fn check(&self) -> Result<()> {
        let path = self.path();
        let unusable = |text: String| Error::new(&codes::DESTINATION_UNUSABLE, text);
        let there = fs::metadata(path).ok();
        match (self.format, there) {
            (Format::OciLayout, Some(metadata)) if metadata.is_dir() => match detect::describe(path)? {
                Shape::Empty | Shape::OciLayout => {
                    // Blobs would be written outside of the layout.
                    let link = ["blobs", "blobs/sha256"]
                        .map(|name| path.join(name))
                        .into_iter()
                        .find(|dir| dir.is_symlink());
                    if let Some(link) = link {
                        return Err(unusable(format!(
                            "{} is a link, and no part of a layout",
                            link.display()
                        )));
                    }
                    return check_directory(&path.join("index.json"));
                }
                other => {
                    let text = format!("{} is {other}, and no OCI image layout", path.display());
                    return Err(unusable(text).remedy(Remedy::advice(
                        "name a directory that does not exist, is empty, or is a layout",
                    )));
                }
            },
            (Format::OciLayout, Some(_)) => {
                return Err(unusable(format!("{} is a file", path.display())).remedy(Remedy::command(
                    "for a file, write",
                    shell!("-o {}", format!("oci-archive:{}", path.display())),
                )));
            }
            (_, Some(metadata)) if !metadata.is_file() => {
                let what = if metadata.is_dir() { "a directory" } else { "no regular file" };
                return Err(unusable(format!("{} is {what}", path.display()))
                    .remedy(Remedy::advice("name a file, which is made or replaced")));
            }
            _ => {}
        }
        check_directory(&target(path))
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
            .remedy(Remedy::command("make the directory", shell!("mkdir -p -- {}", parent)))),
        Err(error) => Err(fail("cannot be looked at").caused_by(&error)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_a_file_names_stays_below_it_and_replaces_images_only() {
        let dir = tempfile::tempdir().unwrap();
        let (outside, base) = (dir.path().join("outside"), dir.path().join("project"));
        fs::create_dir(&outside).unwrap();
        fs::create_dir_all(base.join("sub")).unwrap();
        fs::write(outside.join("keys"), "ssh-ed25519 AAAA").unwrap();
        fs::write(base.join("notes"), "text").unwrap();
        fs::write(base.join("empty.tar"), "").unwrap();
        symlink("../outside/keys", base.join("link.tar")).unwrap();
        symlink("../outside/new.tar", base.join("dangling.tar")).unwrap();
        symlink(&outside, base.join("directory")).unwrap();
        symlink("circle", base.join("circle")).unwrap();
        symlink("sub/new.tar", base.join("inside.tar")).unwrap();
        let check = |text: &str| Destination::parse(text, &base).unwrap().check_confined(&base);
        for inside in
            ["a.tar", "oci:layout", "archive:sub/../b.tar", "inside.tar", "empty.tar", "type=oci,dest=x"]
        {
            check(inside).unwrap();
        }
        for leading_out in [
            "archive:../x.tar",
            "archive:/etc/passwd",
            "oci:../outside",
            "link.tar",
            "dangling.tar",
            "archive:directory/x",
            "archive:sub/../../outside/x",
            "oci:directory",
        ] {
            let error = check(leading_out).unwrap_err();
            assert!(error.is(&codes::DESTINATION_OUTSIDE), "{leading_out}: {error}");
        }
        assert!(check("archive:notes").unwrap_err().is(&codes::DESTINATION_IN_THE_WAY));
        assert!(check("archive:circle/x").is_ok(), "nothing can be written there, which is told elsewhere");
    }
}
