//! How errors look: for people on standard error, and as JSON for programs.

use std::fmt::Write as _;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use nixoci_core::error::Report;
use nixoci_core::{Error, ErrorKind};

const RED: Style = AnsiColor::Red.on_default().bold();
const BLUE: Style = AnsiColor::Blue.on_default().bold();
const DIM: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();

/// Ends the program after clap refused the command line (or printed help, which is no error).
#[expect(clippy::print_stderr, reason = "the printer does not exist before the command line is understood")]
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    // A broken pipe while printing help is nobody's problem.
    let _ = error.print();
    if let Some(hint) = docker_build_habit() {
        eprintln!("\n{hint}");
    }
    if error.use_stderr() { ExitCode::from(ErrorKind::Usage.exit_code()) } else { ExitCode::SUCCESS }
}

/// Flags that people bring from `docker build`, and what to do here instead.
const DOCKER_BUILD: &[(&str, &str)] = &[
    (
        "--no-cache",
        "Nix knows by itself what is out of date; --refresh looks for new versions of the inputs.",
    ),
    ("--build-arg", "a Nix file's function takes arguments: --argstr NAME VALUE with --file."),
    ("--target", "stages are attributes in Nix: name the one to build, as in `nixoci build .#debug-image`."),
    ("--secret", "a Nix build sees no secrets: what it needs at run time goes in when the container starts."),
];

fn docker_build_habit() -> Option<String> {
    let typed: Vec<String> = std::env::args().collect();
    let (flag, hint) = DOCKER_BUILD
        .iter()
        .find(|(flag, _)| typed.iter().any(|arg| arg == flag || arg.starts_with(&format!("{flag}="))))?;
    Some(format!("{flag} is not needed here: {hint}"))
}

/// An error for people, ending with a line feed. Escape sequences are removed later where they do not belong.
pub(crate) fn human(error: &Error) -> String {
    let report = error.report();
    let mut text = String::new();
    let _ = writeln!(text, "{RED}error:{RED:#} {BOLD}{}{BOLD:#}", report.message);
    excerpt(&mut text, report);
    for cause in &report.causes {
        indented(&mut text, "  because: ", cause);
    }
    log(&mut text, report);
    for remedy in &report.remedies {
        let _ = writeln!(
            text,
            "  {BLUE}help:{BLUE:#} {}{}",
            remedy.text,
            if remedy.command.is_some() { ":" } else { "" }
        );
        for line in remedy.command.iter().flat_map(|command| command.lines()) {
            let _ = writeln!(text, "      {line}");
        }
    }
    if report.kind == ErrorKind::Unexpected {
        let _ = writeln!(
            text,
            "  {BLUE}help:{BLUE:#} this should not happen; please report it with the lines above"
        );
    }
    let _ = writeln!(text, "  {DIM}more: nixoci explain {}{DIM:#}", report.code);
    text
}

fn indented(text: &mut String, label: &str, body: &str) {
    let mut lines = body.lines();
    let _ = writeln!(text, "{label}{}", lines.next().unwrap_or_default());
    for line in lines {
        let _ = writeln!(text, "{:width$}{line}", "", width = label.len());
    }
}

fn excerpt(text: &mut String, report: &Report) {
    let Some(at) = &report.excerpt else { return };
    let number = at.line.to_string();
    let margin = " ".repeat(number.len());
    let _ = writeln!(text, " {margin}{BLUE}-->{BLUE:#} {}:{}:{}", at.file.display(), at.line, at.column);
    let _ = writeln!(text, " {margin} {BLUE}|{BLUE:#}");
    let _ = writeln!(text, " {BLUE}{number} |{BLUE:#} {}", at.text);
    let (before, marks) = (" ".repeat(at.column.saturating_sub(1)), "^".repeat(at.width));
    let _ = writeln!(text, " {margin} {BLUE}|{BLUE:#} {before}{RED}{marks}{RED:#}");
}

fn log(text: &mut String, report: &Report) {
    if !report.log_tail.is_empty() {
        let _ = writeln!(text, "  the last lines of the log:");
        for line in &report.log_tail {
            let _ = writeln!(text, "    {DIM}>{DIM:#} {line}");
        }
    }
    if let Some(path) = &report.log_path {
        let _ = writeln!(text, "  the whole log: {}", path.display());
    }
}

/// The same as one line of JSON, with the exit code.
pub(crate) fn json(error: &Error) -> serde_json::Value {
    serde_json::json!({ "type": "error", "exitCode": error.kind().exit_code(), "error": error })
}

#[cfg(test)]
mod tests {
    use super::*;
    use nixoci_core::Remedy;
    use nixoci_core::error::Excerpt;

    fn plain(error: &Error) -> String {
        anstream::adapter::strip_str(&human(error)).to_string()
    }

    #[test]
    fn an_error_says_what_why_and_what_to_do() {
        let error = Error::new(&nixoci_core::codes::CONFIG_UNKNOWN_KEY, "unknown key `platform`")
            .at(Excerpt {
                file: "nixoci.toml".into(),
                line: 12,
                column: 1,
                text: "platform = 1".into(),
                width: 8,
            })
            .because("known here: platforms")
            .log(["one", "two"])
            .remedy(Remedy::command("see every key", "nixoci config schema"))
            .remedy(Remedy::advice("did you mean `platforms`"));
        insta::assert_snapshot!(plain(&error), @r"
        error: unknown key `platform`
           --> nixoci.toml:12:1
            |
         12 | platform = 1
            | ^^^^^^^^
          because: known here: platforms
          the last lines of the log:
            > one
            > two
          help: see every key:
              nixoci config schema
          help: did you mean `platforms`
          more: nixoci explain nixoci::config::unknown_key
        ");
    }
}
