//! `nixoci inspect` and `nixoci validate`: what is in an image file, and whether it holds together.

use std::fmt::Write as _;

use nixoci_core::Result;
use nixoci_core::platform::OciPlatform;
use nixoci_core::text::{bytes, count};
use nixoci_image::{Image, ImageSummary, Verdict};
use schemars::JsonSchema;
use serde::Serialize;

use super::source::{Source, reading};
use crate::app::App;
use crate::args::{SourceArgs, ValidateArgs};
use crate::output::Verbosity;
use crate::resolve;

/// What is in an archive or a layout.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct InspectReport {
    /// The version of this document.
    version: u32,
    /// Its images.
    images: Vec<Image>,
}

/// An archive or a layout that holds together. One that does not is an error.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ValidateReport {
    /// The version of this document.
    version: u32,
    /// Always true.
    valid: bool,
    /// Its images.
    images: Vec<Image>,
}

pub(crate) async fn inspect(app: &App, args: &SourceArgs) -> Result<u8> {
    let images = check(app, &args.source, Vec::new()).await?;
    app.ui.finish();
    let text = if app.printer.verbosity < Verbosity::Normal { digests(&images) } else { human(&images) };
    app.printer.result(&InspectReport { version: 1, images }, &text)?;
    Ok(0)
}

/// The id of each image: of its configuration, or of the index where there are several platforms.
fn digests(images: &[Image]) -> String {
    let id = |image: &Image| match image.platforms.as_slice() {
        [one] => one.image_id.to_string(),
        several => several.iter().map(|one| one.image_id.to_string()).collect::<Vec<_>>().join("\n"),
    };
    images.iter().map(|image| id(image) + "\n").collect()
}

pub(crate) async fn validate(app: &App, args: &ValidateArgs) -> Result<u8> {
    let expect = args.platform.as_deref().map(resolve::parse_platform).transpose()?;
    let images = check(app, &args.source.source, expect.into_iter().collect())
        .await
        // Whoever validates does not take the image, and cannot take it as it is.
        .map_err(|error| error.without_remedy("--allow-mismatch"))?;
    for warning in images.iter().flat_map(|image| &image.platforms).flat_map(|platform| &platform.warnings) {
        app.cx().observer.warn(warning.text.clone(), Vec::new());
    }
    app.ui.finish();
    let ok = |image: &Image, one: &ImageSummary| {
        let name = image.names().first().filter(|_| images.len() > 1);
        let name = name.map(|name| format!("{name}, ")).unwrap_or_default();
        let layers = count(one.layers.len(), "layer");
        format!("{}: ok, {name}{}, {layers}, {}\n", args.source.source, one.platform, bytes(one.size))
    };
    let lines = images.iter().flat_map(|image| image.platforms.iter().map(move |one| ok(image, one)));
    let text: String = lines.collect();
    app.printer.result(&ValidateReport { version: 1, valid: true, images }, &text)?;
    Ok(0)
}

async fn check(app: &App, source: &str, expect: Vec<OciPlatform>) -> Result<Vec<Image>> {
    let source = Source::parse(app, source)?;
    let title = source.shown.clone();
    reading(app, &title, move |mut options| {
        options.expect = expect;
        options.only.clone_from(&source.only);
        nixoci_image::check(source.open()?, &options)
    })
    .await
}

fn human(images: &[Image]) -> String {
    let platforms = images.iter().flat_map(|image| &image.platforms);
    platforms.map(platform).collect::<Vec<String>>().join("\n")
}

fn platform(image: &ImageSummary) -> String {
    let mut text = String::new();
    let mut row = |key: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(text, "{key:<12}{value}");
        }
    };
    row("name", &image.names.join(", "));
    row("platform", &image.platform.to_string());
    row("image id", &image.image_id.to_string());
    row("manifest", &image.manifest_digest.to_string());
    row("created", image.created.as_deref().unwrap_or_default());
    row("entrypoint", &words(&image.entrypoint));
    row("cmd", &words(&image.cmd));
    row("env", &image.env.join(" "));
    row("user", image.user.as_deref().unwrap_or_default());
    row("workdir", image.working_dir.as_deref().unwrap_or_default());
    for (place, executable) in image.executables.iter().enumerate() {
        let machine = executable.machine.as_ref().map_or_else(|| "script".to_owned(), ToString::to_string);
        // Where it was found, what the container would start comes first; then what starts that, and a sample.
        let label = if place == 0 && image.verdict == Verdict::Runs { "starts" } else { "program" };
        row(label, &format!("{} ({machine})", executable.path));
    }
    for warning in &image.warnings {
        row("warning", &warning.text);
    }
    if let Some(platform) = crossed(image) {
        row(
            "crossed",
            &format!("for {platform}: an image that a Linux machine builds of the same has other digests"),
        );
    }
    let _ = writeln!(text, "{:<12}{}, {}", "layers", image.layers.len(), bytes(image.size));
    for layer in &image.layers {
        let short = &layer.diff_id.hex()[..12];
        let paths: Vec<&str> = layer.store_paths.iter().map(|path| name_of(path)).collect();
        let _ = writeln!(text, "  {short}  {:>9}  {}", bytes(layer.size), paths.join(" "));
    }
    text
}

/// The platform that nixpkgs writes into the name of what was cross compiled, if that is in the image. Static packages have it in any
/// case.
fn crossed(image: &ImageSummary) -> Option<&str> {
    let names = image.layers.iter().flat_map(|layer| &layer.store_paths).map(|path| name_of(path));
    names.filter(|name| !name.contains("-static-")).find_map(|name| {
        let at = name.find("-unknown-linux-")?;
        let begin = name[..at].rfind('-').map_or(0, |dash| dash + 1);
        let end = name[at + "-unknown-linux-".len()..]
            .find('-')
            .map_or(name.len(), |end| at + "-unknown-linux-".len() + end);
        name.get(begin..end)
    })
}

/// A store path without its directory and hash.
fn name_of(path: &str) -> &str {
    path.rsplit_once('/').and_then(|(_, base)| base.split_once('-')).map_or(path, |(_, name)| name)
}

fn words(words: &[String]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| nixoci_core::runner::quote(word.as_ref())).collect();
    quoted.join(" ")
}
