//! Every form in, every form out, and the same image at both ends.

use std::path::{Path, PathBuf};

use crate::build::*;
use nixoci_core::temporary::Unguarded;
use nixoci_image::{
    Codec, Delivered, Destination, Image, ImageSummary, Input, Naming, ReadOptions, check, codes, convert,
    merge,
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

const FORMS: [&str; 4] = ["archive", "docker-archive", "oci-archive", "oci"];

fn destination(kind: &str, path: &Path) -> Destination {
    Destination::parse(&format!("{kind}:{}", path.display()), Path::new("/")).unwrap()
}

/// With this compression, where there can be one.
fn encoded(kind: &str, path: &Path, codec: Option<Codec>) -> Destination {
    let plain = destination(kind, path);
    match plain.clone().compressed(codec) {
        Err(error) if kind == "docker-archive" && error.is(&codes::BAD_COMPRESSION) => plain,
        encoded => encoded.unwrap(),
    }
}

fn file(dir: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

fn written(from: &Path, to: &Destination) -> (Vec<Image>, Delivered) {
    let cancel = CancellationToken::new();
    let options = ReadOptions::new(&cancel);
    let (images, mut delivered) = convert(Input::file(from).unwrap(), &options, to, &Unguarded).unwrap();
    assert_eq!(delivered.len(), images.len());
    (images, delivered.remove(0))
}

fn images(path: &Path) -> nixoci_core::Result<Vec<Image>> {
    let cancel = CancellationToken::new();
    check(Input::file(path)?, &ReadOptions::new(&cancel))
}

fn digests(summary: &ImageSummary) -> (String, Vec<String>) {
    (summary.image_id.to_string(), summary.layers.iter().map(|layer| layer.diff_id.to_string()).collect())
}

fn arm() -> Image2 {
    let mut image = hello();
    image.layers[0] = package("hello", &elf(ARM64));
    image.config["architecture"] = json!("arm64");
    image
}
type Image2 = crate::build::Image;

#[test]
fn from_every_form_to_every_form_and_back() {
    let dir = tempfile::tempdir().unwrap();
    let source = file(dir.path(), "source", &gzip(&hello().tar()));
    let original = only(images(&source).unwrap());
    for first in FORMS {
        for (number, codec) in [None, Some(Codec::default()), Some(Codec::Zstd(3))].into_iter().enumerate() {
            let one = dir.path().join(format!("{first}-{number}"));
            written(&source, &encoded(first, &one, codec));
            for second in FORMS {
                let two = dir.path().join(format!("{first}-{number}-{second}"));
                written(&one, &destination(second, &two));
                let read = only(images(&two).unwrap());
                assert_eq!(digests(&read), digests(&original), "{first} {codec:?} {second}");
                assert_eq!(read.names, original.names, "{first} {codec:?} {second}");
            }
        }
    }
}

#[test]
fn a_manifest_that_is_still_right_stays() {
    let dir = tempfile::tempdir().unwrap();
    let source = file(dir.path(), "source", &hello().tar());
    let one = written(&source, &destination("oci", &dir.path().join("one"))).1;
    assert_eq!(one.media_type, nixoci_image::MANIFEST_TYPE);
    let kept = written(&dir.path().join("one"), &destination("oci-archive", &dir.path().join("two"))).1;
    assert_eq!(kept.digest, one.digest);
    let zstd = destination("oci", &dir.path().join("three")).compressed(Some(Codec::Zstd(1))).unwrap();
    let changed = written(&dir.path().join("one"), &zstd).1;
    assert_ne!(changed.digest, one.digest);
    assert_eq!(
        written(&dir.path().join("three"), &destination("oci", &dir.path().join("four"))).1.digest,
        changed.digest
    );
}

#[test]
fn annotations_of_the_manifest_survive() {
    let dir = tempfile::tempdir().unwrap();
    let source = file(dir.path(), "source", &hello().tar());
    let layout = dir.path().join("one");
    written(&source, &destination("oci", &layout));
    annotate(&layout, "org.example", "yes");
    let plain = destination("oci", &dir.path().join("two")).compressed(None).unwrap();
    let delivered = written(&layout, &plain).1;
    let manifest = std::fs::read(dir.path().join("two/blobs/sha256").join(delivered.digest.hex())).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(manifest["annotations"]["org.example"], "yes");
    assert_eq!(manifest["layers"][0]["mediaType"], "application/vnd.oci.image.layer.v1.tar");
}

/// Puts an annotation on the one manifest of a layout.
fn annotate(layout: &Path, key: &str, value: &str) {
    let read = |path: &Path| -> Value { serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap() };
    let mut index = read(&layout.join("index.json"));
    let digest = index["manifests"][0]["digest"].as_str().unwrap()[7..].to_owned();
    let mut manifest = read(&layout.join("blobs/sha256").join(digest));
    manifest["annotations"] = json!({ key: value });
    let bytes = manifest.to_string();
    std::fs::write(layout.join("blobs/sha256").join(sha256(bytes.as_bytes())), &bytes).unwrap();
    index["manifests"][0]["digest"] = json!(format!("sha256:{}", sha256(bytes.as_bytes())));
    index["manifests"][0]["size"] = json!(bytes.len());
    std::fs::write(layout.join("index.json"), index.to_string()).unwrap();
}

#[test]
fn a_large_layer_is_the_same_bytes_each_time_and_unpacks_to_itself() {
    let dir = tempfile::tempdir().unwrap();
    let mut image = hello();
    let noise: Vec<u8> =
        (0..3_000_000u64).flat_map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40).to_le_bytes()).collect();
    image.layers.push(Tar::new().file("big", &noise).end());
    image.config["history"] = json!([]);
    let source = file(dir.path(), "source", &image.tar());
    for codec in [Codec::default(), Codec::Zstd(2)] {
        let to =
            |name: &str| destination("oci-archive", &dir.path().join(name)).compressed(Some(codec)).unwrap();
        let (_, one) = written(&source, &to("one"));
        let (_, two) = written(&source, &to("two"));
        assert_eq!(one.digest, two.digest);
        let (one, two) =
            (std::fs::read(dir.path().join("one")).unwrap(), std::fs::read(dir.path().join("two")).unwrap());
        assert!(one == two && one.len() < noise.len());
        assert_eq!(only(images(&dir.path().join("one")).unwrap()).layers.len(), 3);
    }
}

