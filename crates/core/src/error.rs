//! Errors as part of the product: what happened, why, and the command that fixes it.
//!
//! One [`Error`] value renders for people, as JSON, and crosses the plugin wire. Its [`Code`] is
//! stable and documented (`nixoci explain CODE`); its [`ErrorKind`] decides the exit code.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The result of every fallible function of nixoci.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The class of an error. Each class has one exit code, which is part of the command line contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// A bug in nixoci.
    Unexpected,
    /// The command line cannot be understood.
    Usage,
    /// nixoci.toml, the user's configuration or an environment variable is wrong.
    Config,
    /// Something was asked for that a checked-out project may not do by itself.
    Untrusted,
    /// No backend can serve the request.
    NoBackend,
    /// A program that nixoci needs is not installed.
    ToolMissing,
    /// The user lacks a right on this machine.
    Permission,
    /// Making a backend ready failed.
    Provision,
    /// A derivation failed to build.
    Build,
    /// The Nix expression could not be found or evaluated.
    Evaluation,
    /// The image is damaged, or is not for the platform that was asked for.
    Image,
    /// Bringing the image from where it was built failed.
    Transfer,
    /// Writing, loading or pushing the image failed.
    Delivery,
    /// Provisioning is needed and may not be done now.
    Pending,
    /// The time limit passed.
    Timeout,
    /// Ctrl-C.
    Interrupted,
    /// SIGTERM.
    Terminated,
    /// A third-party backend misbehaved, or failed in a way that this nixoci has no word for.
    #[serde(other)]
    Plugin,
}

impl ErrorKind {
    /// Every kind, in the order of exit codes; the reference table is generated from this.
    pub const ALL: &'static [ErrorKind] = &[
        ErrorKind::Unexpected,
        ErrorKind::Usage,
        ErrorKind::Config,
        ErrorKind::Untrusted,
        ErrorKind::NoBackend,
        ErrorKind::ToolMissing,
        ErrorKind::Permission,
        ErrorKind::Provision,
        ErrorKind::Build,
        ErrorKind::Evaluation,
        ErrorKind::Image,
        ErrorKind::Transfer,
        ErrorKind::Delivery,
        ErrorKind::Plugin,
        ErrorKind::Pending,
        ErrorKind::Timeout,
        ErrorKind::Interrupted,
        ErrorKind::Terminated,
    ];

    /// The process exit code for this class.
    pub fn exit_code(self) -> u8 {
        match self {
            ErrorKind::Unexpected => 1,
            ErrorKind::Usage => 2,
            ErrorKind::Config => 10,
            ErrorKind::Untrusted => 11,
            ErrorKind::NoBackend => 20,
            ErrorKind::ToolMissing => 21,
            ErrorKind::Permission => 22,
            ErrorKind::Provision => 30,
            ErrorKind::Build => 40,
            ErrorKind::Evaluation => 41,
            ErrorKind::Image => 42,
            ErrorKind::Transfer => 50,
            ErrorKind::Delivery => 60,
            ErrorKind::Plugin => 70,
            ErrorKind::Pending => 75,
            ErrorKind::Timeout => 124,
            ErrorKind::Interrupted => 130,
            ErrorKind::Terminated => 143,
        }
    }

    /// What the exit code means, in a few words.
    pub fn meaning(self) -> &'static str {
        match self {
            ErrorKind::Unexpected => "unexpected: a bug in nixoci",
            ErrorKind::Usage => "the command line is wrong",
            ErrorKind::Config => "the configuration is wrong",
            ErrorKind::Untrusted => "not trusted",
            ErrorKind::NoBackend => "no usable backend",
            ErrorKind::ToolMissing => "a tool is missing",
            ErrorKind::Permission => "permission denied",
            ErrorKind::Provision => "provisioning failed",
            ErrorKind::Build => "the build failed",
            ErrorKind::Evaluation => "evaluation failed",
            ErrorKind::Image => "the image contradicts its platform or is damaged",
            ErrorKind::Transfer => "transfer from the backend failed",
            ErrorKind::Delivery => "writing, loading or pushing failed",
            ErrorKind::Plugin => "a plugin failed",
            ErrorKind::Pending => "provisioning is pending and may not be done",
            ErrorKind::Timeout => "the time limit passed",
            ErrorKind::Interrupted => "interrupted by Ctrl-C",
            ErrorKind::Terminated => "terminated by SIGTERM",
        }
    }
}

