//! Layouts that hold more than one image: signatures, charts, platforms and layers of every kind beside it.

use std::path::{Path, PathBuf};

use nixoci_core::Result;
use nixoci_core::temporary::Unguarded;
use nixoci_image::{Destination, Image, ImageSummary, Input, Mismatch, ReadOptions, check, codes, convert};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::build::{AMD64, ARM64, Tar, elf, gzip, only, package, sha256};

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// A layout in the making.
struct Layout {
    dir: tempfile::TempDir,
    entries: Vec<Value>,
}

impl Layout {
    fn new() -> Layout {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("blobs/sha256")).unwrap();
        std::fs::write(dir.path().join("oci-layout"), "{\"imageLayoutVersion\":\"1.0.0\"}").unwrap();
        Layout { dir, entries: Vec::new() }
    }

    fn blob(&self, kind: &str, bytes: &[u8]) -> Value {
        let hex = sha256(bytes);
        std::fs::write(self.path().join("blobs/sha256").join(&hex), bytes).unwrap();
        json!({ "mediaType": kind, "digest": format!("sha256:{hex}"), "size": bytes.len() })
    }

    fn json(&self, kind: &str, document: &Value) -> Value {
        self.blob(kind, document.to_string().as_bytes())
    }

    /// A manifest of an image whose layers are stored as they are here, and uncompressed are these.
    fn image_of(&self, architecture: &str, layers: &[(&[u8], &[u8])]) -> Value {
        let diff_ids: Vec<String> = layers.iter().map(|(_, tar)| format!("sha256:{}", sha256(tar))).collect();
        let config = json!({ "architecture": architecture, "os": "linux", "config": { "Cmd": ["/bin/app"] },
            "rootfs": { "type": "layers", "diff_ids": diff_ids } });
        let layers: Vec<Value> = layers.iter().map(|(stored, _)| self.blob(LAYER, stored)).collect();
        let manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": self.json(CONFIG, &config), "layers": layers });
        self.json(MANIFEST, &manifest)
    }

    fn image(&self, architecture: &str, program: &[u8]) -> Value {
        let layer = package("app", program);
        self.image_of(architecture, &[(&layer, &layer)])
    }

    fn artifact(&self, config: &str, layer: &str) -> Value {
        let manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/x",
            "config": self.json(config, &json!({ "rootfs": { "diff_ids": [] } })),
            "layers": [self.blob(layer, b"{\"critical\":{}}")] });
        self.json(MANIFEST, &manifest)
    }

    fn add(&mut self, mut descriptor: Value, name: &str) {
        descriptor["annotations"] = json!({ "io.containerd.image.name": name });
        self.entries.push(descriptor);
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn remove(&self, descriptor: &Value) {
        let hex = &descriptor["digest"].as_str().unwrap()[7..];
        std::fs::remove_file(self.path().join("blobs/sha256").join(hex)).unwrap();
    }

    fn read(&self, change: impl FnOnce(&mut ReadOptions<'_>)) -> Result<Vec<Image>> {
        let index = json!({ "schemaVersion": 2, "manifests": self.entries });
        std::fs::write(self.path().join("index.json"), index.to_string()).unwrap();
        read(self.path(), change)
    }

    fn named(&self, name: &str) -> Result<Vec<Image>> {
        self.read(|options| options.only = Some(name.to_owned()))
    }
}

fn read(path: &Path, change: impl FnOnce(&mut ReadOptions<'_>)) -> Result<Vec<Image>> {
    let cancel = CancellationToken::new();
    let mut options = ReadOptions::new(&cancel);
    change(&mut options);
    check(Input::file(path)?, &options)
}

fn codes_of(summary: &ImageSummary) -> Vec<&str> {
    summary
        .warnings
        .iter()
        .map(|warning| warning.code.as_str())
        .filter(|code| *code != codes::COMMAND_MISSING.id)
        .collect()
}

#[test]
fn artifacts_beside_an_image_are_left_out_and_named() {
    let artifacts = [
        // A signature of cosign, a bill of materials with the empty configuration, a chart.
        (CONFIG, "application/vnd.dev.cosign.simplesigning.v1+json"),
        ("application/vnd.oci.empty.v1+json", "application/spdx+json"),
        ("application/vnd.cncf.helm.config.v1+json", "application/vnd.cncf.helm.chart.content.v1.tar+gzip"),
    ];
    for (config, layer) in artifacts {
        let mut layout = Layout::new();
        let artifact = layout.artifact(config, layer);
        layout.add(artifact, "example.org/app:other");
        let error = layout.read(|_| {}).unwrap_err();
        assert!(error.is(&codes::NOT_AN_IMAGE), "{layer}: {error}");
        let image = layout.image("amd64", &elf(AMD64));
        layout.add(image, "example.org/app:1");
        let summary = only(layout.read(|_| {}).unwrap());
        assert_eq!(summary.names, ["example.org/app:1"]);
        assert_eq!(codes_of(&summary), [codes::LEFT_OUT.id], "{layer}");
        assert!(
            summary.warnings[0].text.contains("example.org/app:other is left out"),
            "{:?}",
            summary.warnings
        );
        assert!(codes_of(&only(layout.named("example.org/app:1").unwrap())).is_empty());
        assert!(layout.named("example.org/app:other").unwrap_err().is(&codes::NOT_AN_IMAGE));
    }
}

#[test]
fn a_neighbour_matters_only_where_it_is_wanted() {
    let mut layout = Layout::new();
    let (whole, absent, damaged) = (
        layout.image("amd64", &elf(AMD64)),
        layout.image("amd64", b"absent"),
        layout.image("amd64", b"damaged"),
    );
    layout.add(whole, "example.org/app:whole");
    layout.add(absent.clone(), "example.org/app:absent");
    layout.remove(&absent);
    let summary = only(layout.read(|_| {}).unwrap());
    assert_eq!(codes_of(&summary), [codes::LEFT_OUT.id]);
    assert!(layout.named("example.org/app:absent").unwrap_err().is(&codes::MISSING_MEMBER));
    layout.add(damaged.clone(), "example.org/app:damaged");
    let hex = damaged["digest"].as_str().unwrap()[7..].to_owned();
    std::fs::write(layout.path().join("blobs/sha256").join(hex), "{}").unwrap();
    assert!(layout.read(|_| {}).unwrap_err().is(&codes::DIGEST_MISMATCH), "damage is never left out");
    assert!(codes_of(&only(layout.named("example.org/app:whole").unwrap())).is_empty());
}

#[test]
fn another_platform_matters_only_where_it_is_asked_for() {
    let mut layout = Layout::new();
    let (amd, arm) = (layout.image("amd64", &elf(AMD64)), layout.image("arm64", &elf(ARM64)));
    let platform = |mut descriptor: Value, architecture: &str| {
        descriptor["platform"] = json!({ "os": "linux", "architecture": architecture });
        descriptor
    };
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX,
        "manifests": [platform(amd, "amd64"), platform(arm.clone(), "arm64")] });
    let index = layout.json(INDEX, &index);
    layout.add(index, "example.org/app:1");
    let hex = arm["digest"].as_str().unwrap()[7..].to_owned();
    std::fs::write(layout.path().join("blobs/sha256").join(hex), "{}").unwrap();
    let ask = |platforms: &[&str]| {
        let platforms = platforms.iter().map(|platform| platform.parse().unwrap()).collect();
        layout.read(|options| options.expect = platforms)
    };
    assert_eq!(only(ask(&["linux/amd64"]).unwrap()).platform.to_string(), "linux/amd64");
    assert!(ask(&["linux/arm64"]).unwrap_err().is(&codes::DIGEST_MISMATCH));
    assert!(ask(&[]).unwrap_err().is(&codes::DIGEST_MISMATCH));
}

