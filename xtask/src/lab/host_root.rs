//! The emulated hosts, Linux machines and Macs: a root with a Nix, where commands of `lab exec` run.
//!
//! One process a root makes the mount namespace, runs the Nix daemons and keeps the namespace alive. What differs between
//! two commands (which Docker, which settings of Nix, what is missing) is bound in place for each command by
//! `lab/enter.sh`, in a mount namespace of its own.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::builder;
use super::cache::Cache;
use super::containerd::{self, Containerd};
use super::docker::Docker;
use super::events;
use super::exec::Machine;
use super::fleet;
use super::mac;
use super::mounts::Root;
use super::multipass;
use super::nixconf::{self, Flavour};
use super::parts::{Parts, Scope};
use super::podman;
use super::produce::ENTRIES;
use super::state::State;
use crate::workspace;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Nix {
    /// Nix 2.26 (Debian 13)
    #[value(name = "2.26")]
    V26,
    /// Nix 2.34 (Debian's next release)
    #[value(name = "2.34")]
    V34,
}

/// Ordinary users of every host, with their ids (see `lab/roots/make-root.sh`).
const USERS: [(&str, u32); 2] = [("alice", 1000), ("mallory", 1001)];
/// The group that may reach the Nix daemon.
const NIX_USERS: u32 = 991;
/// Where hosts see what was produced.
pub(crate) const PRODUCED: &str = "/lab/produced";

impl Nix {
    pub(crate) const ALL: [Self; 2] = [Self::V26, Self::V34];

    pub(crate) fn version(self) -> &'static str {
        match self {
            Self::V26 => "2.26",
            Self::V34 => "2.34",
        }
    }

    pub(crate) fn parse(version: &str) -> Result<Self> {
        match Self::ALL.into_iter().find(|nix| nix.version() == version) {
            Some(nix) => Ok(nix),
            None => bail!("no Nix {version} here"),
        }
    }

    /// The root that has it.
    pub(crate) fn root(self, parts: &Parts) -> Result<&Path> {
        match self {
            Self::V26 => Ok(&parts.more()?.trixie),
            Self::V34 => Ok(&parts.forky),
        }
    }
}

/// Turns this process into the keeper of a host's root.
pub(crate) fn run(state: &State, machine: Machine, nix: Nix) -> Result<()> {
    let pid = super::init::own_pid()?;
    // Opened while the state can be reached: from inside the root it cannot.
    let mut ready = fs::File::create(state.live(&pid_file(machine, nix)))?;
    put_together(state, machine, nix)?;
    let mut daemons = match machine {
        Machine::Linux => Flavour::daemons().map(daemon).collect::<Result<Vec<_>>>()?,
        Machine::Mac => mac::daemons()?,
    };
    ready.write_all(pid.as_bytes())?;
    drop(ready);
    watch(&mut daemons)
}

/// What a host's files and its process are called.
pub(crate) fn name(machine: Machine, nix: Nix) -> String {
    format!("{}-{}", machine.name(), nix.version())
}

/// Where a host's process leaves its number.
pub(crate) fn pid_file(machine: Machine, nix: Nix) -> String {
    format!("{}.pid", name(machine, nix))
}