/// A documented, stable error code.
///
/// Codes are declared as statics, one table per crate, with [`codes!`](crate::codes!), so that
/// `nixoci explain` and the reference can walk all of them.
#[derive(Debug)]
pub struct Code {
    /// `nixoci::<area>::<what>`, never changed once released.
    pub id: &'static str,
    /// The class, and through it the exit code.
    pub kind: ErrorKind,
    /// One line: what it means.
    pub title: &'static str,
    /// A few paragraphs for `nixoci explain`: why it happens and what to do.
    pub help: &'static str,
}

/// Declares the error codes of a crate and a `CODES` table of all of them.
///
/// ```
/// nixoci_core::codes! {
///     /// The example's only failure.
///     TOO_SMALL = ("nixoci::example::too_small", Config, "the value is too small", "Make it larger.");
/// }
/// assert_eq!(CODES[0].id, TOO_SMALL.id);
/// ```
#[macro_export]
macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = ($id:literal, $kind:ident, $title:literal, $help:literal);)*) => {
        $($(#[$doc])* pub static $name: $crate::Code = $crate::Code {
            id: $id, kind: $crate::ErrorKind::$kind, title: $title, help: $help,
        };)*
        /// Every code of this crate, for `nixoci explain` and the generated reference.
        pub static CODES: &[&$crate::Code] = &[$(&$name),*];
    };
}

/// Something the user can do about an error: a sentence, and usually a command to copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Remedy {
    /// A lower-case sentence without a full stop, such as `install Nix`.
    pub text: String,
    /// The command or the lines that do it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

impl Remedy {
    /// Advice without a command.
    pub fn advice(text: impl Into<String>) -> Self {
        Remedy { text: text.into(), command: None }
    }

    /// Advice with the command that carries it out. It is pasted into a shell, so every value in it must be quoted, for example by
    /// [`shell!`](crate::shell!).
    pub fn command(text: impl Into<String>, command: impl Into<String>) -> Self {
        Remedy { text: text.into(), command: Some(command.into()) }
    }

    /// Advice with lines of a configuration file, or of an expression, to be put there. They are not for a shell, so values in them
    /// are not quoted for one.
    pub fn lines(text: impl Into<String>, lines: impl Into<String>) -> Self {
        Remedy { text: text.into(), command: Some(lines.into()) }
    }
}

/// A place in a text file that an error points at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Excerpt {
    /// The file, as the user would name it.
    pub file: PathBuf,
    /// One-based line.
    pub line: usize,
    /// One-based column, in characters.
    pub column: usize,
    /// The text of that line.
    pub text: String,
    /// How many characters to underline, at least 1.
    pub width: usize,
}

impl Excerpt {
    /// The excerpt for a byte range of `source`. Ranges outside the text are clamped.
    pub fn from_span(file: &Path, source: &str, span: std::ops::Range<usize>) -> Self {
        let start = floor_boundary(source, span.start);
        let end = floor_boundary(source, span.end).max(start);
        let line_start = source[..start].rfind('\n').map_or(0, |i| i + 1);
        let line_end = source[start..].find('\n').map_or(source.len(), |i| start + i);
        Excerpt {
            file: file.to_owned(),
            line: source[..start].matches('\n').count() + 1,
            column: source[line_start..start].chars().count() + 1,
            text: source[line_start..line_end].trim_end_matches('\r').to_owned(),
            width: source[start..end.min(line_end).max(start)].chars().count().max(1),
        }
    }
}

fn floor_boundary(text: &str, index: usize) -> usize {
    let mut index = index.min(text.len());
    while !text.is_char_boundary(index) {
        index -= 1;
    }
    index
}

