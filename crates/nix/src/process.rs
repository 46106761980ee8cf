//! Processes on this host, each in a group of its own that ends with it.
//!
//! A background process gets its own process group, so that a Ctrl-C at the terminal reaches nixoci alone,
//! which then ends the group in order: SIGINT (Nix ends its builds within 0.2 s of it), SIGTERM, SIGKILL.
//! Whatever way nixoci itself ends, the [`Watchdog`] ends the groups that are left.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use async_trait::async_trait;
use nixoci_core::runner::{Command, Exit, GRACE, Input, Process, Runner, Stream};
use nixoci_core::{Error, Remedy, Result, ResultExt, codes};
use rustix::process::{Pid, Signal};
use tokio::process::Child;
use tokio::time::Instant;

use crate::group::{group_is_alive, signal_group};
use crate::watch::{GroupGuard, Watchdog};

/// Starts processes on the host nixoci runs on.
#[derive(Clone, Debug, Default)]
pub struct HostRunner {
    watchdog: Option<Watchdog>,
}

impl HostRunner {
    /// A runner whose processes also end when nixoci is killed, if it gets a watchdog.
    pub fn new(watchdog: Option<Watchdog>) -> Self {
        HostRunner { watchdog }
    }
}

#[async_trait]
impl Runner for HostRunner {
    async fn spawn(&self, command: &Command) -> Result<Box<dyn Process>> {
        let child = start(command).await.map_err(|error| spawn_error(command, &error))?;
        let pid = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let Some(pid) = pid else {
            return Err(Error::new(&codes::PROCESS, format!("`{}` has no process id", command.name())));
        };
        let target = if command.interactive { Target::Single(pid) } else { Target::Group(pid) };
        let guard = match (&self.watchdog, target) {
            (Some(watchdog), Target::Group(pid)) => Some(watchdog.guard_group(pid)),
            _ => None,
        };
        let group = Group { child, target, exit: None, guard, ended: false };
        Ok(Box::new(HostProcess { name: command.name(), group: Some(group) }))
    }

    async fn find(&self, program: &str) -> Option<PathBuf> {
        find_on_path(program, std::env::var_os("PATH")?.as_os_str())
    }
}

fn find_on_path(program: &str, path: &std::ffi::OsStr) -> Option<PathBuf> {
    if program.contains('/') {
        return is_executable(Path::new(program)).then(|| PathBuf::from(program));
    }
    std::env::split_paths(path)
        .filter(|dir| !dir.as_os_str().is_empty())
        .map(|dir| dir.join(program))
        .find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    std::fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

async fn start(command: &Command) -> io::Result<Child> {
    // Another thread that is between fork and exec may hold a just written program open for writing; that
    // lasts a moment.
    let mut attempts = 5;
    loop {
        match to_tokio(command).spawn() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy && attempts > 0 => {
                attempts -= 1;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            result => return result,
        }
    }
}

fn to_tokio(command: &Command) -> tokio::process::Command {
    let mut built = tokio::process::Command::new(&command.program);
    built.args(&command.args);
    for (name, value) in &command.env {
        match value {
            Some(value) => built.env(name, value),
            None => built.env_remove(name),
        };
    }
    if let Some(dir) = &command.cwd {
        built.current_dir(dir);
    }
    if !command.interactive {
        let input = if command.stdin { Stdio::piped() } else { Stdio::null() };
        built.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    }
    built
}

fn spawn_error(command: &Command, error: &io::Error) -> Error {
    let name = command.name();
    if let Some(dir) = command.cwd.as_ref().filter(|dir| !dir.is_dir()) {
        let message = format!("`{name}` cannot run in {}, which is no directory", dir.display());
        return Error::new(&codes::PROCESS, message).caused_by(error);
    }
    match error.kind() {
        io::ErrorKind::NotFound => Error::new(&codes::TOOL_MISSING, format!("`{name}` is not installed"))
            .because(format!("{} was not found", command.program.to_string_lossy()))
            .remedy(Remedy::advice(format!("install `{name}`, or add the directory it is in to PATH"))),
        _ => Error::new(&codes::PROCESS, format!("`{name}` could not be started")).caused_by(error),
    }
}

#[derive(Debug)]
struct HostProcess {
    name: String,
    /// Absent only while it is being dropped.
    group: Option<Group>,
}

impl HostProcess {
    fn group(&mut self) -> Result<&mut Group> {
        self.group.as_mut().ok_or_else(|| Error::new(&codes::PROCESS, "the process was given up"))
    }

    fn exit(&self, result: io::Result<Exit>) -> Result<Exit> {
        result.or_error(&codes::PROCESS, || format!("`{}` could not be waited for", self.name))
    }
}

#[async_trait]
impl Process for HostProcess {
    fn take_stdin(&mut self) -> Option<Input> {
        self.group.as_mut()?.child.stdin.take().map(|pipe| Box::new(pipe) as Input)
    }

    fn take_stdout(&mut self) -> Option<Stream> {
        self.group.as_mut()?.child.stdout.take().map(|pipe| Box::new(pipe) as Stream)
    }

    fn take_stderr(&mut self) -> Option<Stream> {
        self.group.as_mut()?.child.stderr.take().map(|pipe| Box::new(pipe) as Stream)
    }

    async fn wait(&mut self) -> Result<Exit> {
        let result = self.group()?.wait().await;
        self.exit(result)
    }

    async fn stop(&mut self, grace: Duration) -> Result<Exit> {
        let result = self.group()?.end(grace).await;
        self.exit(result)
    }
}

impl Drop for HostProcess {
    fn drop(&mut self) {
        let Some(mut group) = self.group.take() else { return };
        group.note_the_end();
        if group.ended {
            return;
        }
        group.target.send(Signal::INT);
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(async move { group.end(GRACE).await })),
            // Not reaped yet, so the group's id cannot have been given to anybody else meanwhile.
            Err(_) => drop(std::thread::spawn(move || {
                std::thread::sleep(GRACE);
                group.target.send(Signal::KILL);
            })),
        }
    }
}

