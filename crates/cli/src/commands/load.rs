//! `nixoci load`: an image file into a runtime.

use nixoci_core::Result;
use nixoci_core::digest::Digest;
use nixoci_image::{ImageSummary, Naming};
use schemars::JsonSchema;
use serde::Serialize;

use super::image::import_file;
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
    /// The image.
    image: ImageSummary,
}

pub(crate) async fn run(app: &App, args: &LoadArgs) -> Result<u8> {
    let sink = resolve::sink(resolve::runtime(&args.runtime)?, args.docker.docker_host.as_deref())?;
    let cache = app.cache()?;
    let naming = Naming::parse(&args.tag)?;
    let image = import_file(app, &cache, &args.source.source, naming, args.allow_mismatch).await?;
    // It may be in the cache since somebody took it with --allow-mismatch.
    for warning in image.summary.accept(None, args.allow_mismatch)? {
        app.cx().observer.warn(warning.text, Vec::new());
    }
    let loaded = nixoci_engine::load(&app.engine(&cache), &sink, &image).await?;
    app.ui.finish();
    let quiet = app.printer.verbosity < Verbosity::Normal;
    let reference = loaded.references.first().filter(|_| !quiet);
    let shown = reference.cloned().unwrap_or_else(|| loaded.image_id.to_string());
    let document = LoadReport {
        version: 1,
        runtime: loaded.runtime.name(),
        references: loaded.references,
        image_id: loaded.image_id,
        image: image.summary.clone(),
    };
    app.printer.result(&document, &format!("{shown}\n"))?;
    Ok(0)
}
