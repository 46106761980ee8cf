//! Running commands in a guest: a virtual machine in which some program, such as ssh, starts commands.
//!
//! When that program is killed, the command in the guest runs on. So each command runs under a small shell script there, which
//! ends the command when its own standard input ends, that is, when nixoci ends for whatever reason.

mod agent;
pub mod codes;
mod inside;
pub mod installer;
mod look;
mod outside;
mod process;
pub(crate) mod remedies;
mod script;
mod secrets;
mod set_up;
pub mod sources;
mod upload;

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use nixoci_core::runner::{Command, Process, Runner};
use nixoci_core::{Error, Result};

pub use agent::Agent;
pub use inside::{HOME, Inside, Seen};
pub use installer::Installer;
pub use look::{Facts, Space, killed_since, look};
pub use outside::{Held, Outside};
use process::GuestProcess;
pub use secrets::Secrets;
pub use set_up::SetUp;
pub use upload::upload;

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

/// Starts commands in a guest.
#[async_trait]
pub trait GuestTransport: Send + Sync + fmt::Debug {
    /// The command on this host that runs `argv` in the guest, exactly, with standard input and both outputs connected. It exits with the
    /// status of the command in the guest, and with [`LOST`] if the guest could not be reached or the connection was lost.
    fn command(&self, argv: Vec<OsString>) -> Command;

    /// The error for a command that exited with [`LOST`]. `said` is the end of its standard error.
    async fn lost(&self, said: &str) -> Error;
}

/// The exit status of ssh when it has no connection, or loses it. A command in the guest that exits with it is reported as 254.
pub const LOST: i32 = 255;

/// Starts processes in a guest. None of them has the user's terminal.
#[derive(Clone)]
pub struct GuestRunner<'a> {
    host: &'a dyn Runner,
    transport: Arc<dyn GuestTransport>,
    /// What is run in front of each command there.
    before: Vec<OsString>,
    /// A line that each command is told before it begins, which is in no list of processes.
    line: Option<Arc<[u8]>>,
}

impl fmt::Debug for GuestRunner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuestRunner").field("transport", &self.transport).finish_non_exhaustive()
    }
}

impl<'a> GuestRunner<'a> {
    /// Runs commands by this transport, whose own processes `host` starts.
    pub fn new(host: &'a dyn Runner, transport: Arc<dyn GuestTransport>) -> Self {
        GuestRunner { host, transport, before: Vec::new(), line: None }
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
        let inner = self.host.spawn(&self.transport.command(argv).with_stdin()).await?;
        let process = GuestProcess::new(inner, Arc::clone(&self.transport), command.stdin);
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
