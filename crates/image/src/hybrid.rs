//! The hybrid archive: one tar file that every container runtime loads.
//!
//! It is an OCI image layout (`oci-layout`, `index.json` with exactly one descriptor, blobs) and, for readers
//! that know no OCI, has Docker's `manifest.json` over the same blobs. Layers are not compressed: for a local
//! load that would be work for nothing.
//!
//! Sources: OCI image specification, `image-layout.md`, `manifest.md`, `annotations.md`; which reader honours
//! what: containerd `client/import.go` (name annotations), moby `image/tarexport` (manifest.json),
//! apple/containerization `LocalOCILayoutClient` (one descriptor with a media type and a whole name).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use nixoci_core::digest::Digest;
use nixoci_core::platform::OciPlatform;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::pipeline::Write;
use crate::reference::Reference;
use crate::tar::{BLOCK, Item, Reader, directory_header, file_header, padding};

const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
/// The media type of the manifest.
pub const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";

/// Readers look for the image's name under these keys; Apple's and containerd's want the whole name.
const NAME_KEYS: [&str; 3] = [
    "org.opencontainers.image.ref.name",
    "io.containerd.image.name",
    "com.apple.containerization.image.name",
];

/// Where the first layer goes: after `oci-layout` (header and one block) and two directories.
pub(crate) const START: u64 = 4 * BLOCK as u64;

const ZEROS: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// The name of a blob in the archive.
pub(crate) fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// A layer in the output.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    pub(crate) digest: Digest,
    /// Where its header goes.
    start: u64,
    size: u64,
    /// Whether the image uses it.
    pub(crate) used: bool,
}

impl Placed {
    /// Header, data and padding.
    fn length(&self) -> u64 {
        BLOCK as u64 + self.size + padding(self.size)
    }
}

/// Says where the bytes of layers go, before it is known what they are called.
pub(crate) struct Placer {
    next: u64,
    start: u64,
    placed: Vec<Placed>,
    seen: HashSet<Digest>,
}

impl Placer {
    /// A placer whose first layer begins at `start`.
    pub(crate) fn new(start: u64) -> Self {
        Placer { next: start, start, placed: Vec::new(), seen: HashSet::new() }
    }

    /// A layer begins: room for its header is left.
    pub(crate) fn begin(&mut self) {
        self.start = self.next;
        self.next += BLOCK as u64;
    }

    /// Bytes of the layer, as a part of the current buffer.
    pub(crate) fn part(&mut self, range: Range<usize>, writes: &mut Vec<Write>) {
        let length = range.len() as u64;
        writes.push(Write::Part { range, at: self.next });
        self.next += length;
    }

    /// Other bytes of the layer.
    pub(crate) fn bytes(&mut self, bytes: Vec<u8>, writes: &mut Vec<Write>) {
        let length = bytes.len() as u64;
        writes.push(Write::Bytes { bytes, at: self.next });
        self.next += length;
    }

    /// The layer ends, and has a digest now. One that was there already is written over by the next.
    pub(crate) fn end(&mut self, digest: Digest, size: u64, writes: &mut Vec<Write>) {
        let pad = padding(size) as usize;
        if pad > 0 {
            self.bytes(ZEROS[..pad].to_vec(), writes);
        }
        if self.seen.insert(digest) {
            self.placed.push(Placed { digest, start: self.start, size, used: true });
        } else {
            self.next = self.start;
        }
    }

    /// All layers that were placed.
    pub(crate) fn finish(self) -> Vec<Placed> {
        self.placed
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: &'static str,
    digest: Digest,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<Platform>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<&'static str, String>,
}

impl Descriptor {
    fn new(media_type: &'static str, digest: Digest, size: u64) -> Self {
        Descriptor { media_type, digest, size, platform: None, annotations: BTreeMap::new() }
    }
}

#[derive(Serialize)]
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
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u8,
    media_type: &'static str,
    manifests: [Descriptor; 1],
}

/// An entry of Docker's manifest.json.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct DockerManifest {
    pub(crate) config: String,
    pub(crate) repo_tags: Option<Vec<String>>,
    pub(crate) layers: Vec<String>,
}

/// Serialises a document. Our own types cannot fail to: they hold texts and numbers.
pub(crate) fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

/// Everything in the archive that is not a layer.
pub(crate) struct Documents {
    config: Vec<u8>,
    pub(crate) config_digest: Digest,
    pub(crate) manifest: Vec<u8>,
    pub(crate) manifest_digest: Digest,
    index: Vec<u8>,
    docker_manifest: Vec<u8>,
}

