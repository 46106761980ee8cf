//! `lab exec`: a command on an emulated host, with its streams, its terminal and its exit status our own.

use std::fs;
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::mpsc;
use std::thread;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;

use super::cache::{Cache, recipe};
use super::containerd::{self, Containerd};
use super::docker::Docker;
use super::fleet::Fleet;
use super::host_root::{Nix, pid_file};
use super::mac::{self, Mac, Rosetta};
use super::multipass::Access;
use super::nixconf::Flavour;
use super::parts::Scope;
use super::state::State;
use crate::workspace;

/// A kind of machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Machine {
    /// A Linux machine with Nix and Docker
    Linux,
    /// A Mac, as far as Nix and nixoci can tell: its Nix builds for aarch64-darwin alone
    Mac,
}

impl Machine {
    pub(crate) const ALL: [Self; 2] = [Self::Linux, Self::Mac];

    /// What its hosts are called.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Linux => "host",
            Self::Mac => "mac",
        }
    }

    pub(crate) fn parse(name: &str) -> Result<Self> {
        match Self::ALL.into_iter().find(|machine| machine.name() == name) {
            Some(machine) => Ok(machine),
            None => bail!("no machine {name} here"),
        }
    }
}

/// Something a host can be without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Without {
    /// No Nix on PATH
    Nix,
    /// No Nix daemon: ordinary users cannot reach a store
    NixDaemon,
    /// Flakes are not enabled in nix.conf
    Flakes,
    /// No Docker: neither its command nor its socket
    Docker,
    /// Docker's command, but no daemon behind the socket
    DockerDaemon,
    /// No Podman on PATH
    Podman,
    /// No containerd: neither `ctr` nor the socket
    Containerd,
    /// `ctr`, but no daemon to talk to
    ContainerdDaemon,
    /// On a Mac: Rosetta is not installed
    Rosetta,
    /// With multipass: the command, and no daemon
    MultipassDaemon,
}

/// Something a host does not have by default. See `lab/doubles`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum With {
    /// A double of Apple's `container`
    Apple,
    /// kind, and `kind-node create` for a node of it
    Kind,
    /// A double of k3d
    K3d,
    /// A double of minikube
    Minikube,
    /// On a Mac: nix-darwin's Linux builder, for x86_64-linux
    LinuxBuilder,
    /// On a Mac: nix-rosetta-builder, for aarch64-linux and x86_64-linux
    RosettaBuilder,
    /// Linux machines for root and alice: `ssh ant`, `bee`, `cat`, and `dodo` for tests that kill
    Fleet,
    /// The fleet, and ways to it that something is wrong with: `ssh slow`, `cut`, `silent`, `closed`, `web`, `impostor`, `refused`, `nobody-home`
    Trouble,
    /// On a Mac: nix-rosetta-builder with `onDemand`, which sleeps until somebody connects
    RosettaOnDemand,
    /// On a Mac: a double of nix-darwin's `darwin-rebuild`
    NixDarwin,
    /// On a Mac: a double of Determinate's `determinate-nixd`
    Determinate,
    /// A double of multipass 1.16.3
    Multipass,
    /// A double of multipass 1.17
    #[value(name = "multipass-1.17")]
    Multipass17,
    /// Debian's Rust and C compiler (on the host with Nix 2.34, whose release of Debian it is)
    Rust,
    /// With multipass: its socket is root's alone
    MultipassDenied,
    /// With multipass: its daemon does not know this client
    MultipassUnauthenticated,
}

impl With {
    /// Its directory on PATH.
    fn dir(self) -> Option<&'static str> {
        Some(match self {
            Self::Apple => "/lab/doubles/apple",
            Self::Kind => "/lab/doubles/kind",
            Self::K3d => "/lab/doubles/k3d",
            Self::Minikube => "/lab/doubles/minikube",
            Self::NixDarwin => "/lab/doubles/nix-darwin",
            Self::Determinate => "/lab/doubles/determinate",
            Self::Multipass => "/lab/doubles/multipass",
            Self::Multipass17 => "/lab/doubles/multipass-1.17",
            Self::Rust => "/lab/doubles/rust",
            Self::LinuxBuilder
            | Self::RosettaBuilder
            | Self::RosettaOnDemand
            | Self::Fleet
            | Self::Trouble
            | Self::MultipassDenied
            | Self::MultipassUnauthenticated => return None,
        })
    }
}

