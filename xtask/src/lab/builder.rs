//! The machines that build for hosts: the Linux builders of the emulated Mac, and a fleet of machines that people reach
//! over ssh. Each is a root of its own with a store, a Nix daemon and a real sshd.
//!
//! Each listens on a port of 127.0.0.1, which hosts share with it as with a VM whose port is forwarded.

use std::fs;
use std::io::{self, Read};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::events;
use super::host_root::{Nix, watch};
use super::mounts::{Root, tmpfs};
use super::parts::Scope;
use super::state::State;
use crate::{sh, workspace};

/// What tells one of these machines from the others.
#[derive(Debug)]
pub(crate) struct Builder {
    /// What ssh calls it.
    pub(crate) name: &'static str,
    /// Where it listens: a Mac's builders where their models do.
    pub(crate) port: u16,
    /// The machine whose client key opens this one: a fleet has one key for all.
    opened_by: &'static str,
    nix: Nix,
    /// Whether its Nix takes the word of whoever logs in.
    trusted: bool,
    /// What it builds for besides x86_64-linux.
    extra_platforms: &'static str,
    features: &'static str,
    /// The first of its build users.
    build_uid: u32,
    /// Whether a command over ssh finds Nix on PATH.
    on_path: bool,
    /// How much its store and its `/tmp` hold together, where that is not as much as the disk does.
    space: Option<&'static str>,
    /// A port where it answers with another host key.
    impostor: Option<u16>,
    /// Whether it is the guest of virtual machines that hosts start: it has the host key that everybody knows, and lets in
    /// whoever such a machine was started for.
    guest: bool,
}

/// One with nothing special about it.
const PLAIN: Builder = Builder {
    name: "",
    port: 0,
    opened_by: "ant",
    nix: Nix::V34,
    trusted: true,
    extra_platforms: "",
    features: "benchmark big-parallel",
    build_uid: 0,
    on_path: true,
    space: None,
    impostor: None,
    guest: false,
};

/// Where bee is somebody else.
pub(crate) const BEES_IMPOSTOR: u16 = 32302;

/// What the builders of a Mac claim to have.
const MAC_FEATURES: &str = "kvm benchmark big-parallel nixos-test";

/// nix-darwin's `nix.linux-builder`.
pub(crate) static LINUX: Builder = Builder {
    name: "linux-builder",
    port: 31022,
    opened_by: "linux-builder",
    nix: Nix::V26,
    features: MAC_FEATURES,
    build_uid: 36_000,
    ..PLAIN
};

/// nix-rosetta-builder.
pub(crate) static ROSETTA: Builder = Builder {
    name: "rosetta-builder",
    port: 31122,
    opened_by: "rosetta-builder",
    extra_platforms: "aarch64-linux",
    features: MAC_FEATURES,
    build_uid: 36_100,
    ..PLAIN
};

/// The guest behind `darwin.linux-builder`, which a Mac starts itself (see `lab/doubles/linux-builder`). Nobody but the double
/// knows the port.
pub(crate) static TRANSIENT: Builder = Builder {
    name: "transient-builder",
    port: 32330,
    opened_by: "transient-builder",
    extra_platforms: "aarch64-linux",
    features: MAC_FEATURES,
    build_uid: 36_600,
    guest: true,
    ..PLAIN
};

/// Where hosts and the guest have what the double and the guest share: a socket that leads to the guest's sshd, and the
/// directories `keys`, of whom it lets in, and `off`, of virtual machines that were powered off.
pub(crate) const SHARED: &str = "/lab/linux-builder";

pub(crate) fn shared(state: &State) -> PathBuf {
    state.live("linux-builder")
}

/// Linux machines that people have somewhere: an old one, a good one, one with a small disk where Nix is not on PATH, and
/// one whose connections are killed while it works (see [`super::fault`]).
pub(crate) static FLEET: [Builder; 4] = [
    Builder { name: "ant", port: 32201, nix: Nix::V26, trusted: false, build_uid: 36_200, ..PLAIN },
    Builder {
        name: "bee",
        port: 32202,
        extra_platforms: "aarch64-linux",
        features: "benchmark big-parallel kvm",
        impostor: Some(BEES_IMPOSTOR),
        build_uid: 36_300,
        ..PLAIN
    },
    Builder {
        name: "cat",
        port: 32203,
        trusted: false,
        on_path: false,
        space: Some("size=96m"),
        build_uid: 36_400,
        ..PLAIN
    },
    Builder { name: "dodo", port: 32204, nix: Nix::V26, build_uid: 36_500, ..PLAIN },
];

/// Where a builder's keys are, inside its root, and where the keys of whoever may log in are.
const KEYS: &str = "/lab/keys";
const CLIENTS: &str = "/lab/clients";
/// What lists the keys that a guest lets in, and what powers it off.
const AUTHORIZED: &str = "/lab/authorized-keys";
const SYSTEMCTL: &str = "/usr/local/bin/systemctl";
/// Where Nix is on a machine that has it, and not on PATH; and where people then find it.
const ASIDE: &str = "/opt/lab/nix";
const PROFILE: &str = "/nix/var/nix/profiles/default";
/// Who logs in.
const USER: &str = "builder:x:1100:1100:builder:/home/builder:/bin/sh\n";
const USER_ID: u32 = 1100;