impl Documents {
    /// The documents of an image with this configuration and these layers.
    pub(crate) fn new(
        config: &str,
        layers: &[(Digest, u64)],
        names: &[Reference],
        platform: &OciPlatform,
    ) -> Self {
        let config = config.as_bytes().to_vec();
        let config_digest = hash(&config);
        let manifest = to_json(&Manifest {
            schema_version: 2,
            media_type: MANIFEST_TYPE,
            config: Descriptor::new(CONFIG_TYPE, config_digest, config.len() as u64),
            layers: layers.iter().map(|(digest, size)| Descriptor::new(LAYER_TYPE, *digest, *size)).collect(),
        });
        let manifest_digest = hash(&manifest);
        let mut descriptor = Descriptor::new(MANIFEST_TYPE, manifest_digest, manifest.len() as u64);
        descriptor.platform = Some(Platform {
            architecture: platform.architecture.clone(),
            os: platform.os.clone(),
            variant: platform.variant.clone(),
        });
        // One descriptor has one name; Docker's manifest below has all of them.
        if let Some(name) = names.first() {
            descriptor.annotations = NAME_KEYS.into_iter().map(|key| (key, name.full())).collect();
        }
        let index = Index { schema_version: 2, media_type: INDEX_TYPE, manifests: [descriptor] };
        let docker_manifest = DockerManifest {
            config: blob_name(&config_digest),
            repo_tags: repo_tags(names.iter().map(Reference::familiar)),
            layers: layers.iter().map(|(digest, _)| blob_name(digest)).collect(),
        };
        Documents {
            config,
            config_digest,
            manifest,
            manifest_digest,
            index: to_json(&index),
            docker_manifest: to_json(&[docker_manifest]),
        }
    }

    fn members(&self) -> [(String, &[u8]); 4] {
        [
            (blob_name(&self.config_digest), &self.config),
            (blob_name(&self.manifest_digest), &self.manifest),
            ("index.json".to_owned(), &self.index),
            ("manifest.json".to_owned(), &self.docker_manifest),
        ]
    }
}

/// Docker writes `null`, not an empty list, for an image without names.
pub(crate) fn repo_tags(names: impl Iterator<Item = String>) -> Option<Vec<String>> {
    let names: Vec<String> = names.collect();
    (!names.is_empty()).then_some(names)
}

fn hash(bytes: &[u8]) -> Digest {
    Digest::from_bytes(Sha256::digest(bytes).into())
}

/// Completes an archive whose layers are in place: headers, documents, end.
pub(crate) fn finish(out: &mut File, placed: &[Placed], documents: &Documents) -> io::Result<()> {
    let mut at = write_member(out, 0, "oci-layout", LAYOUT)?;
    for directory in ["blobs/", "blobs/sha256/"] {
        out.write_all_at(&directory_header(directory), at)?;
        at += BLOCK as u64;
    }
    debug_assert_eq!(at, START);
    for layer in placed.iter().filter(|layer| layer.used) {
        move_down(out, layer, at)?;
        out.write_all_at(&file_header(&blob_name(&layer.digest), layer.size), at)?;
        at += layer.length();
    }
    for (name, bytes) in documents.members() {
        at = write_member(out, at, &name, bytes)?;
    }
    out.write_all_at(&ZEROS, at)?;
    out.set_len(at + ZEROS.len() as u64)
}

fn write_member(out: &File, at: u64, name: &str, bytes: &[u8]) -> io::Result<u64> {
    let mut member = file_header(name, bytes.len() as u64).to_vec();
    member.extend_from_slice(bytes);
    member.resize(member.len() + padding(bytes.len() as u64) as usize, 0);
    out.write_all_at(&member, at)?;
    Ok(at + member.len() as u64)
}

/// Closes the gap that a layer left which the image turned out not to use.
fn move_down(out: &File, layer: &Placed, to: u64) -> io::Result<()> {
    if layer.start == to {
        return Ok(());
    }
    let mut buffer = vec![0; 1 << 20];
    let mut moved = 0;
    while moved < layer.length() {
        let step = buffer.len().min((layer.length() - moved) as usize);
        out.read_exact_at(&mut buffer[..step], layer.start + moved)?;
        out.write_all_at(&buffer[..step], to + moved)?;
        moved += step as u64;
    }
    Ok(())
}

/// Where the members of an archive are: name to offset and size of the data.
pub(crate) fn locate(archive: &mut File) -> io::Result<HashMap<String, (u64, u64)>> {
    let mut reader = Reader::new();
    let mut found = HashMap::new();
    let mut block = [0; BLOCK];
    let mut at = 0;
    archive.seek(SeekFrom::Start(0))?;
    while !reader.ended() {
        archive.read_exact(&mut block)?;
        at += BLOCK as u64;
        let mut input = block.as_slice();
        if let Some(Item::Entry(entry)) = reader.next(&mut input).map_err(io::Error::other)? {
            found.insert(String::from_utf8_lossy(&entry.name).into_owned(), (at, entry.size));
            at = archive.seek(SeekFrom::Start(at + reader.skip()))?;
        }
    }
    Ok(found)
}
