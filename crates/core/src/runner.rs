//! How code asks for a process, without knowing where or how it runs.
//!
//! A [`Runner`] says where: this host, a guest, an SSH host. A [`Command`] is a plain value that plans can
//! show and tests can compare. The implementation over real processes lives in `nixoci-nix`.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use crate::codes;
use crate::error::{Error, Result, ResultExt};

/// How long a stopped process gets between the first, polite signal and the kill.
/// Nix ends its builds within 0.2 s of SIGINT; Docker's client takes about a second.
pub const GRACE: Duration = Duration::from_secs(2);

/// A process to be: program, arguments, changes to the environment, working directory.
#[derive(Clone, PartialEq, Eq)]
pub struct Command {
    /// The program, looked up on the runner's PATH unless it contains a slash.
    pub program: OsString,
    /// The arguments after the program's name.
    pub args: Vec<OsString>,
    /// Variables set (`Some`) or removed (`None`) on top of the inherited environment.
    pub env: Vec<(OsString, Option<OsString>)>,
    /// The working directory; the runner's own when absent.
    pub cwd: Option<PathBuf>,
    /// Whether the process gets a pipe to read from; otherwise it reads end of file.
    pub stdin: bool,
    /// Whether the process talks to the user's terminal directly (sudo, a shell, `docker run -it`).
    /// Such a process stays in the foreground process group, and its three streams are inherited.
    pub interactive: bool,
}

impl Command {
    /// A command without arguments.
    pub fn new(program: impl Into<OsString>) -> Self {
        Command {
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            cwd: None,
            stdin: false,
            interactive: false,
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<I: IntoIterator<Item = S>, S: Into<OsString>>(mut self, args: I) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), Some(value.into())));
        self
    }

    /// Sets the working directory.
    #[must_use]
    pub fn cwd(mut self, dir: impl Into<PathBuf>) -> Self {
        self.cwd = Some(dir.into());
        self
    }

    /// Gives the process a pipe for its standard input.
    #[must_use]
    pub fn with_stdin(mut self) -> Self {
        self.stdin = true;
        self
    }

    /// Lets the process have the terminal.
    #[must_use]
    pub fn interactive(mut self) -> Self {
        self.interactive = true;
        self
    }

    /// The program's name without its directory, for messages.
    pub fn name(&self) -> String {
        let path = std::path::Path::new(&self.program);
        path.file_name().unwrap_or(&self.program).to_string_lossy().into_owned()
    }
}

/// Shows the command as one would type it into a POSIX shell.
impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.env {
            if let Some(value) = value {
                write!(f, "{}={} ", name.to_string_lossy(), quote(value))?;
            }
        }
        f.write_str(&quote(&self.program))?;
        self.args.iter().try_for_each(|arg| write!(f, " {}", quote(arg)))
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Command({self})")
    }
}

/// Quotes a word for bash, zsh or a POSIX shell, only where it needs it.
pub fn quote(word: &OsStr) -> String {
    let text = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+./:,@%#^".contains(c);
    // `#` begins a comment, and zsh looks for a program behind `=`.
    let begins_plain = !text.is_empty() && !text.starts_with(['#', '=']);
    if begins_plain && text.chars().all(plain) {
        text.into_owned()
    } else if text.chars().all(crate::text::is_printable) {
        format!("'{}'", text.replace('\'', r"'\''"))
    } else {
        // A terminal must not see these, and what is pasted has to have them: bash and zsh read escapes between `$'` and `'`.
        format!("$'{}'", text.chars().map(escaped).collect::<String>())
    }
}

fn escaped(character: char) -> String {
    match character {
        '\'' | '\\' => format!("\\{character}"),
        printable if crate::text::is_printable(printable) => printable.to_string(),
        other => match u32::from(other) {
            code @ 0..0x80 => format!("\\x{code:02x}"),
            code @ 0..0x1_0000 => format!("\\u{code:04x}"),
            code => format!("\\U{code:08x}"),
        },
    }
}

/// A command to be pasted, with every word that is put into it quoted: `shell!("mkdir -p {}", path)`. A word is anything that
/// an [`OsStr`] can be borrowed from; one that has several parts is put together before.
///
/// ```
/// use nixoci_core::shell;
/// let attribute = "my image; rm -r x";
/// assert_eq!(shell!("nixoci build {}", format!(".#{attribute}")), "nixoci build '.#my image; rm -r x'");
/// ```
#[macro_export]
macro_rules! shell {
    ($command:literal $(, $word:expr)* $(,)?) => {{
        const { assert!($crate::runner::has_only_blanks($command), "a name in braces would not be quoted") };
        format!($command $(, $crate::runner::quote(::std::convert::AsRef::<::std::ffi::OsStr>::as_ref(&$word)))*)
    }};
}

