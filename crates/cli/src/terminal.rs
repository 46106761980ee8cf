//! Processes, and the terminal that some of them get.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use nixoci_core::Result;
use nixoci_core::runner::{Command, Exit, Input, Process, Runner, Stream};
use nixoci_nix::HostRunner;

use crate::args::Format;
use crate::output::{Pause, Printer, Ui};

/// Starts processes on this host; while one has the terminal, nothing else is written there.
#[derive(Clone)]
pub(crate) struct TerminalRunner {
    host: HostRunner,
    ui: Arc<Ui>,
    has_terminal: bool,
}

impl TerminalRunner {
    pub(crate) fn new(host: HostRunner, printer: &Printer, ui: Arc<Ui>) -> Self {
        // A program that reads JSON types no password.
        let has_terminal = printer.format == Format::Human
            && std::io::stdin().is_terminal()
            && std::io::stderr().is_terminal();
        TerminalRunner { host, ui, has_terminal }
    }
}

impl std::fmt::Debug for TerminalRunner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TerminalRunner").field("host", &self.host).finish_non_exhaustive()
    }
}

#[async_trait]
impl Runner for TerminalRunner {
    async fn spawn(&self, command: &Command) -> Result<Box<dyn Process>> {
        if !command.interactive {
            return self.host.spawn(command).await;
        }
        let pause = self.ui.pause();
        let process = self.host.spawn(command).await?;
        Ok(Box::new(InFront { process, _pause: pause }))
    }

    async fn find(&self, program: &str) -> Option<PathBuf> {
        self.host.find(program).await
    }

    fn has_terminal(&self) -> bool {
        self.has_terminal
    }
}

/// A process that has the terminal until it is dropped.
struct InFront {
    process: Box<dyn Process>,
    _pause: Pause,
}

#[async_trait]
impl Process for InFront {
    fn take_stdin(&mut self) -> Option<Input> {
        self.process.take_stdin()
    }

    fn take_stdout(&mut self) -> Option<Stream> {
        self.process.take_stdout()
    }

    fn take_stderr(&mut self) -> Option<Stream> {
        self.process.take_stderr()
    }

    async fn wait(&mut self) -> Result<Exit> {
        self.process.wait().await
    }

    async fn stop(&mut self, grace: Duration) -> Result<Exit> {
        self.process.stop(grace).await
    }
}
