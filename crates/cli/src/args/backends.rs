//! Backends, ready or not: `backends`, `shell`, `provision`, `doctor`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};

use super::{ConsentArgs, DockerArgs};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct BackendsArgs {
    #[command(subcommand)]
    pub(crate) command: Option<BackendsCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BackendsCommand {
    /// Show everything about one backend, its settings included.
    Show {
        /// Its name.
        name: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ShellArgs {
    /// On this backend; repeat for an order of preference.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) backend: Vec<String>,
    /// Use this profile of nixoci.toml.
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Option<String>,
    /// Where something for this platform would be built.
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<String>,
    /// Fail rather than make a backend ready.
    #[arg(long)]
    pub(crate) no_provision: bool,
    #[command(flatten)]
    pub(crate) consent: ConsentArgs,
    /// Run this there instead of a shell.
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct ProvisionArgs {
    /// This backend; repeat for an order of preference.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) backend: Vec<String>,
    /// For which platform, such as linux/amd64; repeat for several.
    #[arg(long, value_name = "PLATFORM", value_delimiter = ',')]
    pub(crate) platform: Vec<String>,
    /// Stop what it keeps running.
    #[arg(long, conflicts_with = "remove")]
    pub(crate) stop: bool,
    /// Undo what was done to make it ready.
    #[arg(long)]
    pub(crate) remove: bool,
    /// Add a Linux builder to this file of a nix-darwin configuration, after showing what changes in it.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with_all = ["stop", "remove"])]
    pub(crate) write: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) consent: ConsentArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Build something tiny for each platform on each backend that is ready, and read it back. May start a builder
    /// that sleeps.
    #[arg(long)]
    pub(crate) build: bool,
    #[command(flatten)]
    pub(crate) docker: DockerArgs,
}
