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
    fn colours_are_taken_away() {
        assert_eq!(colourless("\u{1b}[31mERRO\u{1b}[0m[0000] x\u{1b}[1;2m"), "ERRO[0000] x");
        assert_eq!(colourless("\u{1b}[é"), "é");
        assert_eq!(colourless(""), "");
    }
}