/// What a signal goes to.
#[derive(Clone, Copy, Debug)]
enum Target {
    /// A background process and everything it started in its group.
    Group(Pid),
    /// A process in the terminal's foreground group: its group is nixoci's own.
    Single(Pid),
}

impl Target {
    fn send(self, signal: Signal) {
        match self {
            Target::Group(pid) => signal_group(pid, signal),
            Target::Single(pid) => {
                let _ = rustix::process::kill_process(pid, signal);
            }
        }
    }
}

/// A started process with its group.
#[derive(Debug)]
struct Group {
    child: Child,
    target: Target,
    exit: Option<Exit>,
    guard: Option<GroupGuard>,
    /// The leader is reaped and nobody is left in the group.
    ended: bool,
}

impl Group {
    async fn wait(&mut self) -> io::Result<Exit> {
        if let Some(exit) = self.exit {
            return Ok(exit);
        }
        let exit = to_exit(self.child.wait().await?);
        self.exit = Some(exit);
        self.note_the_end();
        Ok(exit)
    }

    /// Unregisters as soon as nobody is left, because the id may then be given to somebody else. As long as
    /// one member lives, or the leader is not reaped, the system does not reuse it.
    fn note_the_end(&mut self) {
        if self.exit.is_some() && !self.ended {
            self.ended = match self.target {
                Target::Group(pid) => !group_is_alive(pid),
                Target::Single(_) => true,
            };
        }
        if let Some(guard) = self.guard.take_if(|_| self.ended) {
            guard.ended();
        }
    }

    async fn end(&mut self, grace: Duration) -> io::Result<Exit> {
        const STEP: Duration = Duration::from_millis(10);
        // Zombies that nobody reaps (a container without an init) keep a group alive for ever.
        const AFTER_KILL: Duration = Duration::from_secs(1);
        let start = Instant::now();
        let mut escalation = Escalation::new(grace);
        while !self.ended && start.elapsed() < grace + AFTER_KILL {
            if let Some(signal) = escalation.next(start.elapsed(), self.exit.is_some()) {
                self.target.send(signal);
            }
            match self.exit {
                None => drop(tokio::time::timeout(STEP, self.wait()).await),
                Some(_) => tokio::time::sleep(STEP).await,
            }
            self.note_the_end();
        }
        self.wait().await
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.note_the_end();
        // The runtime is shutting down. The watchdog is kinder than SIGKILL, where there is one.
        if !self.ended && self.guard.is_none() {
            self.target.send(Signal::KILL);
        }
    }
}

/// Which signal is due. Each is sent once, except the last.
struct Escalation {
    grace: Duration,
    sent: usize,
}

impl Escalation {
    fn new(grace: Duration) -> Self {
        Escalation { grace, sent: 0 }
    }

    fn next(&mut self, elapsed: Duration, leader_gone: bool) -> Option<Signal> {
        let due = match () {
            () if elapsed >= self.grace => 3,
            // Shells start background jobs with SIGINT ignored: without their leader they learn it from SIGTERM.
            () if elapsed >= self.grace / 2 || leader_gone => 2,
            () => 1,
        };
        let signal = [Signal::INT, Signal::TERM, Signal::KILL][due - 1];
        let send = due > self.sent || due == 3;
        self.sent = self.sent.max(due);
        send.then_some(signal)
    }
}

fn to_exit(status: ExitStatus) -> Exit {
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, signal) => Exit::Signal(signal.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_that_does_not_end_is_told_more_and_more_clearly() {
        let mut escalation = Escalation::new(Duration::from_secs(10));
        let mut at = |seconds, leader_gone| escalation.next(Duration::from_secs(seconds), leader_gone);
        assert_eq!(at(0, false), Some(Signal::INT));
        assert_eq!(at(4, false), None, "it has been told");
        assert_eq!(at(5, false), Some(Signal::TERM));
        assert_eq!(at(9, true), None);
        assert_eq!(at(10, false), Some(Signal::KILL));
        assert_eq!(at(11, false), Some(Signal::KILL), "until nothing is left");
        let mut escalation = Escalation::new(Duration::from_secs(10));
        assert_eq!(
            escalation.next(Duration::ZERO, true),
            Some(Signal::TERM),
            "shells give their jobs no SIGINT"
        );
    }
}
