//! From the cache to files.

use std::path::Path;

use crate::build::*;
use nixoci_core::digest::Digest;
use nixoci_core::temporary::Unguarded;
use nixoci_image::{
    Cache, CacheKey, CachedImage, Destination, ImageSummary, Naming, ReadOptions, Writing, codes, import,
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

fn cached(dir: &Path, image: &Image) -> CachedImage {
    let cache = Cache::open(dir.join("images")).unwrap();
    let cancel = CancellationToken::new();
    let bytes = image.tar();
    let hash = Digest::from_hex(&sha256(&bytes)).unwrap();
    let key = CacheKey::new(&hash, &Naming::Keep, None);
    cache.fill(&key, |out| import(input(&bytes), &ReadOptions::new(&cancel), out)).unwrap()
}

fn write(destination: &Destination, image: &CachedImage) -> nixoci_core::Result<nixoci_image::Delivered> {
    write_with(destination, image, &CancellationToken::new(), &|_, _| {})
}

fn write_with(
    destination: &Destination,
    image: &CachedImage,
    cancel: &CancellationToken,
    progress: &(dyn Fn(u64, Option<u64>) + Sync),
) -> nixoci_core::Result<nixoci_image::Delivered> {
    let native = "linux/amd64".parse().unwrap();
    let writing = Writing { native: &native, temporary: &Unguarded, cancel, progress };
    destination.write(&[image], &writing).map(|mut all| all.remove(0))
}

fn summary(image: &CachedImage) -> &ImageSummary {
    image.platforms().next().unwrap()
}

fn archive(path: std::path::PathBuf) -> Destination {
    Destination::parse(&format!("archive:{}", path.display()), Path::new("/")).unwrap()
}

fn docker_archive(path: std::path::PathBuf) -> Destination {
    Destination::parse(&format!("docker-archive:{}", path.display()), Path::new("/")).unwrap()
}

fn files(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn the_archive_is_copied() {
    let dir = tempfile::tempdir().unwrap();
    let image = cached(dir.path(), &hello());
    let out = dir.path().join("x.tar");
    std::fs::write(&out, "old").unwrap();
    let delivered = write(&archive(out.clone()), &image).unwrap();
    let (expected, written) = (std::fs::read(&image.archive).unwrap(), std::fs::read(&out).unwrap());
    assert!(expected == written);
    assert_eq!(delivered.size, written.len() as u64);
    assert_eq!(delivered.digest, summary(&image).manifest_digest);
    assert_eq!(delivered.reference.as_deref(), Some("hello:latest"));
    assert_eq!(files(dir.path()), ["images", "x.tar"]);
}

#[test]
fn a_docker_archive_keeps_the_configuration_as_it_came() {
    let dir = tempfile::tempdir().unwrap();
    let mut source = hello();
    source.config["config"]["Cmd"] = json!("hello");
    let first = source.layers[0].clone();
    source.layers.push(first);
    source.config["history"] = json!([]);
    let image = cached(dir.path(), &source);
    let out = dir.path().join("x.tar");
    let delivered = write(&docker_archive(out.clone()), &image).unwrap();
    let bytes = std::fs::read(&out).unwrap();
    assert_eq!(delivered.size, bytes.len() as u64);
    assert_eq!(delivered.digest.hex(), sha256(source.config_text().as_bytes()));
    assert_eq!(member(&bytes, &source.config_name()), source.config_text().into_bytes());
    let manifest: Value = serde_json::from_slice(&member(&bytes, "manifest.json")).unwrap();
    assert_eq!(manifest[0]["RepoTags"], json!(["hello:latest"]));
    assert_eq!(manifest[0]["Layers"].as_array().unwrap().len(), 3);
    assert_eq!(members(&bytes).len(), 4);
    let again = read(&bytes).unwrap();
    assert_eq!(
        (again.image_id, again.manifest_digest),
        (summary(&image).image_id, summary(&image).manifest_digest)
    );
}

#[test]
fn a_proper_configuration_is_found_in_the_archive() {
    let dir = tempfile::tempdir().unwrap();
    let image = cached(dir.path(), &hello());
    let out = dir.path().join("x.tar");
    write(&docker_archive(out.clone()), &image).unwrap();
    assert_eq!(read(&std::fs::read(&out).unwrap()).unwrap(), *summary(&image));
}

#[test]
fn destinations_as_people_write_them() {
    let base = Path::new("/base");
    let parse = |text: &str| Destination::parse(text, base);
    assert_eq!(parse("archive:x").unwrap(), archive("/base/x".into()));
    assert_eq!(parse("docker-archive:/y.tar").unwrap(), docker_archive("/y.tar".into()));
    assert_eq!(parse("z.tar").unwrap(), archive("/base/z.tar".into()));
    assert_eq!(parse("z.tar").unwrap().to_string(), "archive:/base/z.tar");
    for text in ["", "x", "x.tar.gz", "docker://a", "archive:", "docker-archive:x.tar:a:b"] {
        assert!(parse(text).unwrap_err().is(&codes::BAD_DESTINATION), "{text}");
    }
}

#[test]
fn destinations_are_looked_at_before_anything_is_built() {
    let dir = tempfile::tempdir().unwrap();
    let archive = |path: &Path| archive(path.to_owned()).check();
    assert!(archive(&dir.path().join("x.tar")).is_ok());
    assert!(archive(dir.path()).unwrap_err().is(&codes::DESTINATION_UNUSABLE));
    assert!(archive(Path::new("/dev/null")).unwrap_err().is(&codes::DESTINATION_UNUSABLE));
    let missing = archive(&dir.path().join("no/x.tar")).unwrap_err();
    assert!(missing.is(&codes::DESTINATION_UNUSABLE));
    assert!(missing.report().remedies[0].command.as_ref().unwrap().starts_with("mkdir -p"));
    assert!(files(dir.path()).is_empty());
}

#[test]
fn a_failed_write_leaves_the_old_file() {
    let dir = tempfile::tempdir().unwrap();
    let image = cached(dir.path(), &hello());
    let out = dir.path().join("x.tar");
    std::fs::write(&out, "old").unwrap();
    let cancel = CancellationToken::new();
    cancel.cancel();
    let stopped = write_with(&archive(out.clone()), &image, &cancel, &|_, _| {});
    assert!(stopped.unwrap_err().is(&nixoci_core::codes::CANCELLED));
    std::fs::write(&image.archive, "damaged").unwrap();
    let damaged = write(&docker_archive(out.clone()), &image);
    assert!(damaged.is_err());
    assert_eq!(std::fs::read(&out).unwrap(), b"old");
    assert_eq!(files(dir.path()), ["images", "x.tar"]);
}

#[test]
fn leftovers_of_a_killed_process_are_swept_and_links_are_written_through() {
    let dir = tempfile::tempdir().unwrap();
    let image = cached(dir.path(), &hello());
    std::fs::write(dir.path().join(".x.tar.1-0.nixoci-part"), "half").unwrap();
    std::fs::write(dir.path().join("real.tar"), "old").unwrap();
    let link = dir.path().join("x.tar");
    write(&archive(link.clone()), &image).unwrap();
    assert_eq!(files(dir.path()), ["images", "real.tar", "x.tar"]);
    std::fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink("real.tar", &link).unwrap();
    write(&archive(link.clone()), &image).unwrap();
    assert!(link.is_symlink());
    assert!(std::fs::metadata(dir.path().join("real.tar")).unwrap().len() > 1000);
}

/// A copy out of the cache has the digests that were checked on the way in, or is not made.
#[test]
fn a_damaged_archive_is_noticed_and_removed() {
    for kind in ["archive", "docker-archive", "oci-archive", "oci"] {
        for codec in [None, Some(nixoci_image::Codec::default())] {
            let dir = tempfile::tempdir().unwrap();
            let image = cached(dir.path(), &hello());
            let mut bytes = std::fs::read(&image.archive).unwrap();
            let at = bytes.windows(100).position(|window| window == [7; 100]).unwrap();
            bytes[at] = 8;
            std::fs::write(&image.archive, &bytes).unwrap();
            let out = tempfile::tempdir().unwrap();
            let plain = Destination::parse(&format!("{kind}:image"), out.path()).unwrap();
            let destination = plain.clone().compressed(codec).unwrap_or(plain);
            assert!(write(&destination, &image).unwrap_err().is(&codes::CACHE_DAMAGED), "{kind}");
            assert!(files(out.path()).is_empty(), "{kind}");
            assert!(!image.archive.exists(), "{kind}");
        }
    }
}
