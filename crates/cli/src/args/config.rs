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
    /// Check nixoci.toml and the user's configuration.
    Check,
    /// Print the JSON Schema of nixoci.toml.
    Schema,
}
