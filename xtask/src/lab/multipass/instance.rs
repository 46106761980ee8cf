//! One instance: its disk, and starting and stopping its guest.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::super::state::State;
use super::daemon::Daemon;
use super::fault::Knob;
use super::guest::{Plan, disk, plan_file};
use super::launch::Image;
use super::protocol::Pair;
use super::{PROGRAM, dir, mount, net};
use crate::sh;

/// How an instance is, in multipass' own words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Running,
    /// Its image is fetched and its disk made: nobody is told of it, and its name is taken.
    Preparing,
    Starting,
    Restarting,
    Stopped,
    Deleted,
    Suspended,
    /// Its zone is off.
    Unavailable,
    Unknown,
}

impl Status {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Running => "Running",
            Self::Preparing | Self::Starting => "Starting",
            Self::Restarting => "Restarting",
            Self::Stopped => "Stopped",
            Self::Deleted => "Deleted",
            Self::Suspended => "Suspended",
            Self::Unavailable => "Unavailable",
            Self::Unknown => "Unknown",
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Instance {
    pub(super) name: String,
    pub(super) image: Image,
    pub(super) cpus: u32,
    pub(super) memory: u64,
    pub(super) disk: u64,
    pub(super) user_data: String,
    pub(super) arm: bool,
    pub(super) status: Status,
    pub(super) zone: &'static str,
    /// It ran when its zone was switched off.
    pub(super) was_running: bool,
    /// The last part of its address.
    pub(super) number: u16,
    /// The guest's first process, while there is one.
    pub(super) keeper: Option<i32>,
    pub(super) mounts: BTreeMap<String, Mounted>,
}

/// What is mounted where: the key is the target.
#[derive(Debug, Clone)]
pub(super) struct Mounted {
    pub(super) host: String,
    pub(super) source: String,
    pub(super) native: bool,
    pub(super) uids: Vec<Pair>,
    pub(super) gids: Vec<Pair>,
}

impl Instance {
    pub(super) fn address(&self) -> Ipv4Addr {
        net::address(self.number)
    }
}

fn home(state: &State, name: &str) -> PathBuf {
    dir(state, "instances").join(name)
}

fn image_file(state: &State, name: &str) -> PathBuf {
    home(state, name).join("disk.img")
}

/// Makes an instance's disk: a file with a file system that thinks it is as big as was asked for.
pub(super) fn make_disk(state: &State, name: &str, bytes: u64) -> Result<()> {
    fs::create_dir_all(disk(state, name))?;
    let file = image_file(state, name);
    File::create(&file)?.set_len(bytes)?;
    let mut mkfs = Command::new("/usr/sbin/mkfs.ext4");
    mkfs.args(["-q", "-F", "-m", "0", "-O", "^has_journal", "-E", "lazy_itable_init=1,nodiscard"]).arg(file);
    sh::quiet(mkfs.env_clear()).map(drop)
}

/// Makes it bigger.
pub(super) fn grow_disk(state: &State, name: &str, bytes: u64) -> Result<()> {
    let file = image_file(state, name);
    if is_in_use(&file) {
        bail!("{} is in use", file.display());
    }
    File::options().write(true).open(&file)?.set_len(bytes)?;
    sh::quiet(Command::new("/usr/sbin/resize2fs").arg("-f").arg(file).env_clear()).map(drop)
}

/// Removes all of an instance's files.
pub(super) fn erase(state: &State, name: &str) -> Result<()> {
    super::super::cache::remove_all(&home(state, name))
}

fn mount_disk(state: &State, name: &str) -> Result<()> {
    let mut mount = Command::new("/usr/bin/mount");
    mount.args(["-o", "loop"]).arg(image_file(state, name)).arg(disk(state, name));
    sh::quiet(mount.env_clear()).map(drop)
}

/// Unmounts it, and waits until the kernel has written it and let go of it. A guest that starts at this moment still sees the
/// mounts of all others, and as long as it does, the file system is alive: whoever enlarged it then would break it.
fn unmount_disk(state: &State, name: &str) {
    let _ = sh::quiet(Command::new("/usr/bin/umount").arg(disk(state, name)).env_clear());
    let file = image_file(state, name);
    let deadline = Instant::now() + Duration::from_secs(10);
    while is_in_use(&file) && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(10));
    }
}

