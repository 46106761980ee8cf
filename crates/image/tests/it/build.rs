//! Makes images, independently of the code under test.

use std::io::{Cursor, Write};

use nixoci_core::Result;
use nixoci_core::digest::Digest;
use nixoci_image::{ImageSummary, Input, ReadOptions, check, import};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

/// A program for this `e_machine`.
pub(crate) fn elf(machine: u8) -> Vec<u8> {
    let mut bytes = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0".to_vec();
    bytes.extend_from_slice(&[machine, 0]);
    bytes.resize(100, 0);
    bytes
}

pub(crate) const AMD64: u8 = 62;
pub(crate) const ARM64: u8 = 183;
pub(crate) const MACH_O: &[u8] = b"\xcf\xfa\xed\xfe\x0c\x00\x00\x01\0\0\0\0\0\0\0\0";

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Digest::from_bytes(Sha256::digest(bytes).into()).hex()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A tar archive in the making.
#[derive(Default)]
pub(crate) struct Tar(Vec<u8>);

impl Tar {
    pub(crate) fn new() -> Self {
        Tar::default()
    }

    /// An entry whose name is written as it is, dangerous or not.
    pub(crate) fn entry(
        mut self,
        name: &str,
        kind: tar::EntryType,
        mode: u32,
        link: &str,
        data: &[u8],
    ) -> Self {
        let mut header = tar::Header::new_ustar();
        let set = |field: &mut [u8], text: &str| field[..text.len()].copy_from_slice(text.as_bytes());
        set(&mut header.as_old_mut().name, name);
        set(&mut header.as_old_mut().linkname, link);
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1);
        header.set_size(data.len() as u64);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn file(self, name: &str, data: &[u8]) -> Self {
        self.entry(name, tar::EntryType::Regular, 0o444, "", data)
    }

    pub(crate) fn program(self, name: &str, data: &[u8]) -> Self {
        self.entry(name, tar::EntryType::Regular, 0o555, "", data)
    }

    pub(crate) fn dir(self, name: &str) -> Self {
        self.entry(name, tar::EntryType::Directory, 0o755, "", b"")
    }

    pub(crate) fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(name, tar::EntryType::Symlink, 0o777, target, b"")
    }

    /// The end, padded as Python's tarfile does it.
    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.resize((self.0.len() + 1024).next_multiple_of(10240), 0);
        self.0
    }

    /// What there is, without an end.
    pub(crate) fn bytes(self) -> Vec<u8> {
        self.0
    }
}

/// How the parts of an image are put into an archive.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Layout {
    /// `buildLayeredImage`: `<diffID>/layer.tar`, manifest.json last.
    Layered,
    /// `buildImage`: `<layer id>/{VERSION,json,layer.tar}`, `repositories`, manifest.json first.
    Legacy,
    /// `pullImage`, by skopeo: `<diffID>.tar` and symbolic links to it.
    Skopeo,
}

/// An image to be.
#[derive(Clone)]
pub(crate) struct Image {
    pub(crate) layers: Vec<Vec<u8>>,
    pub(crate) config: Value,
    /// The configuration's text, where it matters.
    pub(crate) config_text: Option<String>,
    pub(crate) names: Option<Vec<String>>,
    pub(crate) layout: Layout,
}

/// The layer of a package with one program.
pub(crate) fn package(name: &str, program: &[u8]) -> Vec<u8> {
    Tar::new()
        .dir("/nix/")
        .dir("/nix/store/")
        .dir(&format!("/nix/store/{name}/"))
        .dir(&format!("/nix/store/{name}/bin/"))
        .program(&format!("/nix/store/{name}/bin/{name}"), program)
        .file(&format!("/nix/store/{name}/big"), &[7; 3000])
        .end()
}

/// Two layers: a program, and a link to it on the PATH.
pub(crate) fn hello() -> Image {
    let links = Tar::new().dir("./").dir("./bin/").symlink("./bin/hello", "/nix/store/hello/bin/hello").end();
    Image {
        layers: vec![package("hello", &elf(AMD64)), links],
        config: json!({
            "created": "1970-01-01T00:00:01+00:00", "architecture": "amd64", "os": "linux",
            "config": { "Cmd": ["hello"], "Env": ["A=b"], "Labels": {"l": "v"}, "ExposedPorts": {"80/tcp": {}} },
            "history": [{"comment": "store paths: ['/nix/store/hello']"}, {"comment": "store paths: []"}],
        }),
        config_text: None,
        names: Some(vec!["hello:latest".into()]),
        layout: Layout::Layered,
    }
}

impl Image {
    pub(crate) fn diff_ids(&self) -> Vec<String> {
        self.layers.iter().map(|layer| format!("sha256:{}", sha256(layer))).collect()
    }

