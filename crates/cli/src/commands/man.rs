//! `nixoci man`: the manual pages, for packages.

use std::path::PathBuf;

use clap::CommandFactory;
use nixoci_core::{Error, Result};
use nixoci_image::codes::WRITE_FAILED;
use schemars::JsonSchema;
use serde::Serialize;

use crate::args::{Cli, ManArgs};
use crate::output::Printer;

/// The manual pages that were written.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ManReport {
    /// The version of this document.
    version: u32,
    /// The files.
    pages: Vec<PathBuf>,
}

pub(crate) fn run(printer: &Printer, args: &ManArgs) -> Result<u8> {
    let failed = |error: &std::io::Error| {
        Error::new(&WRITE_FAILED, format!("the manual pages could not be written to {}", args.out.display()))
            .caused_by(error)
    };
    std::fs::create_dir_all(&args.out).map_err(|error| failed(&error))?;
    clap_mangen::generate_to(Cli::command(), &args.out).map_err(|error| failed(&error))?;
    let mut pages: Vec<PathBuf> = std::fs::read_dir(&args.out)
        .map_err(|error| failed(&error))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "1"))
        .collect();
    pages.sort();
    let text: String = pages.iter().map(|page| format!("{}\n", page.display())).collect();
    printer.result(&ManReport { version: 1, pages }, &text)?;
    Ok(0)
}
