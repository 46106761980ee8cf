//! `nixoci convert` and `nixoci merge`: from files to a file, with nothing else touched.

use std::sync::Arc;

use nixoci_core::platform::OciPlatform;
use nixoci_core::text::bytes;
use nixoci_core::{Error, Result};
use nixoci_image::{Codec, Delivered, Destination, Image, Mismatch, Naming};
use schemars::JsonSchema;
use serde::Serialize;

use super::source::{Source, reading};
use crate::app::App;
use crate::args::{ConvertArgs, MergeArgs, RewriteArgs};
use crate::codes::USAGE;
use crate::output::Verbosity;
use crate::{created, resolve};

/// Images that were written in another form.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ConvertReport {
    /// The version of this document.
    version: u32,
    /// What was read.
    images: Vec<Image>,
    /// What was written of each image.
    outputs: Vec<Delivered>,
}

pub(crate) async fn convert(app: &App, args: &ConvertArgs) -> Result<u8> {
    run(app, vec![args.source.clone()], &args.destination, &args.how, false).await
}

pub(crate) async fn merge(app: &App, args: &MergeArgs) -> Result<u8> {
    let Some((destination, sources)) = args.places.split_last() else {
        return Err(Error::new(&USAGE, "merge takes sources and a destination"));
    };
    run(app, sources.to_vec(), destination, &args.how, true).await
}

async fn run(
    app: &App,
    sources: Vec<String>,
    destination: &str,
    how: &RewriteArgs,
    merge: bool,
) -> Result<u8> {
    let destination = compressed(Destination::parse(destination, &app.cwd)?, how.compression.as_deref())?;
    let sources: Result<Vec<Source>> = sources.iter().map(|source| Source::parse(app, source)).collect();
    let (sources, naming) = (sources?, Naming::parse(&how.tag)?);
    let platforms: Result<Vec<OciPlatform>> =
        how.platform.iter().map(|text| resolve::parse_platform(text)).collect();
    let (platforms, allow_mismatch) = (platforms?, how.allow_mismatch);
    let created = created::date(app, how.created.as_deref()).await?;
    destination.check()?;
    let title = destination.to_string();
    let (temporary, shown) = (Arc::clone(&app.temporary), destination.path().display().to_string());
    let (images, outputs) = reading(app, &title, move |mut options| {
        options.names = naming;
        options.expect = platforms;
        options.mismatch = Mismatch::allowed(allow_mismatch);
        options.created = created;
        let mut inputs = Vec::new();
        for source in &sources {
            let mut options = options.clone();
            options.only.clone_from(&source.only);
            inputs.push((source.open()?, options));
        }
        if merge {
            return nixoci_image::merge(inputs, &destination, temporary.as_ref());
        }
        let (input, options) = inputs.pop().ok_or_else(|| Error::new(&USAGE, "there is nothing to read"))?;
        nixoci_image::convert(input, &options, &destination, temporary.as_ref())
    })
    .await?;
    for summary in images.iter().flat_map(|image| &image.platforms) {
        for warning in summary.accept(&[], Mismatch::allowed(allow_mismatch))? {
            app.cx().observer.warn(warning.text, Vec::new());
        }
    }
    app.ui.finish();
    told(app, &outputs);
    let quiet = app.printer.verbosity < Verbosity::Normal;
    let text = if quiet {
        outputs.iter().map(|output| format!("{}\n", output.digest)).collect()
    } else {
        format!("{shown}\n")
    };
    app.printer.result(&ConvertReport { version: 1, images, outputs }, &text)?;
    Ok(0)
}

/// The destination with the compression that was asked for.
pub(crate) fn compressed(destination: Destination, compression: Option<&str>) -> Result<Destination> {
    match compression {
        Some(text) => destination.compressed(Codec::parse(text)?),
        None => Ok(destination),
    }
}

/// What a person reads on standard error at the end.
fn told(app: &App, outputs: &[Delivered]) {
    if app.printer.verbosity < Verbosity::Normal || app.printer.format != crate::args::Format::Human {
        return;
    }
    for output in outputs {
        let platforms: Vec<String> = output.platforms.iter().map(|one| one.platform.to_string()).collect();
        app.printer.err(&format!(
            "{} ({}): {}, {}\n",
            output.reference.as_deref().unwrap_or("image without a name"),
            platforms.join(", "),
            output.dest,
            bytes(output.size)
        ));
    }
}
