//! Memory does not grow with the image.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

/// What nixoci may need for an image of any size, in KiB.
const LIMIT: u64 = 128 << 10;
const FILES: u64 = 40_000;
const BIG: u64 = 300 << 20;

/// Writes what is hashed.
struct Hashed<W>(W, Sha256);

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let count = self.0.write(bytes)?;
        self.1.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

fn header(size: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_mode(0o755);
    header.set_size(size);
    header
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A layer of many small files and a large one: returns its digest.
fn layer(path: &Path) -> String {
    let mut tar = tar::Builder::new(Hashed(File::create(path).unwrap(), Sha256::new()));
    for number in 0..FILES {
        let package = format!("nix/store/{:032}-python3.13-package-1.2.3", number / 100);
        let name = format!("{package}/lib/site-packages/module{number}.py");
        tar.append_data(&mut header(10), name, &b"pass # x\n\n"[..]).unwrap();
    }
    let noise = std::io::Read::take(std::io::repeat(b'n'), BIG);
    tar.append_data(&mut header(BIG), "nix/store/big", noise).unwrap();
    hex(tar.into_inner().unwrap().1)
}

/// A docker-archive with that layer.
fn archive(dir: &Path, out: impl Write) {
    let layer = layer(&dir.join("layer.tar"));
    archive_of(dir, &layer, out);
}

/// `image.tar`, with one layer of one file.
pub(crate) fn small_image(dir: &Path) {
    let mut tar = tar::Builder::new(Hashed(File::create(dir.join("layer.tar")).unwrap(), Sha256::new()));
    tar.append_data(&mut header(3), "etc/motd", &b"hi\n"[..]).unwrap();
    let layer = hex(tar.into_inner().unwrap().1);
    archive_of(dir, &layer, File::create(dir.join("image.tar")).unwrap());
}

/// A docker-archive with the layer in `layer.tar`, which has this digest.
fn archive_of(dir: &Path, layer: &str, out: impl Write) {
    let layer_file = dir.join("layer.tar");
    let rootfs = serde_json::json!({ "type": "layers", "diff_ids": [format!("sha256:{layer}")] });
    let config =
        serde_json::json!({ "architecture": "amd64", "os": "linux", "config": {}, "rootfs": rootfs })
            .to_string();
    let config_name = format!("{}.json", hex(Sha256::new_with_prefix(&config)));
    let layer_name = format!("{layer}/layer.tar");
    let manifest =
        serde_json::json!([{ "Config": config_name, "RepoTags": ["big:latest"], "Layers": [layer_name] }])
            .to_string();
    let mut tar = tar::Builder::new(out);
    tar.append_file(&layer_name, &mut File::open(&layer_file).unwrap()).unwrap();
    for (name, text) in [(config_name.as_str(), &config), ("manifest.json", &manifest)] {
        tar.append_data(&mut header(text.len() as u64), name, text.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap().flush().unwrap();
    std::fs::remove_file(layer_file).unwrap();
}

/// The most memory that a process has had so far, in KiB. Where the kernel does not keep the peak,
/// what it has now.
fn peak(pid: u32) -> Option<u64> {
    if let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) {
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        return line.trim().trim_end_matches(" kB").parse().ok();
    }
    let ps = Command::new("ps").args(["-o", "rss=", "-p", &pid.to_string()]).output().ok()?;
    String::from_utf8_lossy(&ps.stdout).trim().parse().ok()
}

/// Feeds a file to a process that reads it on its standard input, and asks for its peak when all but the end has been read: what is needed
/// for an image of any size has been needed by then.
fn feed(mut child: Child, image: &Path) -> u64 {
    let mut input = child.stdin.take().unwrap();
    let mut file = File::open(image).unwrap();
    // The process waits for this; of what comes before, at most what a pipe holds is unread.
    let most = file.metadata().unwrap().len() - 512;
    std::io::copy(&mut std::io::Read::take(&mut file, most), &mut input).unwrap();
    let peak = peak(child.id()).unwrap();
    std::io::copy(&mut file, &mut input).unwrap();
    drop(input);
    assert!(child.wait().unwrap().success());
    peak
}

/// The peak of `nixoci validate` over an image, in KiB.
fn needed(image: &Path, home: &Path) -> u64 {
    let child = Command::new(env!("CARGO_BIN_EXE_nixoci"))
        .args(["validate", "-q", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .env("HOME", home)
        .spawn()
        .unwrap();
    feed(child, image)
}

#[test]
fn memory_does_not_grow_with_the_image() {
    let dir = tempfile::tempdir().unwrap();
    let plain = dir.path().join("image.tar");
    archive(dir.path(), File::create(&plain).unwrap());
    let most = needed(&plain, dir.path());
    // A peak that was not seen at all would pass, too.
    assert!((1 << 10..LIMIT).contains(&most), "{most} KiB");
}

#[test]
fn memory_does_not_grow_with_a_compressed_image() {
    let dir = tempfile::tempdir().unwrap();
    let packed = dir.path().join("image.tar.gz");
    let gzip = GzEncoder::new(File::create(&packed).unwrap(), flate2::Compression::fast());
    archive(dir.path(), gzip);
    let most = needed(&packed, dir.path());
    assert!((1 << 10..LIMIT).contains(&most), "{most} KiB");
}
