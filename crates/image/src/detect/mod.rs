//! What a path is, by content and never by name.
//!
//! Names mislead: `mergeImages` has no suffix, people rename files, and `nix build` calls everything `result`.

mod look;

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use nixoci_core::{Error, Remedy, Result, ResultExt, shell};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::codes;
use crate::input::unreadable;
use crate::machine::{Head, Machine};

/// How a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Compression {
    /// Not at all.
    None,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
    /// The .xz format.
    Xz,
    /// bzip2.
    Bzip2,
}

impl Compression {
    /// Tells by the first bytes.
    pub(crate) fn of(bytes: &[u8]) -> Compression {
        const MAGICS: [(&[u8], Compression); 4] = [
            (b"\x1f\x8b", Compression::Gzip),
            (b"\x28\xb5\x2f\xfd", Compression::Zstd),
            (b"\xfd7zXZ\0", Compression::Xz),
            (b"BZh", Compression::Bzip2),
        ];
        // RFC 8878, section 3.1.2: a frame that readers skip, with which pzstd begins.
        if let [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] = bytes {
            return Compression::Zstd;
        }
        let found = MAGICS.iter().find(|(magic, _)| bytes.starts_with(magic));
        found.map_or(Compression::None, |(_, compression)| *compression)
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Compression::None => "nothing",
            Compression::Gzip => "gzip",
            Compression::Zstd => "zstd",
            Compression::Xz => "xz",
            Compression::Bzip2 => "bzip2",
        })
    }
}

/// What a path is. Displays as people would say it: `a package with bin/cowsay`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Shape {
    /// What `docker save`, `buildImage` and `buildLayeredImage` write, and nixoci's own hybrid archive.
    DockerArchive {
        /// How the whole is compressed.
        compression: Compression,
    },
    /// An OCI image layout in a tar archive.
    OciArchive {
        /// How the whole is compressed.
        compression: Compression,
    },
    /// An OCI image layout in a directory.
    OciLayout,
    /// skopeo's `dir:`.
    SkopeoDir,
    /// The script that `streamLayeredImage` makes.
    StreamScript {
        /// The description of the image that it would read.
        conf: Option<PathBuf>,
    },
    /// The description of a streamed image.
    StreamConf,
    /// nix2container's description of an image.
    Nix2container,
    /// The uppermost layer of a layered image, alone.
    CustomisationLayer,
    /// An OCI runtime bundle (`ociTools.buildContainer`).
    RuntimeBundle,
    /// A tar archive that is no image, such as a root file system.
    RootfsTar {
        /// How the whole is compressed.
        compression: Compression,
    },
    /// A compressed file of which no more is known.
    Compressed(Compression),
    /// A directory, as packages are.
    Package {
        /// Some of the programs in `bin`, and how many there are.
        programs: (Vec<String>, usize),
        /// An archive that lies in it.
        archive: Option<PathBuf>,
    },
    /// A compiled program.
    Program(Machine),
    /// A script.
    Script,
    /// A text.
    Text,
    /// Nothing: an empty file or directory.
    Empty,
    /// None of these.
    Unknown,
}

impl Shape {
    /// Whether [`import`](crate::import) takes it.
    pub fn is_readable(&self) -> bool {
        match self {
            Shape::DockerArchive { compression } | Shape::OciArchive { compression } => {
                *compression != Compression::Bzip2
            }
            Shape::OciLayout | Shape::SkopeoDir => true,
            _ => false,
        }
    }

    /// Whether it is an image, or describes one, in whatever form.
    pub fn is_image(&self) -> bool {
        matches!(
            self,
            Shape::DockerArchive { .. }
                | Shape::OciArchive { .. }
                | Shape::OciLayout
                | Shape::SkopeoDir
                | Shape::StreamScript { .. }
                | Shape::StreamConf
                | Shape::Nix2container
        )
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Shape::DockerArchive { compression: Compression::None } => "a docker-archive",
            Shape::DockerArchive { compression } => {
                return write!(f, "a docker-archive, compressed with {compression}");
            }
            Shape::OciArchive { .. } => "an OCI archive",
            Shape::OciLayout => "an OCI image layout",
            Shape::SkopeoDir => "an image in skopeo's dir: form",
            Shape::StreamScript { .. } => "a script that streams an image (streamLayeredImage)",
            Shape::StreamConf => "the description of a streamed image (conf.json)",
            Shape::Nix2container => "a nix2container description of an image",
            Shape::CustomisationLayer => "a single layer of an image",
            Shape::RuntimeBundle => {
                "an OCI runtime bundle, which a runtime starts, but no registry or engine takes"
            }
            Shape::RootfsTar { .. } => "a tar archive of files, such as a root file system",
            Shape::Compressed(compression) => {
                return write!(f, "a file compressed with {compression}, and no archive");
            }
            Shape::Package { programs: (names, count), .. } => return package(f, names, *count),
            Shape::Program(machine) => return write!(f, "a compiled program for {machine}"),
            Shape::Script => "a script",
            Shape::Text => "a text",
            Shape::Empty => "empty",
            Shape::Unknown => "a file of no kind that nixoci knows",
        };
        f.write_str(text)
    }
}

fn package(f: &mut fmt::Formatter<'_>, names: &[String], count: usize) -> fmt::Result {
    let Some((first, others)) = names.split_first() else {
        return f.write_str("a directory without programs");
    };
    write!(f, "a package with bin/{first}")?;
    others.iter().try_for_each(|name| write!(f, ", bin/{name}"))?;
    if count > names.len() { write!(f, " and {} more", count - names.len()) } else { Ok(()) }
}