/// The flags of `lab exec`.
#[derive(Debug, clap::Args)]
pub(crate) struct Exec {
    /// What kind of machine the command finds itself on
    #[arg(long = "as", value_enum, default_value = "linux")]
    pub(crate) machine: Machine,
    /// Which Nix the host has
    #[arg(long, value_enum, default_value = "2.34")]
    pub(crate) nix: Nix,
    /// Which Docker the host has
    #[arg(long, value_enum, default_value = "28")]
    pub(crate) docker: Docker,
    /// Which containerd the host has
    #[arg(long, value_enum, default_value = "2")]
    pub(crate) containerd: Containerd,
    /// The host's Nix also builds for arm64 (`extra-platforms`; the emulator is there either way)
    #[arg(long)]
    pub(crate) arm64: bool,
    /// The Mac has Intel's CPU: `uname`, and Nix's `system` for commands (its daemon keeps to aarch64-darwin)
    #[arg(long)]
    pub(crate) intel: bool,
    /// What the host is without (repeatable)
    #[arg(long, value_enum)]
    pub(crate) without: Vec<Without>,
    /// What the host has besides (repeatable)
    #[arg(long, value_enum)]
    pub(crate) with: Vec<With>,
    /// Who runs it: root, alice (may use Nix and Docker, is not trusted), mallory (may use neither)
    #[arg(long, default_value = "root")]
    pub(crate) user: String,
    /// Where it runs: a directory of the host [default: here, if the host has it, else the checkout]
    #[arg(long)]
    pub(crate) cwd: Option<PathBuf>,
    /// It finds itself in a network of its own, with nothing but the loopback device: no port of the lab's is taken there, and
    /// no machine of the lab's is reached
    #[arg(long)]
    pub(crate) own_network: bool,
    /// An environment variable for it (repeatable); otherwise it sees a plain login's
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) env: Vec<String>,
    /// Take nixoci as it was last built. (With NIXOCI_BIN, or when a test calls us, nothing is ever built.)
    #[arg(long)]
    pub(crate) no_build: bool,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<String>,
}

impl Exec {
    /// How much of the lab the command needs: without flags that ask for more, the machine of the demo.
    fn scope(&self) -> Scope {
        let newest = self.nix == Nix::V34 && self.docker == Docker::V28 && self.containerd == Containerd::V2;
        if newest && self.machine == Machine::Linux && !self.arm64 && self.with.is_empty() {
            Scope::Demo
        } else {
            Scope::Whole
        }
    }
}

/// What of our environment goes along: what says how output should look, and nixoci's own settings.
fn goes_along(name: &str) -> bool {
    const NAMES: [&str; 12] = [
        "TERM",
        "COLORTERM",
        "COLUMNS",
        "LINES",
        "NO_COLOR",
        "CLICOLOR",
        "CLICOLOR_FORCE",
        "FORCE_COLOR",
        "CI",
        "RUST_BACKTRACE",
        "RUST_LOG",
        "SOURCE_DATE_EPOCH",
    ];
    NAMES.contains(&name)
        || (name.starts_with("NIXOCI_") && !name.starts_with("NIXOCI_LAB") && name != "NIXOCI_BIN")
}

