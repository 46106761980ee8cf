//! Standard output: results, in the format that was asked for. Standard output carries nothing else.

use std::io::{IsTerminal, Write};

use nixoci_core::secrets::scrub;
use nixoci_core::{Error, Result};
use serde::Serialize;

use super::stream::Stream;
use super::style::clean;
use crate::args::{Color, Format};
use crate::codes::NO_OUTPUT;

/// How much is said on standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verbosity {
    /// Only errors.
    Silent,
    /// Warnings and errors.
    Quiet,
    /// What happens.
    Normal,
    /// Why it happens, and the builders' logs.
    Verbose,
}

/// Writes results.
#[derive(Clone, Debug)]
pub(crate) struct Printer {
    pub(crate) format: Format,
    pub(crate) verbosity: Verbosity,
    pub(crate) color: anstream::ColorChoice,
    /// Who watches as well.
    pub(crate) stream: Option<Stream>,
}

impl Printer {
    pub(crate) fn new(format: Format, color: Color, quiet: u8, verbose: u8) -> Self {
        let verbosity = match (quiet, verbose) {
            (0, 0) => Verbosity::Normal,
            (1, _) => Verbosity::Quiet,
            (2.., _) => Verbosity::Silent,
            (_, _) => Verbosity::Verbose,
        };
        let color = match color {
            Color::Auto => anstream::ColorChoice::Auto,
            Color::Always => anstream::ColorChoice::Always,
            Color::Never => anstream::ColorChoice::Never,
        };
        Printer { format, verbosity, color, stream: None }
    }

    /// Prints the result: `human` for people, `document` for programs.
    ///
    /// # Errors
    /// [`NO_OUTPUT`] if it cannot be written: a script that reads it from a file must not take nothing for an
    /// answer.
    pub(crate) fn result(&self, document: &impl Serialize, human: &str) -> Result<()> {
        match self.format {
            Format::Human => self.text(human),
            Format::Json => self.json(document),
            Format::Jsonl => self.text(&line("result", document)),
        }?;
        self.tell(document);
        Ok(())
    }

    /// Gives the result to whoever watches, and prints nothing.
    pub(crate) fn tell(&self, document: &impl Serialize) {
        if let Some(stream) = &self.stream {
            stream.line(&line("result", document));
        }
    }

    /// Prints a result that looks the same in every format.
    ///
    /// # Errors
    /// As [`Printer::result`].
    pub(crate) fn text(&self, text: &str) -> Result<()> {
        match self.write(text) {
            // A reader that went away (`| head`) is no error.
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                Err(Error::new(&NO_OUTPUT, "the result cannot be written to standard output").because(error))
            }
            _ => Ok(()),
        }
    }

    /// Writes one line of the JSON stream to whoever reads it: the members of `value` with a `type`.
    pub(crate) fn line(&self, kind: &str, value: &impl Serialize) {
        self.event(&line(kind, value));
    }

    /// Writes a line that is ready, with its line feed.
    pub(crate) fn event(&self, line: &str) {
        if self.format == Format::Jsonl {
            self.out(line);
        }
        if let Some(stream) = &self.stream {
            stream.line(line);
        }
    }

    /// Whether anybody reads lines of JSON.
    pub(crate) fn has_events(&self) -> bool {
        self.format == Format::Jsonl || self.stream.is_some()
    }

    fn json(&self, document: &impl Serialize) -> Result<()> {
        let text = serde_json::to_string_pretty(document).unwrap_or_default();
        self.text(&format!("{text}\n"))
    }

    /// Writes what is not the result to standard output; whether anybody reads it does not matter.
    pub(crate) fn out(&self, text: &str) {
        let _ = self.write(text);
    }

    fn write(&self, text: &str) -> std::io::Result<()> {
        let stdout = std::io::stdout();
        let text = &*scrub(text);
        // A program gets every byte of a path or a name.
        let text = if stdout.is_terminal() { clean(text) } else { text.into() };
        let mut out = anstream::AutoStream::new(stdout, self.color);
        out.write_all(text.as_bytes()).and_then(|()| out.flush())
    }

    /// Writes to standard error.
    pub(crate) fn err(&self, text: &str) {
        let mut err = anstream::AutoStream::new(std::io::stderr(), self.color);
        let _ = err.write_all(clean(&scrub(text)).as_bytes()).and_then(|()| err.flush());
    }
}

fn line(kind: &str, value: &impl Serialize) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    let line = match value {
        serde_json::Value::Object(members) => {
            let head = std::iter::once(("type".to_owned(), kind.into()));
            serde_json::Value::Object(head.chain(members).collect())
        }
        other => serde_json::json!({ "type": kind, "value": other }),
    };
    format!("{line}\n")
}
