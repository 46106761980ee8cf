//! A double of `multipass`, Canonical's manager of virtual machines: its program, its daemon, and guests that are root file
//! systems in namespaces of their own. `lab/README.md` says what it imitates.
//!
//! As in life the program is a client: it asks the daemon over a socket, and reaches guests over ssh by itself.

mod args;
mod client;
mod daemon;
mod exec;
pub(super) mod fault;
mod guest;
mod info;
mod instance;
mod json;
mod kernel_log;
mod launch;
mod mount;
mod net;
mod protocol;
mod settings;
mod size;
mod timestamp;
mod user_data;
mod yaml;
mod zones;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::exec::Machine;
use super::mounts::Root;
use super::state::State;
use crate::workspace;

pub(super) use self::client::run as run_client;
pub(super) use self::daemon::run as run_daemon;
pub(super) use self::guest::run as run_guest;
pub(super) use self::mount::attach;

/// A version of multipass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
pub(crate) enum Profile {
    /// The newest release
    #[value(name = "1.16.3")]
    V16,
    /// What comes next
    #[value(name = "1.17")]
    V17,
}

impl Profile {
    /// The least memory that an instance may have, as texts have it.
    fn least_memory(self) -> &'static str {
        match self {
            Self::V16 => "128M",
            Self::V17 => "512M",
        }
    }

    /// The smallest disk.
    fn least_disk(self) -> &'static str {
        match self {
            Self::V16 => "512M",
            Self::V17 => "1G",
        }
    }

    /// What `version` says on this host.
    fn version(self, host: &str) -> String {
        let number = match self {
            Self::V16 => "1.16.3",
            Self::V17 => "1.17.0",
        };
        let package = if host.starts_with(Machine::Mac.name()) { "+mac" } else { "" };
        format!("{number}{package}")
    }
}

/// How a host gets on with the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Granted,
    /// The socket is root's alone.
    Denied,
    /// The daemon does not know the client.
    Unauthenticated,
    /// There is no socket.
    NoDaemon,
}

impl Access {
    /// Those with a socket of their own.
    const SOCKETS: [Self; 3] = [Self::Granted, Self::Denied, Self::Unauthenticated];

    fn name(self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::Denied => "denied",
            Self::Unauthenticated => "unauthenticated",
            Self::NoDaemon => "none",
        }
    }

    /// What `enter.sh` is to bind where.
    pub(crate) fn bind(self) -> String {
        format!("/lab/multipass/access/{}:/lab/multipass/now", self.name())
    }
}

/// What this program is called where hosts and the daemon see it.
const PROGRAM: &str = "/lab/multipass/xtask";
/// Names the host for the daemon: paths are a host's.
const HOST: &str = "/lab/multipass/host";
/// Where clients look for the daemon.
const SOCKET: &str = "/var/run/multipass_socket";
/// Where hosts find the double of NixOS' installer of Nix, to be run in a guest.
const INSTALLER: &str = "/lab/multipass/nix-installer";
/// The program that passes `exec`'s streams on: `lab/multipass/libssh/exec.c`.
const EXEC: &str = "/lab/multipass/exec";
/// The directory for this client's key, as hosts see it.
const KEYS: &str = "/lab/multipass/keys";

/// The daemon's directory.
fn dir(state: &State, name: &str) -> PathBuf {
    state.live("multipass").join(name)
}

/// Whether the daemon answers.
pub(super) fn ready(state: &State) -> bool {
    let socket = dir(state, "access").join(Access::Granted.name()).join("socket");
    std::os::unix::net::UnixStream::connect(socket).is_ok()
}

/// Puts everything in place that commands on a host may find.
pub(super) fn prepare(root: &Root, state: &State, host: &str) -> Result<()> {
    for (source, target) in [("access", "/lab/multipass/access"), ("keys", KEYS)] {
        let source = dir(state, source);
        fs::create_dir_all(&source)?;
        root.bind(&source, target)?;
    }
    fs::create_dir_all(dir(state, "access").join(Access::NoDaemon.name()))?;
    root.directory("/lab/multipass/now")?;
    root.write(HOST, host, 0o644)?;
    root.bind_read_only(&std::env::current_exe()?, PROGRAM)?;
    root.bind_read_only(&files().join("nix-installer"), INSTALLER)?;
    root.bind_read_only(&state.spec()?.parts.more()?.multipass_exec.join("exec"), EXEC)?;
    symlink("/lab/multipass/now/socket", root.outside("/run/multipass_socket"))?;
    Ok(())
}

/// The files of ours that guests get.
fn files() -> PathBuf {
    workspace().join("lab/multipass")
}
