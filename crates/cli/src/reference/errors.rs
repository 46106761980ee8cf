//! Exit codes and error codes.

use std::fmt::Write as _;

use nixoci_core::{Code, ErrorKind};

use super::escaped;

pub(super) fn exit_codes() -> String {
    let mut text = super::page(
        "Exit codes",
        "Each class of errors has one exit code, and an exit code never changes its meaning. `nixoci explain NUMBER` lists the \
         errors of a class.",
    );
    text += "\n| code | meaning |\n|---|---|\n| 0 | done |\n";
    for kind in ErrorKind::ALL {
        let _ = writeln!(text, "| {} | {} |", kind.exit_code(), kind.meaning());
    }
    text +=
        "\n`nixoci run` and `nixoci shell` pass the exit status of the container or the command through.\n";
    text
}

pub(super) fn codes() -> String {
    let mut codes: Vec<&Code> = crate::backends::codes().collect();
    codes.sort_by_key(|code| (code.kind.exit_code(), code.id));
    let mut text = super::page(
        "Error codes",
        "Every error has a code that never changes. `nixoci explain CODE` prints what is written here; in JSON, the code is \
         `error.code`.",
    );
    let mut last = None;
    for code in codes {
        if last != Some(code.kind) {
            let _ = write!(text, "\n## {}: {}\n", code.kind.exit_code(), code.kind.meaning());
            last = Some(code.kind);
        }
        let _ = write!(text, "\n### `{}`\n\n{}.\n\n", code.id, escaped(&capital(code.title)));
        text += &textwrap::fill(&escaped(code.help), 120);
        text.push('\n');
    }
    text
}

fn capital(sentence: &str) -> String {
    let mut chars = sentence.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}
