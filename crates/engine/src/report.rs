//! What came out of a build: one document, the same for people and for `--format json`.

use std::collections::BTreeMap;
use std::time::Instant;

use nixoci_core::artifact::{Artifact, StorePath};
use nixoci_core::config::Runtime;
use nixoci_core::digest::Digest;
use nixoci_core::platform::OciPlatform;
use nixoci_image::{CachedImage, Delivered, Destination};
use schemars::JsonSchema;
use serde::Serialize;

use crate::bring::Brought;
use crate::choose::Choice;
use crate::job::{Job, Link};

/// The version of the document. It changes when a reader of the old one would be wrong.
const VERSION: u32 = 1;

/// Milliseconds from station to station.
pub(crate) struct Clock {
    begin: Instant,
    last: Instant,
    laps: BTreeMap<&'static str, u64>,
}

impl Clock {
    pub(crate) fn start() -> Self {
        let now = Instant::now();
        Clock { begin: now, last: now, laps: BTreeMap::new() }
    }

    pub(crate) fn lap(&mut self, name: &'static str) {
        let now = Instant::now();
        self.laps.insert(name, millis(now - self.last));
        self.last = now;
    }

    pub(crate) fn take(&mut self) -> BTreeMap<&'static str, u64> {
        self.laps.insert("total", millis(self.begin.elapsed()));
        std::mem::take(&mut self.laps)
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Everything that came out of a build.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BuildReport {
    /// The version of this document.
    pub version: u32,
    /// The images, one per requested image.
    pub images: Vec<ImageReport>,
    /// Milliseconds per station of the pipeline.
    pub timings: BTreeMap<&'static str, u64>,
    /// What was moved.
    pub transfer: Transfer,
}

/// One image.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageReport {
    /// Its first name; absent for an image without one.
    pub name: Option<String>,
    /// One per platform.
    pub platforms: Vec<PlatformReport>,
    /// Where it went.
    pub outputs: Vec<OutputReport>,
}

/// One platform of an image.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlatformReport {
    /// Which platform.
    pub platform: OciPlatform,
    /// Who built it.
    pub backend: String,
    /// What was built.
    pub store_path: StorePath,
    /// By which derivation.
    pub drv_path: Option<StorePath>,
    /// The digest of the image's configuration: what Docker's classic store calls the image's id.
    pub image_id: Digest,
    /// Lowest first.
    pub layers: Vec<LayerReport>,
}

/// One layer.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LayerReport {
    /// The digest of the uncompressed layer.
    pub diff_id: Digest,
    /// Its length in bytes, uncompressed.
    pub size: u64,
    /// The store paths in it, where the image says so.
    pub store_paths: Vec<String>,
}

/// One place an image went to.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OutputReport {
    /// The destination: `archive:x.tar`, `docker`, `./result`.
    pub dest: String,
    /// The runtime it was loaded into.
    #[serde(skip)]
    pub runtime: Option<Runtime>,
    /// What to hand on: a name that the runtime knows, or the path.
    pub reference: String,
    /// The media type of what `digest` names.
    pub media_type: Option<String>,
    /// The digest of the manifest there, where there is one.
    pub digest: Option<Digest>,
    /// One per platform.
    pub platforms: Vec<OutputPlatform>,
}

/// One platform of an output.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OutputPlatform {
    /// Which platform.
    pub platform: OciPlatform,
    /// The digest of its manifest.
    pub manifest_digest: Digest,
    /// Its layers as they are there.
    pub layers: Vec<OutputLayer>,
}

/// One layer of an output.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OutputLayer {
    /// The digest of the uncompressed layer.
    pub diff_id: Digest,
    /// The digest of the layer as it is there.
    pub digest: Digest,
    /// Its length there, in bytes.
    pub size: u64,
    /// What was done with it: `written`, `loaded`, `cached`.
    pub state: &'static str,
}

/// What loading an image came to.
#[derive(Debug)]
pub struct LoadOutcome {
    /// How the runtime calls the image, best for running first.
    pub references: Vec<String>,
    /// The runtime's own id for it.
    pub image_id: Digest,
    /// The runtime.
    pub runtime: Runtime,
}

/// What was moved, in bytes.
#[derive(Clone, Copy, Debug, Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Transfer {
    /// From the backend.
    pub fetched_bytes: u64,
    /// Found in the cache instead.
    pub reused_bytes: u64,
    /// To registries.
    pub pushed_bytes: u64,
}

impl BuildReport {
    pub(crate) fn new(
        job: &Job,
        choice: &Choice,
        artifact: &Artifact,
        brought: &Brought,
        outputs: Vec<OutputReport>,
        timings: BTreeMap<&'static str, u64>,
    ) -> Self {
        let summary = &brought.image.summary;
        let platform = PlatformReport {
            platform: job.platform.clone(),
            backend: choice.name.clone(),
            store_path: artifact.path.clone(),
            drv_path: artifact.drv.clone(),
            image_id: summary.image_id,
            layers: summary
                .layers
                .iter()
                .map(|layer| LayerReport {
                    diff_id: layer.diff_id,
                    size: layer.size,
                    store_paths: layer.store_paths.clone(),
                })
                .collect(),
        };
        let image = ImageReport { name: summary.names.first().cloned(), platforms: vec![platform], outputs };
        BuildReport {
            version: VERSION,
            images: vec![image],
            timings,
            transfer: Transfer {
                fetched_bytes: brought.fetched,
                reused_bytes: brought.reused,
                pushed_bytes: 0,
            },
        }
    }
}

impl ImageReport {
    /// The output that a runtime has, if the image was loaded.
    pub fn loaded(&self) -> Option<&OutputReport> {
        self.outputs.iter().find(|output| output.runtime.is_some())
    }
}

impl OutputReport {
    pub(crate) fn file(destination: &Destination, delivered: &Delivered, image: &CachedImage) -> Self {
        OutputReport {
            dest: delivered.dest.clone(),
            runtime: None,
            reference: destination.path().display().to_string(),
            media_type: Some(delivered.media_type.clone()),
            digest: Some(delivered.digest),
            platforms: vec![platform(image, "written")],
        }
    }

    pub(crate) fn loaded(loaded: &LoadOutcome, image: &CachedImage) -> Self {
        let reference = loaded.references.first().cloned().unwrap_or_else(|| loaded.image_id.to_string());
        OutputReport {
            dest: loaded.runtime.name().to_owned(),
            runtime: Some(loaded.runtime),
            reference,
            media_type: None,
            digest: None,
            platforms: vec![platform(image, "loaded")],
        }
    }

    pub(crate) fn link(link: &Link, image: &CachedImage) -> Self {
        OutputReport {
            dest: link.shown.clone(),
            runtime: None,
            reference: link.shown.clone(),
            media_type: Some(nixoci_image::MANIFEST_TYPE.to_owned()),
            digest: Some(image.summary.manifest_digest),
            platforms: vec![platform(image, "cached")],
        }
    }
}

fn platform(image: &CachedImage, state: &'static str) -> OutputPlatform {
    let summary = &image.summary;
    OutputPlatform {
        platform: summary.platform.clone(),
        manifest_digest: summary.manifest_digest,
        layers: summary
            .layers
            .iter()
            .map(|layer| OutputLayer {
                diff_id: layer.diff_id,
                digest: layer.diff_id,
                size: layer.size,
                state,
            })
            .collect(),
    }
}