fn put_together(state: &State, machine: Machine, nix: Nix) -> Result<()> {
    let spec = state.spec()?;
    let work = state.live(&name(machine, nix));
    let pristine = nix.root(&spec.parts)?;
    let make = |name: &str, mode: u32| -> Result<PathBuf> {
        let path = work.join(name);
        fs::create_dir_all(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        Ok(path)
    };
    let root = Root::over(pristine, &make("root-fs", 0o755)?)?;
    root.kernel()?;
    root.overlay(&spec.parts.seed, &make("nix", 0o755)?, "/nix")?;
    root.bind(&make("tmp", 0o1777)?, "/tmp")?;
    root.bind(&make("root", 0o700)?, "/root")?;
    let homes = make("home", 0o755)?;
    for (name, id) in USERS {
        let home = homes.join(name);
        fs::create_dir_all(&home)?;
        chown(&home, Some(id), Some(id))?;
    }
    root.bind(&homes, "/home")?;
    root.directory("/small")?;
    root.write("/etc/hostname", "lab\n", 0o644)?;
    root.write("/etc/hosts", "127.0.0.1 localhost lab\n::1 localhost\n", 0o644)?;
    root.write("/etc/resolv.conf", "", 0o644)?;

    // The checkout may belong to whoever called sudo, and git refuses other people's repositories.
    root.write("/etc/gitconfig", &format!("[safe]\n\tdirectory = {}\n", spec.checkout.display()), 0o644)?;

    // Everything of the lab's own in one place.
    root.fresh("tmpfs", "/lab", "mode=755")?;
    root.bind_read_only(&spec.parts.nixpkgs, "/lab/nixpkgs")?;
    root.bind_read_only(&spec.parts.sources, "/lab/sources")?;
    root.bind_read_only(&workspace().join("lab/enter.sh"), "/lab/enter.sh")?;
    root.bind_read_only(&workspace().join("lab/doubles"), "/lab/doubles")?;
    if let Ok(more) = spec.parts.more() {
        // Old tools: some of Debian 12's programs run from here.
        root.bind_read_only(&more.bookworm, "/lab/roots/bookworm")?;
        root.bind_read_only(&more.rust, "/lab/roots/rust")?;
    }
    // Where ordinary users reach it, too: the cache may lie in root's home.
    root.bind_read_only(&Cache::open()?.path(ENTRIES), PRODUCED)?;
    let programs = state.path("programs");
    fs::create_dir_all(&programs)?;
    root.bind(&programs, "/lab/programs")?;
    nixconf::write(&root)?;
    events::bind(&root, state)?;
    if spec.parts.scope() == Scope::Whole {
        builder::of(Scope::Whole).try_for_each(|builder| builder.wait_for_keys(state))?;
        fleet::prepare(&root, state)?;
        multipass::prepare(&root, state, &name(machine, nix))?;
    }
    if machine == Machine::Mac {
        root.build_users(match nix {
            Nix::V26 => 37_000,
            Nix::V34 => 37_100,
        })?;
        mac::prepare(&root, state)?;
    }
    runtimes(&root, state, &spec.parts)?;
    podman::prepare(&root, state, &name(machine, nix))?;
    root.directory("/etc/nix")?;
    root.directory("/nix/var/nix/daemon-socket")?;

    root.bind_all(&spec.checkout, &spec.checkout)?;
    for shared in &spec.shared {
        root.bind_all(shared, shared)?;
    }
    root.enter()?;
    without_nix()
}

/// Everything that commands may find of container runtimes, below `/lab`, and links to where they find it: those lead
/// nowhere until `enter.sh` binds something there.
fn runtimes(root: &Root, state: &State, parts: &Parts) -> Result<()> {
    for &docker in Docker::of(parts.scope()) {
        let sockets = docker.socket_dir(state);
        fs::create_dir_all(&sockets)?;
        let lab = Path::new("/lab/docker").join(docker.version());
        root.bind(&sockets, lab.join("sock"))?;
        root.bind_read_only(&docker.client(parts)?, lab.join("bin/docker"))?;
    }
    for &containerd in Containerd::of(parts.scope()) {
        let lab = Path::new("/lab/containerd").join(containerd.version());
        for (dir, name) in [(containerd.run_dir(state), "run"), (containerd.data_dir(state), "data")] {
            fs::create_dir_all(&dir)?;
            root.bind(&dir, lab.join(name))?;
        }
        root.bind_read_only(&containerd.client(parts)?, lab.join("bin/ctr"))?;
    }
    // Each root has a Podman of its own.
    root.directory("/lab/podman/bin")?;
    symlink("/opt/lab/podman", root.outside("/lab/podman/bin/podman"))?;
    root.directory("/lab/now/docker/sock")?;
    symlink("/lab/now/docker/sock/docker.sock", root.outside("/run/docker.sock"))?;
    root.directory(containerd::RUN)?;
    root.directory(containerd::DATA)?;
    for (runtime, program) in [("docker", "docker"), ("containerd", "ctr"), ("podman", "podman")] {
        let now = format!("/lab/now/{runtime}/bin");
        root.directory(&now)?;
        symlink(format!("{now}/{program}"), root.outside(format!("/usr/local/bin/{program}")))?;
    }
    Ok(())
}

/// A directory with every program but Nix: PATH for commands that are to find none.
fn without_nix() -> Result<()> {
    let dir = Path::new("/lab/without-nix");
    fs::create_dir_all(dir)?;
    for from in ["/usr/bin", "/usr/sbin"] {
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            let name = entry.file_name();
            if !name.as_encoded_bytes().starts_with(b"nix") {
                // The same name in both: the first one counts, as on PATH.
                let _ = symlink(entry.path(), dir.join(name));
            }
        }
    }
    Ok(())
}

/// Starts a Nix daemon with one flavour's settings on a socket of its own.
fn daemon(flavour: Flavour) -> Result<Child> {
    let sockets = flavour.socket_dir();
    socket_directory(&sockets)?;
    Command::new("/usr/bin/nix-daemon")
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", "/root")
        .env("NIX_CONF_DIR", flavour.conf_dir())
        .env("NIX_DAEMON_SOCKET_PATH", sockets.join("socket"))
        .stdin(Stdio::null())
        .spawn()
        .context("cannot run nix-daemon")
}

/// A directory for a daemon's socket: not for everyone.
pub(crate) fn socket_directory(path: &Path) -> Result<()> {
    fs::create_dir_all(path)?;
    chown(path, None, Some(NIX_USERS))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o750))?;
    Ok(())
}

/// Watches until one of them ends.
pub(crate) fn watch(daemons: &mut [Child]) -> Result<()> {
    loop {
        for daemon in &mut *daemons {
            if let Some(status) = daemon.try_wait()? {
                bail!("a daemon ended: {status}");
            }
        }
        thread::sleep(Duration::from_millis(500));
    }
}
