//! The documents around layers: configurations, manifests, indexes, and what names them.
//!
//! The hybrid archive is an OCI image layout (`oci-layout`, `index.json` with one descriptor an image, blobs) and, for
//! readers that know no OCI, has Docker's `manifest.json` over the same blobs. Several platforms of an image are an index
//! of their own; one platform never is.
//!
//! Sources: OCI image specification, `image-layout.md`, `manifest.md`, `image-index.md`, `annotations.md`; which reader
//! honours what: containerd `client/import.go` (name annotations), moby `image/tarexport` (manifest.json),
//! apple/containerization `LocalOCILayoutClient` (one descriptor with a media type and a whole name).

use std::collections::{BTreeMap, HashSet};

use nixoci_core::digest::Digest;
use nixoci_core::platform::OciPlatform;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::blobs::blob_name;
use super::layers::Stored;
use crate::detect::Compression;
use crate::reference::Reference;

const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
/// The media type of an index.
pub const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
/// The media type of a manifest.
pub const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
/// What Docker calls an image's configuration.
pub(crate) const DOCKER_CONFIG_TYPE: &str = "application/vnd.docker.container.image.v1+json";

const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Readers look for the image's whole name under these keys.
const NAME_KEYS: [&str; 2] = ["io.containerd.image.name", "com.apple.containerization.image.name"];

/// The form of an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Format {
    /// A tar archive that every runtime loads.
    Hybrid,
    /// An OCI image layout in a tar archive.
    OciArchive,
    /// An OCI image layout in a directory.
    OciLayout,
    /// The form of `docker save` before Docker 25, as skopeo writes it.
    DockerArchive,
}

/// The output as a whole.
#[derive(Clone, Debug)]
pub(crate) struct Target<'a> {
    pub(crate) format: Format,
    /// The platform whose image a reader without a choice gets.
    pub(crate) native: &'a OciPlatform,
}

/// An image that is written.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OutImage {
    pub(crate) names: Vec<Reference>,
    /// What a layout that it came from calls it: `latest`. Layouts call it so again as long as it has no name.
    #[serde(default)]
    pub(crate) labels: Vec<String>,
    /// One for each platform.
    pub(crate) variants: Vec<OutVariant>,
}

/// An image for one platform.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OutVariant {
    pub(crate) platform: OciPlatform,
    /// The configuration.
    pub(crate) config: String,
    /// The configuration as it came, where that is another one.
    pub(crate) source_config: Option<String>,
    /// The layers, the lowest first.
    pub(crate) layers: Vec<Stored>,
    /// The manifest that the image came with. It stays if it is still right.
    pub(crate) manifest: Option<String>,
    /// Its annotations.
    pub(crate) annotations: BTreeMap<String, String>,
    /// The annotations of each layer.
    pub(crate) layer_annotations: Vec<BTreeMap<String, String>>,
}

#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: Digest,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<Platform>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

#[derive(Clone, Serialize)]
struct Platform {
    architecture: String,
    os: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    variant: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u8,
    media_type: &'static str,
    config: Descriptor,
    layers: Vec<Descriptor>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u8,
    media_type: &'static str,
    manifests: Vec<Descriptor>,
}

/// An entry of Docker's manifest.json.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DockerManifest {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// Serialises a document. Our own types cannot fail to: they hold texts and numbers.
pub(crate) fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

/// Docker writes `null`, not an empty list, for an image without names.
pub(crate) fn repo_tags(names: impl Iterator<Item = String>) -> Option<Vec<String>> {
    let names: Vec<String> = names.collect();
    (!names.is_empty()).then_some(names)
}

pub(crate) fn hash(bytes: &[u8]) -> Digest {
    Digest::from_bytes(Sha256::digest(bytes).into())
}

/// A name for one platform of an image, for those who know no indexes: `app:dev-arm64`.
pub(crate) fn suffixed(name: &Reference, platform: &OciPlatform) -> Option<Reference> {
    let variant = platform.variant.as_ref().map(|variant| format!("-{variant}")).unwrap_or_default();
    name.with_tag(&format!("{}-{}{variant}", name.tag(), platform.architecture)).ok()
}

impl Descriptor {
    fn new(media_type: impl Into<String>, bytes: &[u8]) -> Self {
        let (digest, size) = (hash(bytes), bytes.len() as u64);
        Descriptor {
            media_type: media_type.into(),
            digest,
            size,
            platform: None,
            annotations: BTreeMap::new(),
        }
    }

    fn layer(stored: &Stored, annotations: &BTreeMap<String, String>) -> Self {
        Descriptor {
            media_type: layer_type(stored.compression),
            digest: stored.digest,
            size: stored.size,
            platform: None,
            annotations: annotations.clone(),
        }
    }
}

fn layer_type(compression: Compression) -> String {
    let suffix = match compression {
        Compression::None => String::new(),
        other => format!("+{other}"),
    };
    format!("application/vnd.oci.image.layer.v1.tar{suffix}")
}

