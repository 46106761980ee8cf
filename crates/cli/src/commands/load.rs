//! `nixoci load`: an image file into a runtime.

use nixoci_core::Result;
use nixoci_core::digest::Digest;
use nixoci_core::platform::OciPlatform;
use nixoci_image::{Image, Mismatch, Naming};
use schemars::JsonSchema;
use serde::Serialize;

use super::source::{Source, import_source};
use crate::app::App;
use crate::args::LoadArgs;
use crate::output::Verbosity;
use crate::resolve;

/// An image that a runtime has now.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LoadReport {
    /// The version of this document.
    version: u32,
    /// The runtime.
    runtime: &'static str,
    /// How it calls the image, best for running first.
    references: Vec<String>,
    /// Its own id for the image.
    image_id: Digest,
    /// The images.
    images: Vec<Image>,
}

pub(crate) async fn run(app: &App, args: &LoadArgs) -> Result<u8> {
    let sink = resolve::sink(resolve::runtime(&args.runtime)?, args.docker.docker_host.as_deref())?;
    let cache = app.cache()?;
    let naming = Naming::parse(&args.tag)?;
    let platforms: Result<Vec<OciPlatform>> =
        args.platform.iter().map(|text| resolve::parse_platform(text)).collect();
    let (platforms, allow_mismatch) = (platforms?, args.allow_mismatch);
    let source = Source::parse(app, &args.source.source)?;
    let expect = platforms.clone();
    let (image, transient) = import_source(app, &cache, source, move |options| {
        options.names = naming;
        options.mismatch = Mismatch::allowed(allow_mismatch);
        options.expect = expect;
    })
    .await?;
    for summary in image.platforms() {
        // It may be in the cache since somebody took it with --allow-mismatch.
        for warning in summary.accept(&platforms, Mismatch::allowed(allow_mismatch))? {
            app.cx().observer.warn(warning.text, Vec::new());
        }
    }
    let loaded = nixoci_engine::load(&app.engine(&cache), &sink, &image).await?;
    if let Some(key) = transient {
        cache.forget(&key);
    }
    app.ui.finish();
    let quiet = app.printer.verbosity < Verbosity::Normal;
    let references: Vec<String> = loaded.images.iter().flat_map(|one| one.references.clone()).collect();
    let Some(first) = loaded.images.first() else { return Ok(0) };
    let shown: String = match (quiet, image.images()) {
        // One runnable reference an image.
        (false, [_, _, ..]) => references.join("\n"),
        (false, _) => references.first().cloned().unwrap_or_else(|| first.id.to_string()),
        (true, _) => first.id.to_string(),
    };
    let document = LoadReport {
        version: 1,
        runtime: loaded.runtime.name(),
        references,
        image_id: first.id,
        images: image.images().to_vec(),
    };
    app.printer.result(&document, &format!("{shown}\n"))?;
    Ok(0)
}