#[test]
fn every_platform_that_is_asked_for_has_to_be_there() {
    let mut layout = Layout::new();
    let image = layout.image("amd64", &elf(AMD64));
    layout.add(image, "example.org/app:1");
    let ask = |platforms: &[&str], mismatch: Mismatch| {
        let platforms = platforms.iter().map(|platform| platform.parse().unwrap()).collect();
        layout.read(|options| {
            options.expect = platforms;
            options.mismatch = mismatch;
        })
    };
    for mismatch in [Mismatch::Refused, Mismatch::Followed, Mismatch::Allowed] {
        let error = ask(&["linux/amd64", "linux/arm64"], mismatch).unwrap_err();
        assert!(error.is(&codes::PLATFORM_MISMATCH), "{error}");
        assert_eq!(error.to_string(), "the image is not for linux/arm64");
        assert_eq!(error.report().causes, ["it is for linux/amd64"]);
    }
    assert!(ask(&["linux/arm64"], Mismatch::Refused).unwrap_err().is(&codes::PLATFORM_MISMATCH));
    assert!(ask(&["linux/arm64"], Mismatch::Allowed).is_ok());
}

/// Every architecture that OCI has a name for goes through a conversion.
#[test]
fn no_platform_is_lost_on_the_way() {
    let mut layout = Layout::new();
    let platforms = ["amd64", "loong64", "mips64le", "riscv64", "ppc64"];
    let manifests: Vec<Value> = platforms.iter().map(|cpu| layout.image(cpu, b"#!/x\n")).collect();
    let index =
        layout.json(INDEX, &json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests }));
    layout.add(index, "example.org/app:1");
    layout.read(|_| {}).unwrap();
    let to = tempfile::tempdir().unwrap();
    let to = Destination::parse("oci:layout", to.path()).unwrap();
    let cancel = CancellationToken::new();
    convert(Input::file(layout.path()).unwrap(), &ReadOptions::new(&cancel), &to, &Unguarded).unwrap();
    let read = read(to.path(), |_| {}).unwrap();
    let there: Vec<&str> = read[0].platforms.iter().map(|one| one.platform.architecture.as_str()).collect();
    assert_eq!(there, platforms);
}

