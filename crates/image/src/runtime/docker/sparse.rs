//! Loading only what the engine lacks.
//!
//! `docker load` of an archive that leaves out layers works where the engine has them already. Its classic store looks a
//! layer up by its chain, all layers up to it, before it opens the file (moby `image/tarexport/load.go`), so only the lowest
//! layers that some image there has in common with ours can be left out. containerd's store looks blobs up by digest and
//! imports an index with absent ones (moby `daemon/containerd/image_exporter.go`). Neither promises it: whoever sends a part
//! must be ready to send everything.

use std::collections::HashSet;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

use async_trait::async_trait;
use nixoci_core::backend::Cx;
use nixoci_core::digest::Digest;
use nixoci_core::runner::{Feed, Input};
use nixoci_core::text;
use tokio::io::AsyncWriteExt;

use super::{Docker, Store};
use crate::cache::{CachedImage, neighbours};
use crate::destination::members;
use crate::summary::ImageSummary;
use crate::tar::{BLOCK, padding};
use crate::write::blob_name;

/// Below this, asking what can be left out takes longer than sending it.
const WORTH: u64 = 4 << 20;
/// How many of the engine's images are asked for their layers; the newest come first.
const ASKED: usize = 200;
/// How many images of ours it is asked for.
const ASKED_FOR: usize = 3;
const STEP: u64 = 256 << 10;

/// An archive without what the engine has.
pub(super) struct Sparse {
    /// The parts that are sent.
    parts: Vec<Range<u64>>,
    /// The layers that are left out.
    pub(super) skipped: HashSet<Digest>,
    layers: usize,
    sent: u64,
    whole: u64,
}

/// A load that leaves out what the engine has.
pub(super) struct Partial<'a> {
    docker: &'a Docker,
    cx: &'a Cx<'a>,
    image: &'a CachedImage,
    /// Images that the engine may have, with layers of ours: it is asked while the load starts.
    candidates: Vec<Candidate>,
    found: OnceLock<Option<Sparse>>,
}

/// An image by the id that containerd's store gives it, with those of our layers that came with it.
type Candidate = (Digest, HashSet<Digest>);

impl<'a> Partial<'a> {
    /// A partial load, if it may be worth it. Finding out never fails: everything can be sent.
    pub(super) async fn find(
        docker: &'a Docker,
        cx: &'a Cx<'a>,
        store: Store,
        image: &'a CachedImage,
    ) -> Option<Partial<'a>> {
        let size: u64 = image.images().iter().map(crate::summary::Image::size).sum();
        if size < WORTH {
            return None;
        }
        let (candidates, found) = match store {
            Store::Classic => {
                let chains = chains(docker, cx, &ids(docker, cx).await?).await?;
                (Vec::new(), OnceLock::from(Some(Sparse::worth(image, &common(&chains, image))?)))
            }
            Store::Containerd => (candidates(image), OnceLock::new()),
        };
        let partial = Partial { docker, cx, image, candidates, found };
        (partial.found.get().is_some() || !partial.candidates.is_empty()).then_some(partial)
    }

    /// What was left out, once the load has run; nothing if everything was sent.
    pub(super) fn into_sparse(self) -> Option<Sparse> {
        self.found.into_inner().flatten()
    }
}

async fn ids(docker: &Docker, cx: &Cx<'_>) -> Option<Vec<String>> {
    let list = docker.command().args(["image", "ls", "--no-trunc", "--quiet"]);
    let said = docker.ok(cx, list).await.ok()?;
    let mut seen = HashSet::new();
    let ids = said.lines().map(|line| line.trim().to_owned()).filter(|id| !id.is_empty());
    Some(ids.filter(|id| seen.insert(id.clone())).take(ASKED).collect())
}

/// The layers of the engine's images, each the lowest first.
async fn chains(docker: &Docker, cx: &Cx<'_>, ids: &[String]) -> Option<Vec<Vec<String>>> {
    if ids.is_empty() {
        return None;
    }
    let inspect =
        docker.command().args(["image", "inspect", "--format", "{{json .RootFS.Layers}}"]).args(ids);
    // An image that was deleted meanwhile makes it fail, and says so beside the others.
    let said = docker.output(cx, inspect).await.ok()?.stdout_text();
    Some(said.lines().filter_map(|line| serde_json::from_str(line.trim()).ok()).collect())
}

/// The layers of ours that are needed nowhere but at the bottom, where the engine has them.
fn common(chains: &[Vec<String>], image: &CachedImage) -> HashSet<Digest> {
    let (mut known, mut needed) = (HashSet::new(), HashSet::new());
    for platform in image.platforms() {
        let ours: Vec<String> = platform.layers.iter().map(|layer| layer.diff_id.to_string()).collect();
        let shared =
            |chain: &Vec<String>| chain.iter().zip(&ours).take_while(|(theirs, ours)| theirs == ours).count();
        let prefix = chains.iter().map(shared).max().unwrap_or(0);
        known.extend(platform.layers.iter().take(prefix).map(|layer| layer.diff_id));
        needed.extend(platform.layers.iter().skip(prefix).map(|layer| layer.diff_id));
    }
    known.difference(&needed).copied().collect()
}

