//! The keeper: a process of nixoci's that keeps a program running which is meant to outlive nixoci, a virtual machine for
//! example, and stops it when nobody uses it.
//!
//! It is nixoci itself with a hidden subcommand, [`KEEPER`], in a session of its own, so that neither the end of the nixoci
//! that started it nor that of a terminal ends it. Its body is [`keeper_main`].
//!
//! Two files are locked (`flock`), which the kernel undoes however their holders end: `lock` by the keeper, for as long as
//! the program runs, with its number in it; `used` by everybody who uses the program, and by the keeper alone before it stops
//! one that nobody uses.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{
    Pid, Signal, getpid, kill_process, kill_process_group, setsid, test_kill_process_group,
};
use serde::{Deserialize, Serialize};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// The hidden subcommand.
pub const KEEPER: &str = "__builder";

/// How often it looks whether something is to be done.
const PAUSE: Duration = Duration::from_millis(200);
/// How often it looks whether somebody builds, in rounds of that.
const LOOK: u64 = 5;

/// How long the program gets to end.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// For the command that asks it to.
    asking: Duration,
    /// After it was asked.
    ending: Duration,
    /// After SIGTERM.
    terminate: Duration,
    /// After SIGKILL.
    kill: Duration,
}

const LIMITS: Limits = Limits {
    asking: Duration::from_secs(10),
    ending: Duration::from_secs(30),
    terminate: Duration::from_secs(10),
    kill: Duration::from_secs(5),
};

/// What the keeper says once the program runs, or if another keeper is there.
const RUNS: &str = "runs";

/// What is to be kept, and for how long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orders {
    /// The program.
    pub program: PathBuf,
    /// Variables set (`Some`) or removed (`None`) in its environment.
    pub env: Vec<(String, Option<String>)>,
    /// Where it runs.
    pub cwd: PathBuf,
    /// A directory that is made anew before it starts.
    pub fresh: PathBuf,
    /// Where what it says goes, and at last why it ended.
    pub log: PathBuf,
    /// Locked by the keeper.
    pub lock: PathBuf,
    /// Locked by whoever uses the program.
    pub used: PathBuf,
    /// The command that asks the program to end.
    pub ask: Vec<String>,
    /// Seconds without anybody who uses it.
    pub idle: u64,
}

/// What the keeper says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keeper {
    /// Its process.
    pub pid: i32,
    /// The process group of the program.
    pub group: i32,
}

impl Keeper {
    /// Who holds this lock. (One that is just beginning has not written its number yet.)
    pub fn of(lock: &Path) -> Option<Option<Keeper>> {
        let mut file = File::open(lock).ok()?;
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let _ = file.read_to_string(&mut text);
                Some(serde_json::from_str(&text).ok())
            }
            _ => None,
        }
    }

    /// Asks it to stop its program and end. Who says so twice does not want to wait. The lock says that the number is a keeper's.
    pub fn stop(self) {
        send(self.pid, Signal::TERM);
    }

    /// Ends it and its program at once.
    pub fn kill(self) {
        if let Some(group) = Pid::from_raw(self.group) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        send(self.pid, Signal::KILL);
    }
}

fn send(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, signal);
    }
}

/// A file to be locked, which is made if it is not there.
///
/// # Errors
/// The system's.
pub fn lock_file(path: &Path) -> io::Result<File> {
    File::options().create(true).truncate(false).read(true).write(true).mode(0o600).open(path)
}

/// Keeps everybody from using the program, if nobody does.
fn unused(used: &Path) -> Option<File> {
    let file = lock_file(used).ok()?;
    file.try_lock().ok().map(|()| file)
}

/// Becomes the keeper, unless there is one.
fn become_keeper(lock: &Path) -> io::Result<Option<File>> {
    // Somebody may be looking at this moment.
    for _ in 0..20 {
        let file = lock_file(lock)?;
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE / 2),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Ok(None)
}

/// The body of the hidden subcommand: `start ORDERS` starts a keeper and returns once the program runs;
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
    if line.trim_end() == RUNS { Ok(()) } else { Err(io::Error::other("the keeper did not start")) }
}

