//! OCI's index.json and manifests, and skopeo's `dir:`.
//!
//! Sources: OCI image specification, `image-layout.md`, `image-index.md`, `manifest.md`; Docker's `manifest v2 schema 2`,
//! which differs in media types only. What each writer leaves: containerd's and Docker's exports list platforms whose
//! content is not there, and buildx's lists attestations as manifests for `unknown/unknown`.

use std::collections::BTreeMap;

use nixoci_core::digest::Digest;
use nixoci_core::{Error, Remedy, Result, ResultExt};

use super::archive::Contents;
use super::found::{Blob, FoundImage, FoundVariant, IMAGE_LIMIT, LAYER_LIMIT};
use crate::codes;
use crate::json::{self, Object};
use crate::summary::Warning;
use crate::text::show;

const INDEX: &str = "index.json";
const MANIFEST: &str = "manifest.json";
/// How deep indexes may lie in each other; nobody writes more than one in the other.
const DEPTH: usize = 3;
/// More annotations than this are an attack.
const ANNOTATION_LIMIT: usize = 256;
/// Where writers note the whole name of an image, the best first.
const NAME_KEYS: [&str; 3] = [
    "io.containerd.image.name",
    "com.apple.containerization.image.name",
    "org.opencontainers.image.ref.name",
];
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// buildx marks what is no image so. Source: buildkit `docs/attestations/attestation-storage.md`.
const ATTESTATION: &str = "vnd.docker.reference.type";
/// nix-snapshotter's layers have only mount points. Source: nix-snapshotter `pkg/nix/image.go`.
const SNAPSHOTTER: &str = "containerd.io/snapshot/nix-layer";

/// The images that index.json lists.
pub(super) fn images(contents: &Contents) -> Result<Vec<FoundImage>> {
    let text = json::utf8(contents.json(contents.document(INDEX)?), INDEX)?;
    let index = Object::parse(text, INDEX)?;
    let mut found: Vec<(Digest, FoundImage)> = Vec::new();
    for descriptor in manifests(&index, INDEX)? {
        if descriptor.is_attestation() {
            continue;
        }
        // One image under several names is several descriptors.
        if let Some((_, image)) = found.iter_mut().find(|(digest, _)| *digest == descriptor.digest) {
            image.names.extend(descriptor.name());
            image.labels.extend(descriptor.label());
            continue;
        }
        found.push((descriptor.digest, image(contents, &descriptor)?));
    }
    if found.is_empty() {
        return Err(Error::new(&codes::BAD_JSON, "index.json lists no image"));
    }
    Ok(together(found.into_iter().map(|(_, image)| image).collect()))
}

/// skopeo's `dir:`: a manifest, and blobs beside it.
pub(super) fn directory(contents: &Contents) -> Result<Vec<FoundImage>> {
    let number = contents.document(MANIFEST)?;
    let mut image =
        FoundImage { names: Vec::new(), labels: Vec::new(), variants: Vec::new(), warnings: Vec::new() };
    let text = json::utf8(contents.json(number), MANIFEST)?;
    let document = Object::parse(text, MANIFEST)?;
    if document.get("manifests").is_some() {
        index(contents, &document, &mut image, 1)?;
    } else {
        image.variants.push(manifest(contents, number)?);
    }
    Ok(vec![image])
}

/// Some writers list the platforms of an image one by one, under one name.
fn together(images: Vec<FoundImage>) -> Vec<FoundImage> {
    let mut all: Vec<FoundImage> = Vec::new();
    for image in images {
        match all.iter_mut().find(|other| !other.names.is_empty() && other.names == image.names) {
            Some(other) => {
                other.variants.extend(image.variants);
                other.warnings.extend(image.warnings);
            }
            None => all.push(image),
        }
    }
    all
}

/// A descriptor of a manifest or an index.
struct Descriptor {
    digest: Digest,
    size: Option<u64>,
    platform: Option<String>,
    annotations: BTreeMap<String, String>,
}

