//! `nixoci completions`.

use clap::CommandFactory;
use nixoci_core::Result;

use crate::args::{Cli, CompletionsArgs};

pub(crate) fn run(args: &CompletionsArgs) -> Result<u8> {
    clap_complete::generate(args.shell, &mut Cli::command(), "nixoci", &mut std::io::stdout());
    Ok(0)
}
