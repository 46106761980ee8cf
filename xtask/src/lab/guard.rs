//! The guard: one process outside the lab's namespaces that starts the lab's init, and cleans up after it.
//!
//! Whoever dies first, nothing stays. The guard dies: init reads the end of its pipe and ends, and with it the PID namespace
//! and everything in it. Init dies: the kernel kills everything in its namespace, and the guard removes what is not in a
//! namespace (control groups, the arm64 registration). Nobody holds a lease any more and nobody asked for the lab to
//! stay: the guard ends it.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use super::cache::Cache;
use super::state::State;
use super::{binfmt, parts};

/// Written by `lab up`: the lab stays when the last lease has ended.
pub(crate) const PERSISTENT: &str = "persistent";

pub(crate) fn run(state: &State) -> Result<()> {
    // A session of our own: the terminal's Ctrl-C is for the command that started us, and leases tell us the rest.
    let _ = rustix::process::setsid();
    let _in_use = parts::in_use(&Cache::open()?)?;
    let _lock = state.guard_lock()?.context("another guard watches this lab")?;

    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT, signal_hook::consts::SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    clean(state);
    prepare(state)?;
    fs::write(state.live("guard.pid"), std::process::id().to_string())?;

    // Whoever wants a lease of a lab that is ending waits until it has ended, and then finds none.
    let mut closed = None;
    let result = watch(state, &stop, &mut closed);
    clean(state);
    // Stores and images of a lab that is gone are of no use to anyone; its logs may be.
    if !state.live("failed").exists() {
        super::cache::remove_all(&state.live(""))?;
    }
    result
}

/// Watches until the lab is to end, and ends it. `closed` gets what keeps others from using it.
fn watch(state: &State, stop: &AtomicBool, closed: &mut Option<fs::File>) -> Result<()> {
    let mut init = start(state)?;
    loop {
        if let Some(status) = init.try_wait()? {
            // Init may have said why.
            let failed = state.live("failed");
            if !failed.exists() {
                fs::write(failed, format!("the lab's init ended: {status}\n"))?;
            }
            return Ok(());
        }
        if !state.path(PERSISTENT).exists() {
            *closed = state.no_more_leases()?;
        }
        if stop.load(Ordering::Relaxed) || closed.is_some() {
            break;
        }
        thread::sleep(Duration::from_millis(100));
    }
    end(state, &mut init)
}

/// Starts init in new namespaces. Its standard input is a pipe from us, which ends when we do.
fn start(state: &State) -> Result<Child> {
    let log = fs::File::options().create(true).append(true).open(state.log("init"))?;
    let mut command = Command::new("unshare");
    command.args(["--pid", "--net", "--mount", "--ipc", "--uts", "--fork", "--kill-child=KILL"]);
    command.args(["--propagation", "private", "--"]);
    command.arg(std::env::current_exe()?).args(["lab", "init"]).arg(state.dir());
    command.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log);
    command.spawn().context("cannot start the lab's init (unshare)")
}

/// Ends the namespace: init is killed and the kernel kills the rest. Returns when the last process is gone.
fn end(state: &State, init: &mut Child) -> Result<()> {
    if let Ok(pid) = state.pid("init.pid") {
        if let Some(pid) = rustix::process::Pid::from_raw(pid) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    } else {
        // Init did not get as far as saying who it is: its parent takes it along.
        init.kill()?;
    }
    init.wait()?;
    Ok(())
}

/// A fresh `live` directory. The old one is moved aside first: removing a big one takes time, finding half of one hurts.
fn prepare(state: &State) -> Result<()> {
    super::cache::remove_all(&state.path("old"))?;
    for name in ["live", "logs"] {
        let path = state.path(name);
        if path.exists() {
            fs::create_dir_all(state.path("old"))?;
            fs::rename(&path, state.path("old").join(name))?;
        }
        fs::create_dir_all(&path)?;
    }
    Ok(())
}

/// Removes what outlives namespaces. Also run before a start: the lab before may have been killed with its guard.
fn clean(state: &State) {
    if let Err(error) = binfmt::unregister(&state.id()) {
        eprintln!("cannot unregister arm64: {error:#}");
    }
    let Ok(controllers) = fs::read_dir("/sys/fs/cgroup") else { return };
    let name = cgroup(state);
    for controller in controllers.flatten() {
        remove_cgroup(&controller.path().join(&name));
    }
    remove_cgroup(&Path::new("/sys/fs/cgroup").join(&name));
    let _ = super::cache::remove_all(&state.path("old"));
}

/// The control group below which Docker puts its containers.
pub(crate) fn cgroup(state: &State) -> String {
    format!("nixoci-lab-{}", state.id())
}

/// Control groups are removed from the leaves up; their files cannot be and need not be removed.
fn remove_cgroup(path: &Path) {
    let Ok(entries) = fs::read_dir(path) else { return };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroup(&entry.path());
        }
    }
    // A process that was just killed may still be leaving.
    for _ in 0..20 {
        if fs::remove_dir(path).is_ok() || !path.exists() {
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
}
