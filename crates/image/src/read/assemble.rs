//! Putting the parts together: what the archive says it holds, checked against what was there.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use nixoci_core::digest::Digest;
use nixoci_core::platform::OciPlatform;
use nixoci_core::{Error, Remedy, Result, shell};

use super::archive::Contents;
use super::found::{self, Broken, FoundImage, FoundVariant};
use super::layer::ReadLayer;
use super::oci::needs_snapshotter;
use crate::codes;
use crate::config::{Given, ImageConfig};
use crate::content::{self, Launch, Tree};
use crate::detect::Compression;
use crate::input::ReadOptions;
use crate::json;
use crate::reference::{Naming, Reference};
use crate::summary::{Image, ImageSummary, LayerSummary, Verdict, Warning};
use crate::text::show;
use crate::write::{MANIFEST_TYPE, OutImage, OutVariant, Stored};

/// More layers than this cannot be stacked by overlay file systems. Source: containerd and moby, which pack
/// mount options into one page; moby's `maxDepth` is 128 with the container's own layer.
const STACK_LIMIT: usize = 127;

/// An image that was read to its end and is in order.
pub(crate) struct ReadImage {
    pub(super) names: Vec<Reference>,
    /// What a layout calls it beside that.
    labels: Vec<String>,
    pub(super) variants: Vec<ReadVariant>,
}

/// An image for one platform.
pub(crate) struct ReadVariant {
    pub(super) summary: ImageSummary,
    config: String,
    source_config: Option<String>,
    /// Numbers of layers among those that were read.
    layers: Vec<usize>,
    manifest: Option<String>,
    annotations: BTreeMap<String, String>,
    layer_annotations: Vec<BTreeMap<String, String>>,
}

impl ReadImage {
    /// The image as it is written, with its layers as they were stored.
    pub(super) fn out(&self, stored: &[Stored]) -> OutImage {
        let variants = self.variants.iter().map(|variant| variant.out(stored)).collect();
        OutImage { names: self.names.clone(), labels: self.labels.clone(), variants }
    }

    /// What is known about it.
    pub(crate) fn into_image(self) -> Image {
        let platforms: Vec<ImageSummary> = self.variants.into_iter().map(|variant| variant.summary).collect();
        // An index has a digest only once it is written.
        Image {
            digest: platforms.first().map(|one| one.manifest_digest),
            media_type: MANIFEST_TYPE.to_owned(),
            platforms,
        }
    }
}

impl ReadVariant {
    fn out(&self, stored: &[Stored]) -> OutVariant {
        OutVariant {
            platform: self.summary.platform.clone(),
            config: self.config.clone(),
            source_config: self.source_config.clone(),
            // Every layer that was read was stored.
            layers: self.layers.iter().filter_map(|number| stored.get(*number)).copied().collect(),
            manifest: self.manifest.clone(),
            annotations: self.annotations.clone(),
            layer_annotations: self.layer_annotations.clone(),
        }
    }
}

/// Checks an archive's contents against what it says it holds, and picks what was asked for.
pub(super) fn assemble(contents: &Contents, options: &ReadOptions<'_>) -> Result<Vec<ReadImage>> {
    let found = choose(contents, found::images(contents)?, options)?;
    if found.len() > 1 && matches!(options.names, Naming::Replace(_)) {
        return Err(several(contents, &found));
    }
    found.into_iter().map(|image| one(contents, image, options)).collect()
}

/// The image that was asked for by name; if none was, all that are whole.
fn choose(contents: &Contents, found: Vec<FoundImage>, options: &ReadOptions<'_>) -> Result<Vec<FoundImage>> {
    let Some(wanted) = &options.only else { return whole(found) };
    let is_it = |image: &FoundImage| {
        image.names.iter().chain(&image.labels).any(|name| found::same_name(name, wanted))
    };
    let names = listed(&found);
    let chosen: Vec<FoundImage> = found.into_iter().filter(is_it).collect();
    if chosen.is_empty() {
        let shown = show(wanted.as_bytes());
        return Err(Error::new(&codes::NO_SUCH_IMAGE, format!("{} has no image `{shown}`", contents.name))
            .because(format!("it has {names}")));
    }
    Ok(chosen)
}

