//! The lab's init: process 1 of its PID namespace, inside a network namespace of its own.
//!
//! It starts one process for every root (see [`super::host_root`], [`super::builder`], [`super::docker`] and [`super::containerd`]) and reaps whatever is left to it.
//! When its pipe ends (the guard is gone), or when one of its processes ends, it ends, and the kernel kills the rest.

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::binfmt::Arm64;
use super::builder;
use super::containerd::Containerd;
use super::docker::Docker;
use super::exec::Machine;
use super::host_root::{self, Nix};
use super::multipass;
use super::parts::Scope;
use super::state::State;
use super::trouble;

pub(crate) fn run(state: &State) -> Result<()> {
    // /proc is still the machine's: it says who we are to the machine.
    fs::write(state.live("init.pid"), own_pid()?)?;
    let spec = state.spec()?;
    let id = state.id();
    let scope = spec.parts.scope();
    let arm64 = match spec.parts.more() {
        Ok(more) => Some(Arm64::register(&id, &more.qemu)?),
        Err(_) => None,
    };
    thread::spawn(move || {
        // The guard never writes: reading returns when it is gone.
        let _ = std::io::stdin().read(&mut [0]);
        drop(arm64);
        std::process::exit(0);
    });
    fs::write("/proc/sys/net/ipv4/ip_forward", "1")
        .context("cannot let containers reach the lab's addresses")?;

    // Hosts know themselves by this name: sudo looks it up.
    fs::write("/proc/sys/kernel/hostname", "lab").context("cannot name the lab's machines")?;

    let mut own = HashMap::new();
    let mut begin = |name: String, what: &[&str]| -> Result<()> {
        own.insert(start(state, &name, what)?, name);
        Ok(())
    };
    for docker in Docker::of(scope) {
        begin(format!("docker-{}", docker.version()), &["docker", docker.version()])?;
    }
    for containerd in Containerd::of(scope) {
        begin(format!("containerd-{}", containerd.version()), &["containerd", containerd.version()])?;
    }
    for builder in builder::of(scope) {
        begin(builder.name.to_owned(), &["builder", builder.name])?;
    }
    if scope == Scope::Whole {
        begin("trouble".to_owned(), &["trouble"])?;
        begin("multipass".to_owned(), &["multipass-daemon"])?;
    }
    for (machine, nix) in hosts(scope) {
        begin(host_root::name(machine, nix), &["host", machine.name(), nix.version()])?;
    }
    let waiting = state.clone();
    thread::spawn(move || match wait_until_ready(&waiting, scope) {
        Ok(()) => {
            let _ = fs::write(waiting.live("ready"), "");
        }
        Err(error) => {
            let _ = fs::write(waiting.live("failed"), format!("{error:#}\n"));
            std::process::exit(1);
        }
    });
    reap(state, &own)
}

/// Every kind of machine with every Nix, as far as a lab has them.
pub(super) fn hosts(scope: Scope) -> impl Iterator<Item = (Machine, Nix)> {
    let all = Machine::ALL.into_iter().flat_map(|machine| Nix::ALL.map(|nix| (machine, nix)));
    all.filter(move |host| scope == Scope::Whole || *host == (Machine::Linux, Nix::V34))
}

/// Starts the process of one root, in a mount namespace that it will turn into that root.
fn start(state: &State, name: &str, what: &[&str]) -> Result<u32> {
    let log = fs::File::create(state.log(name))?;
    let child = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "--"])
        .arg(std::env::current_exe()?)
        .arg("lab")
        .args(what)
        .arg(state.dir())
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("cannot start {name}"))?;
    Ok(child.id())
}

fn wait_until_ready(state: &State, scope: Scope) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut waiting: Vec<(String, Box<dyn Fn() -> bool + Send>)> = Vec::new();
    for docker in Docker::of(scope) {
        let socket = docker.socket(state);
        waiting.push((format!("docker-{}", docker.version()), Box::new(move || answers(&socket))));
    }
    for containerd in Containerd::of(scope) {
        let socket = containerd.socket(state);
        let ready = move || UnixStream::connect(&socket).is_ok();
        waiting.push((format!("containerd-{}", containerd.version()), Box::new(ready)));
    }
    for builder in builder::of(scope) {
        waiting.push((builder.name.to_owned(), Box::new(move || builder.answers())));
    }
    if scope == Scope::Whole {
        let (trouble, multipass) = (state.clone(), state.clone());
        waiting.push(("trouble".to_owned(), Box::new(move || trouble::ready(&trouble))));
        waiting.push(("multipass".to_owned(), Box::new(move || multipass::ready(&multipass))));
    }
    for (machine, nix) in hosts(scope) {
        let pid = state.live(&host_root::pid_file(machine, nix));
        let ready = move || fs::metadata(&pid).is_ok_and(|file| file.len() > 0);
        waiting.push((host_root::name(machine, nix), Box::new(ready)));
    }
    loop {
        waiting.retain(|(_, ready)| !ready());
        let Some((name, _)) = waiting.first() else { return Ok(()) };
        if Instant::now() > deadline {
            bail!("{name} is not ready after a minute\n{}", crate::sh::tail(&state.log(name), 15));
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Whether a Docker daemon answers on this socket.
fn answers(socket: &Path) -> bool {
    let Ok(mut stream) = UnixStream::connect(socket) else { return false };
    let mut reply = [0; 15];
    stream.set_read_timeout(Some(Duration::from_secs(2))).is_ok()
        && stream.write_all(b"GET /_ping HTTP/1.0\r\n\r\n").is_ok()
        && stream.read_exact(&mut reply).is_ok()
        && reply.windows(4).any(|part| part == b" 200")
}

/// Reaps processes until one of a root's own has ended. Orphans of commands come and go.
fn reap(state: &State, own: &HashMap<u32, String>) -> Result<()> {
    use rustix::process::{WaitOptions, wait};
    loop {
        let Some((pid, _)) = wait(WaitOptions::empty())? else { continue };
        let Some(name) = own.get(&pid.as_raw_nonzero().get().unsigned_abs()) else { continue };
        let log = crate::sh::tail(&state.log(name), 15);
        fs::write(state.live("failed"), format!("{name} ended\n{log}\n"))?;
        bail!("{name} ended");
    }
}

/// Our process id as the machine's /proc shows it.
pub(crate) fn own_pid() -> Result<String> {
    let link = fs::read_link("/proc/self").context("cannot read /proc/self")?;
    Ok(link.to_string_lossy().into_owned())
}
