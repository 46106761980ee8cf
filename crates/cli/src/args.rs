//! The command line, as types. Nothing here decides anything: [`crate::app`] resolves these into plain settings.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};

mod plugin;

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

/// What to build.
#[derive(Debug, Args)]
pub(crate) struct What {
    /// What to build: .#container, ./dir#attr, path:…, git+…, github:…, a store path, the name of one of
    /// nixoci.toml's images; with --file, an attribute of that file.
    #[arg(value_name = "INSTALLABLE")]
    pub(crate) installable: Option<String>,
    /// Build from a Nix file instead of a flake.
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) file: Option<PathBuf>,
    /// The attribute of --file to build.
    #[arg(short = 'A', long, value_name = "ATTR", requires = "file", conflicts_with = "installable")]
    pub(crate) attr: Option<String>,
    /// Give --file's function an argument: a Nix expression.
    #[arg(long, num_args = 2, value_names = ["NAME", "EXPR"], requires = "file")]
    pub(crate) arg: Vec<String>,
    /// Give --file's function an argument: a string.
    #[arg(long, num_args = 2, value_names = ["NAME", "VALUE"], requires = "file")]
    pub(crate) argstr: Vec<String>,
    /// For which platform, such as linux/amd64 or linux/arm64; several make one image for all of them.
    #[arg(long, value_name = "PLATFORM", value_delimiter = ',')]
    pub(crate) platform: Vec<String>,
}

/// How to build.
#[derive(Debug, Args)]
#[command(next_help_heading = "How to build")]
pub(crate) struct How {
    /// Build on this backend; repeat for an order of preference.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) backend: Vec<String>,
    /// Use this profile of nixoci.toml.
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Option<String>,
    /// How many derivations cross compilation may build on this machine; beyond that the next backend has the build.
    #[arg(long, value_name = "N")]
    pub(crate) max_local_builds: Option<usize>,
    /// Fail rather than make a backend ready.
    #[arg(long)]
    pub(crate) no_provision: bool,
    #[command(flatten)]
    pub(crate) consent: ConsentArgs,
    /// Give up after this time, such as 30m or 2h.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) timeout: Option<std::time::Duration>,
    /// Let a virtual machine that evaluates ask this machine's ssh agent, for inputs by git+ssh.
    #[arg(long, value_name = "AGENT")]
    pub(crate) ssh: Option<ForwardedAgent>,
    /// Show the builders' logs.
    #[arg(short = 'L', long)]
    pub(crate) print_build_logs: bool,
}

/// Whose name `docker build --ssh` takes.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ForwardedAgent {
    /// The agent that SSH_AUTH_SOCK leads to.
    Default,
}

/// What is agreed to beforehand, so that nobody has to be asked.
#[derive(Debug, Args)]
pub(crate) struct ConsentArgs {
    /// Agree to what makes a backend ready, as far as it needs no root.
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Agree to those steps that need root.
    #[arg(long)]
    pub(crate) allow_root: bool,
}

/// Nix's own flags, passed on.
#[derive(Debug, Args)]
#[command(next_help_heading = "Passed on to Nix")]
pub(crate) struct NixArgs {
    /// Allow access to mutable paths and the environment.
    #[arg(long)]
    pub(crate) impure: bool,
    /// Use another flake for an input.
    #[arg(long, num_args = 2, value_names = ["INPUT", "FLAKE"])]
    pub(crate) override_input: Vec<String>,
    /// Accept the nixConfig of the flake.
    #[arg(long)]
    pub(crate) accept_flake_config: bool,
    /// Consider everything that was downloaded before out of date.
    #[arg(long)]
    pub(crate) refresh: bool,
    /// Show where evaluation failed.
    #[arg(long)]
    pub(crate) show_trace: bool,
    /// After a failure, build everything else that can be built.
    #[arg(long)]
    pub(crate) keep_going: bool,
    /// Keep the directory of a build that failed, for a look at it.
    #[arg(long)]
    pub(crate) keep_failed: bool,
    /// How many derivations to build at once.
    #[arg(short = 'j', long, value_name = "N|auto", value_parser = max_jobs)]
    pub(crate) max_jobs: Option<String>,
    /// How many CPUs each derivation may use.
    #[arg(long, value_name = "N")]
    pub(crate) cores: Option<u32>,
    /// Set a Nix option.
    #[arg(long, num_args = 2, value_names = ["NAME", "VALUE"])]
    pub(crate) option: Vec<String>,
}

fn max_jobs(text: &str) -> Result<String, &'static str> {
    let known = text == "auto" || text.parse::<u32>().is_ok();
    known.then(|| text.to_owned()).ok_or("it is a number, or auto")
}