/// What went wrong, why, and what to do about it.
///
/// Cheap to return (one pointer), serialisable, and complete: nothing the user needs is lost on the way.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Error(Box<Report>);

/// The content of an [`Error`].
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The class; decides the exit code.
    pub kind: ErrorKind,
    /// The stable code.
    pub code: Cow<'static, str>,
    /// A lower-case sentence without a full stop.
    pub message: String,
    /// Why, outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
    /// What to do, best first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remedies: Vec<Remedy>,
    /// The last lines of the log that belongs to the failure, at most 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log_tail: Vec<String>,
    /// Where the whole log is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_path: Option<PathBuf>,
    /// The place in a file that is at fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excerpt: Option<Excerpt>,
}

/// How many log lines an error carries; enough to see a compiler error, few enough to read.
pub const LOG_TAIL_LINES: usize = 20;

impl Error {
    /// A new error with a documented code. `message` is a lower-case sentence without a full stop.
    pub fn new(code: &'static Code, message: impl Into<String>) -> Self {
        Error(Box::new(Report {
            kind: code.kind,
            code: Cow::Borrowed(code.id),
            message: message.into(),
            causes: Vec::new(),
            remedies: Vec::new(),
            log_tail: Vec::new(),
            log_path: None,
            excerpt: None,
        }))
    }

    /// The parts of this error, to be changed: for what another program said.
    pub fn into_report(self) -> Report {
        *self.0
    }

    /// The parts of this error.
    pub fn report(&self) -> &Report {
        &self.0
    }

    /// The class of this error.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The stable code of this error.
    pub fn code(&self) -> &str {
        &self.0.code
    }

    /// Whether this is the error that `code` documents.
    pub fn is(&self, code: &Code) -> bool {
        self.0.code == code.id
    }

    /// Adds a reason below the message.
    #[must_use]
    pub fn because(mut self, cause: impl fmt::Display) -> Self {
        self.0.causes.push(cause.to_string());
        self
    }

