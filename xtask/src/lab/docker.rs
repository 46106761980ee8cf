//! The Docker daemons, each in its own root and all in the lab's network namespace.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::guard;
use super::mounts::Root;
use super::parts::{Parts, Scope};
use super::state::State;
use crate::sh;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Docker {
    /// Docker 20.10 with the classic image store (Debian 12)
    #[value(name = "20.10")]
    V20,
    /// Docker 28 with the containerd image store (Debian's next release)
    #[value(name = "28")]
    V28,
}

/// Where a root's socket directory lies inside that root.
const SOCKETS: &str = "/lab/sock";
/// The group that may use Docker, by number: each root has its own idea of the name's.
pub(crate) const GROUP: u32 = 990;

impl Docker {
    const ALL: [Self; 2] = [Self::V20, Self::V28];

    /// Those of a lab.
    pub(crate) fn of(scope: Scope) -> &'static [Self] {
        match scope {
            Scope::Demo => &[Self::V28],
            Scope::Whole => &Self::ALL,
        }
    }

    pub(crate) fn version(self) -> &'static str {
        match self {
            Self::V20 => "20.10",
            Self::V28 => "28",
        }
    }

    pub(crate) fn parse(version: &str) -> Result<Self> {
        match Self::ALL.into_iter().find(|docker| docker.version() == version) {
            Some(docker) => Ok(docker),
            None => bail!("no Docker {version} here"),
        }
    }

    /// The daemon's socket as the machine sees it.
    pub(crate) fn socket(self, state: &State) -> PathBuf {
        self.socket_dir(state).join("docker.sock")
    }

    pub(crate) fn socket_dir(self, state: &State) -> PathBuf {
        state.live(&format!("docker/{}/sock", self.version()))
    }

    /// The command line client that belongs to this daemon.
    pub(crate) fn client(self, parts: &Parts) -> Result<PathBuf> {
        Ok(self.root(parts)?.join("opt/lab/docker"))
    }

    fn root(self, parts: &Parts) -> Result<&Path> {
        match self {
            Self::V20 => Ok(&parts.more()?.bookworm),
            Self::V28 => Ok(&parts.forky),
        }
    }

    fn bridge(self) -> (&'static str, &'static str) {
        match self {
            Self::V20 => ("lab-docker20", "10.231.20.1/24"),
            Self::V28 => ("lab-docker28", "10.231.28.1/24"),
        }
    }

    /// What this daemon is told beyond what all are.
    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::V20 => &["--storage-driver", "overlay2"],
            Self::V28 => &["--feature", "containerd-snapshotter=true"],
        }
    }
}

/// Turns this process into the daemon.
pub(crate) fn run(state: &State, docker: Docker) -> Result<()> {
    let spec = state.spec()?;
    let live = |name: &str| {
        let path = state.live(&format!("docker/{}/{name}", docker.version()));
        fs::create_dir_all(&path).map(|()| path)
    };
    let root = Root::over(docker.root(&spec.parts)?, &live("root")?)?;
    root.kernel()?;
    // The control groups are the machine's: Docker gets a corner of its own in them.
    root.bind_all(Path::new("/sys/fs/cgroup"), "/sys/fs/cgroup")?;
    // Image layers are overlays themselves, and those need a real file system below.
    root.bind(&live("data")?, "/var/lib/docker")?;
    root.bind(&live("tmp")?, "/tmp")?;
    root.bind(&live("sock")?, SOCKETS)?;
    root.enter()?;

    let (bridge, address) = docker.bridge();
    let ip = |words: &[&str]| sh::quiet(Command::new("/usr/sbin/ip").args(words).env_clear());
    ip(&["link", "set", "lo", "up"])?;
    ip(&["link", "add", "name", bridge, "type", "bridge"])?;
    ip(&["address", "add", address, "dev", bridge])?;
    ip(&["link", "set", bridge, "up"])?;

    let mut dockerd = Command::new("/usr/sbin/dockerd");
    dockerd.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", "/root");
    dockerd.arg("--host").arg(format!("unix://{SOCKETS}/docker.sock"));
    dockerd.arg("--group").arg(GROUP.to_string());
    dockerd.args(["--bridge", bridge, "--iptables=false", "--ip6tables=false", "--ip-masq=false"]);
    dockerd.arg("--cgroup-parent").arg(format!("/{}", guard::cgroup(state)));
    dockerd.args(docker.arguments());
    Err(dockerd.exec()).context("cannot run dockerd")
}