fn merged(dir: &Path, kind: &str, naming: Naming) -> nixoci_core::Result<(Vec<Image>, Vec<Delivered>)> {
    let sources = [("a", hello()), ("b", arm())].map(|(name, image)| file(dir, name, &image.tar()));
    let cancel = CancellationToken::new();
    let options = ReadOptions { names: naming, ..ReadOptions::new(&cancel) };
    let inputs = sources.iter().map(|path| (Input::file(path).unwrap(), options.clone())).collect();
    merge(inputs, &destination(kind, &dir.join(format!("merged-{kind}"))), &Unguarded)
}

#[test]
fn two_platforms_are_one_image_in_every_form() {
    let dir = tempfile::tempdir().unwrap();
    for kind in FORMS {
        let (_, delivered) = merged(dir.path(), kind, Naming::Keep).unwrap();
        assert_eq!((delivered.len(), delivered[0].platforms.len()), (1, 2), "{kind}");
        let read = images(&dir.path().join(format!("merged-{kind}"))).unwrap();
        if kind == "docker-archive" {
            let names: Vec<&str> = read.iter().flat_map(|image| image.names()).map(String::as_str).collect();
            assert_eq!(names, ["hello:latest", "hello:latest-arm64"]);
            continue;
        }
        assert_eq!(delivered[0].media_type, nixoci_image::INDEX_TYPE);
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].names(), ["hello:latest"]);
        assert_eq!(read[0].platform_names(), "linux/amd64, linux/arm64");
    }
    let hybrid = std::fs::read(dir.path().join("merged-archive")).unwrap();
    let index: Value = serde_json::from_slice(&member(&hybrid, "index.json")).unwrap();
    assert_eq!(index["manifests"].as_array().unwrap().len(), 1, "Apple's loader takes exactly one");
    let manifest: Value = serde_json::from_slice(&member(&hybrid, "manifest.json")).unwrap();
    assert_eq!(manifest[0]["RepoTags"], json!(["hello:latest"]));
    assert_eq!(manifest[1]["RepoTags"], json!(["hello:latest-arm64"]));
    // The layer that both have is there once.
    let names: Vec<String> = members(&hybrid).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names.iter().collect::<std::collections::HashSet<_>>().len(), names.len());
}

