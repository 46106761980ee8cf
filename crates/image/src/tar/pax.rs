//! Extended headers: what they change about the entry that follows.

use super::TarError;

/// What extended headers said about the next entry.
#[derive(Default)]
pub(super) struct Overrides {
    pub(super) name: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
}

impl Overrides {
    pub(super) fn is_empty(&self) -> bool {
        self.name.is_none() && self.link.is_none() && self.size.is_none()
    }

    /// Applies records of the form `<length> <key>=<value>\n`, where the length counts the whole record.
    pub(super) fn apply_pax(&mut self, mut records: &[u8]) -> Result<(), TarError> {
        while !records.is_empty() {
            let (key, value, rest) = record(records).ok_or(TarError::Extended)?;
            records = rest;
            self.apply(key, value)?;
        }
        Ok(())
    }

    fn apply(&mut self, key: &[u8], value: &[u8]) -> Result<(), TarError> {
        let text = || match value {
            [] => Ok(None),
            value if value.contains(&0) => Err(TarError::Extended),
            value => Ok(Some(value.to_vec())),
        };
        match key {
            // GNU's sparse format 1.0 puts the real name there, and a made-up one into `path`.
            b"path" | b"GNU.sparse.name" => self.name = text()?,
            b"linkpath" => self.link = text()?,
            b"size" => self.size = Some(decimal(value).ok_or(TarError::Extended)?),
            _ => {}
        }
        Ok(())
    }
}

fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().take(20).position(|&byte| byte == b' ')?;
    let length = usize::try_from(decimal(&bytes[..space])?).ok()?;
    if length > bytes.len() || length < space + 2 || bytes[length - 1] != b'\n' {
        return None;
    }
    let body = &bytes[space + 1..length - 1];
    let equals = body.iter().position(|&byte| byte == b'=')?;
    Some((&body[..equals], &body[equals + 1..], &bytes[length..]))
}

fn decimal(bytes: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(bytes).ok()?;
    // `parse` alone would take a leading plus.
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|&number: &u64| number < 1 << 62)
}
