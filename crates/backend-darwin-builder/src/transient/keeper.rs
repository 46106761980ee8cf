//! The keeper: a process of nixoci's that runs the virtual machine, and stops it when nobody uses it.
//!
//! It is nixoci itself with a hidden subcommand, [`KEEPER`], in a session of its own, so that neither the end of the nixoci
//! that started it nor that of a terminal ends it. Its body is [`keeper_main`].

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, getpid, kill_process_group, setsid, test_kill_process_group};
use serde::{Deserialize, Serialize};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::dir::{Dir, Keeper};
use super::ssh_words;

/// The hidden subcommand.
pub const KEEPER: &str = "__builder";

/// How often it looks whether something is to be done.
const PAUSE: Duration = Duration::from_millis(200);
/// How often it looks whether somebody builds, in rounds of that.
const LOOK: u64 = 5;
/// How long somebody may take to be asked, and then to do it.
const ASKING: Duration = Duration::from_secs(10);
const POWER_OFF: Duration = Duration::from_secs(30);
const TERMINATE: Duration = Duration::from_secs(10);
const KILL: Duration = Duration::from_secs(5);
/// What the keeper says once the virtual machine runs, or if another keeper is there.
const RUNS: &str = "runs";

/// What is to be kept, and for how long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Orders {
    pub(crate) dir: Dir,
    /// Seconds without anybody who builds.
    pub(crate) idle: u64,
    /// What QEMU gets besides what the virtual machine's program gives it.
    pub(crate) qemu: String,
}

