//! `nixoci load`: an image file into a runtime.

use nixoci_core::Result;
use nixoci_engine::LoadSink;
use nixoci_image::Naming;

use super::image::import_file;
use crate::app::App;
use crate::args::LoadArgs;
use crate::output::Verbosity;
use crate::resolve;

pub(crate) async fn run(app: &App, args: &LoadArgs) -> Result<u8> {
    let sink =
        LoadSink { runtime: resolve::runtime(&args.runtime)?, docker_host: args.docker.docker_host.clone() };
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
    let document = serde_json::json!({
        "version": 1,
        "runtime": loaded.runtime,
        "references": loaded.references,
        "imageId": loaded.image_id,
        "image": image.summary,
    });
    app.printer.result(&document, &format!("{shown}\n"))?;
    Ok(0)
}