/// Without the entries that are no images, or whose content is elsewhere; those are named in a warning.
fn whole(found: Vec<FoundImage>) -> Result<Vec<FoundImage>> {
    let (mut whole, broken): (Vec<FoundImage>, Vec<FoundImage>) =
        found.into_iter().partition(|image| !image.variants.is_empty());
    let mut broken: Vec<Broken> = broken.into_iter().flat_map(|image| image.broken).collect();
    // Damage explains more than something that never was an image.
    let worst = broken.iter().position(|broken| !broken.is_harmless());
    match whole.first_mut() {
        Some(first) if worst.is_none() => first.warnings.extend(broken.iter().map(Broken::warning)),
        _ if broken.is_empty() => {}
        _ => return Err(broken.swap_remove(worst.unwrap_or(0)).error),
    }
    Ok(whole)
}

fn listed(found: &[FoundImage]) -> String {
    let names = found.iter().filter_map(|image| image.names.first().or(image.labels.first()));
    let names: Vec<String> = names.take(10).map(|name| show(name.as_bytes())).collect();
    if names.is_empty() { "images without names".to_owned() } else { names.join(", ") }
}

fn several(contents: &Contents, found: &[FoundImage]) -> Error {
    Error::new(&codes::SEVERAL_IMAGES, format!("{} holds {} images", contents.name, found.len()))
        .because(format!("among them {}", listed(found)))
        .because("a new name can be given to one image only")
        .remedy(Remedy::command("take one of them", shell!("{}", one_of(&contents.name))))
        .remedy(Remedy::command("give all of them another tag", "-t :dev"))
}

/// How one image of an archive is named where a command takes an image.
fn one_of(archive: &str) -> String {
    format!("docker-archive:{}:NAME", crate::detect::file(archive))
}

fn one(contents: &Contents, image: FoundImage, options: &ReadOptions<'_>) -> Result<ReadImage> {
    let FoundImage { names: called, labels, variants, broken, mut warnings } = image;
    let names = names(&called, &options.names, &mut warnings)?;
    let mut broken = relevant(broken, options);
    let mut read = Vec::new();
    for found in &variants {
        match configuration(contents, found, options) {
            // An index may list Windows beside Linux.
            Err(error) if error.is(&codes::BAD_PLATFORM) && variants.len() > 1 => {
                broken.push(Broken { what: "a platform".to_owned(), platform: None, error });
            }
            config => read.push((found, config?)),
        }
    }
    let damaged = broken.iter().position(|broken| !broken.is_harmless());
    if let Some(place) = damaged.or_else(|| (read.is_empty() && !broken.is_empty()).then_some(0)) {
        return Err(broken.swap_remove(place).error);
    }
    warnings.extend(broken.iter().map(Broken::warning));
    let mut seen = HashSet::new();
    read.retain(|(_, config)| seen.insert(config.platform.clone()));
    let read = wanted(read, options)?;
    let read = read.into_iter().map(|(found, config)| variant(contents, found, config, &names));
    let mut variants = read.collect::<Result<Vec<ReadVariant>>>()?;
    if let Some(first) = variants.first_mut() {
        first.summary.warnings.splice(0..0, warnings);
    }
    let labels: BTreeSet<String> = labels.into_iter().collect();
    Ok(ReadImage { names, labels: labels.into_iter().collect(), variants })
}

/// The broken entries that matter: not those for platforms that were not asked for.
fn relevant(broken: Vec<Broken>, options: &ReadOptions<'_>) -> Vec<Broken> {
    let asked = |broken: &Broken| match &broken.platform {
        Some(platform) if !options.expect.is_empty() => {
            options.expect.iter().any(|one| one.matches(platform))
        }
        _ => true,
    };
    broken.into_iter().filter(asked).collect()
}

type Configured<'f> = (&'f FoundVariant, ImageConfig);

