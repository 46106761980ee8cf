//! How errors look: for people on standard error, and as JSON for programs.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::process::ExitCode;

use nixoci_core::config::LoadTarget;
use nixoci_core::error::Report;
use nixoci_core::text::{is_printable, printable};
use nixoci_core::{Error, ErrorKind, Remedy, shell};
use schemars::JsonSchema;
use serde::Serialize;

use crate::args::{Color, Format};
use crate::codes::USAGE;
use crate::habits;
use crate::output::style::{BLUE, BOLD, DIM, RED};
use crate::output::{Printer, Stream};

/// Ends the program after clap refused the command line (or printed help, which is no error).
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // A broken pipe while printing help is nobody's problem.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let typed: Vec<String> = std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let format = typed_format(&typed);
    let printer = Printer { stream: typed_stream(&typed), ..Printer::new(format, Color::Auto, 0, 0) };
    crate::frame::hello(&printer);
    if format == Format::Human {
        usage_for_people(&printer, error, &typed);
    }
    usage_for_programs(&printer, error, &typed);
    ExitCode::from(ErrorKind::Usage.exit_code())
}

fn usage_for_people(printer: &Printer, error: &clap::Error, typed: &[String]) {
    if let Some(habit) = docker_build_habit(error, typed) {
        return printer.err(&format!("{RED}error:{RED:#} {BOLD}{habit}{BOLD:#}\n"));
    }
    let _ = error.print();
    if let Some(hint) = hint(error, typed) {
        printer.err(&format!("\n{BLUE}help:{BLUE:#} {hint}\n"));
    }
}

/// The frame of [`crate::app`], for whoever reads JSON and misspelt another flag.
fn usage_for_programs(printer: &Printer, error: &clap::Error, typed: &[String]) {
    let text = error.to_string();
    let lines: Vec<&str> = text.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
    let message = lines.join(" ");
    let message = message.strip_prefix("error: ").unwrap_or(&message).to_owned();
    let hint = hint(error, typed);
    let error = match docker_build_habit(error, typed) {
        Some(habit) => Error::new(&USAGE, habit),
        None => hint
            .into_iter()
            .fold(Error::new(&USAGE, message), |error, hint| error.remedy(Remedy::advice(hint))),
    };
    crate::frame::fail_for_programs(printer, &error);
}

/// What `--format` says, where the rest of the command line could not be understood.
fn typed_format(typed: &[String]) -> Format {
    let name = typed_value(typed, "--format");
    name.and_then(|name| <Format as clap::ValueEnum>::from_str(name, false).ok()).unwrap_or(Format::Human)
}

/// Who is named by `--progress-fd`, if anybody is.
fn typed_stream(typed: &[String]) -> Option<Stream> {
    let number = typed_value(typed, "--progress-fd")?.parse().ok().filter(|number| *number > 2)?;
    Stream::open(number).ok()
}

fn typed_value<'a>(typed: &'a [String], name: &str) -> Option<&'a str> {
    let flags = || typed.iter().take_while(|arg| *arg != "--");
    let after = flags().zip(flags().skip(1)).find(|(flag, _)| *flag == name).map(|(_, value)| &**value);
    flags().find_map(|arg| arg.strip_prefix(name)?.strip_prefix('=')).or(after)
}

fn docker_build_habit(error: &clap::Error, typed: &[String]) -> Option<String> {
    let word = unknown(error)?;
    // `build . Dockerfile`: the word after the context.
    let dockerfile = habits::no_dockerfile(std::path::Path::new(word)).err().map(|error| error.to_string());
    habits::sentence(word, typed).or(dockerfile)
}

/// The argument that clap does not know.
fn unknown(error: &clap::Error) -> Option<&str> {
    match (error.kind(), error.get(clap::error::ContextKind::InvalidArg)) {
        (clap::error::ErrorKind::UnknownArgument, Some(clap::error::ContextValue::String(arg))) => Some(arg),
        _ => None,
    }
}

/// What was probably meant, where clap cannot know.
fn hint(error: &clap::Error, typed: &[String]) -> Option<String> {
    let unknown = unknown(error)?;
    let runs = typed.iter().any(|arg| arg == "run");
    if typed.iter().any(|arg| arg == "--load") && LoadTarget::NAMES.contains(&unknown) {
        return Some(format!("write the runtime with an equals sign: --load={unknown}"));
    }
    match (runs, unknown.starts_with('-')) {
        (true, false) => Some(format!("arguments for the container go behind two dashes: -- {unknown}")),
        (true, true) => {
            Some("for Docker's other flags: docker run FLAGS $(nixoci build .#container --load)".to_owned())
        }
        (false, _) => None,
    }
}

/// An error for people, ending with a line feed. Escape sequences are removed later where they do not belong.
pub(crate) fn human(error: &Error) -> String {
    let report = error.report();
    let mut text = String::new();
    // On one line: another one could be taken for words of nixoci.
    let _ = writeln!(text, "{RED}error:{RED:#} {BOLD}{}{BOLD:#}", printable(&report.message));
    excerpt(&mut text, report);
    for cause in &report.causes {
        indented(&mut text, "  because: ", cause);
    }
    log(&mut text, report);
    text.push_str(&helps(&report.remedies));
    if report.kind == ErrorKind::Unexpected {
        let _ = writeln!(
            text,
            "  {BLUE}help:{BLUE:#} this should not happen; please report it with the lines above"
        );
    }
    let _ = writeln!(text, "  {DIM}more: {}{DIM:#}", shell!("nixoci explain {}", &*report.code));
    text
}

