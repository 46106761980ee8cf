//! Images that are not in order: each has its own code, and none leaves a result.

use crate::build::*;
use nixoci_core::ErrorKind;
use nixoci_image::{Input, Naming, codes};
use serde_json::json;
use std::io::Read;
use std::path::Path;

fn code(bytes: &[u8]) -> String {
    let error = read(bytes).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Image, "{error:?}");
    assert_eq!(convert(bytes).unwrap_err().code(), error.code());
    error.code().to_owned()
}

/// The archive with one member changed, or left out.
fn change(image: &Image, name: &str, new: Option<&[u8]>) -> Vec<u8> {
    let parts = members(&image.tar());
    assert!(parts.iter().any(|(found, _)| found == name));
    let keep = |(found, data): &(String, Vec<u8>)| match new {
        Some(new) if found == name => Some((found.clone(), new.to_vec())),
        None if found == name => None,
        _ => Some((found.clone(), data.clone())),
    };
    parts.iter().filter_map(keep).fold(Tar::new(), |tar, (name, data)| tar.file(&name, &data)).end()
}

#[test]
fn truncation() {
    let tar = hello().tar();
    let zipped = gzip(&tar);
    for length in [zipped.len() - 1, zipped.len() - 9, zipped.len() / 2, 20] {
        assert_eq!(code(&zipped[..length]), codes::TRUNCATED.id, "{length}");
    }
    assert_eq!(code(&tar[..5000]), codes::TRUNCATED.id);
    // A cut between two members looks like an archive without a manifest.
    assert_eq!(code(&tar[..512 + 10_240]), codes::MISSING_MEMBER.id);
}

#[test]
fn corrupt_gzip() {
    let mut zipped = gzip(&hello().tar());
    let middle = zipped.len() / 2;
    zipped[middle..middle + 20].fill(0xff);
    // Either the decompressor notices, or what it yields is no archive any more.
    let seen = code(&zipped);
    assert!(
        [codes::CORRUPT_GZIP.id, codes::CORRUPT_TAR.id, codes::TRUNCATED.id].contains(&seen.as_str()),
        "{seen}"
    );
    let mut checksum = gzip(&hello().tar());
    let end = checksum.len() - 8;
    checksum[end] ^= 1;
    assert_eq!(code(&checksum), codes::CORRUPT_GZIP.id);
}

#[test]
fn corrupt_headers() {
    let mut tar = hello().tar();
    tar[148] ^= 1;
    assert_eq!(code(&tar), codes::NOT_AN_IMAGE.id);
    let mut tar = hello().tar();
    let second = 512 + hello().layers[0].len();
    tar[second] ^= 1;
    assert_eq!(code(&tar), codes::CORRUPT_TAR.id);
}

#[test]
fn a_changed_layer_or_configuration() {
    let image = hello();
    let layer = format!("{}/layer.tar", sha256(&image.layers[0]));
    let mut changed = image.layers[0].clone();
    *changed.iter_mut().rfind(|byte| **byte == 7).unwrap() = 8;
    assert_eq!(code(&change(&image, &layer, Some(&changed))), codes::DIGEST_MISMATCH.id);
}

/// Docker loads it, and its layers are checked by the digests in it.
#[test]
fn a_configuration_with_another_name_is_read_with_a_warning() {
    let image = hello();
    let config = image.config_text().replace("A=b", "A=c");
    let read = read(&change(&image, &image.config_name(), Some(config.as_bytes()))).unwrap();
    assert_eq!(read.env, ["A=c"]);
    assert_eq!(read.warnings[0].code, codes::CONFIG_NAME.id);
}

#[test]
fn missing_members() {
    let image = hello();
    let layer = format!("{}/layer.tar", sha256(&image.layers[0]));
    for name in [layer.as_str(), &image.config_name(), "manifest.json"] {
        assert_eq!(code(&change(&image, name, None)), codes::MISSING_MEMBER.id, "{name}");
    }
}

