//! What an archive says it holds, before anything of that is checked.

use std::collections::{BTreeMap, HashMap, HashSet};

use nixoci_core::digest::Digest;
use nixoci_core::platform::OciPlatform;
use nixoci_core::text::bytes;
use nixoci_core::{Error, Remedy, Result};

use super::archive::{Content, Contents, JSON_LIMIT, Member};
use super::layer::ReadLayer;
use super::{docker, oci};
use crate::codes;
use crate::content;
use crate::detect::{self, Compression};
use crate::reference::Reference;
use crate::summary::Warning;
use crate::text::show;

/// How many links lead from a name in a manifest to a member.
const LINK_LIMIT: usize = 16;
/// Far beyond what any runtime takes: a manifest that lists more is an attack.
pub(super) const LAYER_LIMIT: usize = 4096;
/// How many images, and how many platforms of an image, one archive may hold.
pub(super) const IMAGE_LIMIT: usize = 1024;

/// An image as the archive describes it. Where nothing of it can be read, `broken` says why.
#[derive(Debug, Default)]
pub(super) struct FoundImage {
    /// As written; some may be no names at all.
    pub(super) names: Vec<String>,
    /// What it is called there beside that: the tag in a layout.
    pub(super) labels: Vec<String>,
    pub(super) variants: Vec<FoundVariant>,
    /// Entries listed for it that cannot be read.
    pub(super) broken: Vec<Broken>,
    pub(super) warnings: Vec<Warning>,
}

/// An entry of an index or a manifest that leads to no image. Whether that matters depends on what is wanted.
#[derive(Debug)]
pub(super) struct Broken {
    /// Its platform, its name or its digest, for messages.
    pub(super) what: String,
    /// The platform that the index gives for it.
    pub(super) platform: Option<OciPlatform>,
    pub(super) error: Error,
}

impl Broken {
    /// Whether it may be left out where something else is whole: it is no image, not for Linux, or its content is elsewhere.
    /// Damage is never left out.
    pub(super) fn is_harmless(&self) -> bool {
        let codes = [&codes::NOT_AN_IMAGE, &codes::BAD_PLATFORM, &codes::MISSING_MEMBER];
        codes.iter().any(|code| self.error.is(code))
    }

    /// The warning where it is left out.
    pub(super) fn warning(&self) -> Warning {
        Warning::new(&codes::LEFT_OUT, format!("{} is left out: {}", self.what, self.error))
    }
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
    let mut images = match (has("index.json"), has("manifest.json")) {
        (true, true) => either(oci::images(contents), docker::images(contents)),
        (true, false) => oci::images(contents),
        (false, true) if contents.is_object("manifest.json") => oci::directory(contents),
        (false, true) => docker::images(contents),
        (false, false) => Err(without_manifest(contents)),
    }?;
    last_has_the_name(&mut images);
    Ok(images)
}

/// Of an archive with an index and Docker's manifest. The manifest may be right where the index is not.
fn either(index: Result<Vec<FoundImage>>, manifest: Result<Vec<FoundImage>>) -> Result<Vec<FoundImage>> {
    let fails = |images: &[FoundImage]| images.iter().any(|image| image.variants.is_empty());
    let artifact =
        |image: &FoundImage| image.broken.iter().all(|broken| broken.error.is(&codes::NOT_AN_IMAGE));
    match (index, manifest) {
        (index, Err(_)) => index,
        (Err(error), Ok(manifest)) if fails(&manifest) => Err(error),
        (Err(_), Ok(manifest)) => Ok(manifest),
        (Ok(index), Ok(manifest)) => {
            let incomplete = index.iter().any(|image| image.variants.is_empty() && !artifact(image));
            if incomplete && !fails(&manifest) {
                return Ok(manifest);
            }
            Ok(docker::add_names(index, &manifest))
        }
    }
}

