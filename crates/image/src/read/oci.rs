//! OCI's index.json and manifests, and skopeo's `dir:`.
//!
//! Sources: OCI image specification, `image-layout.md`, `image-index.md`, `manifest.md`; Docker's `manifest v2 schema 2`,
//! which differs in media types only. What each writer leaves: containerd's and Docker's exports list platforms whose
//! content is not there, and buildx's lists attestations as manifests for `unknown/unknown`.

use std::collections::{BTreeMap, HashSet};

use nixoci_core::digest::Digest;
use nixoci_core::{Error, Remedy, Result, ResultExt};

use serde_json::value::RawValue;

use super::archive::{Contents, Member};
use super::found::{Blob, Broken, FoundImage, FoundVariant, IMAGE_LIMIT, LAYER_LIMIT};
use crate::codes;
use crate::json::{self, Object};
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
    let mut found: Vec<(Option<Digest>, FoundImage)> = Vec::new();
    for entry in entries(&index, INDEX)? {
        if entry.is_attestation() {
            continue;
        }
        let digest = entry.digest.as_ref().ok().copied();
        // One image under several names is several descriptors.
        if let Some((_, image)) = found.iter_mut().find(|(known, _)| known.is_some() && *known == digest) {
            image.names.extend(entry.name());
            image.labels.extend(entry.label());
            continue;
        }
        let mut image = FoundImage {
            names: entry.name().into_iter().collect(),
            labels: entry.label().into_iter().collect(),
            ..FoundImage::default()
        };
        follow(contents, entry, &mut image, DEPTH);
        found.push((digest, image));
    }
    if found.is_empty() {
        return Err(Error::new(&codes::BAD_JSON, "index.json lists no image"));
    }
    Ok(together(contents, found.into_iter().map(|(_, image)| image).collect()))
}

/// skopeo's `dir:`: a manifest, and blobs beside it.
pub(super) fn directory(contents: &Contents) -> Result<Vec<FoundImage>> {
    let number = contents.document(MANIFEST)?;
    let mut image = FoundImage::default();
    let text = json::utf8(contents.json(number), MANIFEST)?;
    let document = Object::parse(text, MANIFEST)?;
    if document.get("manifests").is_some() {
        index(contents, &document, &mut image, 1)?;
    } else {
        image.variants.push(manifest(contents, number)?);
    }
    Ok(vec![image])
}

/// Some writers list the platforms of an image one by one, under one name. Two images for one platform are two images.
fn together(contents: &Contents, images: Vec<FoundImage>) -> Vec<FoundImage> {
    let mut all: Vec<(HashSet<String>, FoundImage)> = Vec::new();
    for image in images {
        let platforms: HashSet<String> =
            image.variants.iter().map(|variant| platform(contents, variant.config)).collect();
        let same = all.iter_mut().find(|(known, other)| {
            !other.names.is_empty() && other.names == image.names && known.is_disjoint(&platforms)
        });
        match same {
            Some((known, other)) => {
                known.extend(platforms);
                other.variants.extend(image.variants);
                other.broken.extend(image.broken);
                other.warnings.extend(image.warnings);
            }
            None => all.push((platforms, image)),
        }
    }
    all.into_iter().map(|(_, image)| image).collect()
}

/// The platform that a configuration names, unchecked.
fn platform(contents: &Contents, config: usize) -> String {
    let text = std::str::from_utf8(contents.json(config)).unwrap_or_default();
    let Ok(object) = Object::parse(text, "a configuration") else { return String::new() };
    let part = |key: &str| object.string(key).ok().flatten().unwrap_or_default();
    [part("os"), part("architecture"), part("variant")].join("/")
}

/// A descriptor of a manifest or an index.
struct Descriptor {
    /// A digest that does not parse matters only where the content is wanted.
    digest: Result<Digest>,
    size: Option<u64>,
    media_type: String,
    platform: Option<String>,
    annotations: BTreeMap<String, String>,
}