#[test]
fn bad_json() {
    let image = hello();
    let config = image.config_name();
    let layers = format!("[{{\"Config\":\"{config}\",\"Layers\":{{}}}}]");
    for text in
        ["{", "[]", "[1]", "{}", "[{}]", "[{\"Config\":1}]", &layers, "[{\"Config\":\"x\",\"Layers\":[1]}]"]
    {
        assert_eq!(
            code(&change(&image, "manifest.json", Some(text.as_bytes()))),
            codes::BAD_JSON.id,
            "{text}"
        );
    }
    for (text, expected) in [
        ("nonsense", &codes::BAD_JSON),
        ("{\"os\":\"linux\",\"architecture\":\"amd64\"}", &codes::BAD_JSON),
        ("{}", &codes::BAD_PLATFORM),
        ("{\"os\":3}", &codes::BAD_CONFIG),
    ] {
        let image = Image { config_text: Some(text.into()), ..hello() };
        assert_eq!(code(&image.tar()), expected.id, "{text}");
    }
    let not_utf8 = change(&image, "manifest.json", Some(b"[\"\xff\"]"));
    assert_eq!(code(&not_utf8), codes::BAD_JSON.id);
}

#[test]
fn a_manifest_that_contradicts_the_configuration() {
    let image = hello();
    let two = image.manifest();
    let layer = format!("{}/layer.tar", sha256(&image.layers[0]));
    let one = json!([{ "Config": image.config_name(), "Layers": [layer] }]).to_string();
    assert_ne!(one, two);
    assert_eq!(code(&change(&image, "manifest.json", Some(one.as_bytes()))), codes::LAYER_COUNT.id);
    let swapped = json!([{ "Config": image.config_name(), "Layers": [layer, layer] }]).to_string();
    assert_eq!(code(&change(&image, "manifest.json", Some(swapped.as_bytes()))), codes::DIGEST_MISMATCH.id);
}

#[test]
fn names_that_lead_out() {
    for name in ["../evil", "a/../../evil", "/../evil"] {
        let outer = [Tar::new().file(name, b"x").bytes(), hello().tar()].concat();
        assert_eq!(code(&outer), codes::UNSAFE_PATH.id, "{name}");
        let mut image = hello();
        image.layers[1] = Tar::new().file(name, b"x").end();
        assert_eq!(code(&image.tar()), codes::UNSAFE_PATH.id, "{name}");
        image.layers[1] = Tar::new().entry("x", tar::EntryType::Link, 0o644, name, b"").end();
        assert_eq!(code(&image.tar()), codes::UNSAFE_PATH.id, "{name}");
    }
    let mut image = hello();
    image.layers.push(Tar::new().symlink("x", "../../etc/passwd").end());
    image.config["history"] = json!([]);
    assert_eq!(read(&image.tar()).unwrap().warnings[0].code, codes::CLIMBING_LINKS.id);
}

#[test]
fn a_layer_that_is_no_tar_archive() {
    let mut image = hello();
    image.layers[1] = b"just a text".repeat(100);
    assert_eq!(code(&image.tar()), codes::CORRUPT_TAR.id);
    // A compressed layer is read; its digest is that of what is in it.
    image.layers[1] = gzip(&package("x", b"y"));
    assert_eq!(code(&image.tar()), codes::DIGEST_MISMATCH.id);
    image.layers[1] = gzip(&package("x", b"y"))[..100].to_vec();
    assert_eq!(code(&image.tar()), codes::CORRUPT_GZIP.id);
    image.layers[1] = b"BZh91AY&SY".repeat(100);
    assert_eq!(code(&image.tar()), codes::NOT_READ_YET.id);
    let mut broken = package("x", b"y");
    broken[600] = b'z';
    image.layers[1] = broken;
    assert_eq!(code(&image.tar()), codes::CORRUPT_TAR.id);
}

#[test]
fn links_in_a_circle() {
    let manifest = r#"[{"Config":"a","Layers":[]}]"#;
    let tar = Tar::new().symlink("a", "b").symlink("b", "a").file("manifest.json", manifest.as_bytes()).end();
    assert_eq!(code(&tar), codes::MISSING_MEMBER.id);
}

