//! Running commands, and telling people on stderr what is going on.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

/// Says one line on stderr.
pub(crate) fn say(text: impl AsRef<str>) {
    eprintln!("{}", text.as_ref());
}

/// Runs one step of work between a line that names it and a line that says how long it took.
pub(crate) fn step<T>(title: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    say(format!("  {title} ..."));
    let start = Instant::now();
    let value = work().with_context(|| format!("{title}: failed"))?;
    say(format!("  {title}: {:.1} s", start.elapsed().as_secs_f64()));
    Ok(value)
}

/// Runs a command to its end with both output streams in a log file, and shows the log's end if it fails.
pub(crate) fn logged(command: &mut Command, log: &Path) -> Result<()> {
    if let Some(parent) = log.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let status = command
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .status()
        .with_context(|| format!("cannot run {}", program(command)))?;
    if !status.success() {
        bail!(
            "{} ended with {status}\n{}\n(the whole log: {})",
            program(command),
            tail(log, 25),
            log.display()
        );
    }
    Ok(())
}

/// Runs a command whose output is only of interest when it fails.
pub(crate) fn quiet(command: &mut Command) -> Result<String> {
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {}", program(command)))?;
    if !output.status.success() {
        bail!(
            "{} ended with {}\n{}{}",
            program(command),
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The last lines of a log, for an error message.
pub(crate) fn tail(log: &Path, lines: usize) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// A command in mount and process namespaces of its own: whatever it mounts and starts is gone when it ends, and it ends
/// when we do, however we do.
pub(crate) fn contained(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child"]);
    command.args(["--propagation", "private", "--"]);
    command.arg(program);
    command
}

fn program(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

/// Two hexadecimal digits a byte.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
