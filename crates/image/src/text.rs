//! Showing text that came out of an image, which nobody vouches for.

/// How much of a foreign text an error message repeats.
const SHOWN: usize = 200;

/// Foreign bytes as they may be printed: valid, without control characters, of bounded length.
pub(crate) fn show(bytes: &[u8]) -> String {
    show_up_to(bytes, SHOWN)
}

/// As [`show`], with another bound on the number of characters.
pub(crate) fn show_up_to(bytes: &[u8], limit: usize) -> String {
    let cut = &bytes[..bytes.len().min(4 * limit)];
    let text = String::from_utf8_lossy(cut);
    let mut shown = String::new();
    for (count, character) in text.chars().enumerate() {
        if count == limit {
            shown.push('…');
            break;
        }
        match nixoci_core::text::is_printable(character) {
            true => shown.push(character),
            false => shown.extend(character.escape_default()),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_do_not_reach_the_terminal() {
        assert_eq!(show(b"a\x1b[31mb\n"), "a\\u{1b}[31mb\\n");
        assert_eq!(show(&[b'x'; 5000]).chars().count(), SHOWN + 1);
        assert_eq!(show(b"\xff"), "\u{fffd}");
    }
}
