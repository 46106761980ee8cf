//! A guest: process 1 of its own PID namespace, which makes its root, boots it and reaps what is left to it.

use std::fs;
use std::io::{BufRead, Write};
use std::net::Ipv4Addr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, wait};
use serde::{Deserialize, Serialize};

use super::super::events;
use super::super::mounts::Root;
use super::super::nixconf::REGISTRY;
use super::super::state::State;
use super::{dir, files, net};
use crate::sh;

/// What a guest is to be when it boots.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Plan {
    pub(super) name: String,
    pub(super) address: Ipv4Addr,
    pub(super) memory: u64,
    pub(super) pretty_name: String,
    pub(super) version: String,
    pub(super) code_name: String,
    /// `24.04.3 LTS (Noble Numbat)`.
    pub(super) full_version: String,
    /// Its image has Nix's packages.
    pub(super) has_nix: bool,
    pub(super) user_data: String,
    /// Nobody is to reach it.
    pub(super) cut_off: bool,
    /// It says that it has Apple's CPU.
    pub(super) arm: bool,
    /// Its packages are to come from a network that is not there.
    pub(super) no_network: bool,
    /// It makes a new ed25519 host key.
    pub(super) new_host_key: bool,
}

/// Who people are in a guest.
pub(super) const USER: &str = "ubuntu";
const USER_ID: u32 = 1000;
/// Programs of ours that take the place of a package's.
const PROGRAMS: [&str; 3] = ["systemctl", "journalctl", "cloud-init"];
/// Programs of ours that come before a package's, which they run for all but one thing.
const WRAPPERS: [&str; 2] = ["curl", "sha256sum"];
/// Where the double of `curl` finds NixOS's installer of Nix.
const INSTALLER: &str = "/lab/nix-installer";
/// The packages of Nix that older releases have. Source: Ubuntu's package `nix-bin`.
const OLD_PACKAGES: [(&str, &str); 2] = [("22.04", "2.6.0+dfsg-3"), ("24.04", "2.18.1+dfsg-1ubuntu5")];
/// Written when the first boot has made the guest what it is.
const MADE: &str = "/var/lib/lab-guest";
/// Where Nix in a guest learns that there is no network.
const NIX_CONF: &str = "/etc/lab/nix.conf";
/// The same for the daemon alone: what only it may set.
const NIX_DAEMON_CONF: &str = "/etc/lab/nix-daemon.conf";
const ENVIRONMENT: &str = "PATH=\"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/games:/usr/local/games:/snap/bin\"\n\
     NIX_USER_CONF_FILES=\"/etc/lab/nix.conf\"\n";
const APT_SOURCES: &str = "/etc/apt/sources.list";
const REPOSITORY: &str = "deb [trusted=yes] file:/lab/apt ./\n";
/// Where real guests get packages from. `tidy` knows that it is named here: nobody ever gets there.
const UBUNTUS_ARCHIVE: &str = "http://archive.ubuntu.com/ubuntu";
const SSHD: &str = "/usr/sbin/sshd";
const HOST_KEY: &str = "/etc/ssh/ssh_host_ed25519_key";
/// Written when the host keys have been made: only a first boot makes them.
const KEYS_MADE: &str = "/var/lib/lab-host-keys";

/// Where an instance's plan lies.
pub(super) fn plan_file(state: &State, name: &str) -> PathBuf {
    dir(state, "instances").join(name).join("plan.json")
}

/// Where its disk is mounted while it runs.
pub(super) fn disk(state: &State, name: &str) -> PathBuf {
    dir(state, "instances").join(name).join("disk")
}

/// Turns this process into a guest.
pub(crate) fn run(state: &State, name: &str) -> Result<()> {
    let plan: Plan = serde_json::from_slice(&fs::read(plan_file(state, name))?)?;
    let stop = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGTERM, Arc::clone(&stop))?;
    // The daemon gives us a network and a limit of memory, and says so.
    println!("{}", super::super::init::own_pid()?);
    std::io::stdout().flush()?;
    std::io::stdin().lock().read_line(&mut String::new())?;
    put_together(state, &plan)?.enter()?;
    boot(&plan)?;
    keep(&stop)
}

