//! The command line, as types. Nothing here decides anything: [`crate::app`] resolves these into plain settings.

use std::path::PathBuf;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};

mod backends;
mod build;
mod config;
mod docs;
mod image;
mod plugin;

pub(crate) use backends::*;
pub(crate) use build::*;
pub(crate) use config::*;
pub(crate) use docs::*;
pub(crate) use image::*;
pub(crate) use plugin::*;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default())
    .placeholder(AnsiColor::Cyan.on_default());

/// Build, check, load and run container images from Nix expressions.
#[derive(Debug, Parser)]
#[command(name = "nixoci", version, styles = STYLES, propagate_version = true, max_term_width = 100)]
#[command(after_help = "Start with `nixoci doctor`, then `nixoci build .#container --load`.\n\
    Exit codes: `nixoci explain exit-codes`.")]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// How the result is printed on standard output.
    #[arg(long, global = true, value_enum, default_value_t = Format::Human)]
    pub(crate) format: Format,
    /// When to colour what goes to the terminal.
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    pub(crate) color: Color,
    /// How progress is shown on standard error.
    #[arg(long, global = true, value_enum, default_value_t = Progress::Auto, value_name = "HOW")]
    pub(crate) progress: Progress,
    /// Write events and the result as lines of JSON to this open file descriptor (3 or above), too.
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(i32).range(3..))]
    pub(crate) progress_fd: Option<i32>,
    /// Say less: once prints digests and no progress, twice only errors.
    #[arg(short, long, global = true, action = clap::ArgAction::Count, conflicts_with = "verbose")]
    pub(crate) quiet: u8,
    /// Say more: explain decisions, show the builders' logs.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Read this configuration file instead of looking for nixoci.toml.
    #[arg(long, global = true, value_name = "FILE", env = "NIXOCI_CONFIG_FILE", hide_env_values = true,
        value_hint = ValueHint::FilePath, conflicts_with = "no_config")]
    pub(crate) config_file: Option<PathBuf>,
    /// Trust the project's nixoci.toml, for this command alone.
    #[arg(long, global = true, env = "NIXOCI_TRUST_PROJECT", hide_env_values = true, action = clap::ArgAction::SetTrue,
        value_parser = clap::builder::FalseyValueParser::new())]
    pub(crate) trust_project: bool,
    /// Read no configuration file at all.
    #[arg(long, global = true)]
    pub(crate) no_config: bool,
    /// Run as if started in this directory.
    #[arg(short = 'C', global = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) directory: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Human,
    /// One JSON document.
    Json,
    /// A line of JSON per event, then the result.
    Jsonl,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless NO_COLOR or TERM=dumb say otherwise.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Progress {
    /// Bars on a terminal, unless TERM=dumb or CI say otherwise; else plain lines.
    Auto,
    /// Bars also where CI is set; plain lines where no terminal can draw them.
    Tty,
    /// Plain lines.
    Plain,
    /// No progress; warnings and errors only.
    None,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build an image, check it, and load it, write it or link ./result to it.
    Build(BuildCommand),
    /// Build an image, load it into a container runtime, and run it.
    Run(RunArgs),
    /// Show what build would do, without doing it.
    Plan(BuildArgs),
    /// Make the backend ready that build would take, or put it away.
    Provision(ProvisionArgs),
    /// List the backends: usable here? for which platforms? why not?
    Backends(BackendsArgs),
    /// Look for everything that could stand in the way, and say how to fix it.
    Doctor(DoctorArgs),
    /// Open a shell where something would be built.
    Shell(ShellArgs),
    /// Load an image file into a container runtime.
    Load(LoadArgs),
    /// Write an image in another form, such as an OCI layout. Needs no Nix.
    Convert(ConvertArgs),
    /// Make one image of images for several platforms.
    Merge(MergeArgs),
    /// Show what is in an image and what it weighs.
    Inspect(SourceArgs),
    /// Check an image: digests, platform, the machine of its programs, unsafe paths.
    Validate(ValidateArgs),
    /// Write a nixoci.toml for what is in this directory, and a flake.nix where there is nothing.
    Init(InitArgs),
    /// Show or check the configuration.
    Config(ConfigArgs),
    /// Backends from elsewhere: list, trust, check or write them.
    Plugin(PluginArgs),
    /// Show the images that are kept between runs, or let go of them.
    Cache(CacheArgs),
    /// Explain an error code or a topic.
    Explain(ExplainArgs),
    /// Print the JSON Schema of what nixoci prints as JSON.
    Schema(SchemaArgs),
    /// Print a completion script for a shell.
    Completions(CompletionsArgs),
    /// Write the manual pages. For packages.
    #[command(hide = true)]
    Man(ManArgs),
    /// Ends what a killed nixoci left behind. Started by nixoci itself.
    #[command(name = crate::WATCHDOG, hide = true)]
    Watchdog,
}

impl Command {
    /// How to build, where something is built.
    pub(crate) fn how(&self) -> Option<&How> {
        match self {
            Command::Build(command) => Some(&command.args.how),
            Command::Plan(args) => Some(&args.how),
            Command::Run(args) => Some(&args.how),
            _ => None,
        }
    }
}
