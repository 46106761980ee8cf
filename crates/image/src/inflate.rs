//! Decompression: of whole sources, which are read, and of layers, which are pushed.
//!
//! Memory is bounded by the formats' windows, and those are limited here: the decoders would otherwise take what the
//! source asks for.

use std::io::{self, BufRead, Read};

use flate2::{Decompress, FlushDecompress, Status};
use nixoci_core::{Error, Remedy};
use zstd::stream::raw::{Decoder, InBuffer, Operation, OutBuffer};

use crate::codes;
use crate::detect::Compression;

/// log2 of the largest zstd window of a whole source: 64 MiB. `zstd -19` uses 8, `--ultra -22` 128.
const SOURCE_WINDOW: u32 = 26;
/// The same for a layer; registries' clients write far smaller ones.
const LAYER_WINDOW: u32 = 25;
/// What xz may use: `xz -9` needs 65 MiB.
const XZ_MEMORY: u64 = 80 << 20;
/// How much is decompressed at once.
const CHUNK: usize = 64 << 10;
/// log2 of gzip's window.
const GZIP_WINDOW: u8 = 15;

/// Reads a compressed source.
pub(crate) fn reader<'a>(
    source: impl BufRead + 'a,
    compression: Compression,
) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match compression {
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(source)),
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(source)?;
            decoder.window_log_max(SOURCE_WINDOW)?;
            Box::new(decoder)
        }
        Compression::Xz => {
            let stream =
                liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, liblzma::stream::CONCATENATED)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(source, stream))
        }
        Compression::None | Compression::Bzip2 => Box::new(source),
    })
}

/// The error for compressed data that cannot be decompressed.
pub(crate) fn damaged(name: &str, compression: Compression, error: &io::Error) -> Error {
    let tool = compression.to_string();
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return Error::new(&codes::TRUNCATED, format!("{name} is truncated"))
            .because(format!("the {tool} data ends in the middle"));
    }
    let text = error.to_string().to_lowercase();
    if text.contains("memory") {
        return Error::new(&codes::TOO_LARGE, format!("{name} needs too much memory to decompress"))
            .caused_by(error)
            .remedy(Remedy::command("decompress it first", crate::detect::decompress(name, compression)));
    }
    Error::new(&codes::CORRUPT_GZIP, format!("the compressed data of {name} is damaged"))
        .because(format!("it begins as {tool} does"))
        .caused_by(error)
}

/// Decompresses a layer that is pushed in pieces.
pub(crate) enum Inflater {
    /// Not compressed.
    Plain,
    /// gzip, in one member or several.
    Gzip {
        /// The current member.
        inflate: Box<Decompress>,
        /// Whether a member has ended, and another may begin.
        ended: bool,
    },
    /// zstd, in one frame or several.
    Zstd {
        /// The decoder.
        decoder: Box<Decoder<'static>>,
        /// Whether a frame has ended.
        ended: bool,
    },
}

impl Inflater {
    /// For a layer that begins so; `None` for a compression that layers do not have.
    pub(crate) fn new(compression: Compression) -> Option<Inflater> {
        match compression {
            Compression::None => Some(Inflater::Plain),
            Compression::Gzip => Some(Inflater::Gzip { inflate: member(), ended: false }),
            Compression::Zstd => {
                let mut decoder = Decoder::new().ok()?;
                decoder.set_parameter(zstd::stream::raw::DParameter::WindowLogMax(LAYER_WINDOW)).ok()?;
                Some(Inflater::Zstd { decoder: Box::new(decoder), ended: false })
            }
            Compression::Xz | Compression::Bzip2 => None,
        }
    }

    /// Whether what comes out is what goes in.
    pub(crate) fn is_plain(&self) -> bool {
        matches!(self, Inflater::Plain)
    }

    /// Takes the next bytes and hands on what they decompress to, in pieces, until `take` wants no more.
    pub(crate) fn push(&mut self, input: &[u8], take: &mut dyn FnMut(&[u8]) -> bool) -> io::Result<()> {
        match self {
            Inflater::Plain => {
                take(input);
                Ok(())
            }
            Inflater::Gzip { inflate, ended } => gunzip(inflate, ended, input, take),
            Inflater::Zstd { decoder, ended } => unzstd(decoder, ended, input, take),
        }
    }

    /// Whether the data may end here.
    pub(crate) fn finished(&self) -> bool {
        match self {
            Inflater::Plain => true,
            Inflater::Gzip { ended, .. } | Inflater::Zstd { ended, .. } => *ended,
        }
    }
}

fn member() -> Box<Decompress> {
    Box::new(Decompress::new_gzip(GZIP_WINDOW))
}

fn gunzip(
    inflate: &mut Box<Decompress>,
    ended: &mut bool,
    mut input: &[u8],
    take: &mut dyn FnMut(&[u8]) -> bool,
) -> io::Result<()> {
    let mut out = vec![0; CHUNK];
    loop {
        if *ended {
            if input.is_empty() {
                return Ok(());
            }
            *inflate = member();
            *ended = false;
        }
        let before = (inflate.total_in(), inflate.total_out());
        let status = inflate.decompress(input, &mut out, FlushDecompress::None)?;
        let consumed = usize::try_from(inflate.total_in() - before.0).unwrap_or(usize::MAX);
        let produced = usize::try_from(inflate.total_out() - before.1).unwrap_or(usize::MAX);
        input = input.get(consumed..).unwrap_or_default();
        if produced > 0 && !take(&out[..produced]) {
            return Ok(());
        }
        *ended = status == Status::StreamEnd;
        if !*ended && consumed == 0 && produced == 0 {
            // Nothing moves without more input.
            return if input.is_empty() { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) };
        }
    }
}

fn unzstd(
    decoder: &mut Decoder<'static>,
    ended: &mut bool,
    input: &[u8],
    take: &mut dyn FnMut(&[u8]) -> bool,
) -> io::Result<()> {
    let mut out = vec![0; CHUNK];
    let mut source = InBuffer::around(input);
    // The decoder holds data back where its output was full, unless the frame ended: it says 0 only once all of the frame
    // is out. Run again after that without input, it would wait for the header of a frame that need not come.
    let mut held_back = false;
    while source.pos() < input.len() || held_back {
        let mut target = OutBuffer::around(&mut out[..]);
        *ended = decoder.run(&mut source, &mut target)? == 0;
        let produced = target.pos();
        held_back = produced == CHUNK && !*ended;
        if produced > 0 && !take(&out[..produced]) {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