/// The layers of candidates that the engine has: they are there as we sent them, uncompressed. (Of an image that came from a
/// registry, the engine has compressed layers, which are other blobs.) It is asked for these images alone: a list of all
/// takes it longer, with all layers of each.
async fn held(docker: &Docker, cx: &Cx<'_>, candidates: &[Candidate]) -> HashSet<Digest> {
    let ids = candidates.iter().map(|(id, _)| id.to_string());
    let inspect = docker.command().args(["image", "inspect", "--format", "{{.Id}}"]).args(ids);
    // It fails for what is not there, and says the others.
    let said = docker.output(cx, inspect).await.map(|output| output.stdout_text()).unwrap_or_default();
    let there: HashSet<&str> = said.lines().map(str::trim).collect();
    let has = |id: &Digest| there.contains(id.to_string().as_str());
    candidates.iter().filter(|(id, _)| has(id)).flat_map(|(_, layers)| layers).copied().collect()
}

fn layers(platform: &ImageSummary) -> impl Iterator<Item = Digest> {
    platform.layers.iter().map(|layer| layer.diff_id)
}

/// The few images in the cache that have most in common with this one.
fn candidates(image: &CachedImage) -> Vec<Candidate> {
    let ours: HashSet<Digest> = image.platforms().flat_map(layers).collect();
    let mut all: Vec<Candidate> = Vec::new();
    for found in neighbours(&image.archive).iter().flat_map(|content| &content.images) {
        let of = |platforms: &[ImageSummary]| -> HashSet<Digest> {
            platforms.iter().flat_map(layers).filter(|layer| ours.contains(layer)).collect()
        };
        all.extend(found.digest.map(|index| (index, of(&found.platforms))));
        all.extend(found.platforms.iter().map(|one| (one.manifest_digest, of(std::slice::from_ref(one)))));
    }
    all.sort_by_key(|(_, layers)| std::cmp::Reverse(layers.len()));
    let mut seen = HashSet::new();
    all.retain(|(id, layers)| !layers.is_empty() && seen.insert(*id));
    all.truncate(ASKED_FOR);
    all
}

impl Sparse {
    /// The archive without the layers that are known, if there is much to them.
    fn worth(image: &CachedImage, known: &HashSet<Digest>) -> Option<Sparse> {
        Sparse::new(image, known).filter(|sparse| sparse.whole - sparse.sent >= WORTH)
    }

    fn new(image: &CachedImage, known: &HashSet<Digest>) -> Option<Sparse> {
        let ours: HashSet<Digest> =
            image.platforms().flat_map(|platform| &platform.layers).map(|layer| layer.diff_id).collect();
        let skipped: HashSet<Digest> = ours.intersection(known).copied().collect();
        let names: HashSet<String> = skipped.iter().map(blob_name).collect();
        let mut file = File::open(&image.archive).ok()?;
        let whole = file.metadata().ok()?.len();
        let mut parts: Vec<Range<u64>> = Vec::new();
        let mut end = 0;
        for (name, at, size) in members(&mut file).ok()? {
            let start = at - BLOCK as u64;
            end = at + size + padding(size);
            if !names.contains(&name) {
                join(&mut parts, start..end);
            }
        }
        // The end of the archive.
        join(&mut parts, end..whole);
        let sent = parts.iter().map(|part| part.end - part.start).sum();
        Some(Sparse { parts, skipped, layers: ours.len(), sent, whole })
    }

    /// What was left out, for people.
    pub(super) fn told(&self) -> String {
        format!(
            "docker had {} of {} layers: {} were sent instead of {}",
            self.skipped.len(),
            self.layers,
            text::bytes(self.sent),
            text::bytes(self.whole)
        )
    }
}

#[async_trait]
impl Feed for Partial<'_> {
    async fn feed(&self, stdin: &mut Input) -> nixoci_core::Result<()> {
        if self.found.get().is_none() {
            let known = held(self.docker, self.cx, &self.candidates).await;
            let _ = self.found.set(Sparse::worth(self.image, &known));
        }
        let Ok(file) = File::open(&self.image.archive) else { return Ok(()) };
        let whole = 0..file.metadata().map_or(0, |about| about.len());
        let parts = match self.found.get() {
            Some(Some(sparse)) => sparse.parts.as_slice(),
            _ => std::slice::from_ref(&whole),
        };
        let mut buffer = vec![0; STEP as usize];
        for part in parts {
            let mut at = part.start;
            while at < part.end {
                let step = STEP.min(part.end - at) as usize;
                let read = file.read_exact_at(&mut buffer[..step], at);
                if read.is_err() || stdin.write_all(&buffer[..step]).await.is_err() {
                    return Ok(());
                }
                at += step as u64;
            }
        }
        Ok(())
    }
}

fn join(parts: &mut Vec<Range<u64>>, next: Range<u64>) {
    match parts.last_mut() {
        Some(last) if last.end == next.start => last.end = next.end,
        _ => parts.push(next),
    }
}
