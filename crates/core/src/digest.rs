//! SHA-256 digests in the notations of the two worlds that meet here.
//!
//! OCI writes `sha256:<64 hex digits>`; Nix writes SRI (`sha256-<base64>`) in JSON and its own base 32
//! (`sha256:<52 characters>`) in older texts.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A SHA-256 digest. Displays, parses and serialises as OCI writes it: `sha256:<hex>`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

/// A text that is no SHA-256 digest in any known notation.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a SHA-256 digest")]
pub struct ParseDigestError(String);

/// Nix's base 32 alphabet: no `e`, `o`, `t`, `u`.
/// Source: Nix manual, "Nix32 encoding".
const NIX32: &[u8; 32] = b"0123456789abcdfghijklmnpqrsvwxyz";

impl Digest {
    /// The digest with these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Digest(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// 64 lower-case hex digits, as in blob file names.
    pub fn hex(&self) -> String {
        crate::text::hex(&self.0)
    }

    /// Parses 64 hex digits.
    pub fn from_hex(text: &str) -> Result<Self, ParseDigestError> {
        let bytes = text.as_bytes();
        let mut out = [0; 32];
        if bytes.len() != 64 {
            return Err(ParseDigestError(text.to_owned()));
        }
        for (slot, pair) in out.iter_mut().zip(bytes.chunks_exact(2)) {
            let (high, low) = (hex_value(pair[0]), hex_value(pair[1]));
            *slot = match (high, low) {
                (Some(high), Some(low)) => high << 4 | low,
                _ => return Err(ParseDigestError(text.to_owned())),
            };
        }
        Ok(Digest(out))
    }

    /// Parses the base 32 that Nix uses: 52 characters, least significant bits last.
    pub fn from_nix32(text: &str) -> Result<Self, ParseDigestError> {
        let fail = || ParseDigestError(text.to_owned());
        if text.len() != 52 {
            return Err(fail());
        }
        let mut out = [0u8; 32];
        for (n, character) in text.bytes().rev().enumerate() {
            let digit = NIX32.iter().position(|&c| c == character).ok_or_else(fail)? as u16;
            let (byte, bit) = (n * 5 / 8, n * 5 % 8);
            out[byte] |= (digit << bit) as u8;
            let carry = (digit << bit >> 8) as u8;
            match out.get_mut(byte + 1) {
                Some(next) => *next |= carry,
                // 52 characters hold 260 bits: the four beyond the digest must be zero.
                None if carry != 0 => return Err(fail()),
                None => {}
            }
        }
        Ok(Digest(out))
    }

    /// Subresource Integrity notation, `sha256-<base64>`, as in Nix's JSON.
    pub fn sri(&self) -> String {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut text = String::from("sha256-");
        for chunk in self.0.chunks(3) {
            let word = chunk
                .iter()
                .enumerate()
                .fold(0u32, |word, (n, &byte)| word | u32::from(byte) << (16 - 8 * n));
            for n in 0..4 {
                let symbol = ALPHABET[(word >> (18 - 6 * n)) as usize & 63] as char;
                text.push(if n <= chunk.len() { symbol } else { '=' });
            }
        }
        text
    }

    fn from_base64(text: &str) -> Result<Self, ParseDigestError> {
        let fail = || ParseDigestError(text.to_owned());
        let symbols = text.trim_end_matches('=').as_bytes();
        if symbols.len() != 43 {
            return Err(fail());
        }
        let mut out = Vec::with_capacity(33);
        let (mut word, mut bits) = (0u32, 0);
        for &symbol in symbols {
            let value = match symbol {
                b'A'..=b'Z' => symbol - b'A',
                b'a'..=b'z' => symbol - b'a' + 26,
                b'0'..=b'9' => symbol - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return Err(fail()),
            };
            word = word << 6 | u32::from(value);
            bits += 6;
            if bits >= 8 {
                bits -= 8;
                out.push((word >> bits) as u8);
                word &= (1 << bits) - 1;
            }
        }
        out.try_into().map(Digest).map_err(|_| fail())
    }
}

fn hex_value(character: u8) -> Option<u8> {
    (character as char).to_digit(16).map(|digit| digit as u8)
}

impl FromStr for Digest {
    type Err = ParseDigestError;

    /// Accepts `sha256:<hex>`, `sha256:<nix32>`, `sha256-<base64>`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = || ParseDigestError(text.to_owned());
        if let Some(base64) = text.strip_prefix("sha256-") {
            return Self::from_base64(base64).map_err(|_| fail());
        }
        let rest = text.strip_prefix("sha256:").ok_or_else(fail)?;
        if rest.len() == 52 { Self::from_nix32(rest) } else { Self::from_hex(rest) }.map_err(|_| fail())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl JsonSchema for Digest {
    fn schema_name() -> Cow<'static, str> {
        "Digest".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^sha256:[0-9a-f]{64}$", "description": "A SHA-256 digest, as OCI writes it." })
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    // printf '' | sha256sum; nix hash convert --to sri / --to nix32 of the same.
    const EMPTY_HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const EMPTY_SRI: &str = "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
    const EMPTY_NIX32: &str = "0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73";

    #[test]
    fn one_digest_in_three_notations() {
        let hex = Digest::from_hex(EMPTY_HEX).unwrap();
        assert_eq!(EMPTY_SRI.parse::<Digest>().unwrap(), hex);
        assert_eq!(format!("sha256:{EMPTY_NIX32}").parse::<Digest>().unwrap(), hex);
        assert_eq!(hex.sri(), EMPTY_SRI);
        assert_eq!(hex.to_string(), format!("sha256:{EMPTY_HEX}"));
    }

    #[test]
    fn rejects_what_is_no_digest() {
        for text in ["", "sha256:", "sha512:00", "sha256:zz", "sha256-####", EMPTY_HEX, "sha256:é"] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn sri_and_hex_round_trip(bytes: [u8; 32]) {
            let digest = Digest::from_bytes(bytes);
            prop_assert_eq!(digest.sri().parse::<Digest>().unwrap(), digest);
            prop_assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        }

        #[test]
        fn parsing_never_panics(text in ".{0,80}") {
            let _ = text.parse::<Digest>();
            let _ = format!("sha256-{text}").parse::<Digest>();
            let _ = format!("sha256:{text}").parse::<Digest>();
        }
    }
}
