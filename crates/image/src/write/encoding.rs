//! How layers are compressed in an output.
//!
//! A layer is cut into blocks of a fixed size, and every block becomes a gzip member or a zstd frame of its own. Readers
//! take them as one stream (RFC 1952, section 2.2; RFC 8878, section 3), the result does not depend on how many threads
//! worked, and a single large layer keeps all of them busy.

use std::fmt;
use std::io;

use nixoci_core::{Error, Remedy, Result};
use serde::{Deserialize, Serialize};

use crate::codes;
use crate::detect::Compression;

/// The size of a block, uncompressed: far larger than deflate's window of 32 KiB, so nothing is lost.
const GZIP_BLOCK: usize = 4 << 20;
/// zstd finds matches in the whole block, so a larger one makes the output smaller (docs/benchmarks.md); memory sets the limit.
const ZSTD_BLOCK: usize = 8 << 20;

/// Up to this level the table is ours: a MiB, which a core's own cache holds.
const ZSTD_OWN_TABLE: u8 = 3;
const ZSTD_HASH_LOG: u32 = 18;

const DEFAULT_GZIP: u8 = 4;
const DEFAULT_ZSTD: u8 = 2;

/// A codec that layers can have in a registry or a layout, with its level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Codec {
    /// gzip, which everything reads. Levels 1 to 9.
    Gzip(u8),
    /// zstd: faster and smaller; Docker's classic store (before 23.0) and old registries do not read it. Levels 1 to 19.
    Zstd(u8),
}

/// How layers are stored in an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Encoding {
    /// Not compressed.
    Plain,
    /// Layers that come compressed stay as they are; others are compressed so.
    Keep(Codec),
    /// Every layer is compressed so, whatever it was.
    Force(Codec),
}

impl Default for Codec {
    fn default() -> Self {
        Codec::Gzip(DEFAULT_GZIP)
    }
}

impl Codec {
    /// What `gzip`, `zstd` or `none` followed by `:LEVEL` asks for; `None` is "not compressed".
    ///
    /// # Errors
    /// [`codes::BAD_COMPRESSION`].
    pub fn parse(text: &str) -> Result<Option<Codec>> {
        let fail = || {
            Error::new(&codes::BAD_COMPRESSION, format!("`{text}` is not a compression"))
                .because("known: gzip (levels 1 to 9), zstd (levels 1 to 19), none")
                .remedy(Remedy::command(
                    "small and fast, for registries and runtimes of today",
                    "--compression zstd",
                ))
        };
        let (name, level) = match text.split_once(':') {
            Some((name, level)) => (name, Some(level.parse::<u8>().map_err(|_| fail())?)),
            None => (text, None),
        };
        match (name, level) {
            ("none" | "uncompressed", None) => Ok(None),
            ("gzip", level) if level.is_none_or(|level| (1..=9).contains(&level)) => {
                Ok(Some(Codec::Gzip(level.unwrap_or(DEFAULT_GZIP))))
            }
            ("zstd", level) if level.is_none_or(|level| (1..=19).contains(&level)) => {
                Ok(Some(Codec::Zstd(level.unwrap_or(DEFAULT_ZSTD))))
            }
            _ => Err(fail()),
        }
    }

    /// How much of a layer is compressed by itself.
    pub(crate) fn block(self) -> usize {
        match self {
            Codec::Gzip(_) => GZIP_BLOCK,
            Codec::Zstd(_) => ZSTD_BLOCK,
        }
    }

    /// What a file of this codec is recognised as.
    pub(crate) fn compression(self) -> Compression {
        match self {
            Codec::Gzip(_) => Compression::Gzip,
            Codec::Zstd(_) => Compression::Zstd,
        }
    }
}

/// What compresses blocks, one after the other. Its tables are made once: making them anew for every block costs page faults.
#[derive(Default)]
pub(crate) struct Encoder {
    kept: Option<(Codec, Kind)>,
}