/// Runs the program until it ends, or nobody needs it any more, or somebody says so.
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
    let Some(mut file) = become_keeper(&orders.lock)? else {
        // Another one was faster.
        return says_that_it_runs();
    };
    let mut kept = Kept::start(orders)?;
    let keeper = Keeper { pid: getpid().as_raw_nonzero().get(), group: kept.group.as_raw_nonzero().get() };
    file.set_len(0)?;
    file.write_all(serde_json::to_string(&keeper)?.as_bytes())?;
    // Whoever asked may be gone already: it runs all the same, until nobody uses it.
    let _ = says_that_it_runs();
    // What is said from now on is for the log.
    let log = OpenOptions::new().append(true).open(&orders.log)?;
    rustix::stdio::dup2_stderr(&log)?;
    rustix::stdio::dup2_stdout(&log)?;
    let why = watch(orders, &mut kept, &asked, &LIMITS)?;
    let _ = writeln!(&log, "nixoci: {why}");
    Ok(())
}

fn says_that_it_runs() -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "{RUNS}")?;
    out.flush()
}

/// Until the program is gone; why it is.
fn watch(orders: &Orders, kept: &mut Kept, asked: &AtomicUsize, limits: &Limits) -> io::Result<String> {
    let mut idle = Idle { limit: Duration::from_secs(orders.idle), since: Instant::now() };
    for round in 0u64.. {
        std::thread::sleep(PAUSE);
        if let Some(status) = kept.child.try_wait()? {
            kept.kill();
            return Ok(format!("the program has ended: {status}"));
        }
        if asked.load(Ordering::SeqCst) > 0 {
            kept.stop(orders, asked, limits)?;
            return Ok("stopped because somebody said so".to_owned());
        }
        if round % LOOK != 0 {
            continue;
        }
        // While this is held, a build that begins waits, and then finds the program stopped.
        let unused = unused(&orders.used);
        if idle.is_over(unused.is_none(), Instant::now()) {
            kept.stop(orders, asked, limits)?;
            return Ok(format!("stopped because nobody used it for {} s", orders.idle));
        }
    }
    Ok(String::new())
}

/// How long the program has not been used.
struct Idle {
    limit: Duration,
    since: Instant,
}

impl Idle {
    /// Whether that is too long, after a look at whether it is used now.
    fn is_over(&mut self, used: bool, now: Instant) -> bool {
        if used {
            self.since = now;
        }
        now.duration_since(self.since) >= self.limit && !used
    }
}

/// The program, with everything that it starts in a group of its own.
struct Kept {
    child: Child,
    group: Pid,
}

impl Kept {
    fn start(orders: &Orders) -> io::Result<Kept> {
        let _ = std::fs::remove_dir_all(&orders.fresh);
        std::fs::create_dir_all(&orders.fresh)?;
        let log = File::create(&orders.log)?;
        let mut command = Command::new(&orders.program);
        command
            .current_dir(&orders.cwd)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0);
        for (name, value) in &orders.env {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let child = command.spawn()?;
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let group = group.ok_or_else(|| io::Error::other("the program has no process id"))?;
        Ok(Kept { child, group })
    }