pub(crate) fn run(args: &Exec) -> Result<i32> {
    // Called by `cargo xtask`, not by a test, which finds us through this variable.
    let by_cargo = std::env::var_os("CARGO_PKG_NAME").is_some_and(|name| name == env!("CARGO_PKG_NAME"))
        && std::env::var_os("NIXOCI_LAB").is_none();
    if by_cargo && !args.no_build && std::env::var_os("NIXOCI_BIN").is_none() {
        crate::demo::build(&["--package", "nixoci"])?;
    }
    let state = State::of(&Cache::open()?)?;
    // While a command runs the lab stays up, whoever started it.
    let _lease = match super::lease_of(&state) {
        // Started by hand, it takes the lab that runs, also if that was made by another build of this program.
        Ok(lease) if !by_cargo || state.spec()?.parts.scope() >= args.scope() => lease,
        Err(error) if !by_cargo => return Err(error),
        _ => super::up(args.scope())?,
    };
    let program = nixoci(&state)?;
    let here = std::env::current_dir().ok();
    // The thread comes first: a process that has joined a PID namespace can start processes, but no threads.
    let (started, child) = mpsc::channel();
    let mut signals = Signals::new([SIGINT, SIGQUIT, SIGTERM, SIGHUP])?;
    thread::spawn(move || {
        let Ok(child) = child.recv() else { return };
        for signal in &mut signals {
            forward(child, signal);
        }
    });
    join(state.pid(&pid_file(args.machine, args.nix))?)?;
    let mut child =
        command(args, program.as_deref(), here.as_deref())?.spawn().context("cannot enter the host")?;
    started.send(
        i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("the command has no process id")?,
    )?;
    Ok(code(child.wait()?))
}

/// Makes the next process we start one of the host's.
fn join(pid: i32) -> Result<()> {
    let pid = Pid::from_raw(pid).context("the host has no process")?;
    let host = pidfd_open(pid, PidfdFlags::empty()).context("the host is gone: run `cargo xtask lab up`")?;
    let spaces = ThreadNameSpaceType::MOUNT
        | ThreadNameSpaceType::NETWORK
        | ThreadNameSpaceType::PROCESS_ID
        | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION
        | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME;
    move_into_thread_name_spaces(host.as_fd(), spaces)
        .context("cannot enter the lab's namespaces (are you root?)")
}

fn command(args: &Exec, program: Option<&str>, here: Option<&Path>) -> Result<Command> {
    let lacks = |what: Without| args.without.contains(&what);
    let cwd = match (&args.cwd, here) {
        (Some(cwd), _) => cwd.clone(),
        // We are inside by now: what exists here exists for the command.
        (None, Some(here)) if here.is_dir() => here.to_owned(),
        _ => workspace(),
    };
    let mut command = Command::new("/usr/bin/unshare");
    command.args(["--mount", "--propagation", "private"]);
    if args.own_network {
        command.args(["--net", "--", "/bin/sh", "-ec", "/usr/sbin/ip link set lo up; exec \"$@\"", "sh"]);
    } else {
        command.arg("--");
    }
    command.args(["/bin/sh", "/lab/enter.sh"]);
    command.args([&binds(args), &args.user]).arg(&cwd).args(&args.command);
    command.current_dir("/");

    command.env_clear();
    command.envs(std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(goes_along)));
    let system = if lacks(Without::Nix) {
        "/usr/local/bin:/lab/without-nix"
    } else {
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    };
    let with = args.with.iter().filter_map(|with| with.dir());
    let mac: &[&str] = match (args.machine, args.intel) {
        (Machine::Linux, _) => &[],
        (Machine::Mac, false) => &["/lab/doubles/mac"],
        (Machine::Mac, true) => &["/lab/doubles/intel", "/lab/doubles/mac"],
    };
    let mac = mac.iter().copied();
    let path: Vec<&str> = program.into_iter().chain(with).chain(mac).chain([system]).collect();
    command.env("PATH", path.join(":"));
    let home = if args.user == "root" { PathBuf::from("/root") } else { Path::new("/home").join(&args.user) };
    command.env("HOME", home).env("USER", &args.user).env("LOGNAME", &args.user).env("LANG", "C.UTF-8");
    if lacks(Without::DockerDaemon) {
        command.env("DOCKER_HOST", "unix:///run/no-docker-here.sock");
    }
    for pair in &args.env {
        let Some((name, value)) = pair.split_once('=') else { bail!("--env {pair}: it takes NAME=VALUE") };
        command.env(name, value);
    }
    Ok(command)
}

