//! Extended headers: what they change about the entry that follows.
//!
//! Where writers disagree, Go's `archive/tar` (`reader.go`, `next`) is followed to the letter: it unpacks the
//! layers in the end, and a name that it reads otherwise would have been checked for nothing.

use super::TarError;

/// What extended headers said about the next entry.
#[derive(Default)]
pub(super) struct Overrides {
    pax: Pax,
    gnu_name: Option<Vec<u8>>,
    gnu_link: Option<Vec<u8>>,
}

/// One extended header in pax format; another one takes its place as a whole.
#[derive(Default)]
struct Pax {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    sparse_name: Option<Vec<u8>>,
    sparse_major: Option<Vec<u8>>,
    sparse_minor: Option<Vec<u8>>,
    sparse_map: bool,
}

impl Overrides {
    /// Whether nothing was said.
    pub(super) fn is_empty(&self) -> bool {
        let pax = &self.pax;
        pax.name.is_none()
            && pax.link.is_none()
            && pax.size.is_none()
            && !pax.is_sparse()
            && self.gnu_name.is_none()
            && self.gnu_link.is_none()
    }

    /// The name: of a sparse file its real one, else GNU's before pax's.
    pub(super) fn name(&mut self) -> Option<Vec<u8>> {
        let sparse = self.pax.sparse_name.take().filter(|_| self.pax.is_sparse());
        sparse.or_else(|| self.gnu_name.take()).or_else(|| self.pax.name.take())
    }

    /// What it links to.
    pub(super) fn link(&mut self) -> Option<Vec<u8>> {
        self.gnu_link.take().or_else(|| self.pax.link.take())
    }

    /// How many bytes of data follow.
    pub(super) fn size(&self) -> Option<u64> {
        self.pax.size
    }

    /// Takes the data of a GNU header of type `L`.
    pub(super) fn set_gnu_name(&mut self, data: &[u8]) {
        self.gnu_name = gnu_text(data);
    }

    /// Takes the data of a GNU header of type `K`.
    pub(super) fn set_gnu_link(&mut self, data: &[u8]) {
        self.gnu_link = gnu_text(data);
    }

    /// Takes the data of a pax header: records of the form `<length> <key>=<value>\n`, where the length counts
    /// the whole record.
    pub(super) fn set_pax(&mut self, mut records: &[u8]) -> Result<(), TarError> {
        self.pax = Pax::default();
        while !records.is_empty() {
            let (key, value, rest) = record(records).ok_or(TarError::Extended)?;
            records = rest;
            self.pax.apply(key, value)?;
        }
        Ok(())
    }
}

impl Pax {
    fn apply(&mut self, key: &[u8], value: &[u8]) -> Result<(), TarError> {
        // An empty value takes back what was said before.
        let text = || match value {
            [] => Ok(None),
            value if value.contains(&0) => Err(TarError::Extended),
            value => Ok(Some(value.to_vec())),
        };
        match key {
            b"path" => self.name = text()?,
            b"linkpath" => self.link = text()?,
            b"size" if value.is_empty() => self.size = None,
            b"size" => self.size = Some(decimal(value).ok_or(TarError::Extended)?),
            b"GNU.sparse.name" => self.sparse_name = text()?,
            b"GNU.sparse.major" => self.sparse_major = text()?,
            b"GNU.sparse.minor" => self.sparse_minor = text()?,
            b"GNU.sparse.map" => self.sparse_map = !value.is_empty(),
            _ => {}
        }
        Ok(())
    }

    /// Whether these records describe a sparse file, in one of the three formats that GNU tar had.
    fn is_sparse(&self) -> bool {
        match (self.sparse_major.as_deref(), self.sparse_minor.as_deref()) {
            (Some(b"0"), Some(b"0" | b"1")) | (Some(b"1"), Some(b"0")) => true,
            (None, None) => self.sparse_map,
            _ => false,
        }
    }
}

fn gnu_text(data: &[u8]) -> Option<Vec<u8>> {
    let text = data.split(|&byte| byte == 0).next().unwrap_or_default();
    (!text.is_empty()).then(|| text.to_vec())
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