impl OutImage {
    /// What a layout calls it, where that is clear.
    fn short_names(&self) -> impl Iterator<Item = &str> {
        let labels = if self.names.is_empty() { self.labels.as_slice() } else { &[] };
        self.names.iter().map(Reference::tag).chain(labels.iter().map(String::as_str))
    }
}

impl OutVariant {
    /// The manifest: the one it came with if nothing changed, else a new one.
    pub(crate) fn manifest(&self) -> Vec<u8> {
        self.kept().unwrap_or_else(|| self.new_manifest())
    }

    fn kept(&self) -> Option<Vec<u8>> {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Kept {
            media_type: String,
            config: Part,
            layers: Vec<Part>,
        }
        #[derive(serde::Deserialize)]
        struct Part {
            digest: String,
            size: u64,
        }
        let text = self.manifest.as_ref()?;
        let kept: Kept = serde_json::from_str(text).ok()?;
        let same =
            kept.layers.len() == self.layers.len()
                && kept.layers.iter().zip(&self.layers).all(|(part, stored)| {
                    part.digest == stored.digest.to_string() && part.size == stored.size
                });
        let right = kept.media_type == MANIFEST_TYPE
            && kept.config.digest == hash(self.config.as_bytes()).to_string();
        (same && right).then(|| text.clone().into_bytes())
    }

    fn new_manifest(&self) -> Vec<u8> {
        let none = BTreeMap::new();
        let layers = self.layers.iter().enumerate().map(|(place, stored)| {
            Descriptor::layer(stored, self.layer_annotations.get(place).unwrap_or(&none))
        });
        to_json(&Manifest {
            schema_version: 2,
            media_type: MANIFEST_TYPE,
            config: Descriptor::new(CONFIG_TYPE, self.config.as_bytes()),
            layers: layers.collect(),
            annotations: self.annotations.clone(),
        })
    }
}

/// Everything in an output that is not a layer.
pub(crate) struct Documents {
    /// In the order in which they are written.
    pub(crate) files: Vec<(String, Vec<u8>)>,
    /// The layers that something names.
    pub(crate) used: HashSet<Digest>,
    /// What each image is, in the order of the images.
    pub(crate) described: Vec<Described>,
}

/// What an image is in an output.
#[derive(Clone, Debug)]
pub(crate) struct Described {
    /// The digest that names the whole image there: of its manifest or index; in a docker-archive, which has neither, of
    /// the configuration.
    pub(crate) digest: Digest,
    /// What it is the digest of.
    pub(crate) media_type: &'static str,
    /// The manifest of each platform.
    pub(crate) manifests: Vec<Digest>,
}

impl Documents {
    /// The documents of these images.
    pub(crate) fn new(target: &Target<'_>, images: &[OutImage]) -> Self {
        let mut files = Files::default();
        let described = match target.format {
            Format::DockerArchive => images.iter().map(|image| files.docker_image(image)).collect(),
            _ => files.layout(target, images),
        };
        let entries: Vec<DockerManifest> =
            images.iter().flat_map(|image| docker_entries(target, image)).collect();
        if matches!(target.format, Format::Hybrid | Format::DockerArchive) {
            files.add("manifest.json".to_owned(), to_json(&entries));
        }
        let layers = images.iter().flat_map(|image| &image.variants).flat_map(|variant| &variant.layers);
        Documents { files: files.list, used: layers.map(|layer| layer.digest).collect(), described }
    }

    /// The members of an archive before its blobs.
    pub(crate) fn head(format: Format) -> &'static [(&'static str, &'static [u8])] {
        match format {
            Format::DockerArchive | Format::OciLayout => &[],
            Format::Hybrid | Format::OciArchive => {
                &[("oci-layout", LAYOUT), ("blobs/", b""), ("blobs/sha256/", b"")]
            }
        }
    }

    /// What a layer is called.
    pub(crate) fn layer_name(format: Format) -> fn(&Digest) -> String {
        match format {
            Format::DockerArchive => docker_layer,
            _ => blob_name,
        }
    }
}

fn docker_layer(digest: &Digest) -> String {
    format!("{}.tar", digest.hex())
}

#[derive(Default)]
struct Files {
    list: Vec<(String, Vec<u8>)>,
    seen: HashSet<String>,
}

impl Files {
    fn add(&mut self, name: String, bytes: Vec<u8>) {
        if self.seen.insert(name.clone()) {
            self.list.push((name, bytes));
        }
    }

    fn blob(&mut self, bytes: Vec<u8>) {
        self.add(blob_name(&hash(&bytes)), bytes);
    }

