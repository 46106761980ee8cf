//! Tar: a reader that bytes are pushed into, and headers to write.
//!
//! The reader takes slices as they arrive and never asks for more than it was given, so that a layer can be
//! looked into while it streams past inside another archive. What it accepts follows Go's `archive/tar`, with
//! which every container runtime unpacks layers.
//!
//! Source of the formats: POSIX.1-2017 pax, section "EXTENDED DESCRIPTION"; GNU tar manual, "Basic Tar
//! Format"; Go `archive/tar` for what is tolerated.

mod header;
mod pax;
mod write;

pub(crate) use header::{BLOCK, looks_like_header};
pub(crate) use write::{directory_header, file_header, padding};

use std::fmt;

use header::{Block, is_zero};
use pax::Overrides;

/// The most bytes of an extended header (Go's limit, too) and the longest name (Linux's PATH_MAX).
const META_LIMIT: u64 = 1 << 20;
/// The longest name of an entry or of what it links to.
pub(crate) const NAME_LIMIT: usize = 4096;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A regular file.
    File,
    /// Another name of an earlier entry.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A directory.
    Directory,
    /// A device, a pipe, or a type that nobody knows.
    Other,
}

/// The header of an entry, with everything that extended headers say about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// What it is.
    pub(crate) kind: Kind,
    /// Its name, as written.
    pub(crate) name: Vec<u8>,
    /// What it links to, as written.
    pub(crate) link: Vec<u8>,
    /// How many bytes of data follow.
    pub(crate) size: u64,
    /// Permissions.
    pub(crate) mode: u32,
}

/// One step through an archive.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Item<'b> {
    /// An entry begins.
    Entry(Entry),
    /// Some of its data.
    Data(&'b [u8]),
    /// Its data is complete.
    EntryEnd,
}

/// Why an archive cannot be read on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TarError {
    /// It ends in the middle.
    Truncated,
    /// A header's checksum is wrong.
    Checksum,
    /// A field that should be a number.
    Number,
    /// An extended header that does not parse.
    Extended,
    /// A name beyond [`NAME_LIMIT`] or an extended header beyond [`META_LIMIT`].
    TooLong,
}

impl fmt::Display for TarError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TarError::Truncated => f.write_str("it ends in the middle of an entry"),
            TarError::Checksum => f.write_str("the checksum of a header is wrong"),
            TarError::Number => f.write_str("a field of a header should be a number and is none"),
            TarError::Extended => f.write_str("an extended header does not parse"),
            TarError::TooLong => {
                write!(f, "a name is longer than {NAME_LIMIT} bytes, or an extended header than {META_LIMIT}")
            }
        }
    }
}

impl std::error::Error for TarError {}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Meta {
    Pax,
    LongName,
    LongLink,
    /// Data of a global header: skipped, as Go skips it.
    Ignored,
}

enum State {
    Header,
    /// More blocks of an old GNU sparse map follow the header.
    SparseMap(Entry),
    Meta {
        kind: Meta,
        left: u64,
        padding: u64,
    },
    Data {
        left: u64,
        padding: u64,
    },
    Padding(u64),
    /// The end was seen; whatever follows is padding.
    End,
}

/// A tar archive that is read as its bytes arrive.
pub(crate) struct Reader {
    state: State,
    block: Block,
    filled: usize,
    meta: Vec<u8>,
    overrides: Overrides,
    zero_block: bool,
}

impl Reader {
    /// A reader at the beginning of an archive.
    pub(crate) fn new() -> Self {
        Reader {
            state: State::Header,
            block: [0; BLOCK],
            filled: 0,
            meta: Vec::new(),
            overrides: Overrides::default(),
            zero_block: false,
        }
    }

    /// Whether the end of the archive was seen.
    pub(crate) fn ended(&self) -> bool {
        matches!(self.state, State::End)
    }

    /// Whether the input may end here: after the end mark, or between two entries.
    pub(crate) fn finish(&self) -> Result<(), TarError> {
        match self.state {
            State::End => Ok(()),
            State::Header if self.filled == 0 && self.overrides.is_empty() => Ok(()),
            _ => Err(TarError::Truncated),
        }
    }

    /// Leaves out the data of the entry that was just begun: the caller steps over as many bytes as this says.
    pub(crate) fn skip(&mut self) -> u64 {
        match self.state {
            State::Data { left, padding } => {
                self.state = State::Header;
                left + padding
            }
            _ => 0,
        }
    }