/// Where the image goes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Where the image goes")]
pub(crate) struct Where {
    /// The image's name; repeat for several. `:dev` replaces only the tag.
    #[arg(short, long, value_name = "REF")]
    pub(crate) tag: Vec<String>,
    /// Load the image into a container runtime: docker, podman, containerd, apple, kind, k3d, minikube, or auto for
    /// the first of the first four that runs.
    #[arg(long, value_name = "RUNTIME", num_args = 0..=1, require_equals = true, default_missing_value = "auto")]
    pub(crate) load: Option<String>,
    /// Write the image: archive:FILE (Docker, Podman, containerd and Apple's container load it), oci:DIR,
    /// oci-archive:FILE or docker-archive:FILE, or in buildx's words type=oci,dest=FILE; repeat for several.
    #[arg(short, long, value_name = "DEST")]
    pub(crate) output: Vec<String>,
    /// Compress the layers of what -o writes: gzip, zstd or none, with a level as in zstd:9. In layouts gzip is the
    /// default.
    #[arg(long, value_name = "CODEC[:LEVEL]")]
    pub(crate) compression: Option<String>,
    /// The date of the image: keep, now, commit (of the Git repository here), or one like 2026-01-31T12:00:00Z.
    #[arg(long, value_name = "DATE")]
    pub(crate) created: Option<String>,
    /// Link to the image, instead of ./result.
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath, conflicts_with = "no_link")]
    pub(crate) out_link: Option<PathBuf>,
    /// Make no link.
    #[arg(long)]
    pub(crate) no_link: bool,
    /// Take an image for another platform than the one asked for, with a warning.
    #[arg(long)]
    pub(crate) allow_mismatch: bool,
    #[command(flatten)]
    pub(crate) docker: DockerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DockerArgs {
    /// Docker's endpoint; found as Docker finds it if absent (DOCKER_HOST, DOCKER_CONTEXT, the current context).
    #[arg(long, value_name = "URL")]
    pub(crate) docker_host: Option<String>,
}

/// Files about the build, for CI.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Files about the build")]
pub(crate) struct FileArgs {
    /// Write what --format json prints, with the keys of buildx's file of this name.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) metadata_file: Option<PathBuf>,
    /// Write the image's id; the digest of the index, if there are several platforms.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) iidfile: Option<PathBuf>,
    /// Write the digest of the image's manifest, or of the index, if there are several platforms.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) digestfile: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct BuildCommand {
    #[command(flatten)]
    pub(crate) args: BuildArgs,
    #[command(flatten)]
    pub(crate) files: FileArgs,
    /// Only show what would be done: the same as `nixoci plan`.
    #[arg(long, help_heading = "How to build")]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    #[command(flatten)]
    pub(crate) what: What,
    #[command(flatten)]
    pub(crate) how: How,
    #[command(flatten)]
    pub(crate) place: Where,
    #[command(flatten)]
    pub(crate) nix: NixArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) what: What,
    /// Arguments for the container, in place of the image's own command.
    #[arg(last = true, value_name = "ARGS")]
    pub(crate) args: Vec<OsString>,
    #[command(flatten)]
    pub(crate) container: ContainerArgs,
    #[command(flatten)]
    pub(crate) how: How,
    /// The image's name; repeat for several. `:dev` replaces only the tag.
    #[arg(long, value_name = "REF")]
    pub(crate) tag: Vec<String>,
    /// Where to run it: docker, podman, containerd (with nerdctl), apple, or auto for the first that runs.
    #[arg(long, value_name = "RUNTIME")]
    pub(crate) runtime: Option<String>,
    /// Take an image for another platform than the one asked for, with a warning.
    #[arg(long)]
    pub(crate) allow_mismatch: bool,
    #[command(flatten)]
    pub(crate) docker: DockerArgs,
    #[command(flatten)]
    pub(crate) nix: NixArgs,
    /// The global flag without its letter: here `-v` is a volume, as for Docker.
    #[arg(id = "verbose", long = "verbose", global = true, action = clap::ArgAction::Count,
        help = "Say more: explain decisions, show the builders' logs", help_heading = "Global options")]
    _verbose: u8,
}

/// Docker's own flags, passed on. Their letters are Docker's.
#[derive(Debug, Args)]
#[command(next_help_heading = "The container, as for `docker run`")]
pub(crate) struct ContainerArgs {
    /// Make a port of the container reachable here, such as 8080:80.
    #[arg(short, long, value_name = "PORTS")]
    pub(crate) publish: Vec<OsString>,
    /// Set an environment variable.
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<OsString>,
    /// Set the environment variables of a file.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) env_file: Vec<OsString>,
    /// Mount a directory or a volume, such as /srv/data:/data.
    #[arg(short, long, value_name = "FROM:TO")]
    pub(crate) volume: Vec<OsString>,
    /// Pass standard input on. On a terminal, -i and -t are set by themselves.
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Give the container a terminal.
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// The container's name.
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<OsString>,
    /// Start this program instead of the image's own.
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) entrypoint: Option<OsString>,
    /// The network to be in.
    #[arg(long, value_name = "NETWORK", visible_alias = "net")]
    pub(crate) network: Option<OsString>,
}