fn put_together(state: &State, plan: &Plan) -> Result<Root> {
    let parts = state.spec()?.parts;
    let disk = disk(state, &plan.name);
    let more = parts.more()?;
    let image = if plan.has_nix { &more.guest_with_nix } else { &more.guest };
    let root = Root::over(image, &disk.join("root"))?;
    root.kernel()?;
    // What the binary cache is to everyone else: the stand-in's packages, and no Nix.
    root.overlay(&parts.seed, &disk.join("nix"), "/nix")?;
    root.bind_read_only(&parts.nixpkgs, "/lab/nixpkgs")?;
    root.bind_read_only(&parts.sources, "/lab/sources")?;
    root.bind_read_only(&more.repository, "/lab/apt")?;
    if !root.outside(MADE).exists() {
        make(&root, plan)?;
    }
    packages(&root, plan)?;
    root.bind_read_only(&files().join("nix-installer"), INSTALLER)?;
    events::bind(&root, state)?;
    let memory = root.outside("/run/lab-meminfo");
    fs::write(&memory, meminfo(plan.memory))?;
    root.bind(&memory, "/proc/meminfo")?;
    for path in ["/run/systemd/system", "/run/sshd", "/run/lab", "/var/log/lab", "/var/lib/cloud/instance"] {
        root.directory(path)?;
    }
    Ok(root)
}

/// What the image of the guest has beyond Debian's packages.
fn make(root: &Root, plan: &Plan) -> Result<()> {
    users(root, plan)?;
    programs(root)?;
    if let Some((_, version)) = OLD_PACKAGES.iter().find(|(release, _)| *release == plan.version) {
        old_package(root, version)?;
    }
    let release = format!(
        "PRETTY_NAME=\"{}\"\nNAME=\"Ubuntu\"\nVERSION_ID=\"{}\"\nVERSION=\"{}\"\nVERSION_CODENAME={}\nID=ubuntu\nID_LIKE=debian\n",
        plan.pretty_name, plan.version, plan.full_version, plan.code_name
    );
    fs::remove_file(root.outside("/etc/os-release"))?;
    root.write("/etc/os-release", &release, 0o644)?;
    root.write("/etc/hostname", &format!("{}\n", plan.name), 0o644)?;
    root.write("/etc/hosts", &format!("127.0.0.1 localhost\n127.0.1.1 {}\n", plan.name), 0o644)?;
    root.write("/etc/environment", ENVIRONMENT, 0o644)?;
    root.write(
        NIX_CONF,
        &format!("{NIX_SETTINGS}{}", if plan.arm { "system = aarch64-linux\n" } else { "" }),
        0o644,
    )?;
    root.write(NIX_DAEMON_CONF, events::SANDBOX, 0o644)?;
    if plan.arm {
        root.write("/usr/local/bin/uname", UNAME, 0o755)?;
    }
    root.write(APT_SOURCES, REPOSITORY, 0o644)?;
    let lists = root.outside("/var/lib/apt/lists");
    fs::remove_dir_all(&lists)?;
    fs::create_dir_all(&lists)?;
    root.write("/etc/lab/flake-registry.json", REGISTRY, 0o644)?;
    root.write("/var/lib/cloud/seed/nocloud/user-data", &plan.user_data, 0o600)?;
    // Penalties would turn one test's refusals into another's.
    root.write(
        "/etc/ssh/sshd_config.d/lab.conf",
        "PasswordAuthentication no\nPerSourcePenalties no\nUseDNS no\n",
        0o644,
    )?;
    root.write("/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 0\n", 0o755)?;
    root.write(MADE, "", 0o644)
}

