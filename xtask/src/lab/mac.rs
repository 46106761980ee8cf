//! What makes a host a Mac, as far as Nix and nixoci can tell: Nix's settings, and what nix-darwin and nix-rosetta-builder
//! write for the builders that are installed.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use super::builder;
use super::host_root::socket_directory;
use super::mounts::Root;
use super::nixconf::COMMON;
use super::state::State;
use super::trouble;

/// A Mac with some of the builders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mac {
    pub(crate) linux: bool,
    pub(crate) rosetta: Rosetta,
}

/// How a Mac has nix-rosetta-builder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rosetta {
    Missing,
    /// It runs all the time.
    Running,
    /// It runs while it is used: `onDemand`.
    OnDemand,
}

/// Where nix-rosetta-builder keeps its keys.
const ROSETTA: &str = "/var/lib/rosetta-builder";
/// Where launchd finds what it is to run.
const LAUNCHD: &str = "/Library/LaunchDaemons";
/// Where Rosetta is.
const APPLES: &str = "/Library/Apple/usr/libexec/oah";
const INTEL: &str = "/lab/mac/intel/nix.conf";
/// What the doubles of macOS' programs were called with.
const LOG: &str = "/lab/mac/log";

impl Mac {
    fn all() -> impl Iterator<Item = Self> {
        let with = |rosetta| [false, true].map(|linux| Self { linux, rosetta });
        [Rosetta::Missing, Rosetta::Running, Rosetta::OnDemand].into_iter().flat_map(with)
    }

    fn name(self) -> &'static str {
        match (self.linux, self.rosetta) {
            (false, Rosetta::Missing) => "mac",
            (true, Rosetta::Missing) => "mac-linux-builder",
            (false, Rosetta::Running) => "mac-rosetta-builder",
            (true, Rosetta::Running) => "mac-both-builders",
            (false, Rosetta::OnDemand) => "mac-rosetta-on-demand",
            (true, Rosetta::OnDemand) => "mac-both-on-demand",
        }
    }

    fn dir(self) -> PathBuf {
        PathBuf::from("/lab/mac").join(self.name())
    }

    fn socket_dir(self) -> PathBuf {
        PathBuf::from("/lab/nix-daemon").join(self.name())
    }

    /// What `enter.sh` is to bind where. Without `daemon`, Nix's socket is not there.
    pub(crate) fn binds(self, daemon: bool) -> Vec<String> {
        let dir = self.dir();
        let mut binds = vec![
            format!("{}/nix:/etc/nix", dir.display()),
            format!("{}/ssh_config.d:/etc/ssh/ssh_config.d", dir.display()),
            format!("{}/LaunchDaemons:{LAUNCHD}", dir.display()),
        ];
        if self.rosetta != Rosetta::Missing {
            binds.push(format!("/lab/mac/rosetta-builder:{ROSETTA}"));
        }
        if daemon {
            binds.push(format!("{}:/nix/var/nix/daemon-socket", self.socket_dir().display()));
        }
        binds
    }

    /// As nix-darwin writes it, and as nix-rosetta-builder has it written (`modules/nix/linux-builder.nix`, `module.nix`).
    fn machines(self, state: &State) -> Result<String> {
        let mut lines = String::new();
        if self.linux {
            let key = fs::read_to_string(builder::LINUX.keys(state).join("host.base64"))?;
            lines.push_str(&format!(
                "ssh-ng://builder@linux-builder x86_64-linux /etc/nix/builder_ed25519 2 1 kvm,benchmark,big-parallel - {key}\n"
            ));
        }
        if self.rosetta != Rosetta::Missing {
            lines.push_str(
                "ssh-ng://rosetta-builder aarch64-linux,x86_64-linux - 2 1 benchmark,big-parallel,kvm,nixos-test - -\n",
            );
        }
        Ok(lines)
    }

    /// What launchd is to run: label, program, and the port where it listens for it.
    fn services(self) -> Vec<(&'static str, &'static str, Option<u16>)> {
        let mut services = vec![("org.nixos.nix-daemon", "nix-daemon", None)];
        if self.linux {
            services.push(("org.nixos.linux-builder", "linux-builder-start", None));
        }
        if self.rosetta != Rosetta::Missing {
            let socket = (self.rosetta == Rosetta::OnDemand).then_some(trouble::ON_DEMAND);
            services.push(("org.nixos.rosetta-builderd", "rosetta-builderd", socket));
        }
        services
    }

    fn write(self, root: &Root, state: &State) -> Result<()> {
        let file = |name: &str| format!("{}/{name}", self.dir().display());
        root.write(&file("nix/nix.conf"), &nix_conf("aarch64-darwin"), 0o644)?;
        for (label, program, socket) in self.services() {
            let list = file(&format!("LaunchDaemons/{label}.plist"));
            root.write(&list, &property_list(label, program, socket), 0o644)?;
        }
        root.directory(file("ssh_config.d"))?;
        if self.linux {
            let keys = builder::LINUX.keys(state);
            let read = |name: &str| fs::read_to_string(keys.join(name));
            root.write(&file("nix/builder_ed25519"), &read("client")?, 0o600)?;
            root.write(&file("nix/builder_ed25519.pub"), &read("client.pub")?, 0o644)?;
            root.write(&file("ssh_config.d/100-linux-builder.conf"), &linux_ssh_config(), 0o644)?;
        }
        if self.rosetta != Rosetta::Missing {
            root.write(
                &file("ssh_config.d/100-rosetta-builder.conf"),
                &rosetta_ssh_config(self.rosetta),
                0o644,
            )?;
        }
        let machines = self.machines(state)?;
        if machines.is_empty() { Ok(()) } else { root.write(&file("nix/machines"), &machines, 0o644) }
    }

    /// Starts a Nix daemon that finds what its clients find.
    fn daemon(self) -> Result<Child> {
        let sockets = self.socket_dir();
        socket_directory(&sockets)?;
        Command::new("/usr/bin/unshare")
            .args(["--mount", "--propagation", "private", "--", "/bin/sh", "/lab/enter.sh"])
            .args([&self.binds(false).join(","), "root", "/", "/usr/bin/nix-daemon"])
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", "/root")
            .env("NIX_DAEMON_SOCKET_PATH", sockets.join("socket"))
            .stdin(Stdio::null())
            .process_group(0)
            .spawn()
            .context("cannot run nix-daemon")
    }
}