/// The body of the hidden subcommand: `start ORDERS` starts a keeper and returns once the virtual machine's program runs;
/// `keep ORDERS` is the keeper. Blocks.
pub fn keeper_main(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    let verb = args.next().unwrap_or_default();
    let text = args.next().and_then(|text| text.into_string().ok()).unwrap_or_default();
    let done = match (verb.to_str(), serde_json::from_str::<Orders>(&text)) {
        (Some("start"), Ok(_)) => start(&text),
        (Some("keep"), Ok(orders)) => keep(&orders),
        _ => Err(io::Error::other("this is nixoci's own to call")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

/// Starts the keeper as a process that is nobody's child any more when this one ends.
fn start(orders: &str) -> io::Result<()> {
    let mut keeper = Command::new(std::env::current_exe()?)
        .args([KEEPER, "keep", orders])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        // What keeps it from starting is for whoever started us to read.
        .stderr(Stdio::inherit())
        .current_dir("/")
        .spawn()?;
    let mut line = String::new();
    if let Some(pipe) = keeper.stdout.take() {
        BufReader::new(pipe).read_line(&mut line)?;
    }
    if line.trim_end() == RUNS { Ok(()) } else { Err(io::Error::other("the builder's keeper did not start")) }
}

/// Runs the virtual machine until it ends, or nobody needs it any more, or somebody says so.
fn keep(orders: &Orders) -> io::Result<()> {
    let asked = Arc::new(AtomicUsize::new(0));
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let counter = Arc::clone(&asked);
    std::thread::spawn(move || {
        for _ in signals.forever() {
            counter.fetch_add(1, Ordering::SeqCst);
        }
    });
    // A terminal that is closed is not ours: a handler that does nothing is the nearest to ignoring it.
    signal_hook::flag::register(SIGHUP, Arc::new(AtomicBool::new(false)))?;
    setsid()?;
    let Some(mut file) = orders.dir.become_keeper()? else {
        // Another one was faster.
        return says_that_it_runs();
    };
    let mut vm = Vm::start(orders)?;
    let keeper = Keeper { pid: getpid().as_raw_nonzero().get(), vm: vm.group.as_raw_nonzero().get() };
    file.set_len(0)?;
    file.write_all(serde_json::to_string(&keeper)?.as_bytes())?;
    says_that_it_runs()?;
    // What is said from now on is for the log.
    let log = OpenOptions::new().append(true).open(orders.dir.log())?;
    rustix::stdio::dup2_stderr(&log)?;
    rustix::stdio::dup2_stdout(&log)?;
    let why = watch(orders, &mut vm, &asked)?;
    let _ = writeln!(&log, "nixoci: {why}");
    Ok(())
}

fn says_that_it_runs() -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "{RUNS}")?;
    out.flush()
}

/// Until the virtual machine is gone; why it is.
fn watch(orders: &Orders, vm: &mut Vm, asked: &AtomicUsize) -> io::Result<String> {
    let idle = Duration::from_secs(orders.idle);
    let mut used = Instant::now();
    for round in 0u64.. {
        std::thread::sleep(PAUSE);
        if let Some(status) = vm.child.try_wait()? {
            vm.kill();
            return Ok(format!("the virtual machine has ended: {status}"));
        }
        if asked.load(Ordering::SeqCst) > 0 {
            vm.stop(orders, asked)?;
            return Ok("stopped because somebody said so".to_owned());
        }
        if round % LOOK != 0 {
            continue;
        }
        match orders.dir.unused() {
            None => used = Instant::now(),
            Some(nobody) if used.elapsed() >= idle => {
                // Whoever wants to build now waits, and then finds it stopped.
                vm.stop(orders, asked)?;
                drop(nobody);
                return Ok(format!("stopped because nobody used it for {} s", orders.idle));
            }
            Some(_) => {}
        }
    }
    Ok(String::new())
}

/// The virtual machine: its program, with everything that it starts in a group of its own.
struct Vm {
    child: Child,
    group: Pid,
}

impl Vm {
    fn start(orders: &Orders) -> io::Result<Vm> {
        let dir = &orders.dir;
        let temporary = dir.vm().join("tmp");
        // macOS empties its own directory for temporary files every three days, and guests lose their certificates.
        let _ = std::fs::remove_dir_all(&temporary);
        std::fs::create_dir_all(&temporary)?;
        let log = File::create(dir.log())?;
        let mut command = Command::new(dir.run());
        command
            .env("KEYS", std::fs::read_link(dir.keys())?)
            .env("NIX_DISK_IMAGE", dir.disk())
            .env("TMPDIR", &temporary)
            .env("USE_TMPDIR", "1")
            .env("QEMU_OPTS", &orders.qemu)
            .current_dir(dir.vm())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0);
        for theirs in ["QEMU_KERNEL_PARAMS", "QEMU_NET_OPTS"] {
            command.env_remove(theirs);
        }
        let child = command.spawn()?;
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let group = group.ok_or_else(|| io::Error::other("the virtual machine has no process id"))?;
        Ok(Vm { child, group })
    }

    /// Asks the guest to power off; then whoever is left in the group is ended, at last without being asked. Somebody who
    /// says so again does not want to wait.
    fn stop(&mut self, orders: &Orders, asked: &AtomicUsize) -> io::Result<()> {
        let before = asked.load(Ordering::SeqCst);
        let impatient = || asked.load(Ordering::SeqCst) > before;
        if self.ends(ask_to_power_off(orders, &impatient), &impatient)? {
            return Ok(());
        }
        let _ = kill_process_group(self.group, Signal::TERM);
        if !self.ends(TERMINATE, &impatient)? {
            self.kill();
            self.ends(KILL, &|| false)?;
        }
        Ok(())
    }

    fn kill(&self) {
        let _ = kill_process_group(self.group, Signal::KILL);
    }

    /// Whether nobody is left of it within that time.
    fn ends(&mut self, within: Duration, impatient: &dyn Fn() -> bool) -> io::Result<bool> {
        let start = Instant::now();
        let mut status: Option<ExitStatus> = None;
        while start.elapsed() < within && !impatient() {
            status = status.or(self.child.try_wait()?);
            if status.is_some() && test_kill_process_group(self.group).is_err() {
                return Ok(true);
            }
            std::thread::sleep(PAUSE / 4);
        }
        Ok(false)
    }
}

/// The guest lets its user do that. How long it may then take.
fn ask_to_power_off(orders: &Orders, impatient: &dyn Fn() -> bool) -> Duration {
    let mut words = ssh_words(&orders.dir).into_iter();
    let Some(program) = words.next() else { return Duration::ZERO };
    let started = Command::new(program)
        .args(words)
        .args(["systemctl", "poweroff"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .process_group(0)
        .spawn();
    let Ok(mut ssh) = started else { return Duration::ZERO };
    let start = Instant::now();
    while start.elapsed() < ASKING && !impatient() {
        match ssh.try_wait() {
            Ok(Some(status)) if status.success() => return POWER_OFF,
            // Either there was no connection, or the guest went before it had answered.
            Ok(Some(status)) if status.code() == Some(255) => return POWER_OFF / 6,
            Ok(Some(_)) => return Duration::ZERO,
            Ok(None) => std::thread::sleep(PAUSE / 4),
            Err(_) => break,
        }
    }
    let _ = ssh.kill();
    let _ = ssh.wait();
    Duration::ZERO
}