    /// Adds `source` and everything below it as reasons.
    #[must_use]
    pub fn caused_by(mut self, source: &(dyn std::error::Error + 'static)) -> Self {
        let mut next = Some(source);
        while let Some(error) = next {
            let text = error.to_string();
            // Many error types repeat their source in their own text; saying it once is enough.
            if !self.0.causes.iter().any(|seen| seen.contains(&text)) {
                self.0.causes.push(text);
            }
            next = error.source();
        }
        self
    }

    /// Adds something the user can do. The best remedy is added first.
    #[must_use]
    pub fn remedy(mut self, remedy: Remedy) -> Self {
        if !self.0.remedies.contains(&remedy) {
            self.0.remedies.push(remedy);
        }
        self
    }

    /// Takes away what cannot be done where this error is reported: a flag that the command does not have.
    #[must_use]
    pub fn without_remedy(mut self, command: &str) -> Self {
        self.0.remedies.retain(|remedy| remedy.command.as_deref() != Some(command));
        self
    }

    /// Adds something the user can do that is better than what is there.
    #[must_use]
    pub fn remedy_first(mut self, remedy: Remedy) -> Self {
        self.0.remedies.retain(|known| *known != remedy);
        self.0.remedies.insert(0, remedy);
        self
    }

    /// Adds the end of a log; all but the last [`LOG_TAIL_LINES`] lines are dropped.
    #[must_use]
    pub fn log<I: IntoIterator<Item = S>, S: Into<String>>(mut self, lines: I) -> Self {
        let mut lines: Vec<String> = lines.into_iter().map(Into::into).collect();
        self.0.log_tail = lines.split_off(lines.len().saturating_sub(LOG_TAIL_LINES));
        self
    }

    /// Says where the whole log is.
    #[must_use]
    pub fn log_at(mut self, path: impl Into<PathBuf>) -> Self {
        self.0.log_path = Some(path.into());
        self
    }

    /// Points at the place that is at fault.
    #[must_use]
    pub fn at(mut self, excerpt: Excerpt) -> Self {
        self.0.excerpt = Some(excerpt);
        self
    }

    /// Puts a new message on top and keeps the old one as its first cause. Code and kind stay.
    #[must_use]
    pub fn context(mut self, message: impl Into<String>) -> Self {
        let old = std::mem::replace(&mut self.0.message, message.into());
        self.0.causes.insert(0, old);
        self
    }
}

impl From<Report> for Error {
    fn from(report: Report) -> Self {
        Error(Box::new(report))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Error {}

/// Turns foreign errors into [`Error`] with a code and a sentence.
pub trait ResultExt<T> {
    /// Maps the error to `code`, with `message` on top and the error's chain as causes.
    fn or_error<M: Into<String>>(self, code: &'static Code, message: impl FnOnce() -> M) -> Result<T>;
}

impl<T, E: std::error::Error + 'static> ResultExt<T> for std::result::Result<T, E> {
    fn or_error<M: Into<String>>(self, code: &'static Code, message: impl FnOnce() -> M) -> Result<T> {
        self.map_err(|error| Error::new(code, message()).caused_by(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static SAMPLE: Code = Code {
        id: "nixoci::test::sample",
        kind: ErrorKind::Build,
        title: "a sample",
        help: "Nothing to do.",
    };

    #[test]
    fn exit_codes_are_the_documented_ones_and_distinct() {
        let mut codes: Vec<u8> = ErrorKind::ALL.iter().map(|kind| kind.exit_code()).collect();
        assert_eq!(codes, [1, 2, 10, 11, 20, 21, 22, 30, 40, 41, 42, 50, 60, 70, 75, 124, 130, 143]);
        codes.dedup();
        assert_eq!(codes.len(), ErrorKind::ALL.len());
    }

    #[test]
    fn context_keeps_the_original_message_as_first_cause() {
        let error = Error::new(&SAMPLE, "inner").because("deep").context("outer");
        assert_eq!(error.to_string(), "outer");
        assert_eq!(error.report().causes, ["inner", "deep"]);
        assert!(error.is(&SAMPLE));
    }

    #[test]
    fn only_the_end_of_a_log_is_kept() {
        let error = Error::new(&SAMPLE, "x").log((0..50).map(|n| n.to_string()));
        assert_eq!(error.report().log_tail.len(), LOG_TAIL_LINES);
        assert_eq!(error.report().log_tail[0], "30");
    }

    #[test]
    fn a_remedy_that_is_none_here_can_be_taken_away() {
        let error =
            Error::new(&SAMPLE, "x").remedy(Remedy::command("a", "--b")).remedy(Remedy::advice("stays"));
        assert_eq!(error.without_remedy("--b").report().remedies, [Remedy::advice("stays")]);
    }

    #[test]
    fn lines_are_given_to_be_copied_as_commands_are() {
        let (command, lines) = (Remedy::command("a", "x = 1"), Remedy::lines("a", "x = 1"));
        assert_eq!(lines, command);
        assert_eq!(lines.command.as_deref(), Some("x = 1"));
    }

    #[test]
    fn survives_the_wire() {
        let error = Error::new(&SAMPLE, "x").remedy(Remedy::command("do", "it")).because("y");
        let json = serde_json::to_string(&error).unwrap();
        let back: Error = serde_json::from_str(&json).unwrap();
        assert_eq!(back.report().remedies, error.report().remedies);
        assert_eq!(back.code(), error.code());
    }

    #[test]
    fn an_excerpt_counts_characters_and_clamps() {
        let source = "a = 1\nname = \"grün\" x\n";
        let at = source.find('x').unwrap();
        let excerpt = Excerpt::from_span(Path::new("f"), source, at..at + 1);
        assert_eq!((excerpt.line, excerpt.column, excerpt.width), (2, 15, 1));
        let beyond = Excerpt::from_span(Path::new("f"), source, 999..1000);
        assert_eq!(beyond.width, 1);
    }
}
