//! `nixoci completions`.

use clap::CommandFactory;
use nixoci_core::Result;

use crate::args::{Cli, CompletionsArgs};
use crate::output::Printer;

pub(crate) fn run(printer: &Printer, args: &CompletionsArgs) -> Result<u8> {
    let mut script = Vec::new();
    // Not straight to standard output: the generator panics where a reader goes away early.
    clap_complete::generate(args.shell, &mut Cli::command(), "nixoci", &mut script);
    printer.text(&String::from_utf8_lossy(&script))?;
    Ok(0)
}
