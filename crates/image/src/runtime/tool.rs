//! Running a runtime's command.

use std::future::Future;
use std::time::Duration;

use nixoci_core::Result;
use nixoci_core::backend::Cx;
use nixoci_core::config::Runtime;
use nixoci_core::runner::{self, Command, Output};
use serde::de::DeserializeOwned;

use super::diagnose;

/// How long a runtime may take to say who it is.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs a command and collects what it says. A command that is not there means that the runtime is not installed.
pub(super) async fn output(cx: &Cx<'_>, runtime: Runtime, command: Command) -> Result<Output> {
    runner::output(cx.runner, &command, cx.cancel).await.map_err(|error| {
        if error.is(&nixoci_core::codes::TOOL_MISSING) { diagnose::missing(runtime, cx.host) } else { error }
    })
}

/// Runs a command whose failure is an error.
pub(super) async fn ok(cx: &Cx<'_>, runtime: Runtime, command: Command) -> Result<Output> {
    let output = output(cx, runtime, command).await?;
    if output.exit.success() { Ok(output) } else { Err(diagnose::failed(runtime, cx.host, &words(&output))) }
}

/// As [`ok`], for a command that takes an image. Docker with the containerd store says "Error unpacking image", and ends
/// well: what is said is read as well.
pub(super) async fn taken(cx: &Cx<'_>, runtime: Runtime, command: Command) -> Result<Output> {
    let output = ok(cx, runtime, command).await?;
    let said = words(&output);
    if has_complaint(&said) { Err(diagnose::failed(runtime, cx.host, &said)) } else { Ok(output) }
}

/// Whether a line begins as errors do: `Error unpacking image`, `ERRO[0000]` as k3d writes it.
pub(super) fn has_complaint(said: &str) -> bool {
    let begins =
        |line: &str, word: &str| line.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    said.lines()
        .map(str::trim_start)
        .any(|line| begins(line, "error ") || begins(line, "error:") || line.starts_with("ERRO["))
}

/// What a command said, to whoever it said it.
pub(super) fn words(output: &Output) -> String {
    colourless(&format!("{}\n{}", output.stdout_text(), output.stderr_text()))
}

/// Text without colours: k3d writes them wherever it writes.
fn colourless(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| !c.is_ascii_digit() && c != ';').unwrap_or(part.len());
        plain.push_str(part[end..].strip_prefix('m').unwrap_or(&part[end..]));
    }
    plain
}

/// An answer in JSON.
pub(super) fn json<T: DeserializeOwned>(runtime: Runtime, said: &str) -> Result<T> {
    serde_json::from_str(said.trim()).map_err(|error| diagnose::odd_answer(runtime, &error, said))
}

/// An answer that has to come soon.
pub(super) async fn soon<T>(
    cx: &Cx<'_>,
    runtime: Runtime,
    answer: impl Future<Output = Result<T>>,
) -> Result<T> {
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(diagnose::silent(runtime, cx.host, PATIENCE)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_lines_that_begin_as_errors_do() {
        for said in [
            "Loaded image: a:1\nError unpacking image a:1: apply layer error: no space left on device",
            "  error: x",
            "ERRO[0000] x",
        ] {
            assert!(has_complaint(said), "{said}");
        }
        for said in ["", "Loaded image: error:1", "Loaded image: errors/error:1", "errors: none", "é"] {
            assert!(!has_complaint(said), "{said}");
        }
    }

    #[test]
    fn colours_are_taken_away() {
        assert_eq!(colourless("\u{1b}[31mERRO\u{1b}[0m[0000] x\u{1b}[1;2m"), "ERRO[0000] x");
        assert_eq!(colourless("\u{1b}[é"), "é");
        assert_eq!(colourless(""), "");
    }
}