/// A Mac's Nix builds nothing for Linux, and says so as on a Mac.
fn nix_conf(system: &str) -> String {
    format!(
        "{COMMON}sandbox = false\nsystem = {system}\nextra-platforms =\nbuilders-use-substitutes = true\n"
    )
}

/// Nix's settings of a Mac with Intel's CPU, in place of the others.
pub(crate) fn bind_intel() -> String {
    format!("{INTEL}:/etc/nix/nix.conf")
}

/// A place without Rosetta, this command's own: it may install it.
pub(crate) fn bind_no_rosetta() -> String {
    format!("empty:{APPLES}")
}

/// launchd's list of a service, with as much in it as people look for.
fn property_list(label: &str, program: &str, socket: Option<u16>) -> String {
    let start = match socket {
        None => "<key>KeepAlive</key>\n\t<true/>\n\t<key>RunAtLoad</key>\n\t<true/>".to_owned(),
        Some(port) => format!(
            "<key>Sockets</key>\n\t<dict>\n\t\t<key>Listener</key>\n\t\t<dict>\n\t\t\t<key>SockNodeName</key>\n\t\t\t\
             <string>localhost</string>\n\t\t\t<key>SockServiceName</key>\n\t\t\t<string>{port}</string>\n\t\t</dict>\n\t</dict>"
        ),
    };
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<plist version=\"1.0\">\n<dict>\n\t<key>Label</key>\n\t\
         <string>{label}</string>\n\t<key>ProgramArguments</key>\n\t<array>\n\t\t<string>/bin/sh</string>\n\t\t\
         <string>-c</string>\n\t\t<string>/bin/wait4path /nix/store &amp;&amp; exec \
         /nix/store/00000000000000000000000000000000-{program}</string>\n\t</array>\n\t{start}\n</dict>\n</plist>\n"
    )
}

/// nix-darwin's, to the letter.
fn linux_ssh_config() -> String {
    format!(
        "Host linux-builder\n  User builder\n  Hostname localhost\n  HostKeyAlias linux-builder\n  Port {}\n  \
         IdentityFile /etc/nix/builder_ed25519\n",
        builder::LINUX.port
    )
}

/// nix-rosetta-builder's.
fn rosetta_ssh_config(rosetta: Rosetta) -> String {
    let port = if rosetta == Rosetta::OnDemand { trouble::ON_DEMAND } else { builder::ROSETTA.port };
    format!(
        "Host \"rosetta-builder\"\n  GlobalKnownHostsFile {ROSETTA}/ssh_known_hosts\n  Hostname localhost\n  \
         HostKeyAlias \"rosetta-builder-key\"\n  Port {port}\n  StrictHostKeyChecking yes\n  User builder\n  \
         IdentityFile {ROSETTA}/ssh_user_ed25519_key\n"
    )
}

/// Puts everything in place that commands on a Mac may find.
pub(crate) fn prepare(root: &Root, state: &State) -> Result<()> {
    let keys = builder::ROSETTA.keys(state);
    let file = |name: &str| format!("/lab/mac/rosetta-builder/{name}");
    root.directory(ROSETTA)?;
    root.write(&file("ssh_user_ed25519_key"), &fs::read_to_string(keys.join("client"))?, 0o600)?;
    let known = format!("rosetta-builder-key {}", fs::read_to_string(keys.join("host.pub"))?);
    root.write(&file("ssh_known_hosts"), &known, 0o644)?;
    root.write(INTEL, &nix_conf("x86_64-darwin"), 0o644)?;
    root.directory(LAUNCHD)?;
    root.write(&format!("{APPLES}/libRosettaRuntime"), "", 0o644)?;
    // What was asked of macOS' programs, whoever asked.
    root.write(LOG, "", 0o666)?;
    // As on macOS: sudo looks for programs where its caller does.
    root.write("/etc/sudoers.d/lab", "Defaults !secure_path\n", 0o440)?;
    root.bind(&builder::shared(state), builder::SHARED)?;
    let on_demand = trouble::on_demand_dir(state);
    fs::create_dir_all(&on_demand)?;
    root.bind_read_only(&on_demand, trouble::ON_DEMAND_DIR)?;
    Mac::all().try_for_each(|mac| mac.write(root, state))
}

/// The daemons, one for each set of builders.
pub(crate) fn daemons() -> Result<Vec<Child>> {
    Mac::all().map(Mac::daemon).collect()
}
