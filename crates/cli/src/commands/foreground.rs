//! A program that has the terminal: a container, a shell.

use nixoci_core::Result;
use nixoci_core::runner::{Command, GRACE, Process, Runner};

use crate::app::App;

/// Starts a command that has the terminal from now on. The command is [interactive](Command::interactive).
pub(crate) async fn start(app: &App, command: &Command) -> Result<Box<dyn Process>> {
    app.ui.suspend();
    app.signals.give_terminal_away();
    app.runner.spawn(command).await
}

/// Waits for its end, and passes its exit status through.
pub(crate) async fn wait(app: &App, mut process: Box<dyn Process>) -> Result<u8> {
    let exit = tokio::select! {
        exit = process.wait() => exit?,
        () = app.signals.cancel().cancelled() => process.stop(GRACE).await?,
    };
    Ok(exit.shell_code())
}