/// Whether every brace of a format is one of `{}`, `{{` and `}}`.
#[doc(hidden)]
pub const fn has_only_blanks(format: &str) -> bool {
    let bytes = format.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'{' | b'}' => {
                let pair = if at + 1 < bytes.len() { [bytes[at], bytes[at + 1]] } else { [0, 0] };
                if !matches!(pair, [b'{', b'}'] | [b'{', b'{'] | [b'}', b'}']) {
                    return false;
                }
                at += 2;
            }
            _ => at += 1,
        }
    }
    true
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It exited with this status.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

impl Exit {
    /// Whether the process says it succeeded.
    pub fn success(self) -> bool {
        self == Exit::Code(0)
    }

    /// The status a shell would report: the code, or 128 plus the signal.
    pub fn shell_code(self) -> u8 {
        match self {
            Exit::Code(code) => u8::try_from(code).unwrap_or(u8::MAX),
            Exit::Signal(signal) => u8::try_from(signal).map_or(u8::MAX, |signal| signal.saturating_add(128)),
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Code(code) => write!(f, "exit code {code}"),
            Exit::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

/// The writing end of a process's standard input.
pub type Input = Box<dyn AsyncWrite + Send + Unpin>;
/// The reading end of a process's standard output or standard error.
pub type Stream = Box<dyn AsyncRead + Send + Unpin>;

/// A running process. Dropping it ends it and everything it started.
#[async_trait]
pub trait Process: Send {
    /// The writing end of standard input, once, if the command asked for it.
    fn take_stdin(&mut self) -> Option<Input>;
    /// Standard output, once, unless the command is interactive.
    fn take_stdout(&mut self) -> Option<Stream>;
    /// Standard error, once, unless the command is interactive.
    fn take_stderr(&mut self) -> Option<Stream>;
    /// Waits for the end. Safe to call again, and safe to drop half way.
    async fn wait(&mut self) -> Result<Exit>;
    /// Ends the process and its group: SIGINT first, SIGKILL after `grace`.
    async fn stop(&mut self, grace: Duration) -> Result<Exit>;
}

/// A place where processes run.
#[async_trait]
pub trait Runner: Send + Sync + fmt::Debug {
    /// Starts a process. A program that does not exist is [`codes::TOOL_MISSING`].
    async fn spawn(&self, command: &Command) -> Result<Box<dyn Process>>;

    /// The full path of a program, if this place has it.
    async fn find(&self, program: &str) -> Option<PathBuf>;

    /// Whether an [interactive](Command::interactive) process would find somebody at a terminal.
    fn has_terminal(&self) -> bool {
        false
    }
}

/// What a finished process left behind.
#[derive(Clone, Debug)]
pub struct Output {
    /// How it ended.
    pub exit: Exit,
    /// All it wrote to standard output, at most the limit.
    pub stdout: Vec<u8>,
    /// The last 64 KiB it wrote to standard error.
    pub stderr: Vec<u8>,
}

impl Output {
    /// Standard output as text; bytes that are no UTF-8 are replaced.
    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text; bytes that are no UTF-8 are replaced.
    pub fn stderr_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

/// Standard output beyond this is an error: no tool we ask questions answers with more.
pub const OUTPUT_LIMIT: usize = 64 << 20;
const STDERR_KEPT: usize = 64 << 10;

/// Runs a command to its end and collects what it says, within bounds. A non-zero exit is no error here:
/// the caller knows what it means.
pub async fn output(runner: &dyn Runner, command: &Command, cancel: &CancellationToken) -> Result<Output> {
    output_with_input(runner, command, &[], cancel).await
}

/// As [`output`], writing `input` to the process first.
pub async fn output_with_input(
    runner: &dyn Runner,
    command: &Command,
    input: &[u8],
    cancel: &CancellationToken,
) -> Result<Output> {
    output_fed(runner, command, &input, cancel).await
}

/// What a process reads.
#[async_trait]
pub trait Feed: Sync {
    /// Writes it. A process that stops reading says why on its way out: a broken pipe is no error.
    ///
    /// # Errors
    /// Why it cannot be written to its end. The process is stopped then.
    async fn feed(&self, stdin: &mut Input) -> Result<()>;
}

#[async_trait]
impl Feed for &[u8] {
    async fn feed(&self, stdin: &mut Input) -> Result<()> {
        let _ = stdin.write_all(self).await;
        Ok(())
    }
}

/// As [`output`], while `feed` writes to the process.
///
/// # Errors
/// Those of `feed`, too.
pub async fn output_fed(
    runner: &dyn Runner,
    command: &Command,
    feed: &dyn Feed,
    cancel: &CancellationToken,
) -> Result<Output> {
    let mut process = runner.spawn(command).await?;
    let (stdin, stdout, stderr) = (process.take_stdin(), process.take_stdout(), process.take_stderr());
    let talk = async {
        let feed = async {
            if let Some(mut stdin) = stdin {
                feed.feed(&mut stdin).await?;
                let _ = stdin.shutdown().await;
            }
            Ok(())
        };
        let streams =
            async { Ok(tokio::join!(read_all(stdout, OUTPUT_LIMIT), read_tail(stderr, STDERR_KEPT))) };
        tokio::try_join!(feed, streams).map(|((), streams)| streams)
    };
    let (stdout, stderr) = tokio::select! {
        streams = talk => match streams {
            Ok(streams) => streams,
            Err(error) => {
                process.stop(GRACE).await?;
                return Err(error);
            }
        },
        () = cancel.cancelled() => {
            process.stop(GRACE).await?;
            return Err(Error::new(&codes::CANCELLED, format!("`{}` was stopped", command.name())));
        }
    };
    let stdout = stdout
        .or_error(&codes::PROCESS, || format!("the output of `{}` could not be read", command.name()))?;
    Ok(Output { exit: process.wait().await?, stdout, stderr })
}

async fn read_all(stream: Option<Stream>, limit: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        stream.take(limit as u64 + 1).read_to_end(&mut bytes).await?;
        if bytes.len() > limit {
            return Err(std::io::Error::other(format!("more than {} MiB", limit >> 20)));
        }
    }
    Ok(bytes)
}

async fn read_tail(stream: Option<Stream>, keep: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 8192];
    if let Some(mut stream) = stream {
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            bytes.extend_from_slice(&buffer[..count]);
            if bytes.len() > 2 * keep {
                bytes.drain(..bytes.len() - keep);
            }
        }
    }
    bytes.split_off(bytes.len().saturating_sub(keep))
}

// The bash of macOS does not know characters by number (`\u202e`). Users paste into zsh there.
#[cfg(test)]
#[cfg(target_os = "linux")]
#[path = "shell_tests.rs"]
pub(crate) mod shell_tests;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_reads_as_one_would_type_it() {
        let command = Command::new("nix").args(["build", ".#a b", "it's"]).env("X", "1 2");
        assert_eq!(command.to_string(), r"X='1 2' nix build '.#a b' 'it'\''s'");
        assert_eq!(quote(OsStr::new("")), "''");
    }