#[test]
fn one_platform_of_several_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    merged(dir.path(), "oci", Naming::Keep).unwrap();
    let cancel = CancellationToken::new();
    let read = |platform: &str| {
        let options = ReadOptions { expect: vec![platform.parse().unwrap()], ..ReadOptions::new(&cancel) };
        check(Input::file(&dir.path().join("merged-oci")).unwrap(), &options)
    };
    assert_eq!(only(read("linux/arm64").unwrap()).platform.to_string(), "linux/arm64");
    assert!(read("linux/386").unwrap_err().is(&codes::PLATFORM_MISMATCH));
    let to = destination("oci", &dir.path().join("one"));
    let options = ReadOptions { expect: vec!["linux/arm64".parse().unwrap()], ..ReadOptions::new(&cancel) };
    let input = Input::file(&dir.path().join("merged-oci")).unwrap();
    let (_, delivered) = convert(input, &options, &to, &Unguarded).unwrap();
    assert_eq!(delivered[0].media_type, nixoci_image::MANIFEST_TYPE, "one platform is no index");
}

#[test]
fn platforms_that_are_not_there_are_left_out_and_told() {
    let dir = tempfile::tempdir().unwrap();
    merged(dir.path(), "oci", Naming::Keep).unwrap();
    let layout = dir.path().join("merged-oci");
    let arm = only(images(&file(dir.path(), "x", &arm().tar())).unwrap());
    std::fs::remove_file(layout.join("blobs/sha256").join(arm.image_id.hex())).unwrap();
    let left = only(images(&layout).unwrap());
    assert_eq!(left.platform.to_string(), "linux/amd64");
    assert_eq!(left.warnings[0].code, codes::LEFT_OUT.id);
    let amd = left.image_id.hex();
    std::fs::remove_file(layout.join("blobs/sha256").join(amd)).unwrap();
    assert!(images(&layout).unwrap_err().is(&codes::MISSING_MEMBER));
}

#[test]
fn the_same_platform_twice_is_no_image() {
    let dir = tempfile::tempdir().unwrap();
    let source = file(dir.path(), "a", &hello().tar());
    let cancel = CancellationToken::new();
    let input = || (Input::file(&source).unwrap(), ReadOptions::new(&cancel));
    let to = destination("archive", &dir.path().join("x"));
    assert!(merge(vec![input(), input()], &to, &Unguarded).unwrap_err().is(&codes::CANNOT_MERGE));
    assert!(!dir.path().join("x").exists());
}