/// Remedies for people, each ending with a line feed: the same under an error and under a warning.
pub(crate) fn helps(remedies: &[Remedy]) -> String {
    let mut text = String::new();
    for remedy in remedies {
        let colon = if remedy.command.is_some() { ":" } else { "" };
        let _ = writeln!(text, "  {BLUE}help:{BLUE:#} {}{colon}", printable(&remedy.text));
        for line in remedy.command.iter().flat_map(|command| command.lines()) {
            let _ = writeln!(text, "      {line}");
        }
    }
    text
}

fn indented(text: &mut String, label: &str, body: &str) {
    let mut lines = body.lines();
    let _ = writeln!(text, "{label}{}", lines.next().unwrap_or_default());
    for line in lines {
        let _ = writeln!(text, "{:width$}{line}", "", width = label.len());
    }
}

/// More of a line than this says nothing, and breaks on every screen: minified files have one line.
const SHOWN: usize = 100;

fn excerpt(text: &mut String, report: &Report) {
    let Some(at) = &report.excerpt else { return };
    let number = at.line.to_string();
    let margin = " ".repeat(number.len());
    let (line, before, width) = window(&at.text, at.column.saturating_sub(1), at.width);
    let _ = writeln!(
        text,
        " {margin}{BLUE}-->{BLUE:#} {}:{}:{}",
        printable(&at.file.display().to_string()),
        at.line,
        at.column
    );
    let _ = writeln!(text, " {margin} {BLUE}|{BLUE:#}");
    let _ = writeln!(text, " {BLUE}{number} |{BLUE:#} {line}");
    let (before, marks) = (" ".repeat(before), "^".repeat(width));
    let _ = writeln!(text, " {margin} {BLUE}|{BLUE:#} {before}{RED}{marks}{RED:#}");
}

/// The part of a line around what is marked, what stands before it, and the width of the mark. Tabs become a
/// space, so that the mark stands below what it marks.
fn window(line: &str, before: usize, width: usize) -> (String, usize, usize) {
    let chars: Vec<char> = line.chars().map(|c| if is_printable(c) { c } else { ' ' }).collect();
    let start = if chars.len() > SHOWN { before.saturating_sub(SHOWN / 3) } else { 0 };
    let end = chars.len().min(start + SHOWN);
    let (head, tail) = (if start > 0 { "…" } else { "" }, if end < chars.len() { "…" } else { "" });
    let shown: String = chars.get(start..end).unwrap_or_default().iter().collect();
    let before = before.saturating_sub(start) + head.chars().count();
    (format!("{head}{shown}{tail}"), before, width.min(SHOWN.saturating_sub(before)).max(1))
}

fn log(text: &mut String, report: &Report) {
    if !report.log_tail.is_empty() {
        let _ = writeln!(text, "  the last lines of the log:");
        for line in &report.log_tail {
            let _ = writeln!(text, "    {DIM}>{DIM:#} {}", printable(line));
        }
    }
    if let Some(path) = &report.log_path {
        let _ = writeln!(text, "  the whole log: {}", printable(&path.display().to_string()));
    }
}

/// What went wrong.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ErrorReport<'a> {
    #[serde(rename = "type")]
    kind: ErrorTag,
    /// The exit code of the program.
    exit_code: u8,
    /// The error itself.
    error: Cow<'a, Error>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum ErrorTag {
    Error,
}

/// The same as one line of JSON, with the exit code.
pub(crate) fn json(error: &Error) -> String {
    let report = ErrorReport {
        kind: ErrorTag::Error,
        exit_code: error.kind().exit_code(),
        error: Cow::Borrowed(error),
    };
    serde_json::to_string(&report).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
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

    #[test]
    fn a_long_line_is_cut_around_its_mark() {
        let line = format!("{}MARK{}", "a".repeat(500), "b".repeat(500));
        let (shown, before, width) = window(&line, 500, 4);
        let marked: String = shown.chars().skip(before).take(width).collect();
        assert_eq!(marked, "MARK");
        assert!(shown.chars().count() <= SHOWN + 2 && shown.starts_with('…') && shown.ends_with('…'));
        assert_eq!(window("\tx = 1", 1, 1), (" x = 1".to_owned(), 1, 1));
        assert_eq!(window("", 5, 1).2, 1);
        assert!(window(&line, 0, 1004).2 <= SHOWN);
    }

    #[test]
    fn the_format_is_found_in_a_command_line_that_is_wrong_elsewhere() {
        let typed = |line: &str| typed_format(&line.split(' ').map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(typed("nixoci build --nosuch --format json"), Format::Json);
        assert_eq!(typed("nixoci --format=jsonl bild"), Format::Jsonl);
        assert_eq!(typed("nixoci run -x -- --format json"), Format::Human);
        assert_eq!(typed("nixoci build --format"), Format::Human);
    }
}
