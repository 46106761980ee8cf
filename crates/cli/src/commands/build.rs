//! `nixoci build`.

use nixoci_core::Result;
use nixoci_core::text::{bytes, count};
use nixoci_engine::BuildReport;

use crate::app::App;
use crate::args::BuildCommand;
use crate::output::{SideFiles, Verbosity};
use crate::{created, resolve};

pub(crate) async fn run(app: &App, command: &BuildCommand) -> Result<u8> {
    let args = &command.args;
    let mut job = resolve::job(app, args)?;
    job.created = created::date(app, args.place.created.as_deref()).await?;
    let sinks = &job.sinks;
    let goes_somewhere = !sinks.outputs.is_empty() || sinks.load.is_some() || sinks.link.is_some();
    let files = SideFiles::check(&command.files, &app.cwd, goes_somewhere)?;
    if let Some(limit) = args.how.timeout {
        app.signals.limit(limit);
    }
    let cache = app.cache()?;
    let report = nixoci_engine::build(&app.engine(&cache), &job).await?;
    app.ui.finish();
    summary(app, &report);
    files.write(&serde_json::to_value(&report).unwrap_or_default())?;
    app.printer.result(&report, &result(app, &report))?;
    Ok(0)
}

/// What a person reads on standard error at the end.
pub(crate) fn summary(app: &App, report: &BuildReport) {
    if app.printer.verbosity < Verbosity::Normal || app.printer.format != crate::args::Format::Human {
        return;
    }
    for image in &report.images {
        for platform in &image.platforms {
            let size: u64 = platform.layers.iter().map(|layer| layer.size).sum();
            app.printer.err(&format!(
                "{} ({}): {}, {}, checked\n",
                image.name.as_deref().unwrap_or("image without a name"),
                platform.platform,
                count(platform.layers.len(), "layer"),
                bytes(size)
            ));
        }
        let hint = image.outputs.iter().find(|output| output.dest.starts_with("./"));
        if let (Some(link), Some(name)) = (hint, &image.name) {
            app.printer.err(&format!(
                "load and run it: docker load < {} && docker run --rm {name}\n",
                link.reference.trim_start_matches("./")
            ));
        }
    }
}

/// What a script reads on standard output: a reference that runs, else a path; digests with `-q`.
fn result(app: &App, report: &BuildReport) -> String {
    let quiet = app.printer.verbosity < Verbosity::Normal;
    let lines = report.images.iter().map(|image| {
        let output = image.loaded().or(image.outputs.first());
        let digest = image
            .outputs
            .first()
            .and_then(|output| output.platforms.first())
            .map(|p| p.manifest_digest.to_string());
        match (quiet, output) {
            (true, _) => digest.unwrap_or_else(|| {
                image.platforms.first().map(|p| p.image_id.to_string()).unwrap_or_default()
            }),
            (false, Some(output)) => output.reference.clone(),
            (false, None) => image.platforms.first().map(|p| p.store_path.to_string()).unwrap_or_default(),
        }
    });
    lines.map(|line| line + "\n").collect()
}