    /// Asks it to end; then whoever is left in the group is ended, at last without being asked. Somebody who
    /// says so again does not want to wait.
    fn stop(&mut self, orders: &Orders, asked: &AtomicUsize, limits: &Limits) -> io::Result<()> {
        let before = asked.load(Ordering::SeqCst);
        let impatient = || asked.load(Ordering::SeqCst) > before;
        if self.ends(ask(orders, limits, &impatient), &impatient)? {
            return Ok(());
        }
        let _ = kill_process_group(self.group, Signal::TERM);
        if !self.ends(limits.terminate, &impatient)? {
            self.kill();
            self.ends(limits.kill, &|| false)?;
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

/// Asks the program to end. How long it may then take.
fn ask(orders: &Orders, limits: &Limits, impatient: &dyn Fn() -> bool) -> Duration {
    let Some((program, words)) = orders.ask.split_first() else { return Duration::ZERO };
    let started =
        Command::new(program).args(words).stdin(Stdio::null()).stdout(Stdio::null()).process_group(0).spawn();
    let Ok(mut ssh) = started else { return Duration::ZERO };
    let start = Instant::now();
    while start.elapsed() < limits.asking && !impatient() {
        match ssh.try_wait() {
            Ok(Some(status)) if status.success() => return limits.ending,
            // ssh's: either there was no connection, or the guest went before it had answered.
            Ok(Some(status)) if status.code() == Some(255) => return limits.ending / 6,
            Ok(Some(_)) => return Duration::ZERO,
            Ok(None) => std::thread::sleep(PAUSE / 4),
            Err(_) => break,
        }
    }
    let _ = ssh.kill();
    let _ = ssh.wait();
    Duration::ZERO
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keeper_is_who_holds_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let lock = dir.path().join("keeper");
        assert_eq!(Keeper::of(&lock), None);
        let mut file = become_keeper(&lock).unwrap().unwrap();
        assert_eq!(Keeper::of(&lock), Some(None));
        let keeper = Keeper { pid: 12, group: 13 };
        file.write_all(serde_json::to_string(&keeper).unwrap().as_bytes()).unwrap();
        assert_eq!(Keeper::of(&lock), Some(Some(keeper)));
        drop(file);
        // A process that another test of this program is just starting has the file for a moment: waits until the lock is free.
        lock_file(&lock).unwrap().lock().unwrap();
        // The file of a killed keeper no longer counts.
        assert_eq!(Keeper::of(&lock), None);
    }

    fn orders(dir: &Path, script: &str) -> Orders {
        let program = dir.join("program");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        Orders {
            program,
            env: vec![("GIVEN".to_owned(), Some("a word".to_owned()))],
            cwd: dir.to_owned(),
            fresh: dir.join("fresh"),
            log: dir.join("log"),
            lock: dir.join("keeper"),
            used: dir.join("use"),
            ask: Vec::new(),
            idle: 1,
        }
    }

    /// Limits that are never reached: what needs one to end does not end.
    const ENDLESS: Limits = {
        let year = Duration::from_secs(365 * 24 * 3600);
        Limits { asking: year, ending: year, terminate: year, kill: year }
    };

    #[test]
    fn idle_is_counted_from_the_last_use() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut idle = Idle { limit: Duration::from_secs(10), since: begin };
        assert!(!idle.is_over(false, at(9)));
        assert!(!idle.is_over(true, at(30)), "used, however long ago the last look was");
        assert!(!idle.is_over(false, at(39)));
        assert!(idle.is_over(false, at(40)));
        assert!(Idle { limit: Duration::ZERO, since: begin }.is_over(false, begin));
    }

    #[test]
    fn what_is_not_used_is_stopped_with_all_that_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let orders = orders(dir.path(), "echo $GIVEN; sleep 1000 & sleep 1000");
        let mut kept = Kept::start(&orders).unwrap();
        let why = watch(&orders, &mut kept, &AtomicUsize::new(0), &ENDLESS).unwrap();
        assert!(why.contains("nobody used it for 1 s"), "{why}");
        assert!(test_kill_process_group(kept.group).is_err());
        assert_eq!(std::fs::read_to_string(&orders.log).unwrap(), "a word\n");
    }

    #[test]
    fn what_does_not_end_when_it_is_asked_is_killed_when_it_is_asked_again() {
        let dir = tempfile::tempdir().unwrap();
        let [ready, question] = ["ready", "question"].map(|name| dir.path().join(name));
        for pipe in [&ready, &question] {
            assert!(Command::new("mkfifo").arg(pipe).status().unwrap().success());
        }
        let orders = Orders {
            ask: ["sh", "-c", &format!("echo > {}", question.display())].map(str::to_owned).to_vec(),
            ..orders(dir.path(), &format!("trap '' TERM; echo > {}; exec sleep 1000", ready.display()))
        };
        let mut kept = Kept::start(&orders).unwrap();
        std::fs::read(ready).unwrap();
        let asked = Arc::new(AtomicUsize::new(1));
        let again = Arc::clone(&asked);
        let impatient = std::thread::spawn(move || {
            // It has been asked once: now once more.
            std::fs::read(question).unwrap();
            again.fetch_add(1, Ordering::SeqCst);
        });
        let why = watch(&orders, &mut kept, &asked, &ENDLESS).unwrap();
        assert!(why.contains("somebody said so"), "{why}");
        assert!(test_kill_process_group(kept.group).is_err());
        impatient.join().unwrap();
    }

    #[test]
    fn what_ends_by_itself_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let orders = orders(dir.path(), "exit 3");
        let mut kept = Kept::start(&orders).unwrap();
        let why = watch(&orders, &mut kept, &AtomicUsize::new(0), &ENDLESS).unwrap();
        assert!(why.contains("has ended: exit status: 3"), "{why}");
    }
}
