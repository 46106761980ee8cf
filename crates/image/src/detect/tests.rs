use super::*;
use crate::tar::file_header;
use proptest::prelude::*;
use std::io::Write;

fn tar(names: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for name in names {
        bytes.extend_from_slice(&file_header(name, 3));
        bytes.extend_from_slice(b"abc");
        bytes.resize(bytes.len() + 509, 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn file(bytes: &[u8]) -> Shape {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    describe(file.path()).unwrap()
}

fn directory(files: &[(&str, &[u8])]) -> Shape {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    describe(dir.path()).unwrap()
}

#[test]
fn archives_are_told_by_their_members() {
    let hex = "0".repeat(64);
    let layer = format!("{hex}/layer.tar");
    assert_eq!(
        file(&tar(&[&layer, "manifest.json"])),
        Shape::DockerArchive { compression: Compression::None }
    );
    assert_eq!(file(&gzip(&tar(&[&layer]))), Shape::DockerArchive { compression: Compression::Gzip });
    assert_eq!(
        file(&tar(&["blobs/x", "oci-layout", "index.json"])),
        Shape::OciArchive { compression: Compression::None }
    );
    // What nixoci writes itself.
    assert!(file(&tar(&["oci-layout", "blobs/sha256/x", "index.json", "manifest.json"])).is_readable());
    assert_eq!(file(&tar(&["./bin/sh", "etc/x"])), Shape::RootfsTar { compression: Compression::None });
    assert_eq!(file(&gzip(b"just a text")), Shape::Compressed(Compression::Gzip));
    assert!(!file(b"\x28\xb5\x2f\xfd....").is_readable());
}

#[test]
fn descriptions_and_scripts_are_told_by_their_words() {
    let script =
        "#!/nix/store/x-bash/bin/bash -e\nexec \"/nix/store/y-stream\" /nix/store/z-hello-conf.json \"$@\"\n";
    let conf = Some(PathBuf::from("/nix/store/z-hello-conf.json"));
    assert_eq!(file(script.as_bytes()), Shape::StreamScript { conf });
    assert_eq!(file(b"#!/bin/sh\necho"), Shape::Script);
    assert_eq!(file(br#"{"version":1,"image-config":{}}"#), Shape::Nix2container);
    assert_eq!(file(br#"{"customisation_layer":"/nix"}"#), Shape::StreamConf);
    assert_eq!(file(b"hello\n"), Shape::Text);
    assert_eq!(file(b""), Shape::Empty);
    assert_eq!(file(b"\0\x01\x02"), Shape::Unknown);
}

#[test]
fn directories_are_told_by_what_is_in_them() {
    assert_eq!(directory(&[("oci-layout", b"{}"), ("index.json", b"{}")]), Shape::OciLayout);
    assert_eq!(
        directory(&[("config.json", br#"{"ociVersion":"1.0"}"#), ("rootfs/x", b"")]),
        Shape::RuntimeBundle
    );
    assert_eq!(directory(&[("layer.tar", b""), ("checksum", b"")]), Shape::CustomisationLayer);
    assert_eq!(directory(&[]), Shape::Empty);
}

#[test]
fn a_package_is_named_by_its_programs() {
    assert_eq!(directory(&[("bin/cowsay", b"")]).to_string(), "a package with bin/cowsay");
    let many = directory(&[("bin/a", b""), ("bin/b", b""), ("bin/c", b""), ("bin/d", b"")]);
    assert_eq!(many.to_string(), "a package with bin/a, bin/b, bin/c and 1 more");
    assert_eq!(directory(&[("share/x", b"")]).to_string(), "a directory without programs");
}

#[test]
fn what_is_refused_says_how_to_get_an_image() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("bin")).unwrap();
    std::fs::write(dir.path().join("bin/cowsay"), "").unwrap();
    let error = refuse(dir.path());
    assert!(error.is(&codes::NOT_AN_IMAGE));
    assert!(error.to_string().ends_with("is a package with bin/cowsay, not an image"), "{error}");
    std::fs::write(dir.path().join("image.tar"), tar(&["manifest.json"])).unwrap();
    let remedies = refuse(dir.path()).report().remedies.clone();
    assert!(remedies.iter().any(|remedy| remedy.command.as_deref().unwrap_or("").ends_with("image.tar")));
    assert!(refuse(Path::new("/nonexistent/x")).is(&codes::NOT_FOUND));
}

#[test]
fn an_archive_in_a_directory_of_the_output_is_named() {
    let command = |files: &[(&str, Vec<u8>)]| {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        let error = refuse(dir.path());
        let command = error.report().remedies[0].command.clone().unwrap();
        command.replace(&dir.path().display().to_string(), "OUT")
    };
    let (image, rootfs) = (tar(&["manifest.json"]), tar(&["etc/passwd"]));
    assert_eq!(
        command(&[("bin/hello", vec![]), ("image/app.tar.gz", gzip(&image))]),
        "nixoci load OUT/image/app.tar.gz"
    );
    assert_eq!(
        command(&[("tarball/system.tar", rootfs.clone())]),
        "docker import OUT/tarball/system.tar NAME"
    );
    assert_eq!(command(&[("a/b.tar", rootfs.clone()), ("c/d.tar", image)]), "nixoci load OUT/c/d.tar");
    assert_eq!(command(&[("root fs.tar", rootfs)]), "docker import 'OUT/root fs.tar' NAME");
}

proptest! {
    #[test]
    fn arbitrary_files_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
        let _ = file(&bytes);
        let _ = file(&gzip(&bytes));
        let _ = look::bytes(&bytes);
    }
}