enum Kind {
    Gzip(libdeflater::Compressor),
    Zstd(zstd::bulk::Compressor<'static>),
}

impl Encoder {
    /// Compresses one block to the beginning of `result`, which is made as large as it must be, and returns how long what
    /// it wrote is. The bytes depend on the codec and the block alone.
    pub(crate) fn encode(&mut self, codec: Codec, block: &[u8], result: &mut Vec<u8>) -> io::Result<usize> {
        let kind = match self.kept.take() {
            Some((kept, kind)) if kept == codec => kind,
            _ => Kind::of(codec)?,
        };
        let (_, kind) = self.kept.insert((codec, kind));
        let bound = match kind {
            Kind::Gzip(compressor) => compressor.gzip_compress_bound(block.len()),
            Kind::Zstd(_) => zstd::zstd_safe::compress_bound(block.len()),
        };
        if result.len() < bound {
            // Unlike `resize`, this leaves pages alone that are not needed.
            *result = vec![0; bound];
        }
        match kind {
            Kind::Gzip(compressor) => compressor.gzip_compress(block, result).map_err(io::Error::other),
            Kind::Zstd(compressor) => compressor.compress_to_buffer(block, result.as_mut_slice()),
        }
    }
}

impl Kind {
    fn of(codec: Codec) -> io::Result<Kind> {
        Ok(match codec {
            // libdeflate, because it is two to three times as fast as zlib-rs at level 6, at the same size. Its header has no time, no name and "unknown" as the operating system, so that equal
            // blocks are equal bytes.
            Codec::Gzip(level) => {
                let level = libdeflater::CompressionLvl::new(level.into())
                    .map_err(|_| io::Error::other("gzip level"))?;
                Kind::Gzip(libdeflater::Compressor::new(level))
            }
            Codec::Zstd(level) => Kind::Zstd(zstd_compressor(level)?),
        })
    }
}

/// zstd's own window and table of matches at low levels are made for inputs of a megabyte: ours are as large as a block
/// asks for, which makes its level 2 smaller than its level 3, and faster (docs/benchmarks.md).
fn zstd_compressor(level: u8) -> io::Result<zstd::bulk::Compressor<'static>> {
    use zstd::zstd_safe::CParameter::{HashLog, WindowLog};
    let mut compressor = zstd::bulk::Compressor::new(level.into())?;
    compressor.set_parameter(WindowLog(ZSTD_BLOCK.trailing_zeros()))?;
    if level <= ZSTD_OWN_TABLE {
        compressor.set_parameter(HashLog(ZSTD_HASH_LOG))?;
    }
    Ok(compressor)
}

impl Encoding {
    /// What is done with a layer that comes compressed so: with `None`, it stays as it is.
    pub(crate) fn of(self, found: Compression) -> Option<Option<Codec>> {
        match self {
            Encoding::Keep(_) if found != Compression::None => None,
            Encoding::Plain => Some(None),
            Encoding::Keep(codec) | Encoding::Force(codec) => Some(Some(codec)),
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Codec::Gzip(level) => write!(f, "gzip:{level}"),
            Codec::Zstd(level) => write!(f, "zstd:{level}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_bounded() {
        assert_eq!(Codec::parse("none").unwrap(), None);
        assert_eq!(Codec::parse("gzip").unwrap(), Some(Codec::default()));
        assert_eq!(Codec::parse("zstd:19").unwrap(), Some(Codec::Zstd(19)));
        for text in ["gzip:0", "gzip:10", "zstd:20", "none:1", "xz", "zstd:", "gzip:300"] {
            assert!(Codec::parse(text).unwrap_err().is(&codes::BAD_COMPRESSION), "{text}");
        }
    }

    #[test]
    fn a_block_is_the_same_bytes_every_time() {
        let block: Vec<u8> = (0..100_000u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        for codec in [Codec::default(), Codec::Zstd(3)] {
            let (mut encoder, mut buffer) = (Encoder::default(), Vec::new());
            let mut encode = |encoder: &mut Encoder, block: &[u8]| {
                let length = encoder.encode(codec, block, &mut buffer).unwrap();
                buffer[..length].to_vec()
            };
            let once = encode(&mut encoder, &block);
            // Neither what an encoder did before nor whether it is a new one may show.
            encode(&mut encoder, &block[1000..]);
            assert_eq!(once, encode(&mut encoder, &block));
            assert_eq!(once, encode(&mut Encoder::default(), &block));
            assert_eq!(Compression::of(&once), codec.compression());
        }
    }
}
