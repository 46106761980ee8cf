//! What came out of a build: one document, the same for people and for `--format json`.

use std::collections::{BTreeMap, HashSet};
use std::time::Instant;

use nixoci_core::artifact::StorePath;
use nixoci_core::config::Runtime;
use nixoci_core::digest::Digest;
use nixoci_core::platform::OciPlatform;
use nixoci_image::runtime::LoadedImage;
use nixoci_image::{Delivered, DeliveredPlatform, Destination, Image, ImageSummary, LayerSummary};
use schemars::JsonSchema;
use serde::Serialize;

use crate::bring::Brought;
use crate::build::Built;
use crate::job::Link;

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
    /// The command that a container starts: `Entrypoint` and `Cmd`. Empty if the image names none.
    pub command: Vec<String>,
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
    /// What was done with it: `written`, `loaded`, `cached`; `present` if the runtime had it already.
    pub state: &'static str,
}

/// What loading an image came to.
#[derive(Debug)]
pub struct LoadOutcome {
    /// The images there, in the order of the archive; at least one.
    pub images: Vec<LoadedImage>,
    /// Layers that it had already, and that were not sent.
    pub skipped: HashSet<Digest>,
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
        built: &[Built],
        brought: &[Brought],
        outputs: Vec<Vec<OutputReport>>,
        timings: BTreeMap<&'static str, u64>,
    ) -> Self {
        let both = || built.iter().zip(brought);
        // Several platforms are one image; one platform may be several images.
        let images: Vec<Vec<PlatformReport>> = match brought {
            [one] => one
                .image
                .images()
                .iter()
                .map(|image| both().flat_map(|(by, _)| of(by, image)).collect())
                .collect(),
            _ => vec![
                both()
                    .flat_map(|(by, one)| one.image.images().iter().flat_map(|image| of(by, image)))
                    .collect(),
            ],
        };
        let name = |place: usize| {
            let image = brought.first()?.image.images().get(place)?;
            image.names().first().cloned()
        };
        let images = images.into_iter().zip(outputs).enumerate();
        BuildReport {
            version: VERSION,
            images: images
                .map(|(place, (platforms, outputs))| ImageReport { name: name(place), platforms, outputs })
                .collect(),
            timings,
            transfer: Transfer {
                fetched_bytes: brought.iter().map(|one| one.fetched).sum(),
                reused_bytes: brought.iter().map(|one| one.reused).sum(),
                pushed_bytes: 0,
            },
        }
    }
}

/// What is said of an image, and of who built it.
fn of(by: &Built, image: &Image) -> Vec<PlatformReport> {
    let layer = |layer: &LayerSummary| LayerReport {
        diff_id: layer.diff_id,
        size: layer.size,
        store_paths: layer.store_paths.clone(),
    };
    let platform = |summary: &ImageSummary| PlatformReport {
        platform: summary.platform.clone(),
        backend: by.choice.name.clone(),
        store_path: by.artifact.path.clone(),
        drv_path: by.artifact.drv.clone(),
        image_id: summary.image_id,
        command: summary.entrypoint.iter().chain(&summary.cmd).cloned().collect(),
        layers: summary.layers.iter().map(layer).collect(),
    };
    image.platforms.iter().map(platform).collect()
}

impl ImageReport {
    /// The output that a runtime has, if the image was loaded.
    pub fn loaded(&self) -> Option<&OutputReport> {
        self.outputs.iter().find(|output| output.runtime.is_some())
    }
}

impl OutputReport {
    pub(crate) fn written(destination: &Destination, delivered: &Delivered) -> Self {
        let platform = |platform: &DeliveredPlatform| OutputPlatform {
            platform: platform.platform.clone(),
            manifest_digest: platform.manifest_digest,
            layers: platform
                .layers
                .iter()
                .map(|layer| OutputLayer {
                    diff_id: layer.diff_id,
                    digest: layer.digest,
                    size: layer.size,
                    state: "written",
                })
                .collect(),
        };
        OutputReport {
            dest: delivered.dest.clone(),
            runtime: None,
            reference: destination.path().display().to_string(),
            media_type: Some(delivered.media_type.clone()),
            digest: Some(delivered.digest),
            platforms: delivered.platforms.iter().map(platform).collect(),
        }
    }

    /// `there` is what `image` is in the runtime.
    pub(crate) fn loaded(loaded: &LoadOutcome, there: &LoadedImage, image: &Image) -> Self {
        let reference = there.references.first().cloned();
        OutputReport {
            dest: loaded.runtime.name().to_owned(),
            runtime: Some(loaded.runtime),
            reference: reference.unwrap_or_else(|| there.id.to_string()),
            media_type: None,
            digest: None,
            platforms: platforms(
                image,
                |digest| if loaded.skipped.contains(digest) { "present" } else { "loaded" },
            ),
        }
    }

    pub(crate) fn link(link: &Link, image: &Image) -> Self {
        OutputReport {
            dest: link.shown.clone(),
            runtime: None,
            reference: link.shown.clone(),
            media_type: Some(image.media_type.clone()),
            digest: image.digest,
            platforms: platforms(image, |_| "cached"),
        }
    }
}

/// The platforms of an image as its hybrid archive has them.
fn platforms(image: &Image, state: impl Fn(&Digest) -> &'static str) -> Vec<OutputPlatform> {
    let layer = |layer: &LayerSummary| OutputLayer {
        diff_id: layer.diff_id,
        digest: layer.diff_id,
        size: layer.size,
        state: state(&layer.diff_id),
    };
    let platform = |summary: &ImageSummary| OutputPlatform {
        platform: summary.platform.clone(),
        manifest_digest: summary.manifest_digest,
        layers: summary.layers.iter().map(layer).collect(),
    };
    image.platforms.iter().map(platform).collect()
}