#[test]
fn several_images() {
    let tar = change(&hello(), "manifest.json", Some(br#"[{"RepoTags":["a:1"]},{"RepoTags":["b:2"]}]"#));
    // One that is incomplete is not made up for by another.
    assert_eq!(code(&tar), codes::BAD_JSON.id);
    let (first, second) = (hello(), Image { names: Some(vec!["b:2".into()]), ..hello() });
    let manifest: Vec<serde_json::Value> = [&first, &second]
        .iter()
        .flat_map(|image| serde_json::from_str::<Vec<serde_json::Value>>(&image.manifest()).unwrap())
        .collect();
    let both = change(&first, "manifest.json", Some(json!(manifest).to_string().as_bytes()));
    let cancel = tokio_util::sync::CancellationToken::new();
    let check = |change: &dyn Fn(&mut nixoci_image::ReadOptions<'_>)| {
        let mut options = nixoci_image::ReadOptions::new(&cancel);
        change(&mut options);
        nixoci_image::check(input(&both), &options)
    };
    let names = |images: Vec<nixoci_image::Image>| -> Vec<String> {
        images.iter().flat_map(|image| image.names().to_vec()).collect()
    };
    assert_eq!(names(check(&|_| {}).unwrap()), ["hello:latest", "b:2"]);
    assert_eq!(names(check(&|options| options.only = Some("b:2".into())).unwrap()), ["b:2"]);
    assert_eq!(names(check(&|options| options.names = Naming::Tag("x".into())).unwrap()), ["hello:x", "b:x"]);
    let new = Naming::Replace(vec!["c".parse().unwrap()]);
    let error = check(&|options| options.names = new.clone()).unwrap_err();
    assert!(error.is(&codes::SEVERAL_IMAGES));
    assert_eq!(error.report().causes[0], "among them hello:latest, b:2");
    let error = check(&|options| options.only = Some("c".into())).unwrap_err();
    assert!(error.is(&codes::NO_SUCH_IMAGE));
}

#[test]
fn what_is_no_image() {
    assert_eq!(code(b""), codes::NOT_AN_IMAGE.id);
    assert_eq!(code(b"#!/bin/sh\n"), codes::NOT_AN_IMAGE.id);
    assert_eq!(code(&elf(AMD64)), codes::NOT_AN_IMAGE.id);
    assert_eq!(code(&gzip(b"a text")), codes::NOT_AN_IMAGE.id);
    assert_eq!(code(&Tar::new().dir("bin/").file("etc/passwd", b"x").end()), codes::NOT_AN_IMAGE.id);
    assert_eq!(code(b"\x28\xb5\x2f\xfd rest of zstd"), codes::CORRUPT_GZIP.id);
    assert_eq!(code(b"BZh91AY&SY rest of bzip2"), codes::NOT_READ_YET.id);
    assert_eq!(code(br#"{"version":1,"image-config":{}}"#), codes::NOT_READ_YET.id);
    let oci = Tar::new().file("oci-layout", b"{}").file("index.json", b"{}").end();
    assert_eq!(code(&oci), codes::BAD_JSON.id);
    assert!(Input::file(Path::new("/nonexistent")).unwrap_err().is(&codes::NOT_FOUND));
    assert!(Input::file(Path::new("/usr")).unwrap_err().is(&codes::NOT_AN_IMAGE));
}

#[test]
fn images_for_other_systems() {
    let mut image = hello();
    image.config["os"] = json!("windows");
    assert_eq!(code(&image.tar()), codes::BAD_PLATFORM.id);
}

#[test]
fn a_source_that_fails_is_no_damaged_image() {
    struct Failing(Vec<u8>);
    impl Read for Failing {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            if self.0.is_empty() {
                return Err(std::io::Error::other("connection lost"));
            }
            let count = self.0.len().min(buffer.len());
            buffer[..count].copy_from_slice(&self.0[..count]);
            self.0.drain(..count);
            Ok(count)
        }
    }
    for bytes in [hello().tar()[..5000].to_vec(), gzip(&hello().tar())[..100].to_vec()] {
        let cancel = tokio_util::sync::CancellationToken::new();
        let input = Input::reader(Box::new(Failing(bytes)), "builder".into(), None);
        let error = nixoci_image::check(input, &nixoci_image::ReadOptions::new(&cancel)).unwrap_err();
        assert!(error.is(&codes::READ_FAILED), "{error:?}");
        assert_eq!(error.kind(), ErrorKind::Transfer);
    }
}
