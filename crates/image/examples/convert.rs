//! Reads an image and writes the hybrid archive, for measuring: `convert IMAGE [OUT.tar]`. Without OUT it only
//! checks.

use std::io::Write;
use std::path::Path;
use std::time::Instant;

use nixoci_core::Result;
use nixoci_image::{Input, ReadOptions, check, import};
use tokio_util::sync::CancellationToken;

fn main() -> std::process::ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let started = Instant::now();
    let (text, code) = match convert(&arguments) {
        Ok(text) => (format!("{text}{:.3} s\n", started.elapsed().as_secs_f64()), 0),
        Err(error) => (format!("{:#?}\n", error.report()), 1),
    };
    let _ = std::io::stdout().write_all(text.as_bytes());
    code.into()
}

fn convert(arguments: &[String]) -> Result<String> {
    let cancel = CancellationToken::new();
    let options = ReadOptions::new(&cancel);
    let input = Input::file(Path::new(arguments.first().map_or("", String::as_str)))?;
    let summary = match arguments.get(1) {
        Some(out) => {
            let opened =
                std::fs::File::options().read(true).write(true).create(true).truncate(true).open(out);
            let mut out = opened.map_err(|error| {
                nixoci_core::Error::new(&nixoci_image::codes::WRITE_FAILED, out).caused_by(&error)
            })?;
            import(input, &options, &mut out)?.images
        }
        None => check(input, &options)?,
    };
    let Some(summary) = summary.first().and_then(|image| image.platforms.first()) else {
        return Ok(String::new());
    };
    let layers = summary.layers.len();
    Ok(format!(
        "{:?} {:?}\n{:#?}\n{layers} layers, {} bytes, {} entries\n",
        summary.names,
        summary.verdict,
        summary.warnings,
        summary.size,
        summary.layers.iter().map(|layer| layer.entries).sum::<u64>()
    ))
}