/// That there is no network, in Nix's words: what a guest's own settings say of it comes before this, and counts for all else.
///
/// As on hosts (see `nixconf`), the registry is not looked at unless flakes come first.
const NIX_SETTINGS: &str = "extra-experimental-features = flakes\n\
                            substituters =\n\
                            flake-registry = /etc/lab/flake-registry.json\n\
                            nix-path = nixpkgs=/lab/nixpkgs\n";

/// What such a guest's `uname` says: the kernel is the machine's.
const UNAME: &str =
    "#!/bin/sh\ncase $1 in -m | -p | -i) echo aarch64 ;; *) exec /usr/bin/uname \"$@\" ;; esac\n";

/// Where packages come from, unless somebody in the guest has said so.
fn packages(root: &Root, plan: &Plan) -> Result<()> {
    let ubuntus = format!("deb {UBUNTUS_ARCHIVE} {} main universe\n", plan.code_name);
    let now = fs::read_to_string(root.outside(APT_SOURCES)).unwrap_or_default();
    if now != REPOSITORY && now != ubuntus {
        return Ok(());
    }
    root.write(APT_SOURCES, if plan.no_network { &ubuntus } else { REPOSITORY }, 0o644)
}

/// The guest's user in place of the lab's. Where Nix is installed, its build users are the package's.
fn users(root: &Root, plan: &Plan) -> Result<()> {
    let nix: &[&str] = if plan.has_nix { &[] } else { &["nixbld", "nix-users:"] };
    for (file, own) in [
        ("/etc/passwd", format!("{USER}:x:{USER_ID}:{USER_ID}:Ubuntu:/home/{USER}:/bin/bash\n")),
        ("/etc/group", format!("{USER}:x:{USER_ID}:\n")),
        ("/etc/shadow", format!("{USER}:*:20000:0:99999:7:::\n")),
    ] {
        let text = fs::read_to_string(root.outside(file))?;
        let ours = |line: &&str| {
            ["docker:", "alice:", "mallory:"].iter().chain(nix).any(|name| line.starts_with(name))
        };
        let kept: String = text.lines().filter(|line| !ours(line)).map(|line| format!("{line}\n")).collect();
        fs::write(root.outside(file), kept + &own)?;
    }
    let home = root.directory(format!("/home/{USER}"))?;
    for file in [".bashrc", ".profile"] {
        fs::copy(root.outside("/etc/skel").join(file), home.join(file))?;
        chown(home.join(file), Some(USER_ID), Some(USER_ID))?;
    }
    fs::set_permissions(&home, fs::Permissions::from_mode(0o750))?;
    chown(&home, Some(USER_ID), Some(USER_ID))?;
    root.write("/etc/sudoers.d/90-cloud-init-users", &format!("{USER} ALL=(ALL) NOPASSWD:ALL\n"), 0o440)
}

/// Puts our programs where packages have theirs, in a way that packages respect.
fn programs(root: &Root) -> Result<()> {
    let mut diversions = String::new();
    for name in PROGRAMS {
        let program = format!("/usr/bin/{name}");
        if root.outside(&program).exists() {
            fs::rename(root.outside(&program), root.outside(format!("{program}.distrib")))?;
        }
        diversions.push_str(&format!("{program}\n{program}.distrib\n:\n"));
        root.write(&program, &fs::read_to_string(files().join("guest").join(name))?, 0o755)?;
    }
    for name in WRAPPERS {
        let program = fs::read_to_string(files().join("guest").join(name))?;
        root.write(&format!("/usr/local/bin/{name}"), &program, 0o755)?;
    }
    root.append("/var/lib/dpkg/diversions", &diversions)
}

/// The package of Nix that an older release has, which is listed and chosen, and cannot be fetched: nothing here is to install it.
fn old_package(root: &Root, version: &str) -> Result<()> {
    let package = format!(
        "Package: nix-bin\nVersion: {version}\nArchitecture: amd64\nFilename: ./nix-bin.deb\nSize: 1\nSHA256: {}\nDescription: Nix\n",
        "0".repeat(64)
    );
    root.write("/lab/apt-old/Packages", &package, 0o644)?;
    root.write("/etc/apt/sources.list.d/old.list", "deb [trusted=yes] file:/lab/apt-old ./\n", 0o644)?;
    let pin = format!("Package: nix-bin\nPin: version {version}\nPin-Priority: 1001\n");
    root.write("/etc/apt/preferences.d/old", &pin, 0o644)
}