/// Of several images with one name, the last one has it, as `docker load` gives it.
fn last_has_the_name(images: &mut [FoundImage]) {
    // The last image of each name, and how many there are.
    let mut owners: HashMap<String, (usize, usize)> = HashMap::new();
    for (place, image) in images.iter().enumerate() {
        let names: HashSet<String> = image.names.iter().map(|name| canonical(name)).collect();
        for name in names {
            let (last, count) = owners.entry(name).or_default();
            (*last, *count) = (place, *count + 1);
        }
    }
    for (place, image) in images.iter_mut().enumerate() {
        image.names.retain(|name| owners.get(&canonical(name)).is_some_and(|(last, _)| *last == place));
        for name in image.names.clone() {
            if let Some((_, count)) = owners.get(&canonical(&name)).filter(|(_, count)| *count > 1) {
                let shown = show(name.as_bytes());
                let text = format!("{count} images are called `{shown}`; the last one has the name");
                image.warnings.push(Warning::new(&codes::SAME_NAME, text));
            }
        }
    }
}

/// A name as it is compared: `hello` and `docker.io/library/hello:latest` are one.
fn canonical(name: &str) -> String {
    Reference::parse(name).map_or_else(|_| name.to_owned(), |name| name.to_string())
}

/// Whether two names are one, however they are written.
pub(super) fn same_name(one: &str, other: &str) -> bool {
    one == other || canonical(one) == canonical(other)
}

fn without_manifest(contents: &Contents) -> Error {
    let names: Vec<Vec<u8>> = contents.members.keys().cloned().collect();
    let shape = detect::of_members(&names, Compression::None);
    if !shape.is_image() {
        return detect::refuse_shape(&contents.name, &shape);
    }
    let text = format!("{} holds parts of an image, but neither manifest.json nor index.json", contents.name);
    Error::new(&codes::MISSING_MEMBER, text)
}

/// What a digest stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blob {
    Layer(usize),
    Document(usize),
    Other(usize),
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
        let what = format!("`{}` in {}", show(name.as_bytes()), self.name);
        match self.member(name)? {
            Member::Json(number) => Ok(*number),
            Member::Other(number) => Err(self.no_document(&what, *number)),
            _ => Err(Error::new(&codes::BAD_JSON, format!("{what} is not JSON"))),
        }
    }

    /// Why the file of this number is no document.
    pub(super) fn no_document(&self, what: &str, number: usize) -> Error {
        match self.others.get(number).map(|other| other.content) {
            Some(Content::HugeJson(length)) => {
                let text =
                    format!("{what} is {} long, and {} is the limit", bytes(length), bytes(JSON_LIMIT));
                Error::new(&codes::TOO_LARGE, text)
            }
            _ => Error::new(&codes::BAD_JSON, format!("{what} is not JSON")),
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
        let what = format!("layer `{}` in {}", show(name.as_bytes()), self.name);
        match self.member(name)? {
            Member::Layer(number) => Ok(*number),
            Member::Other(number) => Err(self.no_layer(&what, Some(*number))),
            _ => Err(self.no_layer(&what, None)),
        }
    }

    /// Why a file is no layer: of the others, that of this number.
    pub(super) fn no_layer(&self, what: &str, other: Option<usize>) -> Error {
        match other.and_then(|number| self.others.get(number)).map(|other| other.content) {
            Some(Content::Compressed(compression)) => Error::new(
                &codes::NOT_READ_YET,
                format!("{what} is compressed with {compression}"),
            )
            .because("layers are plain, or compressed with gzip or zstd; no registry or runtime takes others")
            .remedy(Remedy::advice("make the image with one of these")),
            _ => Error::new(&codes::CORRUPT_TAR, format!("{what} is no tar archive")),
        }
    }

    /// What has this digest.
    pub(super) fn blob(&self, digest: &Digest) -> Option<Blob> {
        let layer = || self.layers.iter().position(|layer: &ReadLayer| layer.blob == *digest);
        let document = || self.documents.iter().position(|document| document.digest == *digest);
        let other = || self.others.iter().position(|other| other.digest == *digest);
        layer()
            .map(Blob::Layer)
            .or_else(|| document().map(Blob::Document))
            .or_else(|| other().map(Blob::Other))
    }
}
