//! `nixoci plugin`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};

#[derive(Debug, Args)]
pub(crate) struct PluginArgs {
    /// Look for plugins in this directory before all others.
    #[arg(long = "plugin-dir", global = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) dirs: Vec<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: PluginCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PluginCommand {
    /// List the plugins there are, and which of them are trusted. Loads none.
    List,
    /// Show what a plugin is. One that is not trusted is not loaded.
    Show(PluginShowArgs),
    /// Trust a plugin: it runs with your rights from then on, as long as its file stays as it is.
    Trust(PluginTrustArgs),
    /// Take the trust in a plugin back.
    Untrust(PluginUntrustArgs),
    /// Write the project of a new backend, which builds and passes the checks.
    New(PluginNewArgs),
    /// Check that a plugin keeps the contract of a backend. Loads it.
    Check(PluginCheckArgs),
}

#[derive(Debug, Args)]
pub(crate) struct PluginShowArgs {
    /// The plugin's name, or its file.
    #[arg(value_name = "NAME|FILE", value_hint = ValueHint::FilePath)]
    pub(crate) plugin: String,
}

#[derive(Debug, Args)]
pub(crate) struct PluginTrustArgs {
    /// The plugin's file, or its name, if it lies where plugins are looked for.
    #[arg(value_name = "NAME|FILE", value_hint = ValueHint::FilePath)]
    pub(crate) plugin: String,
    /// Trust it only if its file has this SHA-256, in hexadecimal.
    #[arg(long, value_name = "HEX")]
    pub(crate) sha256: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct PluginUntrustArgs {
    /// The plugin's name.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
}

#[derive(Debug, Args)]
pub(crate) struct PluginNewArgs {
    /// The backend's name: lower-case words with dashes. Its project is written to a directory of that name.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
}

#[derive(Debug, Args)]
pub(crate) struct PluginCheckArgs {
    /// The plugin's file, or its name, if it lies where plugins are looked for.
    #[arg(value_name = "NAME|FILE", value_hint = ValueHint::FilePath)]
    pub(crate) plugin: String,
    /// For which system to build; this machine's Linux if it is left out.
    #[arg(long, value_name = "SYSTEM")]
    pub(crate) system: Option<String>,
    /// Build from this Nix file, a function of `system` and `name`, instead of something that needs nothing but a shell. It should take a
    /// second or two.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "no_build")]
    pub(crate) file: Option<PathBuf>,
    /// Leave out what needs builds.
    #[arg(long)]
    pub(crate) no_build: bool,
}
