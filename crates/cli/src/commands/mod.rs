//! One file per command. A command takes settings, does its work, and returns an exit code.

pub(crate) mod backends;
pub(crate) mod build;
pub(crate) mod cache;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod convert;
pub(crate) mod doctor;
pub(crate) mod explain;
mod foreground;
pub(crate) mod image;
pub(crate) mod init;
pub(crate) mod load;
pub(crate) mod man;
pub(crate) mod plan;
pub(crate) mod plugin;
pub(crate) mod provision;
pub(crate) mod run;
pub(crate) mod schema;
pub(crate) mod shell;
pub(crate) mod source;

use nixoci_core::{Error, Result};

use crate::app::App;
use crate::args::Command;

/// Runs a command that needs to know the machine.
pub(crate) async fn dispatch(app: &App, command: Command) -> Result<u8> {
    match command {
        Command::Build(command) if command.dry_run => plan::run(app, &command.args).await,
        Command::Build(command) => build::run(app, &command).await,
        Command::Run(args) => run::run(app, args).await,
        Command::Plan(args) => plan::run(app, &args).await,
        Command::Shell(args) => shell::run(app, args).await,
        Command::Provision(args) => provision::run(app, args).await,
        Command::Backends(args) => backends::run(app, &args).await,
        Command::Doctor(args) => doctor::run(app, args).await,
        Command::Convert(args) => convert::convert(app, &args).await,
        Command::Merge(args) => convert::merge(app, &args).await,
        Command::Load(args) => load::run(app, &args).await,
        Command::Init(args) => init::run(app, &args).await,
        Command::Inspect(args) => image::inspect(app, &args).await,
        Command::Validate(args) => image::validate(app, &args).await,
        Command::Cache(args) => cache::run(app, &args).await,
        Command::Plugin(args) => plugin::run(app, args).await,
        Command::Config(args) => config::run(app, &args),
        Command::Completions(_)
        | Command::Man(_)
        | Command::Schema(_)
        | Command::Explain(_)
        | Command::Watchdog => Err(Error::new(&nixoci_core::codes::BUG, "this command needs no application")),
    }
}
