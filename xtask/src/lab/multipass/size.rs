//! Sizes as multipass reads and prints them.

/// The end of the message about a text that is no size.
pub(super) const INVALID: &str = "is not a valid memory size - need a non-negative integer (in base 10) or a decimal \
                                  followed by K, M, or G (e.g. 1234B, 42MiB, 0.5G)";

/// `1.5G`, `512MiB`, `100B`: binary units. None: it is no size.
pub(super) fn parse(text: &str) -> Option<u64> {
    let text = text.trim();
    let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let factor = match unit.to_ascii_uppercase().as_str() {
        "" | "B" => 1_u64,
        "K" | "KB" | "KIB" => 1 << 10,
        "M" | "MB" | "MIB" => 1 << 20,
        "G" | "GB" | "GIB" => 1 << 30,
        _ => return None,
    };
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    match number.split_once('.') {
        None => digits(number).then(|| number.parse::<u64>().ok()?.checked_mul(factor)).flatten(),
        // A part of a byte is none.
        Some((whole, part)) if factor > 1 && digits(whole) && digits(part) =>
        {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "nobody minds a byte"
            )]
            number.parse::<f64>().ok().map(|number| (number * factor as f64) as u64)
        }
        Some(_) => None,
    }
}

/// `8.0GiB`: what people read, and less exact than what it was.
pub(super) fn human(bytes: u64) -> String {
    for (unit, shift) in [("GiB", 30_u32), ("MiB", 20), ("KiB", 10)] {
        if bytes >= 1 << shift {
            let tenths = (u128::from(bytes) * 10 + (1 << (shift - 1))) >> shift;
            return format!("{}.{}{unit}", tenths / 10, tenths % 10);
        }
    }
    format!("{bytes}B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("512M", Some(512 << 20)),
            ("1.5G", Some(3 << 29)),
            ("8GiB", Some(8 << 30)),
            ("1024", Some(1024)),
            ("7b", Some(7)),
            ("1.5", None),
            ("100M.", None),
            ("", None),
            ("G", None),
            ("-1G", None),
            ("1T", None),
        ] {
            assert_eq!(parse(text), bytes, "{text}");
        }
        assert_eq!(human(8 << 30), "8.0GiB");
        assert_eq!(human(512 << 20), "512.0MiB");
        assert_eq!(human(4_800_000_000), "4.5GiB");
    }
}