/// A guest with all of its memory free: the limit itself is the control group's.
fn meminfo(bytes: u64) -> String {
    let total = bytes >> 10;
    let free = total - total / 8;
    [
        ("MemTotal", total),
        ("MemFree", free),
        ("MemAvailable", free),
        ("Buffers", 0),
        ("Cached", 0),
        ("SwapTotal", 0),
        ("SwapFree", 0),
    ]
    .iter()
    .map(|(name, kib)| format!("{:<16}{kib:>8} kB\n", format!("{name}:")))
    .collect()
}

fn boot(plan: &Plan) -> Result<()> {
    sh::quiet(Command::new("/usr/bin/hostname").arg(&plan.name).env_clear())
        .or_else(|_| fs::write("/proc/sys/kernel/hostname", &plan.name).map(|()| String::new()))?;
    net::configure(plan.address, plan.cut_off)?;
    host_keys(plan)?;
    // Sockets and the files of user data are there before anybody can log in, as in life; what it asks for beyond that may take its time.
    sh::quiet(&mut program("/usr/bin/systemctl", &["lab-boot"]))?;
    let mut cloud_init = program("/usr/bin/cloud-init", &["lab-boot"]);
    let mut cloud_init = cloud_init.stdout(Stdio::piped()).spawn().context("cannot run cloud-init")?;
    std::io::copy(&mut cloud_init.stdout.take().context("no way out")?, &mut std::io::sink())?;
    start(SSHD, &["-D", "-e"])?;
    Ok(())
}

/// Makes the host keys at the first boot, before cloud-init may replace them. Later boots add no key that cloud-init left out.
fn host_keys(plan: &Plan) -> Result<()> {
    if !Path::new(KEYS_MADE).exists() {
        sh::quiet(Command::new("/usr/bin/ssh-keygen").arg("-A").env_clear())?;
        fs::write(KEYS_MADE, "")?;
    }
    if plan.new_host_key {
        for file in [HOST_KEY.to_owned(), format!("{HOST_KEY}.pub")] {
            let _ = fs::remove_file(file);
        }
        let mut keygen = Command::new("/usr/bin/ssh-keygen");
        keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", &format!("root@{}", plan.name), "-f", HOST_KEY]);
        sh::quiet(keygen.env_clear())?;
    }
    Ok(())
}

fn program(path: &str, args: &[&str]) -> Command {
    let mut command = Command::new(path);
    command.args(args).env_clear().env("HOME", "/root").stdin(Stdio::null());
    command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    command
}

fn start(path: &str, args: &[&str]) -> Result<Child> {
    program(path, args).spawn().with_context(|| format!("cannot run {path}"))
}

/// Reaps until it is time to go; then everyone gets a moment.
fn keep(stop: &AtomicBool) -> Result<()> {
    while !stop.load(Ordering::Relaxed) {
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
        thread::sleep(Duration::from_millis(20));
    }
    let deadline = Instant::now() + Duration::from_secs(2);
    // Number -1 is all but ourselves.
    signal_all(Signal::TERM)?;
    while wait(WaitOptions::NOHANG).is_ok() {
        if Instant::now() > deadline {
            break;
        }
        thread::sleep(Duration::from_millis(10));
    }
    sh::quiet(Command::new(Path::new("/usr/bin/sync")).env_clear()).map(drop)
}

fn signal_all(signal: Signal) -> Result<()> {
    for entry in fs::read_dir("/proc")?.flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok());
        if let Some(pid) = pid.filter(|pid| *pid > 1).and_then(Pid::from_raw) {
            let _ = kill_process(pid, signal);
        }
    }
    if !Path::new("/proc/1").exists() {
        bail!("a guest without /proc");
    }
    Ok(())
}