/// Every machine that builds.
fn all() -> impl Iterator<Item = &'static Builder> {
    [&LINUX, &ROSETTA, &TRANSIENT].into_iter().chain(&FLEET)
}

/// Those of a lab.
pub(crate) fn of(scope: Scope) -> impl Iterator<Item = &'static Builder> {
    all().filter(move |_| scope == Scope::Whole)
}

pub(crate) fn parse(name: &str) -> Result<&'static Builder> {
    all().find(|builder| builder.name == name).with_context(|| format!("no builder {name} here"))
}

impl Builder {
    /// The directory with its host key and a client's, as the machine sees it. Each machine makes both when it starts.
    pub(crate) fn keys(&self, state: &State) -> PathBuf {
        keys(state, self.name)
    }

    /// Where its keeper leaves its number.
    pub(crate) fn pid_file(&self) -> String {
        format!("builders/{}/pid", self.name)
    }

    /// Whether its sshd answers.
    pub(crate) fn answers(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)) else { return false };
        let mut banner = [0; 8];
        stream.set_read_timeout(Some(Duration::from_secs(2))).is_ok()
            && stream.read_exact(&mut banner).is_ok()
            && &banner == b"SSH-2.0-"
    }

    /// Waits until it has its keys: one that answers has them.
    pub(crate) fn wait_for_keys(&self, state: &State) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !self.answers() {
            if Instant::now() > deadline {
                bail!("{} does not answer\n{}", self.name, sh::tail(&state.log(self.name), 15));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn nix_conf(&self) -> String {
        format!(
            "substituters =\nsandbox = true\nsandbox-fallback = false\nbuild-users-group = nixbld\n\
             trusted-users = root{}\nsystem-features = {}\nextra-platforms = {}\n{}",
            if self.trusted { " builder" } else { "" },
            self.features,
            self.extra_platforms,
            events::SANDBOX,
        )
    }

    /// The ports of its sshd, each with the name of its host key.
    fn ports(&self) -> impl Iterator<Item = (u16, &'static str)> {
        [(self.port, "host")].into_iter().chain(self.impostor.map(|port| (port, "impostor")))
    }

    /// The directory of its programs.
    fn programs(&self) -> &'static str {
        if self.on_path { "/usr/bin" } else { ASIDE }
    }
}

/// Settings of an sshd, and where they are.
fn sshd_config(port: u16, key: &str, guest: bool) -> (String, String) {
    let authorized = if guest {
        format!(
            "AuthorizedKeysFile none\nAuthorizedKeysCommand {AUTHORIZED}\nAuthorizedKeysCommandUser root\n\
             PermitUserEnvironment LAB_VM"
        )
    } else {
        format!("AuthorizedKeysFile {CLIENTS}/client.pub")
    };
    // Penalties would turn one test's refusals into another's, and so would the connections that sshd refuses by chance when many log in at
    // once (10 of them, by default).
    let text = format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey {KEYS}/{key}\n{authorized}\nUsePAM no\n\
         StrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPerSourcePenalties no\n\
         MaxStartups 1000\nMaxSessions 100\nPidFile none\n"
    );
    (format!("/etc/ssh/lab_{key}_config"), text)
}

fn keys(state: &State, machine: &str) -> PathBuf {
    state.live(&format!("builders/{machine}/keys"))
}

/// Turns this process into the keeper of a builder.
pub(crate) fn run(state: &State, builder: &Builder) -> Result<()> {
    let pid = super::init::own_pid()?;
    let root = put_together(state, builder)?;
    fs::write(state.live(&builder.pid_file()), pid)?;
    let socket = if builder.guest { Some(UnixListener::bind(shared(state).join("sock"))?) } else { None };
    root.enter()?;
    if let Some(socket) = socket {
        fs::set_permissions(Path::new(SHARED).join("sock"), fs::Permissions::from_mode(0o777))?;
        let port = builder.port;
        thread::spawn(move || pass_on(&socket, port));
    }
    for key in ["client"].into_iter().chain(builder.ports().map(|(_, key)| key)) {
        let file = Path::new(KEYS).join(key);
        if file.exists() {
            // A guest's, which everybody knows.
            let public = format!("ssh-keygen -y -f {0} > {0}.pub", file.display());
            sh::quiet(Command::new("/bin/sh").args(["-c", &public]))?;
            continue;
        }
        let mut keygen = Command::new("/usr/bin/ssh-keygen");
        keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", &format!("{key}@{}", builder.name), "-f"]);
        sh::quiet(keygen.arg(file))?;
    }
    // As Nix's list of machines has it.
    let encode = format!("base64 -w0 < {KEYS}/host.pub > {KEYS}/host.base64");
    sh::quiet(Command::new("/bin/sh").args(["-c", &encode]))?;
    sh::quiet(Command::new("/usr/sbin/ip").args(["link", "set", "lo", "up"]).env_clear())?;
    let daemon = start(&format!("{}/nix-daemon", builder.programs()), &[])?;
    let mut daemons = vec![daemon];
    for (port, key) in builder.ports() {
        daemons.push(start("/usr/sbin/sshd", &["-D", "-e", "-f", &sshd_config(port, key, false).0])?);
    }
    watch(&mut daemons)
}

