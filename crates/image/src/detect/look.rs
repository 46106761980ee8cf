//! Looking at files and directories.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use nixoci_core::file;

use super::{Compression, Shape, head, plain};
use crate::content::clean;
use crate::inflate;
use crate::tar::{Item, Reader, looks_like_header};

/// How much of a file decides what it is.
const HEAD: u64 = 64 << 10;
/// How much of a compressed archive is looked at: its manifest may be at the end, far away.
const DEPTH: u64 = 1 << 20;
/// How many members of an archive, and entries of a directory, are looked at.
const MEMBERS: usize = 4096;
/// How many archives in the directories of a directory are opened.
const LOOKED_INTO: usize = 16;
/// How many programs of a package are named.
const NAMED: usize = 3;

/// What a directory is.
pub(super) fn directory(path: &Path) -> io::Result<Shape> {
    let has = |name: &str| path.join(name).exists();
    if has("oci-layout") && has("index.json") {
        return Ok(Shape::OciLayout);
    }
    if has("rootfs")
        && head(&path.join("config.json"), HEAD).is_ok_and(|json| contains(&json, "\"ociVersion\""))
    {
        return Ok(Shape::RuntimeBundle);
    }
    if has("layer.tar") && has("checksum") {
        return Ok(Shape::CustomisationLayer);
    }
    if has("manifest.json") && has("version") {
        return Ok(Shape::SkopeoDir);
    }
    if has("layers.json") {
        return Ok(Shape::Nix2container);
    }
    let names = entries(path)?;
    if names.is_empty() {
        return Ok(Shape::Empty);
    }
    let archive = archive_in(path, &names);
    let mut programs = entries(&path.join("bin")).unwrap_or_default();
    programs.retain(|name| !name.starts_with('.'));
    let count = programs.len();
    programs.truncate(NAMED);
    Ok(Shape::Package { programs: (programs, count), archive })
}

/// The names in a directory, sorted.
fn entries(path: &Path) -> io::Result<Vec<String>> {
    let entries = std::fs::read_dir(path)?.take(MEMBERS).flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    Ok(names)
}

/// The likeliest archive that somebody means who names a directory: an image before a root file system, and what lies in it
/// before what lies in one of its directories, as nixos-generators' `tarball/nixos-system.tar.xz` does.
fn archive_in(path: &Path, names: &[String]) -> Option<PathBuf> {
    let (files, dirs): (Vec<PathBuf>, Vec<PathBuf>) =
        names.iter().map(|name| path.join(name)).partition(|path| path.is_file());
    let inner = dirs.iter().filter_map(|dir| Some((dir, entries(dir).ok()?)));
    let inner = inner.flat_map(|(dir, names)| names.into_iter().map(move |name| dir.join(name)));
    // A directory may have thousands of files. Below the first level, only those that are called archives are opened.
    let inner: Vec<PathBuf> = inner.filter(|path| is_called_archive(path)).take(LOOKED_INTO).collect();
    let of = |wanted: fn(&Shape) -> bool| {
        files.iter().chain(&inner).find(|path| regular(path).is_ok_and(|shape| wanted(&shape))).cloned()
    };
    of(|shape| matches!(shape, Shape::DockerArchive { .. } | Shape::OciArchive { .. }))
        .or_else(|| of(|shape| matches!(shape, Shape::RootfsTar { .. })))
}

fn is_called_archive(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    [".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.zst"].iter().any(|ending| name.ends_with(ending))
}

/// Detects the shape of a regular file.
pub(super) fn regular(path: &Path) -> io::Result<Shape> {
    let start = head(path, HEAD)?;
    match Compression::of(&start) {
        Compression::None if looks_like_header(&start) => {
            let names = names_by_seeking(file::open(path)?);
            Ok(archive(&names, Compression::None))
        }
        Compression::None => Ok(bytes(&start)),
        // The content cannot be seen; archives are what people compress so.
        Compression::Bzip2 => Ok(Shape::DockerArchive { compression: Compression::Bzip2 }),
        compression => {
            let decoder = inflate::reader(BufReader::new(file::open(path)?), compression)?;
            Ok(compressed(decoder.take(DEPTH), compression))
        }
    }
}

fn compressed(mut decoder: impl Read, compression: Compression) -> Shape {
    let mut content = Vec::new();
    // A damaged end does not matter here: the import will say so.
    let _ = decoder.read_to_end(&mut content);
    if !looks_like_header(&content) {
        return Shape::Compressed(compression);
    }
    let mut reader = Reader::new();
    let mut names = Vec::new();
    let mut input = content.as_slice();
    while let Ok(Some(item)) = reader.next(&mut input) {
        if let Item::Entry(entry) = item {
            names.push(clean(&entry.name).unwrap_or_default());
        }
    }
    archive(&names, compression)
}

/// The names of all members, without reading what is in them.
fn names_by_seeking(mut file: File) -> Vec<Vec<u8>> {
    let mut reader = Reader::new();
    let mut names = Vec::new();
    let mut block = [0; 512];
    while names.len() < MEMBERS && !reader.ended() && file.read_exact(&mut block).is_ok() {
        let mut input = block.as_slice();
        match reader.next(&mut input) {
            Ok(Some(Item::Entry(entry))) => {
                names.push(clean(&entry.name).unwrap_or_default());
                let skip = i64::try_from(reader.skip()).unwrap_or(i64::MAX);
                if file.seek(SeekFrom::Current(skip)).is_err() {
                    break;
                }
            }
            Ok(_) => {}
            Err(_) => break,
        }
    }
    names
}

/// Detects the shape of an archive by the names of its members.
pub(super) fn archive(names: &[Vec<u8>], compression: Compression) -> Shape {
    let has = |wanted: &str| names.iter().any(|name| name == wanted.as_bytes());
    let layer = |name: &Vec<u8>| {
        let stem = name.split(|&byte| byte == b'/' || byte == b'.').next().unwrap_or_default();
        stem.len() == 64 && stem.iter().all(u8::is_ascii_hexdigit)
    };
    if has("manifest.json") {
        Shape::DockerArchive { compression }
    } else if has("oci-layout") || has("index.json") {
        Shape::OciArchive { compression }
    } else if names.iter().any(layer) || has("blobs") || names.iter().any(|name| name.starts_with(b"blobs/"))
    {
        Shape::DockerArchive { compression }
    } else {
        Shape::RootfsTar { compression }
    }
}

fn contains(haystack: &[u8], needle: &str) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle.as_bytes())
}

/// What a file is that begins so, and is no archive.
pub(super) fn bytes(start: &[u8]) -> Shape {
    if start.starts_with(b"#!") {
        return stream_script(start).unwrap_or(Shape::Script);
    }
    if start.trim_ascii_start().first().is_some_and(|byte| matches!(byte, b'{' | b'[')) {
        if contains(start, "\"image-config\"") {
            return Shape::Nix2container;
        }
        if contains(start, "\"customisation_layer\"") || contains(start, "\"store_layers\"") {
            return Shape::StreamConf;
        }
    }
    plain(start)
}

/// `streamLayeredImage` wraps its streamer: `exec "…-stream" /nix/store/…-conf.json "$@"`.
fn stream_script(start: &[u8]) -> Option<Shape> {
    let text = String::from_utf8_lossy(start);
    let word = text.split_whitespace().map(|word| word.trim_matches(['"', '\''])).find(|word| {
        word.starts_with('/') && (word.ends_with("-conf.json") || word.ends_with("/conf.json"))
    })?;
    Some(Shape::StreamScript { conf: Some(PathBuf::from(word)) })
}