/// A tar archive without entries may be no bytes at all, and runtimes take it.
#[test]
fn a_layer_of_no_bytes_is_read_and_written() {
    let mut layout = Layout::new();
    let app = package("app", &elf(AMD64));
    let empty: &[u8] = b"";
    let zipped = gzip(empty);
    let image =
        layout.image_of("amd64", &[(&app, &app), (empty, empty), (&zipped, empty), (&[0; 1024], &[0; 1024])]);
    layout.add(image, "example.org/app:1");
    let summary = only(layout.read(|_| {}).unwrap());
    assert_eq!(
        summary.layers.iter().map(|layer| layer.size).collect::<Vec<_>>(),
        [app.len() as u64, 0, 0, 1024]
    );
    let to = tempfile::tempdir().unwrap();
    for kind in ["archive", "docker-archive", "oci-archive", "oci"] {
        let to = Destination::parse(&format!("{kind}:{kind}"), to.path()).unwrap();
        let cancel = CancellationToken::new();
        convert(Input::file(layout.path()).unwrap(), &ReadOptions::new(&cancel), &to, &Unguarded).unwrap();
        assert_eq!(only(read(to.path(), |_| {}).unwrap()).layers, summary.layers, "{kind}");
    }
}

/// A blob is damaged if its content has another digest, and not because its content is of no known kind.
#[test]
fn a_layer_of_another_kind_is_told_as_what_it_is() {
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
    std::io::Write::write_all(&mut xz, &Tar::new().end()).unwrap();
    let cases: [(&[u8], _, &str); 4] = [
        (b"BZh91AY&SY....................", &codes::NOT_READ_YET, "is compressed with bzip2"),
        (&xz.finish().unwrap(), &codes::NOT_READ_YET, "is compressed with xz"),
        (b"plain text, and no archive", &codes::CORRUPT_TAR, "is no tar archive"),
        (b"{\"json\":1}", &codes::CORRUPT_TAR, "is no tar archive"),
    ];
    for (bytes, code, text) in cases {
        let mut layout = Layout::new();
        let image = layout.image_of("amd64", &[(bytes, bytes)]);
        layout.add(image, "example.org/app:1");
        let error = layout.read(|_| {}).unwrap_err();
        assert!(error.is(code), "{error:?}");
        assert_eq!(error.to_string(), format!("layer sha256:{} {text}", sha256(bytes)));
        let hex = sha256(bytes);
        std::fs::write(layout.path().join("blobs/sha256").join(&hex), [bytes, b"."].concat()).unwrap();
        assert!(layout.read(|_| {}).unwrap_err().is(&codes::DIGEST_MISMATCH));
    }
}

