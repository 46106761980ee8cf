//! `nixoci explain`.

use std::fmt::Write as _;

use nixoci_core::registry::nearest;
use nixoci_core::{Code, Error, ErrorKind, Remedy, Result, shell};
use schemars::JsonSchema;
use serde::Serialize;

use crate::args::ExplainArgs;
use crate::backends;
use crate::codes::NOTHING_TO_EXPLAIN;
use crate::output::Printer;
use crate::plugins;

/// What was explained.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ExplainReport {
    /// The version of this document.
    version: u32,
    /// The text, for people.
    text: String,
}

const PREFIX: &str = "nixoci::";
const EXIT_CODES: &str = "exit-codes";
const WHY_NOT_DARWIN: &str = "why-not-darwin";

/// Sources: nixpkgs#16696 and nix2container#173 (programs of the Mac in an image), nixpkgs#427036 (fakeroot).
const DARWIN: &str = "A Mac's Nix, asked for an image from the Mac's own packages (`packages.aarch64-darwin`), fails in one of two ways.\n\n\
    The image would hold programs for macOS. Containers run on Linux: where such an image is built at all, it looks like a \
    linux/arm64 image, and its first program ends with `exec format error`. nixoci looks at the machine code of what would be \
    started, and refuses such an image.\n\n\
    Usually it is not built at all: the build hangs at the customisation layer (`building …-customisation-layer`). That step runs \
    under fakeroot, which lets files in the layer belong to root, and fakeroot was broken on macOS until nixpkgs#427036. \
    With a newer nixpkgs the step ends, and the first way is left.\n\n\
    So the packages must be Linux packages, and they are built by a Linux machine: `nixoci backends` shows which there are. nixoci \
    looks a bare `.#container` up in the packages for Linux. Only a flake that has none gets its output for the Mac looked at: some \
    projects put their Linux images there.";

pub(crate) fn run(printer: &Printer, args: &ExplainArgs) -> Result<u8> {
    let text = match args.subject.as_deref() {
        None => index(),
        Some(EXIT_CODES) => exit_codes(),
        Some(WHY_NOT_DARWIN) => filled(DARWIN) + "\n",
        Some(subject) => match subject.parse::<u8>() {
            Ok(number) => exit_code(number)?,
            Err(_) => code(subject)?,
        },
    };
    printer.result(&ExplainReport { version: 1, text: text.clone() }, &text)?;
    Ok(0)
}

fn index() -> String {
    let mut codes: Vec<&Code> = backends::codes().collect();
    codes.sort_by_key(|code| code.id);
    let mut text = format!("topics:\n  {EXIT_CODES}\n  {WHY_NOT_DARWIN}\n\nerror codes:\n");
    for code in codes {
        let _ = writeln!(text, "  {:<44}{}", code.id, code.title);
    }
    text
}

fn exit_codes() -> String {
    let mut text = "  0  done\n".to_owned();
    for kind in ErrorKind::ALL {
        let _ = writeln!(text, "{:>3}  {}", kind.exit_code(), kind.meaning());
    }
    text.push_str("\n`nixoci run` passes the container's own exit status through.\n");
    text
}

fn exit_code(number: u8) -> Result<String> {
    let kind = ErrorKind::ALL.iter().find(|kind| kind.exit_code() == number);
    let kind = kind.ok_or_else(|| {
        Error::new(&NOTHING_TO_EXPLAIN, format!("nixoci does not exit with {number}"))
            .remedy(Remedy::command("see them all", shell!("nixoci explain {}", EXIT_CODES)))
    })?;
    let mut text = format!("exit code {number}: {}\n\nerror codes with it:\n", kind.meaning());
    for code in backends::codes().filter(|code| code.kind == *kind) {
        let _ = writeln!(text, "  {:<44}{}", code.id, code.title);
    }
    Ok(text)
}

fn code(subject: &str) -> Result<String> {
    if let Some(found) = plugins::codes().into_iter().find(|code| code.id == subject) {
        let [id, title, help] = [found.id, found.title, found.help].map(|text| nixoci_nix::plain(&text));
        return Ok(explained(&id, &title, &help, found.kind));
    }
    let full = if subject.starts_with(PREFIX) { subject.to_owned() } else { format!("{PREFIX}{subject}") };
    let found = backends::codes().find(|code| code.id == full).ok_or_else(|| {
        let error = Error::new(&NOTHING_TO_EXPLAIN, format!("there is nothing to explain about `{subject}`"));
        let error = match nearest(&full, backends::codes().map(|code| code.id)) {
            Some(near) => {
                error.remedy(Remedy::command("did you mean this one", shell!("nixoci explain {}", near)))
            }
            None => error,
        };
        error.remedy(Remedy::command("list everything", "nixoci explain"))
    })?;
    Ok(explained(found.id, found.title, found.help, found.kind))
}

fn explained(id: &str, title: &str, help: &str, kind: ErrorKind) -> String {
    format!("{id}: {title}\n\n{}\n\nexit code {}: {}\n", filled(help), kind.exit_code(), kind.meaning())
}

/// Paragraphs, as wide as people like to read them.
fn filled(text: &str) -> String {
    let paragraphs: Vec<String> = text.split("\n\n").map(|paragraph| textwrap::fill(paragraph, 90)).collect();
    paragraphs.join("\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_one_meaning_and_something_to_read() {
        let mut seen = std::collections::HashSet::new();
        for item in backends::codes() {
            assert!(item.id.starts_with(PREFIX), "{}", item.id);
            assert!(seen.insert(item.id), "{} twice", item.id);
            assert!(item.help.len() > 40 && item.help.ends_with('.'), "{}: {}", item.id, item.help);
            assert!(code(item.id).unwrap().contains(item.title));
        }
    }

    #[test]
    fn a_code_is_found_without_its_prefix_and_a_near_one_is_suggested() {
        assert!(code("local::wrong_platform").unwrap().contains("binfmt"));
        let error = code("local::wrong_platfrom").unwrap_err();
        assert!(error.report().remedies[0].command.as_ref().unwrap().contains("wrong_platform"));
        assert!(exit_code(42).unwrap().contains("nixoci::"));
        assert!(exit_code(3).is_err());
    }
}