    /// Takes some of `input` and says what it was; `None` when all of it is used up.
    pub(crate) fn next<'b>(&mut self, input: &mut &'b [u8]) -> Result<Option<Item<'b>>, TarError> {
        loop {
            match &mut self.state {
                State::End => {
                    *input = &[];
                    return Ok(None);
                }
                State::Data { left: 0, padding } => {
                    self.state = State::Padding(*padding);
                    return Ok(Some(Item::EntryEnd));
                }
                State::Padding(0) => self.state = State::Header,
                State::Meta { kind, left: 0, padding } => {
                    let (kind, padding) = (*kind, *padding);
                    self.state = State::Padding(padding);
                    self.take_meta(kind)?;
                }
                _ if input.is_empty() => return Ok(None),
                State::Data { left, .. } => {
                    let data = split(input, *left);
                    *left -= data.len() as u64;
                    return Ok(Some(Item::Data(data)));
                }
                State::Padding(left) => *left -= split(input, *left).len() as u64,
                State::Meta { kind, left, .. } => {
                    let data = split(input, *left);
                    *left -= data.len() as u64;
                    if *kind != Meta::Ignored {
                        self.meta.extend_from_slice(data);
                    }
                }
                State::Header | State::SparseMap(_) => {
                    if self.fill_block(input)
                        && let Some(entry) = self.take_block()?
                    {
                        return Ok(Some(Item::Entry(entry)));
                    }
                }
            }
        }
    }

    /// Collects a block; true when it is complete.
    fn fill_block(&mut self, input: &mut &[u8]) -> bool {
        let part = split(input, (BLOCK - self.filled) as u64);
        self.block[self.filled..self.filled + part.len()].copy_from_slice(part);
        self.filled += part.len();
        if self.filled < BLOCK {
            return false;
        }
        self.filled = 0;
        true
    }

    fn take_block(&mut self) -> Result<Option<Entry>, TarError> {
        if let State::SparseMap(entry) = &self.state {
            // Old GNU sparse: a block of 21 map entries, and whether another one follows.
            if self.block[504] != 0 {
                return Ok(None);
            }
            let entry = entry.clone();
            return Ok(Some(self.begin(entry)));
        }
        if is_zero(&self.block) {
            // Two zero blocks end an archive. One alone, and then something else, is damage.
            if std::mem::replace(&mut self.zero_block, true) {
                self.state = State::End;
            }
            return Ok(None);
        }
        if self.zero_block {
            return Err(TarError::Checksum);
        }
        self.take_header()
    }

    fn take_header(&mut self) -> Result<Option<Entry>, TarError> {
        let block = &self.block;
        header::check(block)?;
        let size = header::size(block)?;
        let meta = match header::type_flag(block) {
            b'x' => Some(Meta::Pax),
            b'L' => Some(Meta::LongName),
            b'K' => Some(Meta::LongLink),
            b'g' => Some(Meta::Ignored),
            _ => None,
        };
        if let Some(kind) = meta {
            if size > META_LIMIT {
                return Err(TarError::TooLong);
            }
            self.meta.clear();
            self.state = State::Meta { kind, left: size, padding: padding(size) };
            return Ok(None);
        }
        let (entry, sparse_map_continues) = self.entry(size)?;
        if sparse_map_continues {
            self.state = State::SparseMap(entry);
            return Ok(None);
        }
        Ok(Some(self.begin(entry)))
    }

    fn entry(&mut self, header_size: u64) -> Result<(Entry, bool), TarError> {
        let mut overrides = std::mem::take(&mut self.overrides);
        let block = &self.block;
        let flag = header::type_flag(block);
        let name = overrides.name().unwrap_or_else(|| header::name(block));
        let link = overrides.link().unwrap_or_else(|| header::link(block));
        if name.len() > NAME_LIMIT || link.len() > NAME_LIMIT {
            return Err(TarError::TooLong);
        }
        let kind = match flag {
            0 if name.ends_with(b"/") => Kind::Directory,
            0 | b'0' | b'7' | b'S' => Kind::File,
            b'1' => Kind::HardLink,
            b'2' => Kind::Symlink,
            b'5' => Kind::Directory,
            _ => Kind::Other,
        };
        // As in Go: these types have no data, whatever their size field says.
        let size = match flag {
            b'1'..=b'6' => 0,
            _ => overrides.size().unwrap_or(header_size),
        };
        let continues = flag == b'S' && block[482] != 0;
        Ok((Entry { kind, name, link, size, mode: header::mode(block)? }, continues))
    }

    fn begin(&mut self, entry: Entry) -> Entry {
        self.state = State::Data { left: entry.size, padding: padding(entry.size) };
        entry
    }

    fn take_meta(&mut self, kind: Meta) -> Result<(), TarError> {
        match kind {
            Meta::Pax => self.overrides.set_pax(&self.meta)?,
            Meta::LongName => self.overrides.set_gnu_name(&self.meta),
            Meta::LongLink => self.overrides.set_gnu_link(&self.meta),
            // As in Go, it also ends what earlier headers said.
            Meta::Ignored => self.overrides = Overrides::default(),
        }
        self.meta.clear();
        self.meta.shrink_to(4096);
        Ok(())
    }
}

/// Cuts at most `limit` bytes off the front of `input`.
fn split<'b>(input: &mut &'b [u8], limit: u64) -> &'b [u8] {
    let count = usize::try_from(limit).unwrap_or(usize::MAX).min(input.len());
    let (front, rest) = input.split_at(count);
    *input = rest;
    front
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