#[test]
fn the_last_of_several_images_has_their_name() {
    let mut layout = Layout::new();
    let (one, two) = (layout.image("amd64", &elf(AMD64)), layout.image("amd64", b"#!/bin/sh\n"));
    layout.add(one, "example.org/app:1");
    layout.add(two, "example.org/app:1");
    let images = layout.read(|_| {}).unwrap();
    assert_eq!(images.len(), 2, "none is lost");
    assert!(images[0].names().is_empty());
    assert_eq!(images[1].names(), ["example.org/app:1"]);
    let warning = &images[1].platforms[0].warnings[0];
    assert_eq!(warning.code, codes::SAME_NAME.id);
    assert_eq!(warning.text, "2 images are called `example.org/app:1`; the last one has the name");
    assert_eq!(layout.named("example.org/app:1").unwrap()[0].digest, images[1].digest);
    let to = tempfile::tempdir().unwrap();
    for kind in ["archive", "oci"] {
        let to = Destination::parse(&format!("{kind}:{kind}"), to.path()).unwrap();
        let cancel = CancellationToken::new();
        convert(Input::file(layout.path()).unwrap(), &ReadOptions::new(&cancel), &to, &Unguarded).unwrap();
        let again = read(to.path(), |_| {}).unwrap();
        let names: Vec<&[String]> = again.iter().map(Image::names).collect();
        assert_eq!(names, images.iter().map(Image::names).collect::<Vec<_>>(), "{kind}");
    }
}

/// skopeo's `dir:` gives the manifests of an index an ending of their own.
#[test]
fn a_directory_of_skopeo_with_several_platforms_is_read() {
    let layout = Layout::new();
    let manifests = [layout.image("amd64", &elf(AMD64)), layout.image("arm64", &elf(ARM64))];
    let dir = tempfile::tempdir().unwrap();
    let is_manifest = |hex: &str| manifests.iter().any(|one| one["digest"].as_str().unwrap().ends_with(hex));
    for entry in std::fs::read_dir(layout.path().join("blobs/sha256")).unwrap() {
        let hex = entry.as_ref().unwrap().file_name().into_string().unwrap();
        let ending = if is_manifest(&hex) { ".manifest.json" } else { "" };
        std::fs::copy(entry.unwrap().path(), dir.path().join(format!("{hex}{ending}"))).unwrap();
    }
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests });
    std::fs::write(dir.path().join("manifest.json"), index.to_string()).unwrap();
    std::fs::write(dir.path().join("version"), "Directory Transport Version: 1.1\n").unwrap();
    let read = read(dir.path(), |_| {}).unwrap();
    assert_eq!(read[0].platform_names(), "linux/amd64, linux/arm64");
}

/// Indexes in indexes end before the stack does.
#[test]
fn indexes_that_lie_in_each_other_are_refused() {
    let mut layout = Layout::new();
    let mut inner = layout.image("amd64", &elf(AMD64));
    for _ in 0..6000 {
        inner = layout.json(INDEX, &json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [inner] }));
    }
    layout.add(inner, "example.org/app:1");
    let error = layout.read(|_| {}).unwrap_err();
    assert_eq!(error.to_string(), "indexes lie in each other too deep");
}

#[test]
fn documents_of_a_layout_are_small_regular_files() {
    let mut layout = Layout::new();
    let image = layout.image("amd64", &elf(AMD64));
    layout.add(image, "example.org/app:1");
    layout.read(|_| {}).unwrap();
    let sparse = |name: &str| -> PathBuf {
        let path = layout.path().join(name);
        let _ = std::fs::remove_file(&path);
        std::fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
        path
    };
    for name in ["oci-layout", "index.json"] {
        let before = std::fs::read(layout.path().join(name)).unwrap();
        let path = sparse(name);
        assert!(read(layout.path(), |_| {}).unwrap_err().is(&codes::TOO_LARGE), "{name}");
        std::fs::remove_file(&path).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        // It ends; without the mark, the layout is one by its index.
        assert_eq!(read(layout.path(), |_| {}).is_ok(), name == "oci-layout");
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, before).unwrap();
    }
    assert!(read(layout.path(), |_| {}).is_ok());
}

#[test]
fn a_root_file_system_is_told_as_one_whatever_files_are_in_it() {
    let odd = [gzip(b"x"), Tar::new().end(), vec![0; 2000], Vec::new()];
    let tar = odd
        .iter()
        .enumerate()
        .fold(Tar::new().dir("etc/"), |tar, (number, bytes)| tar.file(&format!("etc/file{number}"), bytes));
    let error = crate::build::read(&tar.end()).unwrap_err();
    assert!(error.is(&codes::NOT_AN_IMAGE), "{error:?}");
    assert!(error.to_string().contains("root file system"), "{error}");
}
