//! Numbers and bytes as people read them, and foreign texts as a terminal may show them.

use std::borrow::Cow;
use std::time::Duration;

/// Bytes, in decimal units as Docker counts: `62.3 MB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// Two lower-case hexadecimal digits a byte.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

/// How long ago something was: `3 minutes ago`.
pub fn ago(time: Duration) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")];
    let seconds = time.as_secs();
    let unit = UNITS.iter().find(|(length, _)| seconds >= *length);
    unit.map_or_else(
        || "just now".to_owned(),
        |(length, name)| {
            format!("{} ago", count(usize::try_from(seconds / length).unwrap_or(usize::MAX), name))
        },
    )
}

/// A number of things: `1 layer`, `5 layers`.
pub fn count(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// Whether a terminal shows a character, and does nothing else with it: no control character, and none of those that change
/// the direction of what stands beside them. Source: Unicode Standard Annex 9, "Explicit Directional Formatting Characters";
/// Unicode Technical Report 36, "Bidirectional Text Spoofing".
pub fn is_printable(character: char) -> bool {
    let directs = matches!(
        character,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}'
    );
    !character.is_control() && !directs
}

/// A text that somebody else wrote, on one line: what is not [printable](is_printable) is shown as an escape, such as
/// `\u{1b}`.
pub fn printable(text: &str) -> Cow<'_, str> {
    escaped_but(text, |_| false)
}

/// As [`printable`], for a text of several lines: line feeds and tabs stay.
pub fn printable_lines(text: &str) -> Cow<'_, str> {
    escaped_but(text, |character| matches!(character, '\n' | '\t'))
}

fn escaped_but(text: &str, kept: impl Fn(char) -> bool) -> Cow<'_, str> {
    let stays = |character: char| is_printable(character) || kept(character);
    if text.chars().all(&stays) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if stays(character) {
            shown.push(character);
        } else {
            shown.extend(character.escape_default());
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown() {
        assert_eq!(printable("a\u{1b}]0;x\u{7}\u{9b}\r\nb"), "a\\u{1b}]0;x\\u{7}\\u{9b}\\r\\nb");
        assert_eq!(printable_lines("a\tb\nc\r"), "a\tb\nc\\r");
        assert_eq!(printable("safe \u{202e}txt.exe"), "safe \\u{202e}txt.exe");
        for plain in ["", "grün 漢字 👩‍🚀", "/nix/store/x"] {
            assert!(matches!(printable(plain), Cow::Borrowed(text) if text == plain));
        }
    }

    #[test]
    fn hexadecimal_digits() {
        assert_eq!(hex(&[0, 9, 0xa0, 0xff]), "0009a0ff");
        assert_eq!(hex(&[]), "");
    }

    #[test]
    fn bytes_read_as_docker_writes_them() {
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(62_345_678), "62.3 MB");
        assert_eq!(bytes(999_999), "1.0 MB");
        assert_eq!(bytes(u64::MAX), "18446744.1 TB");
    }

    #[test]
    fn times_are_told_in_the_largest_unit_that_fits() {
        let told = |seconds| ago(Duration::from_secs(seconds));
        assert_eq!(
            (told(0), told(1), told(119)),
            ("just now".into(), "1 second ago".into(), "1 minute ago".into())
        );
        assert_eq!((told(7200), told(864_000)), ("2 hours ago".into(), "10 days ago".into()));
    }

    #[test]
    fn one_thing_has_no_plural() {
        assert_eq!((count(1, "layer"), count(5, "layer")), ("1 layer".into(), "5 layers".into()));
    }
}