    pub(crate) fn config_text(&self) -> String {
        if let Some(text) = &self.config_text {
            return text.clone();
        }
        let mut config = self.config.clone();
        config["rootfs"] = json!({ "type": "layers", "diff_ids": self.diff_ids() });
        config.sort_all_objects();
        serde_json::to_string_pretty(&config).unwrap()
    }

    fn layer_name(&self, number: usize) -> String {
        let hex = sha256(&self.layers[number]);
        match self.layout {
            Layout::Layered => format!("{hex}/layer.tar"),
            Layout::Skopeo => format!("{hex}.tar"),
            Layout::Legacy => format!("{}/layer.tar", sha256(format!("id {number}").as_bytes())),
        }
    }

    pub(crate) fn config_name(&self) -> String {
        format!("{}.json", sha256(self.config_text().as_bytes()))
    }

    pub(crate) fn manifest(&self) -> String {
        let layers: Vec<String> = (0..self.layers.len()).map(|number| self.layer_name(number)).collect();
        json!([{ "Config": self.config_name(), "RepoTags": self.names, "Layers": layers }]).to_string()
    }

    pub(crate) fn tar(&self) -> Vec<u8> {
        let mut tar = Tar::new();
        let manifest = self.manifest();
        if self.layout == Layout::Legacy {
            tar = tar.file("manifest.json", manifest.as_bytes()).file("repositories", b"{}");
        }
        for (number, layer) in self.layers.iter().enumerate() {
            let name = self.layer_name(number);
            let dir = name.split('/').next().unwrap().to_owned();
            tar = match self.layout {
                Layout::Layered => tar.file(&name, layer),
                Layout::Legacy => tar
                    .dir(&format!("{dir}/"))
                    .file(&format!("{dir}/VERSION"), b"1.0")
                    .file(&format!("{dir}/json"), b"{\"id\":1}")
                    .file(&name, layer),
                Layout::Skopeo => tar
                    .symlink(&format!("{}/layer.tar", sha256(&[number as u8])), &format!("../{name}"))
                    .file(&name, layer),
            };
        }
        tar = tar.file(&self.config_name(), self.config_text().as_bytes());
        if self.layout != Layout::Legacy {
            tar = tar.file("manifest.json", manifest.as_bytes());
        }
        tar.end()
    }
}

pub(crate) fn input(bytes: &[u8]) -> Input {
    let size = bytes.len() as u64;
    Input::reader(Box::new(Cursor::new(bytes.to_vec())), "image.tar".into(), Some(size))
}

pub(crate) fn read(bytes: &[u8]) -> Result<ImageSummary> {
    read_with(bytes, |_| {})
}

pub(crate) fn read_with(bytes: &[u8], change: impl FnOnce(&mut ReadOptions<'_>)) -> Result<ImageSummary> {
    let cancel = CancellationToken::new();
    let mut options = ReadOptions::new(&cancel);
    change(&mut options);
    check(input(bytes), &options).map(only)
}

/// The one platform of the one image.
pub(crate) fn only(mut images: Vec<nixoci_image::Image>) -> ImageSummary {
    assert_eq!(images.len(), 1, "several images");
    let mut platforms = images.remove(0).platforms;
    assert_eq!(platforms.len(), 1, "several platforms");
    platforms.remove(0)
}

/// Imports; returns the hybrid archive, too.
pub(crate) fn convert(bytes: &[u8]) -> Result<(ImageSummary, Vec<u8>)> {
    convert_with(bytes, |_| {})
}

pub(crate) fn convert_with(
    bytes: &[u8],
    change: impl FnOnce(&mut ReadOptions<'_>),
) -> Result<(ImageSummary, Vec<u8>)> {
    let cancel = CancellationToken::new();
    let mut options = ReadOptions::new(&cancel);
    change(&mut options);
    let mut out = tempfile::NamedTempFile::new().unwrap();
    // An older file must not shine through.
    out.write_all(&[0xff; 5000]).unwrap();
    let imported = import(input(bytes), &options, out.as_file_mut())?;
    Ok((only(imported.images), std::fs::read(out.path()).unwrap()))
}

/// The members of an archive, as the `tar` crate sees them.
pub(crate) fn members(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut archive = tar::Archive::new(bytes);
    let entries = archive.entries().unwrap();
    entries
        .map(|entry| {
            let mut entry = entry.unwrap();
            let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
            let mut data = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut data).unwrap();
            (name, data)
        })
        .collect()
}

pub(crate) fn member(bytes: &[u8], name: &str) -> Vec<u8> {
    members(bytes).into_iter().find(|(found, _)| found == name).unwrap_or_else(|| panic!("no {name}")).1
}