/// What `enter.sh` is to bind where: `SOURCE:TARGET,...`.
fn binds(args: &Exec) -> String {
    let has = |what: Without| !args.without.contains(&what);
    let with = |what: With| args.with.contains(&what);
    let daemon = has(Without::NixDaemon) && has(Without::Nix);
    let mut binds = match args.machine {
        Machine::Linux => Flavour { arm64: args.arm64, flakes: has(Without::Flakes) }.binds(daemon),
        Machine::Mac => {
            let rosetta = match (with(With::RosettaOnDemand), with(With::RosettaBuilder)) {
                (true, _) => Rosetta::OnDemand,
                (false, true) => Rosetta::Running,
                (false, false) => Rosetta::Missing,
            };
            let mut binds = Mac { linux: with(With::LinuxBuilder), rosetta }.binds(daemon);
            binds.extend(args.intel.then(mac::bind_intel));
            binds.extend((!has(Without::Rosetta)).then(mac::bind_no_rosetta));
            binds
        }
    };
    if with(With::Trouble) {
        binds.extend(Fleet::Trouble.binds());
    } else if with(With::Fleet) {
        binds.extend(Fleet::Machines.binds());
    }
    if with(With::Multipass) || with(With::Multipass17) {
        let daemon = has(Without::MultipassDaemon);
        let access = match (daemon, with(With::MultipassDenied), with(With::MultipassUnauthenticated)) {
            (false, ..) => Access::NoDaemon,
            (true, true, _) => Access::Denied,
            (true, false, true) => Access::Unauthenticated,
            (true, false, false) => Access::Granted,
        };
        binds.push(access.bind());
    }
    if has(Without::Docker) {
        let lab = format!("/lab/docker/{}", args.docker.version());
        binds.push(format!("{lab}/sock:/lab/now/docker/sock"));
        binds.push(format!("{lab}/bin:/lab/now/docker/bin"));
    }
    if has(Without::Containerd) {
        let lab = format!("/lab/containerd/{}", args.containerd.version());
        binds.push(format!("{lab}/bin:/lab/now/containerd/bin"));
        if has(Without::ContainerdDaemon) {
            binds.push(format!("{lab}/run:{}", containerd::RUN));
            binds.push(format!("{lab}/data:{}", containerd::DATA));
        }
    }
    if has(Without::Podman) {
        binds.push("/lab/podman/bin:/lab/now/podman/bin".to_owned());
    }
    binds.join(",")
}

/// The directory, as the host sees it, that holds nixoci: a link to the wanted build, so that a host keeps what it got
/// while cargo makes the next one.
fn nixoci(state: &State) -> Result<Option<String>> {
    let wanted = match std::env::var_os("NIXOCI_BIN") {
        Some(path) => PathBuf::from(path).canonicalize().context("NIXOCI_BIN names no file")?,
        None => {
            // We lie in the same directory as what cargo built with us.
            let built = std::env::current_exe()?.with_file_name("nixoci");
            if !built.exists() {
                return Ok(None);
            }
            built
        }
    };
    let name = recipe(&[wanted.as_os_str().as_encoded_bytes(), super::stamp(&wanted)?.as_bytes()]);
    let dir = state.path("programs").join(&name);
    let program = dir.join("nixoci");
    if !program.exists() {
        fs::create_dir_all(&dir)?;
        let staged = dir.join(format!("nixoci.{}", std::process::id()));
        if fs::hard_link(&wanted, &staged).is_err() {
            fs::copy(&wanted, &staged)?;
        }
        fs::rename(&staged, &program)?;
        let _ = fs::remove_file(&staged);
    }
    Ok(Some(format!("/lab/programs/{name}")))
}

/// Sends a signal on, unless the terminal has sent it to the command as well.
fn forward(pid: Pid, signal: i32) {
    let from_terminal = matches!(signal, SIGINT | SIGQUIT) && in_foreground();
    if !from_terminal && let Some(signal) = Signal::from_named_raw(signal) {
        let _ = kill_process(pid, signal);
    }
}

/// Whether a terminal's keys reach us, and so our child, which is in our process group.
fn in_foreground() -> bool {
    let Ok(terminal) = fs::File::open("/dev/tty") else { return false };
    terminal.is_terminal()
        && rustix::termios::tcgetpgrp(&terminal).is_ok_and(|group| group == rustix::process::getpgrp())
}

/// The shell's convention for commands that a signal has ended.
fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}