/// Of several platforms, those that were asked for: all of them have to be there. Of an image for one platform that is
/// asked for one, [`ImageSummary::accept`] says what to do about another.
fn wanted<'f>(variants: Vec<Configured<'f>>, options: &ReadOptions<'_>) -> Result<Vec<Configured<'f>>> {
    if options.expect.is_empty() || (variants.len() < 2 && options.expect.len() < 2) {
        return Ok(variants);
    }
    let there: Vec<&OciPlatform> = variants.iter().map(|(_, config)| &config.platform).collect();
    if let Some(absent) = options.expect.iter().find(|wanted| !there.iter().any(|one| wanted.matches(one))) {
        let listed: Vec<String> = there.iter().map(ToString::to_string).collect();
        return Err(Error::new(&codes::PLATFORM_MISMATCH, format!("the image is not for {absent}"))
            .because(format!("it is for {}", listed.join(", "))));
    }
    let asked = |(_, config): &Configured<'_>| options.expect.iter().any(|one| one.matches(&config.platform));
    Ok(variants.into_iter().filter(asked).collect())
}

fn configuration(
    contents: &Contents,
    found: &FoundVariant,
    options: &ReadOptions<'_>,
) -> Result<ImageConfig> {
    let text = json::utf8(contents.json(found.config), "the image's configuration")?;
    ImageConfig::parse(text, Given { created: options.created.as_deref(), platform: options.assumed() })
}

fn variant(
    contents: &Contents,
    found: &FoundVariant,
    config: ImageConfig,
    names: &[Reference],
) -> Result<ReadVariant> {
    let config_text = json::utf8(contents.json(found.config), "the image's configuration")?;
    let layers = layers(contents, found, &config)?;
    let mut warnings = config.warnings.clone();
    let (executables, verdict) = judge(contents, &layers, &config, &mut warnings);
    warn_about_layers(&layers, &mut warnings);
    if needs_snapshotter(found) {
        let text =
            "the image's layers are empty without nix-snapshotter; only containerd with it can run the image";
        warnings.push(Warning::new(&codes::NEEDS_SNAPSHOTTER, text));
    }
    let written = config.written.clone().unwrap_or_else(|| config_text.to_owned());
    let source = config.source.clone().unwrap_or_else(|| config_text.to_owned());
    let mut read = ReadVariant {
        source_config: (source != written).then_some(source),
        config: written,
        layers: found.layers.iter().map(|(number, _)| *number).collect(),
        manifest: found.manifest.map(|number| String::from_utf8_lossy(contents.json(number)).into_owned()),
        annotations: found.annotations.clone(),
        layer_annotations: found.layer_annotations.clone(),
        summary: summary(config, &layers, names, executables, verdict, warnings),
    };
    let manifest = plain(&read, contents).manifest();
    let source = read.source_config.as_ref();
    read.summary.image_id = digest(read.config.as_bytes());
    read.summary.source_config_digest = digest(source.unwrap_or(&read.config).as_bytes());
    read.summary.source_config = source.cloned();
    read.summary.manifest_digest = digest(&manifest);
    read.summary.manifest_size = manifest.len() as u64;
    Ok(read)
}

/// The image as it is with uncompressed layers, which is how the cache keeps it.
fn plain(variant: &ReadVariant, contents: &Contents) -> OutVariant {
    let stored = |layer: &ReadLayer| Stored {
        diff_id: layer.digest,
        digest: layer.digest,
        size: layer.size,
        compression: Compression::None,
    };
    let stored: Vec<Stored> = contents.layers.iter().map(stored).collect();
    variant.out(&stored)
}

fn summary(
    config: ImageConfig,
    layers: &[&ReadLayer],
    names: &[Reference],
    executables: Vec<crate::summary::Executable>,
    verdict: Verdict,
    warnings: Vec<Warning>,
) -> ImageSummary {
    let nothing = Digest::from_bytes([0; 32]);
    ImageSummary {
        platform: config.platform,
        image_id: nothing,
        source_config_digest: nothing,
        source_config: None,
        manifest_digest: nothing,
        manifest_size: 0,
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
    }
}

