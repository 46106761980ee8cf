//! The containerd daemons, each in its own root and all in the lab's network namespace.
//!
//! `ctr` does a part of containerd's work itself: it mounts an image's layers to read users' names, and makes the pipes of a
//! container's streams. So both of a daemon's directories are where they are on hosts, too.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::mounts::Root;
use super::parts::{Parts, Scope};
use super::state::State;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Containerd {
    /// containerd 1.6 (Debian 12)
    #[value(name = "1.6")]
    V1,
    /// containerd 2 (Debian's next release)
    #[value(name = "2")]
    V2,
}

/// Where everyone looks for containerd, and for what it holds.
pub(crate) const RUN: &str = "/run/containerd";
pub(crate) const DATA: &str = "/var/lib/containerd";

/// No Kubernetes: its part of containerd asks for network plugins.
const CONFIG: &str = r#"version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime"]

[grpc]
  address = "/run/containerd/containerd.sock"
"#;

impl Containerd {
    const ALL: [Self; 2] = [Self::V1, Self::V2];

    /// Those of a lab.
    pub(crate) fn of(scope: Scope) -> &'static [Self] {
        match scope {
            Scope::Demo => &[Self::V2],
            Scope::Whole => &Self::ALL,
        }
    }

    pub(crate) fn version(self) -> &'static str {
        match self {
            Self::V1 => "1.6",
            Self::V2 => "2",
        }
    }

    pub(crate) fn parse(version: &str) -> Result<Self> {
        match Self::ALL.into_iter().find(|containerd| containerd.version() == version) {
            Some(containerd) => Ok(containerd),
            None => bail!("no containerd {version} here"),
        }
    }

    /// The daemon's socket as the machine sees it.
    pub(crate) fn socket(self, state: &State) -> PathBuf {
        self.run_dir(state).join("containerd.sock")
    }

    pub(crate) fn run_dir(self, state: &State) -> PathBuf {
        state.live(&format!("containerd/{}/run", self.version()))
    }

    pub(crate) fn data_dir(self, state: &State) -> PathBuf {
        state.live(&format!("containerd/{}/data", self.version()))
    }

    /// The command line client that belongs to this daemon.
    pub(crate) fn client(self, parts: &Parts) -> Result<PathBuf> {
        Ok(self.root(parts)?.join("opt/lab/ctr"))
    }

    fn root(self, parts: &Parts) -> Result<&Path> {
        match self {
            Self::V1 => Ok(&parts.more()?.bookworm),
            Self::V2 => Ok(&parts.forky),
        }
    }
}

/// Turns this process into the daemon.
pub(crate) fn run(state: &State, containerd: Containerd) -> Result<()> {
    let spec = state.spec()?;
    let live = |name: &str| {
        let path = state.live(&format!("containerd/{}/{name}", containerd.version()));
        fs::create_dir_all(&path).map(|()| path)
    };
    let root = Root::over(containerd.root(&spec.parts)?, &live("root")?)?;
    root.kernel()?;
    root.control_groups(state)?;
    // As for Docker: layers need a real file system below.
    root.bind(&live("data")?, DATA)?;
    root.bind(&live("tmp")?, "/tmp")?;
    root.bind(&live("run")?, RUN)?;
    root.write("/lab/containerd.toml", CONFIG, 0o644)?;
    root.enter()?;

    let mut daemon = Command::new("/usr/bin/containerd");
    daemon.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", "/root");
    daemon.args(["--config", "/lab/containerd.toml"]);
    Err(daemon.exec()).context("cannot run containerd")
}
