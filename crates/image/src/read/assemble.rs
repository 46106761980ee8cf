//! Putting the parts together: what the manifest names, checked against what was there.

use std::collections::HashSet;

use nixoci_core::digest::Digest;
use nixoci_core::text::bytes;
use nixoci_core::{Error, Remedy, Result};
use sha2::{Digest as _, Sha256};

use super::archive::{Contents, JSON_LIMIT, Member};
use super::layer::ReadLayer;
use crate::codes;
use crate::config::ImageConfig;
use crate::content::{self, Launch, Tree};
use crate::detect::{self, Compression};
use crate::hybrid::{Documents, Placed};
use crate::input::ReadOptions;
use crate::json::{self, Object};
use crate::reference::{Naming, Reference};
use crate::summary::{ImageSummary, LayerSummary, Verdict, Warning};
use crate::text::show;

/// How many links lead from a name in the manifest to a member.
const LINK_LIMIT: usize = 16;
/// More layers than this cannot be stacked by overlay file systems. Source: containerd and moby, which pack
/// mount options into one page; moby's `maxDepth` is 128 with the container's own layer.
const STACK_LIMIT: usize = 127;
/// Far beyond what any runtime takes: a manifest that lists more is an attack.
const LAYER_LIMIT: usize = 4096;

/// An image that was read to its end and is in order.
pub(super) struct Image {
    pub(super) summary: ImageSummary,
    pub(super) documents: Documents,
    /// The layers in the output, and whether the image uses them.
    pub(super) placed: Vec<Placed>,
}

/// What manifest.json says about one image.
struct Manifest {
    config: String,
    names: Vec<String>,
    layers: Vec<String>,
}

/// Checks an archive's contents against its manifest and configuration.
pub(super) fn assemble(contents: Contents, options: &ReadOptions<'_>) -> Result<Image> {
    let manifest = manifest(&contents)?;
    let config_bytes = contents.json(&manifest.config)?;
    verify_config_name(&manifest.config, config_bytes)?;
    let config_text = json::utf8(config_bytes, "the image's configuration")?;
    let config = ImageConfig::parse(config_text)?;
    let layers = layers(&contents, &manifest, &config)?;
    let mut warnings = config.warnings.clone();
    let names = names(&manifest.names, &options.names, &mut warnings)?;
    let written = config.mended.as_deref().unwrap_or(config_text);
    let sizes: Vec<(Digest, u64)> = layers.iter().map(|layer| (layer.digest, layer.size)).collect();
    let documents = Documents::new(written, &sizes, &names, &config.platform);
    let (executables, verdict) = judge(&contents, &layers, &config, &mut warnings);
    warn_about_layers(&layers, &mut warnings);
    let used: HashSet<Digest> = layers.iter().map(|layer| layer.digest).collect();
    let summary = ImageSummary {
        platform: config.platform,
        image_id: documents.config_digest,
        source_config_digest: digest(config_bytes),
        source_config: config.mended.is_some().then(|| config_text.to_owned()),
        manifest_digest: documents.manifest_digest,
        manifest_size: documents.manifest.len() as u64,
        names: names.iter().map(Reference::familiar).collect(),
        layers: layers.iter().zip(config.store_paths).map(|(layer, paths)| summarise(layer, paths)).collect(),
        created: config.created,
        entrypoint: config.entrypoint,
        cmd: config.cmd,
        env: config.env,
        working_dir: config.working_dir,
        user: config.user,
        exposed_ports: config.exposed_ports,
        labels: config.labels,
        executables,
        warnings,
        size: layers.iter().map(|layer| layer.size).sum(),
        verdict,
    };
    let mut placed = contents.placed;
    for layer in &mut placed {
        layer.used = used.contains(&layer.digest);
    }
    Ok(Image { summary, documents, placed })
}

fn digest(bytes: &[u8]) -> Digest {
    Digest::from_bytes(Sha256::digest(bytes).into())
}

