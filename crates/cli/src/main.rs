//! The binary `nixoci`: reads the command line, runs one command, reports its end.

mod app;
mod args;
mod backends;
mod codes;
mod commands;
mod created;
mod frame;
mod habits;
mod output;
mod plugins;
#[cfg(test)]
mod reference;
mod report;
mod resolve;
mod schemas;
mod signal;
mod terminal;
mod trust;

use std::process::ExitCode;

use clap::Parser;

/// The hidden command that ends what a killed nixoci leaves behind.
pub(crate) const WATCHDOG: &str = "__watchdog";

fn main() -> ExitCode {
    // The watchdog is started often and must be ready at once: it takes no detour through the parser.
    if std::env::args_os().nth(1).is_some_and(|arg| arg == WATCHDOG) {
        nixoci_nix::watchdog_main(std::io::stdin());
        return ExitCode::SUCCESS;
    }
    if std::env::args_os().nth(1).is_some_and(|arg| arg == nixoci_nix::keeper::KEEPER) {
        return nixoci_nix::keeper::keeper_main(std::env::args_os().skip(2));
    }
    if std::env::args_os().nth(1).is_some_and(|arg| arg == nixoci_plugin::host::PLUGIN_HOST) {
        return nixoci_plugin::host::plugin_host_main(std::env::args_os().skip(2));
    }
    match args::Cli::try_parse() {
        Ok(cli) => frame::run(cli),
        Err(error) => report::usage(&error),
    }
}