impl Descriptor {
    fn parse(object: &Object<'_>) -> Result<Self> {
        let platform = object.object("platform")?;
        let text = |platform: &Object<'_>| {
            let part = |key: &str| platform.string(key).ok().flatten().unwrap_or_default();
            show(format!("{}/{}", part("os"), part("architecture")).as_bytes())
        };
        Ok(Descriptor {
            digest: digest(object)?,
            size: object.get("size").and_then(|size| size.get().parse().ok()),
            platform: platform.as_ref().map(text),
            annotations: annotations(object),
        })
    }

    fn is_attestation(&self) -> bool {
        self.annotations.contains_key(ATTESTATION) || self.platform.as_deref() == Some("unknown/unknown")
    }

    /// The whole name, if it is one: a tag alone names nothing.
    fn name(&self) -> Option<String> {
        let names = NAME_KEYS.iter().filter_map(|key| self.annotations.get(*key));
        names.into_iter().find(|name| name.contains(['/', ':'])).cloned()
    }

    fn label(&self) -> Option<String> {
        self.annotations.get(REF_NAME).cloned()
    }
}

fn digest(object: &Object<'_>) -> Result<Digest> {
    let text = object.string("digest")?.ok_or_else(|| object.missing("digest"))?;
    let hex = text.strip_prefix("sha256:").unwrap_or_default();
    Digest::from_hex(hex)
        .or_error(&codes::BAD_JSON, || format!("`{}` is not a digest that is known", show(text.as_bytes())))
}

fn annotations(object: &Object<'_>) -> BTreeMap<String, String> {
    let found = object.object("annotations").ok().flatten();
    found.iter().flat_map(Object::texts).take(ANNOTATION_LIMIT).collect()
}

fn manifests(index: &Object<'_>, what: &str) -> Result<Vec<Descriptor>> {
    let list = index.list("manifests")?;
    if list.len() > IMAGE_LIMIT {
        let text = format!("{what} lists {} manifests, and {IMAGE_LIMIT} is the limit", list.len());
        return Err(Error::new(&codes::TOO_LARGE, text));
    }
    list.into_iter().map(|item| Descriptor::parse(&Object::parse(item.get(), what)?)).collect()
}

fn image(contents: &Contents, descriptor: &Descriptor) -> Result<FoundImage> {
    let mut image = FoundImage {
        names: descriptor.name().into_iter().collect(),
        labels: descriptor.label().into_iter().collect(),
        variants: Vec::new(),
        warnings: Vec::new(),
    };
    follow(contents, descriptor, &mut image, DEPTH)?;
    Ok(image)
}

fn follow(contents: &Contents, descriptor: &Descriptor, image: &mut FoundImage, depth: usize) -> Result<()> {
    let number = document(contents, descriptor)?;
    let text = json::utf8(contents.json(number), "a manifest")?;
    let object = Object::parse(text, "a manifest")?;
    if object.get("manifests").is_some() {
        if depth == 0 {
            return Err(Error::new(&codes::BAD_JSON, "indexes lie in each other too deep"));
        }
        return index(contents, &object, image, depth - 1);
    }
    image.variants.push(manifest(contents, number)?);
    Ok(())
}

/// The platforms of an index. One that is incomplete is left out if another one is complete.
fn index(contents: &Contents, object: &Object<'_>, image: &mut FoundImage, depth: usize) -> Result<()> {
    let mut absent = Vec::new();
    for descriptor in manifests(object, "an index")? {
        if descriptor.is_attestation() {
            continue;
        }
        match follow(contents, &descriptor, image, depth) {
            Err(error) if error.is(&codes::MISSING_MEMBER) => absent.push((descriptor, error)),
            followed => followed?,
        }
    }
    if image.variants.is_empty() {
        let none = || Error::new(&codes::BAD_JSON, "an index lists no image");
        return Err(absent.into_iter().next().map_or_else(none, |(_, error)| error));
    }
    for (descriptor, _) in absent {
        let platform = descriptor.platform.unwrap_or_else(|| descriptor.digest.to_string());
        let text = format!("the index lists {platform}, but its content is not there; it is left out");
        image.warnings.push(Warning::new(&codes::ABSENT_PLATFORM, text));
    }
    Ok(())
}