/// Whether a block device has the file behind it, which mounting it makes.
fn is_in_use(file: &Path) -> bool {
    let devices = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let mut behind = devices.filter_map(|device| fs::read(device.path().join("loop/backing_file")).ok());
    behind.any(|name| name.trim_ascii_end() == file.as_os_str().as_encoded_bytes())
}

/// Starts the guest and waits until it can be reached. It is `Starting` already.
pub(super) fn start(daemon: &Daemon, name: &str, timeout: Duration) -> Result<(), String> {
    let failed = |error: anyhow::Error| format!("{name}: the lab's double: {error:#}");
    let cut_off = Knob::ResponseTimeout.is_on(&daemon.state, name);
    let instance = daemon.get(name).ok_or_else(|| format!("instance \"{name}\" does not exist"))?;
    spawn(daemon, &instance, cut_off).map_err(failed)?;
    let wait = if cut_off { Duration::from_secs(1) } else { timeout };
    let deadline = Instant::now() + wait;
    loop {
        let keeper = daemon.get(name).and_then(|now| now.keeper);
        let answers = |pid| net::listening(pid) && net::answers(pid, instance.address());
        if !cut_off && keeper.is_some_and(answers) {
            break;
        }
        if Instant::now() > deadline {
            daemon.set_status(name, Status::Unknown);
            return Err(format!("{name}: timed out waiting for response"));
        }
        if keeper.is_none() {
            daemon.set_status(name, Status::Stopped);
            let log = sh::tail(&home(&daemon.state, name).join("log"), 5);
            return Err(format!("{name}: the guest ended\n{log}"));
        }
        thread::sleep(Duration::from_millis(20));
    }
    daemon.set_status(name, Status::Running);
    Ok(())
}

fn spawn(daemon: &Daemon, instance: &Instance, cut_off: bool) -> Result<()> {
    let (state, name) = (&daemon.state, instance.name.as_str());
    let plan = Plan {
        name: name.to_owned(),
        address: instance.address(),
        memory: instance.memory,
        pretty_name: instance.image.pretty_name(),
        version: instance.image.version.to_owned(),
        code_name: instance.image.code_name.to_owned(),
        full_version: instance.image.full_version(),
        has_nix: instance.image.has_nix,
        user_data: instance.user_data.clone(),
        cut_off,
        arm: instance.arm,
        no_network: Knob::NoNetwork.is_on(state, name),
        new_host_key: Knob::HostKeyChange.take(state, name),
    };
    fs::write(plan_file(state, name), serde_json::to_vec(&plan)?)?;
    mount_disk(state, name)?;
    let log = File::options().create(true).append(true).open(home(state, name).join("log"))?;
    let mut child = Command::new("/usr/bin/unshare")
        .args(["--mount", "--pid", "--net", "--uts", "--ipc", "--fork", "--kill-child=KILL"])
        .args(["--propagation", "private", "--", PROGRAM, "lab", "multipass-guest", name])
        .arg(state.dir())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .context("cannot start a guest")?;
    let mut pid = String::new();
    BufReader::new(child.stdout.take().context("no way out")?).read_line(&mut pid)?;
    let pid = pid.trim().to_owned();
    if pid.is_empty() {
        bail!("the guest does not begin\n{}", sh::tail(&home(state, name).join("log"), 5));
    }
    net::connect(instance.number, &pid)?;
    net::set_unreachable(instance.address(), Knob::NoRoute.is_on(state, name))?;
    limit(name, instance.memory, &pid)?;
    let number = pid.parse().context("a guest without a number")?;
    daemon.change(name, |instance| instance.keeper = Some(number));
    child.stdin.take().context("no way in")?.write_all(b"go\n")?;
    let (daemon, name) = (daemon.clone(), name.to_owned());
    thread::spawn(move || {
        let _ = child.wait();
        daemon.gone(&name, number);
    });
    Ok(())
}

