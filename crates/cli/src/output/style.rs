//! The colors of nixoci's own words, and what of a text reaches a terminal.
//!
//! Names, paths, values of configuration files, the words of other programs and plugins come to the printer inside of
//! sentences. It lets through what a terminal shows, line feeds, tabs, and exactly the sequences of the styles below;
//! everything else becomes visible.

use std::borrow::Cow;

use anstyle::{AnsiColor, Style};
use nixoci_core::text::is_printable;

pub(crate) const RED: Style = AnsiColor::Red.on_default().bold();
pub(crate) const BLUE: Style = AnsiColor::Blue.on_default().bold();
pub(crate) const YELLOW: Style = AnsiColor::Yellow.on_default().bold();
pub(crate) const DIM: Style = Style::new().dimmed();
pub(crate) const BOLD: Style = Style::new().bold();

/// The sequences of the styles above: bold, dim, red, yellow, blue, and reset. None of them hides or moves text.
const SEQUENCES: [&str; 6] = ["\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[33m", "\x1b[34m"];

/// A text as a terminal may get it.
pub(super) fn clean(text: &str) -> Cow<'_, str> {
    let fine = |character: char| is_printable(character) || matches!(character, '\n' | '\t');
    if text.chars().all(fine) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        if let Some(sequence) = SEQUENCES.iter().find(|sequence| rest.starts_with(**sequence)) {
            clean.push_str(sequence);
            rest = &rest[sequence.len()..];
            continue;
        }
        if fine(character) {
            clean.push(character);
        } else {
            clean.extend(character.escape_default());
        }
        rest = &rest[character.len_utf8()..];
    }
    Cow::Owned(clean)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn our_own_styles_pass() {
        for style in [RED, BLUE, YELLOW, DIM, BOLD] {
            let text = format!("{style}a{style:#} b\n");
            assert_eq!(clean(&text), text);
        }
    }

    #[test]
    fn what_moves_or_hides_is_shown() {
        let forged = "https://evil.example/x\x1b[2K\x1b[1G  install Nix\r\x1b[8mhidden\u{9b}2J\u{202e}";
        let shown = clean(forged);
        assert_eq!(
            shown,
            "https://evil.example/x\\u{1b}[2K\\u{1b}[1G  install Nix\\r\\u{1b}[8mhidden\\u{9b}2J\\u{202e}"
        );
    }

    proptest! {
        #[test]
        fn nothing_but_styles_and_text_reaches_a_terminal(text in any::<String>(), escapes in "(\x1b\\[[0-9;]{0,3}[a-zA-Z]|\r|\u{9b}|x){0,9}") {
            let text = format!("{text}{escapes}{text}");
            let mut left = clean(&text).into_owned();
            for sequence in SEQUENCES {
                left = left.replace(sequence, "");
            }
            prop_assert!(left.chars().all(|c| is_printable(c) || c == '\n' || c == '\t'), "{left:?}");
        }
    }
}