impl ContainerArgs {
    /// As `docker run` takes them.
    pub(crate) fn flags(&self) -> Vec<OsString> {
        let lists = [
            ("--publish", &self.publish),
            ("--env", &self.env),
            ("--env-file", &self.env_file),
            ("--volume", &self.volume),
        ];
        let ones = [("--name", &self.name), ("--entrypoint", &self.entrypoint), ("--network", &self.network)];
        let switches = [("--interactive", self.interactive), ("--tty", self.tty)];
        let lists =
            lists.into_iter().flat_map(|(flag, values)| values.iter().map(move |value| (flag, value)));
        let ones = ones.into_iter().filter_map(|(flag, value)| Some((flag, value.as_ref()?)));
        let valued = lists.chain(ones).flat_map(|(flag, value)| [flag.into(), value.clone()]);
        let switches = switches.into_iter().filter(|(_, set)| *set).map(|(flag, _)| flag.into());
        valued.chain(switches).collect()
    }
}

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

#[derive(Debug, Args)]
pub(crate) struct SourceArgs {
    /// The image: a file, ./result, a store path, - for standard input, or docker-archive:FILE, oci-archive:FILE,
    /// oci:DIR, dir:DIR; of several images in it, :NAME at the end takes one.
    #[arg(value_name = "SRC", value_hint = ValueHint::FilePath)]
    pub(crate) source: String,
}

#[derive(Debug, Args)]
pub(crate) struct ConvertArgs {
    /// The image: a file, ./result, a store path, - for standard input, or docker-archive:FILE, oci-archive:FILE,
    /// oci:DIR, dir:DIR; of several images in it, :NAME at the end takes one.
    #[arg(value_name = "SRC", value_hint = ValueHint::FilePath)]
    pub(crate) source: String,
    /// Where to: archive:FILE (every runtime loads it), docker-archive:FILE, oci:DIR, oci-archive:FILE.
    #[arg(value_name = "DEST", value_hint = ValueHint::FilePath)]
    pub(crate) destination: String,
    #[command(flatten)]
    pub(crate) how: RewriteArgs,
}

#[derive(Debug, Args)]
pub(crate) struct MergeArgs {
    /// The images, one for each platform, and where to, last: archive:FILE, oci:DIR, oci-archive:FILE,
    /// docker-archive:FILE.
    #[arg(value_name = "SRC... DEST", num_args = 2.., required = true, value_hint = ValueHint::FilePath)]
    pub(crate) places: Vec<String>,
    #[command(flatten)]
    pub(crate) how: RewriteArgs,
}

/// How an image is written anew.
#[derive(Debug, Args)]
pub(crate) struct RewriteArgs {
    /// The image's name; repeat for several. `:dev` replaces only the tag.
    #[arg(short, long, value_name = "REF")]
    pub(crate) tag: Vec<String>,
    /// Of an image for several platforms, take only these.
    #[arg(long, value_name = "PLATFORM", value_delimiter = ',')]
    pub(crate) platform: Vec<String>,
    /// Compress layers: gzip, zstd or none, with a level as in zstd:9. In layouts gzip is the default, and layers
    /// that are compressed already stay as they are.
    #[arg(long, value_name = "CODEC[:LEVEL]")]
    pub(crate) compression: Option<String>,
    /// The date of the image: keep, now, commit (of the Git repository here), or one like 2026-01-31T12:00:00Z.
    #[arg(long, value_name = "DATE")]
    pub(crate) created: Option<String>,
    /// Take an image whose programs are for another platform than it says, with a warning.
    #[arg(long)]
    pub(crate) allow_mismatch: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ValidateArgs {
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    /// The platform the image has to be for; the one it claims if absent.
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    /// The runtime: docker, podman, containerd, apple, kind, k3d, minikube, or auto for the first of the first four
    /// that runs.
    #[arg(long, value_name = "RUNTIME", default_value = "auto")]
    pub(crate) runtime: String,
    /// The image's name; repeat for several. `:dev` replaces only the tag.
    #[arg(short, long, value_name = "REF")]
    pub(crate) tag: Vec<String>,
    /// Of an image for several platforms, load only these.
    #[arg(long, value_name = "PLATFORM", value_delimiter = ',')]
    pub(crate) platform: Vec<String>,
    /// Take an image whose programs are for another platform than it says, with a warning.
    #[arg(long)]
    pub(crate) allow_mismatch: bool,
    #[command(flatten)]
    pub(crate) docker: DockerArgs,
}

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

#[derive(Debug, Args)]
pub(crate) struct CacheArgs {
    #[command(subcommand)]
    pub(crate) command: CacheCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CacheCommand {
    /// List the images: size, last use, and which links keep them.
    Show,
    /// Delete the images that were not used for longest. What a link keeps, or somebody works with, stays.
    Gc(GcArgs),
}

#[derive(Debug, Args)]
pub(crate) struct GcArgs {
    /// Keep at most so much, such as 5G; the limit that `cache show` names if absent.
    #[arg(long, value_name = "SIZE", value_parser = crate::commands::cache::size)]
    pub(crate) max_size: Option<u64>,
    /// Delete everything that may go.
    #[arg(long, conflicts_with = "max_size")]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// An error code, an exit code, or a topic. Lists everything if absent.
    #[arg(value_name = "CODE|TOPIC")]
    pub(crate) subject: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct SchemaArgs {
    /// Of which output. Lists them if absent.
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// The directory for them, which is made if need be.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) out: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell.
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}
