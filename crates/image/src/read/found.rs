//! What an archive says it holds, before anything of that is checked.

use std::collections::BTreeMap;

use nixoci_core::digest::Digest;
use nixoci_core::text::bytes;
use nixoci_core::{Error, Remedy, Result};

use super::archive::{Contents, JSON_LIMIT, Member};
use super::layer::ReadLayer;
use super::{docker, oci};
use crate::codes;
use crate::content;
use crate::detect::{self, Compression};
use crate::summary::Warning;
use crate::text::show;

/// How many links lead from a name in a manifest to a member.
const LINK_LIMIT: usize = 16;
/// Far beyond what any runtime takes: a manifest that lists more is an attack.
pub(super) const LAYER_LIMIT: usize = 4096;
/// How many images, and how many platforms of an image, one archive may hold.
pub(super) const IMAGE_LIMIT: usize = 1024;

/// An image as the archive describes it.
#[derive(Debug)]
pub(super) struct FoundImage {
    /// As written; some may be no names at all.
    pub(super) names: Vec<String>,
    /// What it is called there beside that: the tag in a layout.
    pub(super) labels: Vec<String>,
    pub(super) variants: Vec<FoundVariant>,
    pub(super) warnings: Vec<Warning>,
}

/// An image for one platform.
#[derive(Debug)]
pub(super) struct FoundVariant {
    /// The document that is its configuration.
    pub(super) config: usize,
    /// The numbers of its layers, the lowest first, and what the manifest calls them.
    pub(super) layers: Vec<(usize, String)>,
    /// The document that is its manifest.
    pub(super) manifest: Option<usize>,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) layer_annotations: Vec<BTreeMap<String, String>>,
}

/// The images of an archive: as OCI's index lists them, or else Docker's manifest.
pub(super) fn images(contents: &Contents) -> Result<Vec<FoundImage>> {
    let has = |name: &str| contents.members.contains_key(name.as_bytes());
    if has("index.json") {
        return match oci::images(contents) {
            // Docker's own manifest may be right where the index is not.
            Err(error) if has("manifest.json") => docker::images(contents).map_err(|_| error),
            Ok(images) if has("manifest.json") => Ok(docker::add_names(contents, images)),
            images => images,
        };
    }
    if !has("manifest.json") {
        return Err(without_manifest(contents));
    }
    if contents.is_object("manifest.json") { oci::directory(contents) } else { docker::images(contents) }
}

fn without_manifest(contents: &Contents) -> Error {
    if contents.layers.is_empty() {
        return detect::not_an_image(&contents.name, "a tar archive of files, such as a root file system");
    }
    let text = format!("{} holds layers, but neither manifest.json nor index.json", contents.name);
    Error::new(&codes::MISSING_MEMBER, text)
}

/// What a digest stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blob {
    Layer(usize),
    Document(usize),
}

impl Contents {
    /// The member of a name, links followed.
    fn member(&self, name: &str) -> Result<&Member> {
        let missing = || {
            let text = format!("{} lacks `{}`, which its manifest names", self.name, show(name.as_bytes()));
            Error::new(&codes::MISSING_MEMBER, text)
        };
        let mut wanted = content::clean(name.as_bytes()).map_err(|_| missing())?;
        for _ in 0..LINK_LIMIT {
            match self.members.get(&wanted).ok_or_else(missing)? {
                Member::Link(target) => wanted.clone_from(target),
                member => return Ok(member),
            }
        }
        Err(missing().because("links lead in a circle"))
    }

    /// The JSON document of a name.
    pub(super) fn document(&self, name: &str) -> Result<usize> {
        let shown = show(name.as_bytes());
        match self.member(name)? {
            Member::Json(number) => Ok(*number),
            Member::HugeJson(length) => {
                let text =
                    format!("`{shown}` is {} long, and {} is the limit", bytes(*length), bytes(JSON_LIMIT));
                Err(Error::new(&codes::TOO_LARGE, text))
            }
            _ => Err(Error::new(&codes::BAD_JSON, format!("`{shown}` in {} is not JSON", self.name))),
        }
    }

    /// The content of a document.
    pub(super) fn json(&self, number: usize) -> &[u8] {
        self.documents.get(number).map_or(&[], |document| &document.bytes)
    }

    /// Whether the document of a name is a JSON object, not a list.
    fn is_object(&self, name: &str) -> bool {
        self.document(name).is_ok_and(|number| self.json(number).trim_ascii_start().starts_with(b"{"))
    }

    /// The layer of a name.
    pub(super) fn layer(&self, name: &str) -> Result<usize> {
        let shown = show(name.as_bytes());
        match self.member(name)? {
            Member::Layer(number) => Ok(*number),
            Member::Other(Compression::None) | Member::Json(_) | Member::HugeJson(_) | Member::Link(_) => {
                let text = format!("`{shown}` in {} is a layer by name, but no tar archive", self.name);
                Err(Error::new(&codes::CORRUPT_TAR, text))
            }
            Member::Other(compression) => Err(Error::new(
                &codes::NOT_READ_YET,
                format!("layer `{shown}` in {} is compressed with {compression}", self.name),
            )
            .because("layers are plain, or compressed with gzip or zstd; no registry or runtime takes others")
            .remedy(Remedy::advice("make the image with one of these"))),
        }
    }

    /// What has this digest.
    pub(super) fn blob(&self, digest: &Digest) -> Option<Blob> {
        let layer = || self.layers.iter().position(|layer: &ReadLayer| layer.blob == *digest);
        let document = || self.documents.iter().position(|document| document.digest == *digest);
        layer().map(Blob::Layer).or_else(|| document().map(Blob::Document))
    }
}