fn digest(bytes: &[u8]) -> Digest {
    crate::write::hash(bytes)
}

fn summarise(layer: &ReadLayer, store_paths: Vec<String>) -> LayerSummary {
    LayerSummary { diff_id: layer.digest, size: layer.size, entries: layer.entries, store_paths }
}

fn layers<'c>(
    contents: &'c Contents,
    found: &FoundVariant,
    config: &ImageConfig,
) -> Result<Vec<&'c ReadLayer>> {
    if found.layers.len() != config.diff_ids.len() {
        let (listed, digests) = (found.layers.len(), config.diff_ids.len());
        let text = format!("the manifest lists {listed} layers, the configuration {digests}");
        return Err(Error::new(&codes::LAYER_COUNT, text));
    }
    let total = found.layers.len();
    let check = |(place, ((number, name), expected)): (usize, (&(usize, String), &Digest))| {
        let what = format!("{} of {total} (`{}`)", place + 1, show(name.as_bytes()));
        let layer = contents.layers.get(*number).ok_or_else(|| {
            Error::new(&codes::MISSING_MEMBER, format!("layer {what} is missing in {}", contents.name))
        })?;
        // Half a stream has a wrong digest, too; why it is half explains more.
        if let Some(problem @ super::layer::Problem::Compressed(..)) = &layer.problem {
            return Err(problem.error(&what));
        }
        if layer.digest != *expected {
            let text = format!("layer {what} does not match its digest");
            let error = Error::new(&codes::DIGEST_MISMATCH, text);
            return Err(error.because(format!("it should be {expected}, and is {}", layer.digest)));
        }
        layer.problem.as_ref().map_or(Ok(layer), |problem| Err(problem.error(&what)))
    };
    found.layers.iter().zip(&config.diff_ids).enumerate().map(check).collect()
}

/// What the image is called now. Names in the archive that are none are left out, with a warning.
fn names(found: &[String], naming: &Naming, warnings: &mut Vec<Warning>) -> Result<Vec<Reference>> {
    let mut names = match naming {
        Naming::Replace(names) => return Ok(names.clone()),
        Naming::Tag(tag) => tagged(found, tag)?,
        Naming::Keep => found.iter().filter_map(|name| Reference::parse(name).ok()).collect(),
    };
    if matches!(naming, Naming::Keep) {
        warnings
            .extend(found.iter().filter(|name| Reference::parse(name).is_err()).map(|name| no_name(name)));
    }
    let mut seen = HashSet::new();
    names.retain(|name| seen.insert(name.clone()));
    Ok(names)
}

/// The names with another tag; whether their own is one does not matter.
fn tagged(found: &[String], tag: &str) -> Result<Vec<Reference>> {
    let names: Vec<Reference> = found.iter().filter_map(|name| Reference::without_tag(name).ok()).collect();
    if names.is_empty() {
        let text = format!("there is no name that the tag `{}` could go on", show(tag.as_bytes()));
        return Err(Error::new(&codes::NO_NAME, text)
            .remedy(Remedy::command("give a whole name", shell!("-t {}", format!("NAME:{tag}")))));
    }
    names.iter().map(|name| name.with_tag(tag)).collect()
}

fn no_name(name: &str) -> Warning {
    let shown = show(name.as_bytes());
    let why = Reference::parse(name).err().and_then(|error| error.report().causes.first().cloned());
    let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
    let text = format!(
        "the archive calls its image `{shown}`, which is no image reference{why}, so it has no name now"
    );
    let text = match Reference::nearest(name) {
        Some(near) => format!("{text}: give it one, such as -t {near}"),
        None => format!("{text}: give it one with -t"),
    };
    Warning::new(&codes::BAD_NAME, text)
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
    let launch = Launch {
        argv: config.argv(),
        env: &config.env,
        working_dir: config.working_dir.as_deref(),
        user: config.user.as_deref(),
    };
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
