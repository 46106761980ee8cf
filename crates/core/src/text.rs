//! Numbers as people read them.

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

/// A number of things: `1 layer`, `5 layers`.
pub fn count(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_read_as_docker_writes_them() {
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(62_345_678), "62.3 MB");
        assert_eq!(bytes(999_999), "1.0 MB");
        assert_eq!(bytes(u64::MAX), "18446744.1 TB");
    }

    #[test]
    fn one_thing_has_no_plural() {
        assert_eq!((count(1, "layer"), count(5, "layer")), ("1 layer".into(), "5 layers".into()));
    }
}
