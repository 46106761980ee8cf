//! `init` and `config`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};

#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// The image, where it cannot be found out: .#container, or with --file an attribute of that file.
    #[arg(value_name = "INSTALLABLE")]
    pub(crate) installable: Option<String>,
    /// The image is made by this Nix file instead of a flake.
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    pub(crate) command: ConfigCommand,
}

#[derive(Debug, Args)]
pub(crate) struct TrustArgs {
    /// The file; the one that applies in this directory if absent.
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print every setting.
    Show {
        /// With where each value comes from.
        #[arg(long)]
        origin: bool,
        /// As this profile of nixoci.toml has it.
        #[arg(long, value_name = "NAME")]
        profile: Option<String>,
    },
    /// Trust a project's nixoci.toml with what it may not do by itself, until it changes.
    Trust(TrustArgs),
    /// No longer trust a project's nixoci.toml.
    Untrust(TrustArgs),
    /// Check nixoci.toml and the user's configuration.
    Check,
    /// Print the JSON Schema of nixoci.toml.
    Schema,
}