/// Keeps all of a guest's processes together below a limit.
fn limit(name: &str, bytes: u64, pid: &str) -> Result<()> {
    let group = group(name);
    fs::create_dir_all(&group)?;
    // In the second version of control groups a parent says what its children are limited in.
    let _ = fs::write(group.with_file_name("cgroup.subtree_control"), "+memory");
    for (file, value) in [
        ("memory.limit_in_bytes", bytes.to_string()),
        ("memory.max", bytes.to_string()),
        ("memory.memsw.limit_in_bytes", bytes.to_string()),
        ("memory.swap.max", "0".to_owned()),
    ] {
        let file = group.join(file);
        if file.exists() {
            // Swap is not always counted.
            let _ = fs::write(file, value);
        }
    }
    fs::write(group.join("cgroup.procs"), pid).context("cannot limit a guest's memory")?;
    let freezer = freezer(name);
    fs::create_dir_all(&freezer)?;
    fs::write(freezer.join("cgroup.procs"), pid).context("cannot prepare a guest for `freeze`")
}

/// The control group that stops a guest's processes: always one of the second version, whose processes can be killed while they
/// are stopped. Machines with the first version have the second one next to it.
fn freezer(name: &str) -> PathBuf {
    let all = Path::new("/sys/fs/cgroup");
    let second = all.join("unified");
    if second.is_dir() { second } else { all.to_owned() }.join(format!("{GROUP}{name}"))
}

/// Stops a guest's processes and its network, or lets them go on. Returns when the last process has stopped.
pub(super) fn freeze(instance: &Instance, on: bool) -> Result<()> {
    let freezer = freezer(&instance.name);
    net::set_silent(instance.number, on)?;
    fs::write(freezer.join("cgroup.freeze"), if on { "1" } else { "0" })
        .context("cannot freeze the guest")?;
    let done = format!("frozen {}\n", u8::from(on));
    let deadline = Instant::now() + Duration::from_secs(10);
    while !fs::read_to_string(freezer.join("cgroup.events"))?.contains(&done) {
        if Instant::now() > deadline {
            bail!("the guest's processes do not stop");
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// What begins the name of each guest's control group.
pub(super) const GROUP: &str = "multipass-";

/// A guest's control group, in whichever version of them the machine has.
pub(super) fn group(name: &str) -> PathBuf {
    let all = Path::new("/sys/fs/cgroup");
    let memory = all.join("memory");
    if memory.is_dir() { memory } else { all.to_owned() }.join(format!("{GROUP}{name}"))
}

/// Ends the guest. Forced, it gets no moment to end by itself.
pub(super) fn stop(daemon: &Daemon, name: &str, force: bool) {
    let Some(pid) = daemon.get(name).and_then(|instance| instance.keeper) else { return };
    let Some(process) = Pid::from_raw(pid) else { return };
    let _ = kill_process(process, if force { Signal::KILL } else { Signal::TERM });
    let deadline = Instant::now() + Duration::from_secs(10);
    while daemon.get(name).is_some_and(|instance| instance.keeper == Some(pid)) {
        if Instant::now() > deadline {
            let _ = kill_process(process, Signal::KILL);
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// What there is to do when a guest's processes are gone.
pub(super) fn after(state: &State, name: &str) {
    for group in [group(name), freezer(name)] {
        for _ in 0..50 {
            if fs::remove_dir(&group).is_ok() || !group.exists() {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
    unmount_disk(state, name);
}

/// Puts everything in place that is mounted. What cannot be is dropped, with a warning.
pub(super) fn remount(daemon: &Daemon, name: &str, warn: &mut dyn FnMut(String)) {
    let Some(instance) = daemon.get(name) else { return };
    if Knob::MountLost.is_on(&daemon.state, name) {
        return;
    }
    for (target, mounted) in &instance.mounts {
        if let Err(why) = mount::activate(daemon, &instance, target, mounted) {
            warn(format!("Removing mount \"{target}\" from '{name}': {why}\n"));
            daemon.change(name, |instance| {
                instance.mounts.remove(target);
            });
        }
    }
}
