//! The lab: real Nix, real Docker and emulated hosts, in namespaces of their own. See `lab/README.md`.

mod binfmt;
mod builder;
pub(crate) mod cache;
mod containerd;
mod docker;
mod events;
mod exec;
mod fault;
mod fleet;
mod guard;
pub(crate) mod host;
mod host_root;
mod init;
mod mac;
mod mounts;
mod multipass;
mod nixconf;
pub(crate) mod parts;
pub(crate) mod plugins;
mod podman;
pub(crate) mod produce;
mod state;
mod trouble;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use self::cache::Cache;
use self::containerd::Containerd;
use self::docker::Docker;
use self::exec::Machine;
use self::host_root::Nix;
use self::parts::{Parts, Scope};
use self::state::{Spec, State};
use crate::{sh, workspace};

/// `cargo xtask lab …`
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Lab {
    /// Makes what is missing and starts the lab; it stays up until `down`
    Up,
    /// Stops the lab and removes what it left outside its namespaces
    Down,
    /// Says whether the lab is up, and of what it is made
    Status,
    /// Runs a command on an emulated host; its exit status is ours
    Exec(exec::Exec),
    /// Makes something go wrong on a machine that builds, for all who use it, or with an instance of multipass
    Fault {
        /// `ssh` calls it so; `dodo` is there for nothing else. Or `multipass`
        machine: String,
        /// `sessions` or `daemon`. For multipass: KNOB INSTANCE [on|off]
        #[arg(required = true)]
        what: Vec<String>,
    },
    /// Puts one small image in every shape that people meet into a directory, made by the real tools
    Produce {
        /// The directory; `manifest.tsv` in it lists what there is
        dir: PathBuf,
    },
    /// Builds the libraries that tests load, and says where they are
    Plugins,
    /// The process that watches over a lab
    #[command(hide = true)]
    Guard { state: PathBuf },
    /// Process 1 of a lab
    #[command(hide = true)]
    Init { state: PathBuf },
    /// The process of one host
    #[command(hide = true)]
    Host { machine: String, version: String, state: PathBuf },
    /// The process of one builder
    #[command(hide = true)]
    Builder { name: String, state: PathBuf },
    /// The process behind the ports where something is wrong
    #[command(hide = true)]
    Trouble { state: PathBuf },
    /// The daemon of multipass' double
    #[command(hide = true)]
    MultipassDaemon { state: PathBuf },
    /// A guest of it
    #[command(hide = true)]
    MultipassGuest { name: String, state: PathBuf },
    /// Mounts a host's directory in a guest: two mount namespaces
    #[command(hide = true)]
    MultipassMount { host: PathBuf, guest: PathBuf, source: PathBuf, target: PathBuf },
    /// The program `multipass`
    #[command(hide = true)]
    Multipass {
        #[arg(value_enum)]
        profile: multipass::Profile,
        #[arg(last = true)]
        words: Vec<String>,
    },
    /// The process of one Docker daemon
    #[command(hide = true)]
    Docker { version: String, state: PathBuf },
    /// The process of one containerd
    #[command(hide = true)]
    Containerd { version: String, state: PathBuf },
}

/// Runs a subcommand; the number is our exit status.
pub(crate) fn run(command: &Lab) -> Result<i32> {
    match command {
        Lab::Up => {
            let state = State::of(&Cache::open()?)?;
            let _lease = up(Scope::Whole)?;
            fs::write(state.path(guard::PERSISTENT), "")?;
            sh::say(
                "the lab is up: `cargo xtask lab exec -- COMMAND` runs a command in it, `cargo xtask lab down` stops it",
            );
        }
        Lab::Down => down()?,
        Lab::Status => return status(),
        Lab::Exec(args) => return exec::run(args),
        Lab::Fault { machine, what } if machine == "multipass" => return multipass::fault::run(what),
        Lab::Fault { machine, what } => return fault::run(machine, fault::Fault::parse(what)?),
        Lab::Produce { dir } => {
            let _lease = up(Scope::Whole)?;
            produce::copy(dir)?;
        }
        Lab::Plugins => {
            let _lease = up(Scope::Whole)?;
            println!("{}", plugins::ensure()?.display());
        }
        Lab::Guard { state } => guard::run(&State::at(state.clone()))?,
        Lab::Init { state } => init::run(&State::at(state.clone()))?,
        Lab::Host { machine, version, state } => {
            host_root::run(&State::at(state.clone()), Machine::parse(machine)?, Nix::parse(version)?)?;
        }
        Lab::Builder { name, state } => builder::run(&State::at(state.clone()), builder::parse(name)?)?,
        Lab::Trouble { state } => trouble::run(&State::at(state.clone()))?,
        Lab::MultipassDaemon { state } => multipass::run_daemon(&State::at(state.clone()))?,
        Lab::MultipassGuest { name, state } => multipass::run_guest(&State::at(state.clone()), name)?,
        Lab::MultipassMount { host, guest, source, target } => {
            multipass::attach(host, guest, source, target)?
        }
        Lab::Multipass { profile, words } => return multipass::run_client(*profile, words),
        Lab::Docker { version, state } => docker::run(&State::at(state.clone()), Docker::parse(version)?)?,
        Lab::Containerd { version, state } => {
            containerd::run(&State::at(state.clone()), Containerd::parse(version)?)?;
        }
    }
    Ok(0)
}

/// A lab that is up for as long as this value lives, however its process ends.
#[derive(Debug)]
#[must_use]
pub(crate) struct Lease {
    _file: File,
}

