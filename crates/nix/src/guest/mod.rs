//! Running commands in a guest: a virtual machine that is entered by some program, which only starts a command there.
//!
//! Such programs lose what matters: they report a command's exit code among their own, and when they are killed, the
//! command in the guest runs on. So a command goes through a small shell script there, which ends it when its own standard input
//! ends (that is, when nixoci ends, however it does) and says its exit code on standard error, in a line that nobody else
//! writes.

mod agent;
pub mod codes;
mod inside;
mod look;
mod outside;
mod process;
pub(crate) mod remedies;
mod script;
mod secrets;
mod set_up;
pub mod sources;

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use nixoci_core::runner::{Command, Process, Runner};
use nixoci_core::{Error, Result};

pub use agent::Agent;
pub use inside::{HOME, Inside, Seen};
pub use look::{Facts, Space, killed_since, look};
pub use outside::{Held, Outside};
use process::GuestProcess;
pub use secrets::Secrets;
pub use set_up::{Installer, SetUp};

/// How people know a guest, and get into it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Called {
    /// `the virtual machine nixoci`.
    pub name: String,
    /// The words to type in front of a command that is to run there. They are quoted for a shell.
    pub enter: String,
    /// Who its commands run as.
    pub user: String,
    /// The backend that it is for.
    pub backend: &'static str,
}

/// The way into a guest.
pub trait Door: Send + Sync + fmt::Debug {
    /// The command on this host that runs `argv` in the guest, exactly, with standard input and both outputs connected.
    fn open(&self, argv: Vec<OsString>) -> Command;

    /// The command that opens a terminal on `argv` in the guest.
    fn terminal(&self, argv: Vec<OsString>) -> Command;

    /// What it means when a command has left no exit code: what the program that should have run it wrote to standard error.
    fn lost(&self, said: &str) -> Error;
}

/// Starts processes in a guest.
#[derive(Clone)]
pub struct GuestRunner<'a> {
    host: &'a dyn Runner,
    door: Arc<dyn Door>,
    /// What is run in front of each command there.
    before: Vec<OsString>,
    /// A line that each command is told before it begins, which is in no list of processes.
    line: Option<Arc<[u8]>>,
}

impl fmt::Debug for GuestRunner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuestRunner").field("door", &self.door).finish_non_exhaustive()
    }
}

impl<'a> GuestRunner<'a> {
    /// A runner that goes through this door, on a host where `host` starts processes.
    pub fn new(host: &'a dyn Runner, door: Arc<dyn Door>) -> Self {
        GuestRunner { host, door, before: Vec::new(), line: None }
    }

    /// The same, with a line for each command that does not read: the variable NIXOCI_SECRETS of what is run in front of it.
    #[must_use]
    fn told(self, line: Option<Vec<u8>>) -> Self {
        GuestRunner { line: line.map(Arc::from), ..self }
    }

    /// The same, with these words in front of each command: a program that runs the rest.
    #[must_use]
    fn entered_by(self, before: Vec<OsString>) -> Self {
        GuestRunner { before, ..self }
    }
}

#[async_trait]
impl Runner for GuestRunner<'_> {
    async fn spawn(&self, command: &Command) -> Result<Box<dyn Process>> {
        let line = self.line.as_ref().filter(|_| !command.stdin);
        let argv = [self.before.clone(), script::argv(command, line.is_some())].concat();
        if command.interactive {
            return self.host.spawn(&self.door.terminal(argv).interactive()).await;
        }
        let inner = self.host.spawn(&self.door.open(argv).with_stdin()).await?;
        let process = GuestProcess::new(inner, Arc::clone(&self.door), command.stdin);
        Ok(Box::new(process.told(line.map(|line| &**line)).await))
    }

    async fn find(&self, program: &str) -> Option<PathBuf> {
        // A shell's own look-up, as the guest's PATH is not ours.
        let look = Command::new("sh").args(["-c", "command -v -- \"$1\"", "sh", program]);
        let never = tokio_util::sync::CancellationToken::new();
        let answer = nixoci_core::runner::output(self, &look, &never).await.ok()?;
        let path = answer.stdout_text();
        (answer.exit.success() && path.starts_with('/')).then(|| PathBuf::from(path.trim_end()))
    }
}

#[cfg(test)]
mod tests;