fn summarise(layer: &ReadLayer, store_paths: Vec<String>) -> LayerSummary {
    LayerSummary { diff_id: layer.digest, size: layer.size, entries: layer.entries, store_paths }
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

    fn json(&self, name: &str) -> Result<&[u8]> {
        let shown = show(name.as_bytes());
        match self.member(name)? {
            Member::Json(text) => Ok(text),
            Member::HugeJson(length) => {
                let text =
                    format!("`{shown}` is {} long, and {} is the limit", bytes(*length), bytes(JSON_LIMIT));
                Err(Error::new(&codes::TOO_LARGE, text))
            }
            _ => Err(Error::new(&codes::BAD_JSON, format!("`{shown}` in {} is not JSON", self.name))),
        }
    }

    fn layer(&self, name: &str) -> Result<&ReadLayer> {
        let shown = show(name.as_bytes());
        match self.member(name)? {
            Member::Layer(number) => self.layers.get(*number).ok_or_else(|| {
                Error::new(&codes::MISSING_MEMBER, format!("`{shown}` is missing in {}", self.name))
            }),
            Member::Other(Compression::None) | Member::Json(_) | Member::HugeJson(_) | Member::Link(_) => {
                let text = format!("`{shown}` in {} is a layer by name, but no tar archive", self.name);
                Err(Error::new(&codes::CORRUPT_TAR, text))
            }
            Member::Other(compression) => Err(Error::new(
                &codes::NOT_READ_YET,
                format!("layer `{shown}` in {} is compressed with {compression}", self.name),
            )
            .because("this version of nixoci reads layers that are not compressed, as dockerTools makes them")
            .remedy(Remedy::command(
                "convert it first",
                format!("skopeo copy docker-archive:{} docker-archive:plain.tar", self.name),
            ))),
        }
    }
}

fn manifest(contents: &Contents) -> Result<Manifest> {
    const WHAT: &str = "manifest.json";
    if !contents.members.contains_key(WHAT.as_bytes()) {
        return Err(without_manifest(contents));
    }
    let text = json::utf8(contents.json(WHAT)?, WHAT)?;
    let images = json::list(text, WHAT)?;
    let image = match images.as_slice() {
        [image] => Object::parse(image.get(), WHAT)?,
        [] => return Err(Error::new(&codes::BAD_JSON, "manifest.json lists no image")),
        several => return Err(several_images(contents, several)),
    };
    let layers = image.strings("Layers")?;
    if layers.len() > LAYER_LIMIT {
        let text = format!("the image has {} layers, and {LAYER_LIMIT} is the limit", layers.len());
        return Err(Error::new(&codes::TOO_LARGE, text));
    }
    Ok(Manifest {
        config: image.string("Config")?.ok_or_else(|| image.missing("Config"))?,
        names: image.strings("RepoTags")?,
        layers,
    })
}

fn without_manifest(contents: &Contents) -> Error {
    let has = |name: &str| contents.members.contains_key(name.as_bytes());
    if has("oci-layout") && has("index.json") {
        return Error::new(&codes::NOT_READ_YET, format!("{} is an OCI archive", contents.name))
            .because("this version of nixoci reads docker-archives")
            .remedy(Remedy::command(
                "convert it first",
                "skopeo copy oci-archive:IMAGE docker-archive:image.tar",
            ));
    }
    if contents.layers.is_empty() {
        return detect::not_an_image(&contents.name, "a tar archive of files, such as a root file system");
    }
    let text = format!("{} holds layers, but no manifest.json", contents.name);
    Error::new(&codes::MISSING_MEMBER, text)
}

fn several_images(contents: &Contents, images: &[&serde_json::value::RawValue]) -> Error {
    let names = images.iter().filter_map(|image| {
        Object::parse(image.get(), "manifest.json").ok()?.strings("RepoTags").ok()?.into_iter().next()
    });
    let names: Vec<String> = names.take(10).map(|name| show(name.as_bytes())).collect();
    Error::new(&codes::SEVERAL_IMAGES, format!("{} holds {} images", contents.name, images.len()))
        .because(format!("among them {}", names.join(", ")))
        .remedy(Remedy::advice("build, or save, the one you want"))
}

