//! What is built, how, and where it goes: `build`, `plan`, `run`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueEnum, ValueHint};

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
    /// Give up a transfer in which nothing moves for this time; 0s for never.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "60s")]
    pub(crate) stall_timeout: std::time::Duration,
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
    /// Whether a program is named that starts in place of the image's own.
    pub(crate) fn names_entrypoint(&self) -> bool {
        self.entrypoint.is_some()
    }

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
