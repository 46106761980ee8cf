//! Numbers and bytes as people read them.

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

#[cfg(test)]
mod tests {
    use super::*;

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