#[test]
fn a_layout_that_is_there_is_added_to() {
    let dir = tempfile::tempdir().unwrap();
    let layout = destination("oci", &dir.path().join("layout"));
    let cancel = CancellationToken::new();
    let add = |image: &Image2, name: &str| {
        let options = ReadOptions { names: Naming::parse(&[name]).unwrap(), ..ReadOptions::new(&cancel) };
        convert(input(&image.tar()), &options, &layout, &Unguarded).unwrap();
    };
    add(&hello(), "app:one");
    add(&arm(), "app:two");
    add(&arm(), "app:one");
    let read = images(&dir.path().join("layout")).unwrap();
    let what: Vec<String> =
        read.iter().map(|image| format!("{} {}", image.names().join(","), image.platform_names())).collect();
    assert_eq!(what, ["app:two,app:one linux/arm64"]);
    let entries: Vec<_> =
        std::fs::read_dir(dir.path().join("layout")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(entries.len(), 3, "{entries:?}");
    std::fs::create_dir(dir.path().join("other")).unwrap();
    std::fs::write(dir.path().join("other/file"), "x").unwrap();
    let other = destination("oci", &dir.path().join("other")).check().unwrap_err();
    assert!(other.is(&codes::DESTINATION_UNUSABLE));
}

#[test]
fn a_label_of_a_layout_stays_where_there_is_no_name() {
    let dir = tempfile::tempdir().unwrap();
    let source = file(dir.path(), "a", &Image2 { names: None, ..hello() }.tar());
    written(&source, &destination("oci", &dir.path().join("one")));
    let read = |layout: &str| -> Value {
        serde_json::from_slice(&std::fs::read(dir.path().join(layout).join("index.json")).unwrap()).unwrap()
    };
    let mut index = read("one");
    // As `skopeo copy … oci:one:latest` writes it.
    index["manifests"][0]["annotations"] = json!({ "org.opencontainers.image.ref.name": "latest" });
    std::fs::write(dir.path().join("one/index.json"), index.to_string()).unwrap();
    written(&dir.path().join("one"), &destination("oci", &dir.path().join("two")));
    assert_eq!(read("two")["manifests"], index["manifests"]);
    // Who loads an archive would take it for a name.
    let archive = dir.path().join("archive");
    written(&dir.path().join("one"), &destination("archive", &archive));
    written(&archive, &destination("oci", &dir.path().join("three")));
    assert!(read("three")["manifests"][0].get("annotations").is_none());
}

#[test]
fn a_blob_that_is_not_what_it_is_called() {
    let dir = tempfile::tempdir().unwrap();
    let source = file(dir.path(), "a", &hello().tar());
    let layout = dir.path().join("layout");
    let (_, delivered) = written(&source, &destination("oci", &layout));
    let layer = layout.join("blobs/sha256").join(delivered.platforms[0].layers[0].digest.hex());
    let mut bytes = std::fs::read(&layer).unwrap();
    let last = bytes.len() - 9;
    bytes[last] ^= 1;
    std::fs::write(&layer, bytes).unwrap();
    assert!(images(&layout).unwrap_err().is(&codes::DIGEST_MISMATCH));
    std::fs::remove_file(&layer).unwrap();
    assert!(images(&layout).unwrap_err().is(&codes::MISSING_MEMBER));
}

#[test]
fn a_new_date_changes_the_configuration_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let cancel = CancellationToken::new();
    let options = ReadOptions { created: Some("2026-01-02T03:04:05Z".into()), ..ReadOptions::new(&cancel) };
    let to = destination("archive", &dir.path().join("x"));
    convert(input(&hello().tar()), &options, &to, &Unguarded).unwrap();
    let read = only(images(&dir.path().join("x")).unwrap());
    assert_eq!(read.created.as_deref(), Some("2026-01-02T03:04:05Z"));
    let original = crate::build::read(&hello().tar()).unwrap();
    assert_ne!(read.image_id, original.image_id);
    assert_eq!(read.layers, original.layers);
}

#[test]
fn other_compressions_of_the_whole() {
    let tar = hello().tar();
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
    std::io::Write::write_all(&mut xz, &tar).unwrap();
    for bytes in [xz.finish().unwrap(), zstd::bulk::compress(&tar, 3).unwrap()] {
        assert_eq!(read(&bytes).unwrap(), read(&tar).unwrap());
        assert!(read(&bytes[..bytes.len() / 2]).unwrap_err().is(&codes::TRUNCATED));
    }
}