    fn layout(&mut self, target: &Target<'_>, images: &[OutImage]) -> Vec<Described> {
        let mut top = Vec::new();
        let mut described = Vec::new();
        let mut tags = HashSet::new();
        let mut names = images.iter().flat_map(OutImage::short_names);
        // A tag names an image only as long as no other image has it.
        let by_tag = target.format != Format::Hybrid && names.all(|name| tags.insert(name));
        for image in images {
            let manifests: Vec<Descriptor> = image.variants.iter().map(|one| self.variant(one)).collect();
            let digests = manifests.iter().map(|manifest| manifest.digest).collect();
            let (descriptor, media_type) = match <[Descriptor; 1]>::try_from(manifests) {
                Ok([one]) => (one, MANIFEST_TYPE),
                Err(several) => {
                    let bytes = index(several);
                    let descriptor = Descriptor::new(INDEX_TYPE, &bytes);
                    self.blob(bytes);
                    (descriptor, INDEX_TYPE)
                }
            };
            described.push(Described { digest: descriptor.digest, media_type, manifests: digests });
            top.extend(named(target.format, &descriptor, image, by_tag));
        }
        if target.format == Format::OciLayout {
            self.add("oci-layout".to_owned(), LAYOUT.to_vec());
        }
        self.add("index.json".to_owned(), index(top));
        described
    }

    fn variant(&mut self, variant: &OutVariant) -> Descriptor {
        let manifest = variant.manifest();
        let mut descriptor = Descriptor::new(MANIFEST_TYPE, &manifest);
        descriptor.platform = Some(Platform {
            architecture: variant.platform.architecture.clone(),
            os: variant.platform.os.clone(),
            variant: variant.platform.variant.clone(),
        });
        self.blob(variant.config.clone().into_bytes());
        self.blob(manifest);
        descriptor
    }

    fn docker_image(&mut self, image: &OutImage) -> Described {
        let mut manifests = Vec::new();
        for variant in &image.variants {
            let config = variant.source_config.as_ref().unwrap_or(&variant.config);
            manifests.push(hash(config.as_bytes()));
            self.add(docker_config(config), config.clone().into_bytes());
        }
        let digest = manifests.first().copied().unwrap_or_else(|| hash(b""));
        Described { digest, media_type: DOCKER_CONFIG_TYPE, manifests }
    }
}

fn docker_config(config: &str) -> String {
    format!("{}.json", hash(config.as_bytes()).hex())
}

fn index(manifests: Vec<Descriptor>) -> Vec<u8> {
    to_json(&Index { schema_version: 2, media_type: INDEX_TYPE, manifests })
}

/// The descriptors of an image in index.json. The hybrid archive has exactly one an image, which has one name: Docker's
/// manifest beside it has all of them. A layout has one for each name, and calls it by its tag, as buildx does and as
/// `oci:DIR:TAG` of skopeo and umoci finds it.
/// Without a name it has the labels that it came with, if any.
fn named(format: Format, descriptor: &Descriptor, image: &OutImage, by_tag: bool) -> Vec<Descriptor> {
    let most = if format == Format::Hybrid { 1 } else { usize::MAX };
    let with = |name: &Reference| {
        let short = if by_tag { name.tag().to_owned() } else { name.full() };
        let mut descriptor = descriptor.clone();
        descriptor.annotations = NAME_KEYS.iter().map(|key| ((*key).to_owned(), name.full())).collect();
        descriptor.annotations.insert(REF_NAME.to_owned(), short);
        descriptor
    };
    let labelled = |label: &String| {
        let mut descriptor = descriptor.clone();
        descriptor.annotations = BTreeMap::from([(REF_NAME.to_owned(), label.clone())]);
        descriptor
    };
    match (image.names.as_slice(), image.labels.as_slice()) {
        ([], []) => vec![descriptor.clone()],
        // Whoever loads an archive would take a label for a name.
        ([], _) if format == Format::Hybrid => vec![descriptor.clone()],
        ([], labels) => labels.iter().map(labelled).collect(),
        (names, _) => names.iter().take(most).map(with).collect(),
    }
}

/// An image in Docker's manifest.json. Who reads that knows no platforms: the native one gets the name, the others get
/// one of their own.
fn docker_entries(target: &Target<'_>, image: &OutImage) -> Vec<DockerManifest> {
    let native =
        image.variants.iter().position(|variant| target.native.matches(&variant.platform)).unwrap_or(0);
    let mut order: Vec<usize> = (0..image.variants.len()).collect();
    order.sort_by_key(|&place| place != native);
    let entry = |place: usize| {
        let variant = &image.variants[place];
        let names = image.names.iter().filter_map(|name| {
            if place == native { Some(name.clone()) } else { suffixed(name, &variant.platform) }
        });
        let config = match target.format {
            Format::DockerArchive => docker_config(variant.source_config.as_ref().unwrap_or(&variant.config)),
            _ => blob_name(&hash(variant.config.as_bytes())),
        };
        let layer = Documents::layer_name(target.format);
        DockerManifest {
            config,
            repo_tags: repo_tags(names.map(|name| name.familiar())),
            layers: variant.layers.iter().map(|stored| layer(&stored.digest)).collect(),
        }
    };
    order.into_iter().map(entry).collect()
}