/// Says what a path is. Links are followed.
pub fn describe(path: &Path) -> Result<Shape> {
    let metadata = std::fs::metadata(path).map_err(|error| unreadable(path, &error))?;
    let looked = if metadata.is_dir() { look::directory(path) } else { look::regular(path) };
    looked.or_error(&codes::READ_FAILED, || format!("{} cannot be read", path.display()))
}

/// Detects the shape of an archive by the names of its members.
pub(crate) fn of_members(names: &[Vec<u8>], compression: Compression) -> Shape {
    look::archive(names, compression)
}

/// The error for a path that cannot be imported, with what it is and how to get an image.
pub(crate) fn refuse(path: &Path) -> Error {
    match describe(path) {
        Ok(shape) => refuse_shape(&path.display().to_string(), &shape),
        Err(error) => error,
    }
}

/// As [`refuse`], for a stream that begins with these bytes.
pub(crate) fn refuse_bytes(name: &str, path: Option<&Path>, bytes: &[u8]) -> Error {
    // A pipe gives its bytes once.
    match path.filter(|path| path.is_file() || path.is_dir()) {
        Some(path) => refuse(path),
        None => refuse_shape(name, &look::bytes(bytes)),
    }
}

/// As [`refuse`], for what was found to be so.
pub(crate) fn refuse_shape(name: &str, shape: &Shape) -> Error {
    if shape.is_image() && !shape.is_readable() {
        let error = Error::new(&codes::NOT_READ_YET, format!("{name} is {shape}"));
        return match shape {
            Shape::StreamScript { .. } => error
                .because("it is a program that writes the image, and is run only as a part of a build")
                .remedy(Remedy::command("run it, if it is for this machine", shell!("{} | nixoci load -", program(name))))
                .remedy(Remedy::advice(
                    "or use `dockerTools.buildLayeredImage`, which takes the same arguments as `streamLayeredImage`",
                )),
            Shape::StreamConf => error.because("it describes an image, and holds none").remedy(Remedy::advice(
                "use `dockerTools.buildLayeredImage`, which takes the same arguments as `streamLayeredImage`",
            )),
            Shape::Nix2container => error.remedy(Remedy::advice(
                "use `dockerTools.buildLayeredImage`, or copy the image with nix2container's own `copyTo`",
            )),
            _ => error.remedy(Remedy::command(
                "convert it first",
                shell!(
                    "skopeo copy {} docker-archive:image.tar",
                    format!("{}:{}", transport(shape), file(name))
                ),
            )),
        };
    }
    let error = Error::new(&codes::NOT_AN_IMAGE, format!("{name} is {shape}, not an image"));
    let error = match shape {
        Shape::Package { archive: Some(archive), .. } if is_root_file_system(archive) => error
            .because(format!("{} in it is a root file system", archive.display()))
            .remedy(Remedy::command("make an image of that", shell!("docker import {} NAME", archive))),
        Shape::Package { archive: Some(archive), .. } => {
            error.remedy(Remedy::command("name the archive in it", shell!("nixoci load {}", archive)))
        }
        Shape::RootfsTar { .. } => {
            error.remedy(Remedy::command("make an image of it", shell!("docker import {} NAME", file(name))))
        }
        _ => error,
    };
    error.remedy(expression())
}

fn is_root_file_system(archive: &Path) -> bool {
    matches!(describe(archive), Ok(Shape::RootfsTar { .. }))
}

/// The file for a command, where a message has `name`. An image that came through a pipe has a name for messages only.
pub(crate) fn file(name: &str) -> &str {
    if Path::new(name).exists() { name } else { "FILE" }
}

/// The same, as a program to run. A shell would look for a name without a slash on PATH.
fn program(name: &str) -> String {
    match file(name) {
        path if path.contains('/') => path.to_owned(),
        path => format!("./{path}"),
    }
}

/// The command that decompresses an image with another program, and reads it.
pub(crate) fn decompress(name: &str, compression: Compression) -> String {
    shell!("{} -dc {} | nixoci load -", compression.to_string(), file(name))
}

fn transport(shape: &Shape) -> &'static str {
    match shape {
        Shape::OciLayout => "oci",
        Shape::SkopeoDir => "dir",
        Shape::OciArchive { .. } => "oci-archive",
        _ => "docker-archive",
    }
}

/// The error for something that is no image.
pub(crate) fn not_an_image(name: &str, what: &str) -> Error {
    Error::new(&codes::NOT_AN_IMAGE, format!("{name} is {what}, not an image")).remedy(expression())
}

fn expression() -> Remedy {
    Remedy::lines(
        "make an image of it, and build that attribute",
        "pkgs.dockerTools.buildLayeredImage {\n  name = \"app\";\n  config.Cmd = [ \"${pkgs.hello}/bin/hello\" ];\n}",
    )
}

/// The error for a compression that is not read.
pub(crate) fn unsupported(name: &str, compression: Compression) -> Error {
    Error::new(&codes::NOT_READ_YET, format!("{name} is compressed with {compression}"))
        .because("images are read plain, or compressed with gzip, zstd or xz")
        .remedy(Remedy::command("decompress it first", decompress(name, compression)))
}

/// The first bytes of a file.
fn head(path: &Path, limit: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    nixoci_core::file::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What a file is that is no archive.
fn plain(bytes: &[u8]) -> Shape {
    if bytes.is_empty() {
        return Shape::Empty;
    }
    match Head::of(bytes) {
        Head::Script(_) => Shape::Script,
        head => match head.machine() {
            Some(machine) => Shape::Program(machine),
            None if is_text(bytes) => Shape::Text,
            None => Shape::Unknown,
        },
    }
}

fn is_text(bytes: &[u8]) -> bool {
    let control = |byte: &u8| byte.is_ascii_control() && !byte.is_ascii_whitespace() && *byte != 0x1b;
    !bytes.iter().take(4096).any(control)
}

#[cfg(test)]
mod tests;
