//! Sizes as Multipass writes them: `8G`, `512M`, bytes without a unit.
//!
//! Source: Multipass, `src/utils/memory_size.cpp`.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

/// Bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Size(pub u64);

/// 1024³.
pub(crate) const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

impl TryFrom<String> for Size {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        parse(&text).ok_or_else(|| format!("`{text}` is no size, such as `8G` or `512M`"))
    }
}

fn parse(text: &str) -> Option<Size> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor = match unit.to_ascii_lowercase().as_str() {
        "g" | "gb" | "gib" => GIB,
        "m" | "mb" | "mib" => MIB,
        "k" | "kb" | "kib" => 1 << 10,
        "b" | "" => 1,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor).map(Size)
}

impl Size {
    /// As an argument for Multipass.
    pub fn argument(self) -> String {
        match self.0 {
            bytes if bytes % GIB == 0 => format!("{}G", bytes / GIB),
            bytes if bytes % MIB == 0 => format!("{}M", bytes / MIB),
            bytes => bytes.to_string(),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes % GIB == 0 => write!(f, "{} GiB", bytes / GIB),
            bytes if bytes >= 10 * GIB => write!(f, "{} GiB", bytes / GIB),
            bytes => write!(f, "{} MiB", bytes / MIB),
        }
    }
}

impl JsonSchema for Size {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "A size, such as 8G or 512M." })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_multipass_s() {
        for (text, bytes, argument, shown) in [
            ("8G", 8 * GIB, "8G", "8 GiB"),
            ("512MiB", 512 * MIB, "512M", "512 MiB"),
            ("1536m", 1536 * MIB, "1536M", "1536 MiB"),
            ("1073741824", GIB, "1G", "1 GiB"),
        ] {
            let size = Size::try_from(text.to_owned()).unwrap();
            assert_eq!(
                (size.0, size.argument().as_str(), size.to_string().as_str()),
                (bytes, argument, shown)
            );
        }
        for odd in ["", "G", "-1G", "8T", "99999999999G"] {
            assert!(Size::try_from(odd.to_owned()).is_err(), "{odd}");
        }
    }
}