fn put_together(state: &State, builder: &Builder) -> Result<Root> {
    let spec = state.spec()?;
    let pristine = builder.nix.root(&spec.parts)?;
    let seed = &spec.parts.seed;
    let live = |name: &str| {
        let path = state.live(&format!("builders/{}/{name}", builder.name));
        fs::create_dir_all(&path).map(|()| path)
    };
    let root = Root::over(pristine, &live("root")?)?;
    root.kernel()?;
    if let Some(space) = builder.space {
        tmpfs(&live("disk")?, space)?;
    }
    root.overlay(seed, &live("disk/nix")?, "/nix")?;
    let tmp = live("disk/tmp")?;
    fs::set_permissions(&tmp, fs::Permissions::from_mode(0o1777))?;
    root.bind(&tmp, "/tmp")?;
    root.bind(&live("keys")?, KEYS)?;
    events::bind(&root, state)?;
    let clients = keys(state, builder.opened_by);
    fs::create_dir_all(&clients)?;
    root.bind(&clients, CLIENTS)?;
    chown(root.directory("/home/builder")?, Some(USER_ID), Some(USER_ID))?;
    root.directory("/run/sshd")?;
    root.build_users(builder.build_uid)?;
    root.append("/etc/passwd", USER)?;
    root.append("/etc/group", "builder:x:1100:\n")?;
    // Neither a password nor a locked account.
    root.append("/etc/shadow", "builder:*:20000:0:99999:7:::\n")?;
    root.write("/etc/nix/nix.conf", &builder.nix_conf(), 0o644)?;
    for (port, key) in builder.ports() {
        let (file, text) = sshd_config(port, key, builder.guest);
        root.write(&file, &text, 0o644)?;
    }
    if !builder.on_path {
        set_nix_aside(&root)?;
    }
    if builder.guest {
        make_guest(&root, state)?;
    }
    Ok(root)
}

/// What is different on a guest of virtual machines that hosts start.
fn make_guest(root: &Root, state: &State) -> Result<()> {
    let shared = shared(state);
    for dir in ["keys", "off"] {
        // Hosts' users write there.
        fs::create_dir_all(shared.join(dir))?;
        fs::set_permissions(shared.join(dir), fs::Permissions::from_mode(0o1777))?;
    }
    root.bind(&shared, SHARED)?;
    root.write(
        AUTHORIZED,
        &format!("#!/bin/sh\nfor key in {SHARED}/keys/*.pub; do cat \"$key\" 2>/dev/null; done\nexit 0\n"),
        0o755,
    )?;
    // Whoever logs in may do that, and nothing else.
    let text = format!(
        "#!/bin/sh\n[ \"$*\" = poweroff ] || {{ echo 'Access denied' >&2; exit 1; }}\n> {SHARED}/off/\"$LAB_VM\"\n"
    );
    root.write(SYSTEMCTL, &text, 0o755)?;
    let key = workspace().join("lab/linux-builder/ssh_host_ed25519_key");
    let text = fs::read_to_string(&key).with_context(|| format!("cannot read {}", key.display()))?;
    root.write(&format!("{KEYS}/host"), &text, 0o600)
}

/// Passes every connection of a socket on to a port.
fn pass_on(socket: &UnixListener, port: u16) {
    for client in socket.incoming().flatten() {
        thread::spawn(move || -> io::Result<()> {
            let server = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
            let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
            thread::spawn(move || {
                let _ = io::copy(&mut from, &mut to);
                to.shutdown(Shutdown::Write)
            });
            let (mut from, mut to) = (server, client);
            let _ = io::copy(&mut from, &mut to);
            to.shutdown(Shutdown::Both)
        });
    }
}

/// Moves Nix to where Nix's own installer puts it: a login's shell finds it, a command over ssh does not.
fn set_nix_aside(root: &Root) -> Result<()> {
    let aside = root.directory(ASIDE)?;
    for entry in fs::read_dir(root.outside("/usr/bin"))? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(b"nix") {
            fs::rename(entry.path(), aside.join(entry.file_name()))?;
        }
    }
    symlink(ASIDE, root.directory(PROFILE)?.join("bin"))?;
    root.write("/etc/profile.d/nix.sh", &format!("export PATH={PROFILE}/bin:$PATH\n"), 0o644)
}

fn start(program: &str, args: &[&str]) -> Result<Child> {
    Command::new(program)
        .args(args)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", "/root")
        .stdin(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot run {program}"))
}
