//! The image that image benchmarks work on: 1 GB in 81 layers, as `dockerTools.buildLayeredImage` makes them, of real programs,
//! libraries and texts from the lab's roots. The same roots give the same bytes; it is kept in the cache.

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::lab::{self, cache};
use crate::sh;

/// How many layers there are of how many MiB.
const LAYERS: [(usize, u64); 6] = [(1, 150), (2, 90), (6, 45), (12, 18), (20, 5), (40, 1)];
const MB: u64 = 1 << 20;
/// Changes whenever what comes out does.
const RECIPE: &[u8] = b"1";

/// A directory with `one.tar`, `one.tar.gz`, and `two.tar`, whose last layer is another one. Hosts see it at its path.
pub(super) fn ensure() -> Result<PathBuf> {
    let cache = cache::Cache::open()?;
    let roots = lab::produce::roots()?;
    let names: Vec<&[u8]> = roots.iter().map(|root| root.as_os_str().as_encoded_bytes()).collect();
    let name = cache::recipe(&[&[RECIPE], names.as_slice()].concat());
    let entry = cache.entry(&format!("{}/w1-{name}", lab::produce::ENTRIES), |dir| {
        sh::step("an image of 1 GB in 81 layers", || make(&roots, dir))
    })?;
    // Entries that nobody has used for days are removed.
    File::open(&entry)?.set_modified(SystemTime::now())?;
    Ok(entry)
}

fn make(roots: &[PathBuf], dir: &Path) -> Result<()> {
    let mut files = Vec::new();
    for root in roots {
        let start = files.len();
        collect(&root.join("usr"), root, &mut files)?;
        // As in a store, neighbours have nothing to do with each other; directories stay together.
        files[start..].sort_by_cached_key(|(path, _)| {
            let inside = path.strip_prefix(root).unwrap_or(path);
            let parent = inside.parent().unwrap_or(inside).as_os_str().as_encoded_bytes();
            (Sha256::digest(parent).to_vec(), inside.to_owned())
        });
    }
    let mut files = files.into_iter();
    let mut layers = Vec::new();
    for (count, size) in LAYERS {
        for _ in 0..count {
            layers.push(layer(&mut files, layers.len(), size * MB)?);
        }
    }
    write_archive(&dir.join("one.tar"), "bench:1", &layers)?;
    // gzip makes one member, as the compressors of dockerTools do.
    let status = Command::new("gzip").args(["-6", "-n", "-k"]).arg(dir.join("one.tar")).status()?;
    anyhow::ensure!(status.success(), "gzip ended with {status}");
    let last = layers.len() - 1;
    layers[last] = layer(&mut files, layers.len(), MB)?;
    write_archive(&dir.join("two.tar"), "bench:2", &layers)
}

/// Regular files below a directory with their sizes.
fn collect(dir: &Path, root: &Path, files: &mut Vec<(PathBuf, u64)>) -> Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let (path, metadata) = (entry.path(), entry.metadata()?);
        if metadata.is_dir() {
            collect(&path, root, files)?;
        } else if metadata.is_file() && path.strip_prefix(root)?.as_os_str().len() < 80 {
            files.push((path, metadata.size()));
        }
    }
    Ok(())
}

/// The next files as a layer of this size; the last is cut off to fit.
fn layer(files: &mut impl Iterator<Item = (PathBuf, u64)>, number: usize, size: u64) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(usize::try_from(size)? + 2048);
    while (out.len() as u64) + 1024 < size {
        let (path, length) = files.next().context("the lab's roots have too few files")?;
        let taken = length.min(size - out.len() as u64 - 1024);
        let tail: PathBuf = path.iter().rev().take(2).collect::<Vec<_>>().into_iter().rev().collect();
        let name = format!("nix/store/{number:032}-part/{}-{}", out.len(), tail.display());
        header(&mut out, &name, taken)?;
        File::open(&path)?.take(taken).read_to_end(&mut out)?;
        pad(&mut out);
    }
    out.resize(out.len() + 1024, 0);
    Ok(out)
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(512), 0);
}

/// A ustar header of a regular file.
fn header(out: &mut Vec<u8>, name: &str, size: u64) -> Result<()> {
    let mut block = [0; 512];
    // A name that is too long is split where ustar allows it.
    let (prefix, name) = match name.len() > 100 {
        true => name.rsplit_once('/').context("a long name without directories")?,
        false => ("", name),
    };
    let mut field = |at: usize, text: &str| block[at..at + text.len()].copy_from_slice(text.as_bytes());
    field(0, name);
    field(100, "0000644\x000000000\x000000000\x00");
    field(124, &format!("{size:011o}\x0000000000001\x00        0"));
    field(257, "ustar\x0000");
    field(345, prefix);
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\x00 ").as_bytes());
    out.extend_from_slice(&block);
    Ok(())
}

fn write_archive(path: &Path, tag: &str, layers: &[Vec<u8>]) -> Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    let mut member = |name: &str, content: &[u8]| -> Result<()> {
        let mut head = Vec::new();
        header(&mut head, name, content.len() as u64)?;
        out.write_all(&head)?;
        out.write_all(content)?;
        out.write_all(&vec![0; content.len().next_multiple_of(512) - content.len()])?;
        Ok(())
    };
    let (mut names, mut diff_ids) = (Vec::new(), Vec::new());
    for layer in layers {
        let hex = crate::sh::hex(&Sha256::digest(layer));
        member(&format!("{hex}/layer.tar"), layer)?;
        names.push(format!("{hex}/layer.tar"));
        diff_ids.push(format!("sha256:{hex}"));
    }
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "created": "1970-01-01T00:00:01Z",
        "config": {"Cmd": ["/bin/true"]},
        "history": vec![serde_json::json!({"created": "1970-01-01T00:00:01Z"}); layers.len()],
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    member("config.json", config.to_string().as_bytes())?;
    let manifest = serde_json::json!([{"Config": "config.json", "RepoTags": [tag], "Layers": names}]);
    member("manifest.json", manifest.to_string().as_bytes())?;
    out.write_all(&[0; 1024])?;
    out.flush()?;
    Ok(())
}