impl Descriptor {
    fn parse(object: &Object<'_>) -> Descriptor {
        let text = |object: &Object<'_>, key: &str| object.string(key).ok().flatten();
        let platform = |platform: Object<'_>| {
            let part = |key: &str| text(&platform, key).unwrap_or_default();
            let name = show(format!("{}/{}", part("os"), part("architecture")).as_bytes());
            text(&platform, "variant")
                .map_or(name.clone(), |variant| format!("{name}/{}", show(variant.as_bytes())))
        };
        Descriptor {
            digest: digest(object),
            size: object.get("size").and_then(|size| size.get().parse().ok()),
            media_type: text(object, "mediaType").unwrap_or_default(),
            platform: object.object("platform").ok().flatten().map(platform),
            annotations: annotations(object),
        }
    }

    /// As a message calls it.
    fn what(&self) -> String {
        let named = self.platform.clone().or_else(|| self.name()).or_else(|| self.label());
        named.unwrap_or_else(|| match &self.digest {
            Ok(digest) => digest.to_string(),
            Err(_) => "an entry of the index".to_owned(),
        })
    }

    fn broken(self, error: Error) -> Broken {
        let platform = self.platform.as_deref().and_then(|platform| platform.parse().ok());
        Broken { what: self.what(), platform, error }
    }

    fn is_attestation(&self) -> bool {
        self.annotations.contains_key(ATTESTATION)
            || self.platform.as_deref().is_some_and(|platform| platform.starts_with("unknown/unknown"))
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

fn entries(index: &Object<'_>, what: &str) -> Result<Vec<Descriptor>> {
    let list = index.list("manifests")?;
    if list.len() > IMAGE_LIMIT {
        let text = format!("{what} lists {} manifests, and {IMAGE_LIMIT} is the limit", list.len());
        return Err(Error::new(&codes::TOO_LARGE, text));
    }
    list.into_iter().map(|item| Ok(Descriptor::parse(&Object::parse(item.get(), what)?))).collect()
}

/// Everything that an entry of an index leads to.
fn follow(contents: &Contents, descriptor: Descriptor, image: &mut FoundImage, depth: usize) {
    if let Err(error) = lead(contents, &descriptor, image, depth) {
        image.broken.push(descriptor.broken(error));
    }
}

fn lead(contents: &Contents, descriptor: &Descriptor, image: &mut FoundImage, depth: usize) -> Result<()> {
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

/// The platforms of an index.
fn index(contents: &Contents, object: &Object<'_>, image: &mut FoundImage, depth: usize) -> Result<()> {
    let listed = (image.variants.len(), image.broken.len());
    for descriptor in entries(object, "an index")? {
        if !descriptor.is_attestation() {
            follow(contents, descriptor, image, depth);
        }
    }
    if (image.variants.len(), image.broken.len()) == listed {
        return Err(Error::new(&codes::BAD_JSON, "an index lists no image"));
    }
    Ok(())
}

fn document(contents: &Contents, descriptor: &Descriptor) -> Result<usize> {
    let digest = descriptor.digest.as_ref().map_err(Error::clone)?;
    match contents.blob(digest) {
        Some(Blob::Document(number)) => {
            let length = contents.json(number).len() as u64;
            match descriptor.size {
                Some(size) if size != length => Err(Error::new(
                    &codes::DIGEST_MISMATCH,
                    format!("{digest} is {length} bytes long, and should be {size}"),
                )),
                _ => Ok(number),
            }
        }
        Some(Blob::Other(number)) => Err(contents.no_document(&digest.to_string(), number)),
        Some(Blob::Layer(_)) => {
            Err(Error::new(&codes::BAD_JSON, format!("{digest} should be a document, and is a layer")))
        }
        None => Err(absent(contents, digest)),
    }
}

/// A blob that is not there, or is called so and has another content. Every file is hashed, whatever is in it.
fn absent(contents: &Contents, digest: &Digest) -> Error {
    let name = format!("blobs/sha256/{}", digest.hex());
    match contents.members.get(name.as_bytes()) {
        Some(Member::Layer(_) | Member::Json(_) | Member::Other(_)) => {
            Error::new(&codes::DIGEST_MISMATCH, format!("`{name}` does not match its digest"))
        }
        Some(Member::Link(_) | Member::NoFile) | None => {
            let text = format!("{} lacks {digest}, which its manifest names", contents.name);
            Error::new(&codes::MISSING_MEMBER, text)
        }
    }
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
    let config = Descriptor::parse(&config);
    let layers = object.list("layers")?;
    if layers.len() > LAYER_LIMIT {
        let text = format!("the image has {} layers, and {LAYER_LIMIT} is the limit", layers.len());
        return Err(Error::new(&codes::TOO_LARGE, text));
    }
    let parse = |layer: &RawValue| Ok(Descriptor::parse(&Object::parse(layer.get(), WHAT)?));
    let layers = layers.into_iter().map(parse).collect::<Result<Vec<Descriptor>>>()?;
    reject_artifact(&config, &layers)?;
    let mut variant = FoundVariant {
        config: document(contents, &config)?,
        layers: Vec::new(),
        manifest: Some(number),
        annotations: annotations(&object),
        layer_annotations: Vec::new(),
    };
    for layer in layers {
        let digest = layer.digest?;
        let shown = digest.to_string();
        let what = format!("layer {shown}");
        match contents.blob(&digest) {
            Some(Blob::Layer(number)) => variant.layers.push((number, shown)),
            Some(Blob::Document(_)) => return Err(contents.no_layer(&what, None)),
            Some(Blob::Other(number)) => return Err(contents.no_layer(&what, Some(number))),
            None => return Err(absent(contents, &digest)),
        }
        variant.layer_annotations.push(layer.annotations);
    }
    Ok(variant)
}

/// Helm charts, signatures, bills of materials and the like are stored as images are. A signature of cosign even has an
/// image's configuration, so the layers are asked as well.
fn reject_artifact(config: &Descriptor, layers: &[Descriptor]) -> Result<()> {
    const CONFIGS: [&str; 2] =
        ["application/vnd.oci.image.config.", "application/vnd.docker.container.image."];
    const LAYERS: [&str; 2] = ["application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs."];
    let of =
        |kind: &str, known: &[&str]| kind.is_empty() || known.iter().any(|known| kind.starts_with(known));
    if !of(&config.media_type, &CONFIGS) {
        return Err(artifact(&format!(
            "its configuration is of the type {}",
            show(config.media_type.as_bytes())
        )));
    }
    match layers.first() {
        Some(first) if !layers.iter().any(|layer| of(&layer.media_type, &LAYERS)) => {
            Err(artifact(&format!("its content is of the type {}", show(first.media_type.as_bytes()))))
        }
        _ => Ok(()),
    }
}

fn artifact(why: &str) -> Error {
    Error::new(&codes::NOT_AN_IMAGE, "this is an OCI artifact, not an image").because(why)
}

/// Whether layers can only be used by nix-snapshotter.
pub(super) fn needs_snapshotter(variant: &FoundVariant) -> bool {
    variant.layer_annotations.iter().any(|one| one.contains_key(SNAPSHOTTER))
}