/// Makes what is missing and starts the lab, or uses the one that runs.
pub(crate) fn up(scope: Scope) -> Result<Lease> {
    host::check()?;
    let cache = Cache::open()?;
    let state = State::of(&cache)?;
    let _change = state.change_lock()?;
    // The running lab may have more parts than this scope.
    let running = if state.is_up()? { state.spec().ok() } else { None };
    let scope = running.as_ref().map_or(scope, |running| scope.max(running.parts.scope()));
    let parts = Parts::ensure(&cache, scope)?;
    let target = target_dir()?;
    let checkout = workspace();
    let produced = cache.path(produce::ENTRIES);
    fs::create_dir_all(&produced)?;
    let mut shared = vec![target, produced];
    shared.extend(git_dir(&checkout));
    shared.retain(|dir| !dir.starts_with(&checkout));
    let program = stamp(&std::env::current_exe()?)?;
    let spec = Spec { parts, checkout, shared, program };

    // From here on the lab has a user, so a guard that waits for its last one to go does not go.
    let lease = Lease { _file: state.lease()? };
    if state.is_up()? {
        if running.as_ref() == Some(&spec) {
            return Ok(lease);
        }
        sh::say("  the lab that is up was made of other parts: starting it anew");
    }
    let stays = running.is_some() && state.path(guard::PERSISTENT).exists();
    stop(&state)?;
    state.write_spec(&spec)?;
    if stays {
        fs::write(state.path(guard::PERSISTENT), "")?;
    }
    sh::step("starting the lab", || start(&state))?;
    Ok(lease)
}

/// A lease of the lab that runs.
fn lease_of(state: &State) -> Result<Lease> {
    let lease = Lease { _file: state.lease()? };
    if !state.is_up()? {
        bail!("the lab is not up: run `cargo xtask lab up`");
    }
    Ok(lease)
}

fn start(state: &State) -> Result<()> {
    // What the lab before said is not about this one.
    for name in ["ready", "failed"] {
        remove_file(&state.live(name))?;
    }
    let log = File::create(state.path("guard.log"))?;
    let mut guard = Command::new(std::env::current_exe()?)
        .args(["lab", "guard"])
        .arg(state.dir())
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("cannot start the lab's guard")?;
    let deadline = Instant::now() + Duration::from_secs(90);
    loop {
        if state.is_up()? {
            return Ok(());
        }
        let failed = fs::read_to_string(state.live("failed")).ok();
        if failed.is_some() || guard.try_wait()?.is_some() || Instant::now() > deadline {
            let why = failed.unwrap_or_default();
            let logs = ["guard.log", "logs/init.log"].map(|name| sh::tail(&state.path(name), 15)).join("\n");
            bail!("the lab did not start: {why}{logs}\n(logs: {})", state.path("logs").display());
        }
        thread::sleep(Duration::from_millis(10));
    }
}

fn down() -> Result<()> {
    let state = State::of(&Cache::open()?)?;
    let _change = state.change_lock()?;
    let was_up = state.guard_lock()?.is_none();
    stop(&state)?;
    sh::say(if was_up { "the lab is down" } else { "the lab was not up" });
    Ok(())
}

/// Ends the guard, which ends the lab, and returns when both are gone.
fn stop(state: &State) -> Result<()> {
    remove_file(&state.path(guard::PERSISTENT))?;
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut asked = false;
    while state.guard_lock()?.is_none() {
        if !asked && let Ok(pid) = state.pid("guard.pid") {
            // The lock says that this is the guard: its number cannot be somebody else's by now.
            if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            }
            asked = true;
        }
        if Instant::now() > deadline {
            bail!("the lab's guard does not stop (logs: {})", state.path("guard.log").display());
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

fn status() -> Result<i32> {
    let state = State::of(&Cache::open()?)?;
    if !state.is_up()? {
        println!("down");
        return Ok(1);
    }
    println!(
        "up ({})",
        if state.path(guard::PERSISTENT).exists() { "until `lab down`" } else { "while a run uses it" }
    );
    let scope = state.spec()?.parts.scope();
    for docker in Docker::of(scope) {
        println!("docker {}: {}", docker.version(), docker.socket(&state).display());
    }
    for containerd in Containerd::of(scope) {
        println!("containerd {}: {}", containerd.version(), containerd.socket(&state).display());
    }
    for (machine, nix) in init::hosts(scope) {
        // Without a process the lab is just beginning or ending.
        let name = host_root::name(machine, nix);
        match state.pid(&host_root::pid_file(machine, nix)) {
            Ok(pid) => println!("{name}: process {pid}"),
            Err(_) => println!("{name}: not there at the moment"),
        }
    }
    for builder in builder::of(scope) {
        println!("{}: port {} in the lab's network", builder.name, builder.port);
    }
    println!("state: {}", state.dir().display());
    Ok(0)
}

/// What tells one build of a program from the next.
fn stamp(program: &Path) -> Result<String> {
    let file = fs::metadata(program)?;
    Ok(format!("{:?} {}", file.modified()?, file.len()))
}

/// Where git keeps the repository: elsewhere, if the checkout is one of several work trees.
fn git_dir(checkout: &Path) -> Option<PathBuf> {
    let mut git = Command::new("git");
    git.args(["rev-parse", "--path-format=absolute", "--git-common-dir"]).current_dir(checkout);
    sh::quiet(&mut git).ok().map(|dir| PathBuf::from(dir.trim_end()))
}

/// Where cargo puts what it builds.
pub(crate) fn target_dir() -> Result<PathBuf> {
    let exe = std::env::current_exe()?;
    let dir =
        exe.parent().and_then(|profile| profile.parent()).context("cannot tell cargo's target directory")?;
    Ok(dir.to_owned())
}