    #[test]
    fn a_word_is_one_word_to_a_shell_whatever_is_in_it() {
        let shown = |word: &str| quote(OsStr::new(word));
        assert_eq!(shown("#x"), "'#x'");
        assert_eq!(shown("=ls"), "'=ls'");
        assert_eq!(shown(".#x"), ".#x");
        assert_eq!(shown("a\u{1b}[2J'\\\n\u{202e}"), r"$'a\x1b[2J\'\\\x0a\u202e'");
        assert_eq!(shell!("rm -- {} {{}}", "my app"), "rm -- 'my app' {}");
    }

    #[test]
    fn only_blanks_are_filled() {
        for right in ["", "a", "{}", "x {} {{}} {}"] {
            assert!(has_only_blanks(right), "{right}");
        }
        for wrong in ["{x}", "{", "}", "a {0}", "{:?}", "{{}"] {
            assert!(!has_only_blanks(wrong), "{wrong}");
        }
    }

    #[test]
    fn a_signal_counts_as_a_shell_counts_it() {
        assert_eq!(Exit::Signal(9).shell_code(), 137);
        assert_eq!(Exit::Code(3).shell_code(), 3);
        assert_eq!(Exit::Code(-1).shell_code(), 255);
    }

    #[tokio::test]
    async fn only_the_end_of_a_long_error_stream_is_kept() {
        let text: Vec<u8> = (0..100_000u32).flat_map(|n| n.to_be_bytes()).collect();
        let tail = read_tail(Some(Box::new(std::io::Cursor::new(text.clone()))), 1000).await;
        assert_eq!(tail, text[text.len() - 1000..]);
    }

    #[tokio::test]
    async fn output_beyond_the_limit_is_refused() {
        let stream: Stream = Box::new(std::io::Cursor::new(vec![0; 11]));
        assert!(read_all(Some(stream), 10).await.is_err());
    }
}