/// A configuration is named by its digest, in every layout that exists.
fn verify_config_name(name: &str, bytes: &[u8]) -> Result<()> {
    let stem = name.rsplit('/').next().unwrap_or(name);
    let stem = stem.strip_suffix(".json").unwrap_or(stem);
    match Digest::from_hex(stem) {
        Ok(named) if named != digest(bytes) => {
            Err(Error::new(&codes::DIGEST_MISMATCH, "the image's configuration does not match its digest")
                .because(format!("it is called {named}, and its content is {}", digest(bytes))))
        }
        _ => Ok(()),
    }
}

fn layers<'c>(
    contents: &'c Contents,
    manifest: &Manifest,
    config: &ImageConfig,
) -> Result<Vec<&'c ReadLayer>> {
    if manifest.layers.len() != config.diff_ids.len() {
        let (listed, digests) = (manifest.layers.len(), config.diff_ids.len());
        let text = format!("the manifest lists {listed} layers, the configuration {digests}");
        return Err(Error::new(&codes::LAYER_COUNT, text));
    }
    manifest
        .layers
        .iter()
        .zip(&config.diff_ids)
        .enumerate()
        .map(|(number, (name, expected))| {
            let layer = contents.layer(name)?;
            let what = format!("{} of {} (`{}`)", number + 1, manifest.layers.len(), show(name.as_bytes()));
            if layer.digest != *expected {
                let text = format!("layer {what} does not match its digest");
                let error = Error::new(&codes::DIGEST_MISMATCH, text);
                return Err(error.because(format!("it should be {expected}, and is {}", layer.digest)));
            }
            layer.problem.as_ref().map_or(Ok(layer), |problem| Err(problem.error(&what)))
        })
        .collect()
}

/// What the image is called now. Names in the archive that are none are left out, with a warning.
fn names(found: &[String], naming: &Naming, warnings: &mut Vec<Warning>) -> Result<Vec<Reference>> {
    if let Naming::Replace(names) = naming {
        return Ok(names.clone());
    }
    let mut names = Vec::new();
    for name in found {
        match Reference::parse(name) {
            Ok(name) => names.push(name),
            Err(_) => {
                let shown = show(name.as_bytes());
                let text = format!("the archive calls its image `{shown}`, which is no image reference");
                warnings.push(Warning::new(&codes::BAD_NAME, text));
            }
        }
    }
    if let Naming::Tag(tag) = naming {
        if names.is_empty() {
            let text = format!("there is no name that the tag `{}` could go on", show(tag.as_bytes()));
            return Err(Error::new(&codes::NO_NAME, text)
                .remedy(Remedy::command("give a whole name", format!("-t NAME:{tag}"))));
        }
        names = names.iter().map(|name| name.with_tag(tag)).collect::<Result<_>>()?;
    }
    let mut seen = HashSet::new();
    names.retain(|name| seen.insert(name.clone()));
    Ok(names)
}

fn judge(
    contents: &Contents,
    layers: &[&ReadLayer],
    config: &ImageConfig,
    warnings: &mut Vec<Warning>,
) -> (Vec<crate::summary::Executable>, Verdict) {
    if contents.budget.exceeded {
        let text = "the image has too many entries to check for which machine its programs are";
        warnings.push(Warning::new(&codes::UNCHECKED, text));
        return (Vec::new(), Verdict::Unproven);
    }
    let tree = Tree { layers: layers.iter().map(|layer| &layer.index).collect(), key: contents.budget.key() };
    let launch = Launch { argv: config.argv(), env: &config.env, working_dir: config.working_dir.as_deref() };
    let sample = content::judge(&tree, &launch, &config.platform);
    warnings.extend(sample.warnings);
    (sample.executables, sample.verdict)
}

fn warn_about_layers(layers: &[&ReadLayer], warnings: &mut Vec<Warning>) {
    if layers.len() > STACK_LIMIT {
        let text = format!("the image has {} layers; container runtimes stack {STACK_LIMIT}", layers.len());
        warnings.push(Warning::new(&codes::MANY_LAYERS, text));
    }
    let climbing: u64 = layers.iter().map(|layer| layer.climbing_links).sum();
    if climbing > 0 {
        let text =
            format!("{climbing} symbolic links lead above the root; Docker refuses to unpack such an image");
        warnings.push(Warning::new(&codes::CLIMBING_LINKS, text));
    }
}
