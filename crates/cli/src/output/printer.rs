//! Standard output: results, in the format that was asked for. Standard output carries nothing else.

use std::io::Write;

use serde::Serialize;

use crate::args::{Color, Format};

/// How much is said on standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verbosity {
    /// Only errors.
    Silent,
    /// Warnings and errors.
    Quiet,
    /// What happens.
    Normal,
    /// Why it happens.
    Verbose,
    /// Every detail.
    Debug,
}

/// Writes results.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Printer {
    pub(crate) format: Format,
    pub(crate) verbosity: Verbosity,
    pub(crate) color: anstream::ColorChoice,
}

impl Printer {
    pub(crate) fn new(format: Format, color: Color, quiet: u8, verbose: u8) -> Self {
        let verbosity = match (quiet, verbose) {
            (0, 0) => Verbosity::Normal,
            (1, _) => Verbosity::Quiet,
            (2.., _) => Verbosity::Silent,
            (_, 1) => Verbosity::Verbose,
            (_, _) => Verbosity::Debug,
        };
        let color = match color {
            Color::Auto => anstream::ColorChoice::Auto,
            Color::Always => anstream::ColorChoice::Always,
            Color::Never => anstream::ColorChoice::Never,
        };
        Printer { format, verbosity, color }
    }

    /// Prints the result: `human` for people, `document` for programs.
    pub(crate) fn result(&self, document: &impl Serialize, human: &str) {
        match self.format {
            Format::Human => self.out(human),
            Format::Json => self.json(document),
            Format::Jsonl => self.line("result", document),
        }
    }

    /// Prints one line of the JSON stream: the members of `value` with a `type`.
    pub(crate) fn line(&self, kind: &str, value: &impl Serialize) {
        let value = serde_json::to_value(value).unwrap_or_default();
        let line = match value {
            serde_json::Value::Object(members) => {
                let head = std::iter::once(("type".to_owned(), kind.into()));
                serde_json::Value::Object(head.chain(members).collect())
            }
            other => serde_json::json!({ "type": kind, "value": other }),
        };
        self.out(&format!("{line}\n"));
    }

    fn json(&self, document: &impl Serialize) {
        let text = serde_json::to_string_pretty(document).unwrap_or_default();
        self.out(&format!("{text}\n"));
    }

    /// Writes to standard output. A reader that went away (`| head`) is no error.
    pub(crate) fn out(&self, text: &str) {
        let mut out = anstream::AutoStream::new(std::io::stdout(), self.color);
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    /// Writes to standard error.
    pub(crate) fn err(&self, text: &str) {
        let mut err = anstream::AutoStream::new(std::io::stderr(), self.color);
        let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
    }
}