fn document(contents: &Contents, descriptor: &Descriptor) -> Result<usize> {
    match contents.blob(&descriptor.digest) {
        Some(Blob::Document(number)) => {
            let length = contents.json(number).len() as u64;
            match descriptor.size {
                Some(size) if size != length => Err(Error::new(
                    &codes::DIGEST_MISMATCH,
                    format!("{} is {length} bytes long, and should be {size}", descriptor.digest),
                )),
                _ => Ok(number),
            }
        }
        Some(Blob::Layer(_)) => Err(Error::new(
            &codes::BAD_JSON,
            format!("{} should be a manifest, and is none", descriptor.digest),
        )),
        None => Err(absent(contents, &descriptor.digest)),
    }
}

/// A blob that is not there, or is called so and has another content.
fn absent(contents: &Contents, digest: &Digest) -> Error {
    let name = format!("blobs/sha256/{}", digest.hex());
    if contents.members.contains_key(name.as_bytes()) {
        return Error::new(&codes::DIGEST_MISMATCH, format!("`{name}` does not match its digest"));
    }
    Error::new(&codes::MISSING_MEMBER, format!("{} lacks {digest}, which its manifest names", contents.name))
}

fn manifest(contents: &Contents, number: usize) -> Result<FoundVariant> {
    const WHAT: &str = "the image's manifest";
    let object = Object::parse(json::utf8(contents.json(number), WHAT)?, WHAT)?;
    if object.get("fsLayers").is_some() {
        return Err(Error::new(
            &codes::NOT_READ_YET,
            "the manifest is of Docker's schema 1, from before 2016",
        )
        .remedy(Remedy::command("convert it first", "skopeo copy --format oci SRC oci:image")));
    }
    let config = object.object("config")?.ok_or_else(|| object.missing("config"))?;
    reject_artifact(&config)?;
    let layers = object.list("layers")?;
    if layers.len() > LAYER_LIMIT {
        let text = format!("the image has {} layers, and {LAYER_LIMIT} is the limit", layers.len());
        return Err(Error::new(&codes::TOO_LARGE, text));
    }
    let mut variant = FoundVariant {
        config: document(contents, &Descriptor::parse(&config)?)?,
        layers: Vec::new(),
        manifest: Some(number),
        annotations: annotations(&object),
        layer_annotations: Vec::new(),
    };
    for layer in layers {
        let descriptor = Descriptor::parse(&Object::parse(layer.get(), WHAT)?)?;
        let shown = descriptor.digest.to_string();
        match contents.blob(&descriptor.digest) {
            Some(Blob::Layer(number)) => variant.layers.push((number, shown)),
            Some(Blob::Document(_)) => {
                return Err(Error::new(&codes::CORRUPT_TAR, format!("layer {shown} is no tar archive")));
            }
            None => return Err(absent(contents, &descriptor.digest)),
        }
        variant.layer_annotations.push(descriptor.annotations);
    }
    Ok(variant)
}

/// Helm charts, signatures and the like are stored as images are.
fn reject_artifact(config: &Object<'_>) -> Result<()> {
    let kind = config.string("mediaType")?.unwrap_or_default();
    let known = kind.is_empty()
        || kind.starts_with("application/vnd.oci.image.config.")
        || kind.starts_with("application/vnd.docker.container.image.");
    if known {
        return Ok(());
    }
    Err(Error::new(&codes::NOT_AN_IMAGE, "this is an OCI artifact, not an image")
        .because(format!("its configuration is of the type {}", show(kind.as_bytes()))))
}

/// Whether layers can only be used by nix-snapshotter.
pub(super) fn needs_snapshotter(variant: &FoundVariant) -> bool {
    variant.layer_annotations.iter().any(|one| one.contains_key(SNAPSHOTTER))
}
