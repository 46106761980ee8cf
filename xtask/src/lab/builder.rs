//! The Linux builders of the emulated Mac: machines of their own with a store, a Nix daemon and a real sshd.
//!
//! Each listens where its model does, on a port of 127.0.0.1, which the Mac shares with it as with a VM whose port is forwarded.

use std::fs;
use std::io::Read;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::host_root::{Nix, watch};
use super::mounts::Root;
use super::state::State;
use crate::sh;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Builder {
    /// nix-darwin's `nix.linux-builder`.
    Linux,
    /// nix-rosetta-builder.
    Rosetta,
}

/// Where a builder's keys are, inside its root.
const KEYS: &str = "/lab/keys";
/// Who logs in. His public key is the builder's, made when the lab starts.
const USER: &str = "builder:x:1100:1100:builder:/home/builder:/bin/sh\n";

impl Builder {
    pub(crate) const ALL: [Self; 2] = [Self::Linux, Self::Rosetta];

    /// What ssh calls it on the Mac.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Linux => "linux-builder",
            Self::Rosetta => "rosetta-builder",
        }
    }

    pub(crate) fn parse(name: &str) -> Result<Self> {
        match Self::ALL.into_iter().find(|builder| builder.name() == name) {
            Some(builder) => Ok(builder),
            None => bail!("no builder {name} here"),
        }
    }

    /// Where its model listens.
    pub(crate) fn port(self) -> u16 {
        match self {
            Self::Linux => 31022,
            Self::Rosetta => 31122,
        }
    }

    fn nix(self) -> Nix {
        match self {
            Self::Linux => Nix::V26,
            Self::Rosetta => Nix::V34,
        }
    }

    /// The directory with its host key and the key of whoever may log in, as the machine sees it.
    pub(crate) fn keys(self, state: &State) -> PathBuf {
        state.live(&format!("builders/{}/keys", self.name()))
    }

    /// Whether its sshd answers.
    pub(crate) fn answers(self) -> bool {
        let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port())) else { return false };
        let mut banner = [0; 8];
        stream.set_read_timeout(Some(Duration::from_secs(2))).is_ok()
            && stream.read_exact(&mut banner).is_ok()
            && &banner == b"SSH-2.0-"
    }

    /// The first of its build users.
    fn build_uid(self) -> u32 {
        match self {
            Self::Linux => 36_000,
            Self::Rosetta => 36_100,
        }
    }

    fn nix_conf(self) -> String {
        let mut text = "substituters =\nsandbox = true\nsandbox-fallback = false\nbuild-users-group = nixbld\n\
                        trusted-users = root builder\nsystem-features = kvm benchmark big-parallel nixos-test\n"
            .to_owned();
        if self == Self::Rosetta {
            text.push_str("extra-platforms = aarch64-linux\n");
        }
        text
    }

    fn sshd_config(self) -> String {
        // Penalties would turn one test's refusals into another's.
        format!(
            "Port {}\nListenAddress 127.0.0.1\nHostKey {KEYS}/host\nAuthorizedKeysFile {KEYS}/client.pub\nUsePAM no\n\
             StrictModes no\nPasswordAuthentication no\nPerSourcePenalties no\nPidFile none\n",
            self.port()
        )
    }
}

/// Turns this process into the keeper of a builder.
pub(crate) fn run(state: &State, builder: Builder) -> Result<()> {
    let spec = state.spec()?;
    let (pristine, seed) = builder.nix().root(&spec.parts);
    let live = |name: &str| {
        let path = state.live(&format!("builders/{}/{name}", builder.name()));
        fs::create_dir_all(&path).map(|()| path)
    };
    let root = Root::over(pristine, &live("root")?)?;
    root.kernel()?;
    root.overlay(seed, &live("nix")?, "/nix")?;
    root.bind(&live("tmp")?, "/tmp")?;
    root.bind(&live("keys")?, KEYS)?;
    root.directory("/home/builder")?;
    root.directory("/run/sshd")?;
    root.build_users(builder.build_uid())?;
    root.append("/etc/passwd", USER)?;
    root.append("/etc/group", "builder:x:1100:\n")?;
    // Neither a password nor a locked account.
    root.append("/etc/shadow", "builder:*:20000:0:99999:7:::\n")?;
    root.write("/etc/nix/nix.conf", &builder.nix_conf(), 0o644)?;
    root.write("/etc/ssh/lab_sshd_config", &builder.sshd_config(), 0o644)?;
    root.enter()?;

    for key in ["client", "host"] {
        let file = Path::new(KEYS).join(key);
        let mut keygen = Command::new("/usr/bin/ssh-keygen");
        keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", &format!("{key}@{}", builder.name()), "-f"]);
        sh::quiet(keygen.arg(file))?;
    }
    // As Nix's list of machines has it.
    let encode = format!("base64 -w0 < {KEYS}/host.pub > {KEYS}/host.base64");
    sh::quiet(Command::new("/bin/sh").args(["-c", &encode]))?;
    std::os::unix::fs::chown("/home/builder", Some(1100), Some(1100))?;
    sh::quiet(Command::new("/usr/sbin/ip").args(["link", "set", "lo", "up"]).env_clear())?;
    let start = |program: &str, args: &[&str]| {
        Command::new(program)
            .args(args)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", "/root")
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot run {program}"))
    };
    let daemon = start("/usr/bin/nix-daemon", &[])?;
    let sshd = start("/usr/sbin/sshd", &["-D", "-e", "-f", "/etc/ssh/lab_sshd_config"])?;
    watch(&mut [daemon, sshd])
}
