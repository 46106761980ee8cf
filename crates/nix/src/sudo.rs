//! A single command as root, after somebody has agreed to it.

use nixoci_core::backend::Cx;
use nixoci_core::runner::{Command, Exit, output};
use nixoci_core::{Error, Remedy, Result};

use crate::log_line;

nixoci_core::codes! {
    /// sudo wants a password, and nobody can type it.
    PASSWORD = ("nixoci::sudo::password", Permission, "sudo asks for a password, and nobody can type it",
        "A step that somebody agreed to with --allow-root needs root. Off a terminal sudo is not let ask for a password \
         (`sudo -n`), and it wants one here. Run the command yourself, or nixoci on a terminal, or as root.");
    /// A step as root failed.
    FAILED = ("nixoci::sudo::failed", Provision, "a step failed as root",
        "A step that somebody agreed to was run by sudo, and failed: either sudo let nobody be root, or the command itself had a \
         reason, which is in its own words.");
}

/// Runs a command by sudo. Where there is a terminal, sudo may ask for a password there; elsewhere it must not have to.
///
/// # Errors
/// [`PASSWORD`], [`FAILED`], each with the command.
pub async fn run(cx: &Cx<'_>, command: &Command) -> Result<()> {
    let by_hand = Command::new("sudo").arg(&command.program).args(&command.args);
    let remedy = Remedy::command("run it yourself", by_hand.to_string());
    let failed = |exit: Exit| {
        Error::new(&FAILED, format!("`{}` failed as root", command.name())).because(exit.to_string())
    };
    if cx.runner.has_terminal() {
        // What it prints is no result of ours.
        let shell = Command::new("sh").args(["-c", "exec \"$@\" >&2", "sh"]);
        let shell = shell.arg(&by_hand.program).args(&by_hand.args).interactive();
        let mut process = cx.runner.spawn(&shell).await?;
        let exit = tokio::select! {
            exit = process.wait() => exit?,
            () = cx.cancel.cancelled() => {
                process.stop(nixoci_core::runner::GRACE).await?;
                return Err(Error::new(&nixoci_core::codes::CANCELLED, "sudo was stopped"));
            }
        };
        return if exit.success() { Ok(()) } else { Err(failed(exit).remedy(remedy)) };
    }
    let quiet = Command::new("sudo").arg("-n").arg(&command.program).args(&command.args);
    let answer = output(cx.runner, &quiet, cx.cancel).await?;
    if answer.exit.success() {
        return Ok(());
    }
    let said = answer.stderr_text();
    let said: Vec<String> = said.lines().map(log_line).filter(|line| !line.is_empty()).collect();
    let last = said.last().cloned().unwrap_or_default();
    // sudo's own words, in English, which its messages for programs are.
    let error = if last.contains("password is required") || last.contains("terminal is required") {
        Error::new(&PASSWORD, format!("`{}` needs root, and sudo asks for a password", command.name()))
            .because("nobody is here to type one")
    } else {
        failed(answer.exit)
    };
    let error = if last.is_empty() { error } else { error.because(last) };
    Err(error.remedy(remedy))
}
