//! Every stream that a reference encoder writes is read, whatever its length, its members or frames, and the pieces in
//! which it arrives; and whatever nixoci writes, it reads.

use std::io::{BufReader, Write};

use proptest::prelude::*;

use super::tests::inflate;
use super::*;
use crate::write::{Codec, Encoder};

/// The sizes at which buffers end: the decoders' own, a tar record of `tar -b20`, and the pieces in which sources are read.
const EDGES: [usize; 4] = [CHUNK, 10_240, 4096, 128 << 10];

/// Content that compresses somewhat: repeated texts with bytes between them that do not repeat.
fn content(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(length + 16);
    while bytes.len() < length {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&state.to_le_bytes());
        if state >> 62 != 0 {
            bytes.extend_from_slice(b"/nix/store/");
        }
    }
    bytes.truncate(length);
    bytes
}

/// A length at an edge, beside one, or anywhere.
fn length() -> impl Strategy<Value = usize> {
    let edge = (prop::sample::select(&EDGES[..]), 0..4usize, -1..=1isize)
        .prop_map(|(edge, times, off)| (edge * times).saturating_add_signed(off));
    prop_oneof![3 => edge, 1 => 0..300_000usize]
}

/// One member or frame, as the reference library writes it.
fn member_of(compression: Compression, level: u32, bytes: &[u8]) -> Vec<u8> {
    match compression {
        Compression::Gzip => {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(level.min(9)));
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        // A stream of unknown length, as a pipe has it, and with a checksum as the command writes it.
        Compression::Zstd => {
            let mut encoder = zstd::stream::Encoder::new(Vec::new(), level as i32).unwrap();
            encoder.include_checksum(level.is_multiple_of(2)).unwrap();
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Xz => {
            let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), level.min(3));
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Compression::None | Compression::Bzip2 => unreachable!("not a codec of these tests"),
    }
}

/// Bytes that a decoder has to skip: RFC 8878, section 3.1.2; the .xz format, section 2.2.
fn nothing(compression: Compression, length: u8) -> Vec<u8> {
    match compression {
        Compression::Zstd => {
            let mut frame = vec![0x50 + length % 16, 0x2a, 0x4d, 0x18];
            frame.extend_from_slice(&u32::from(length).to_le_bytes());
            frame.resize(frame.len() + usize::from(length), 0xaa);
            frame
        }
        Compression::Xz => vec![0; usize::from(length / 64) * 4],
        _ => member_of(compression, 1, b""),
    }
}

/// Parts one after the other: members with their content, and what is passed over.
fn stream(compression: Compression, parts: &[(usize, u8)], seed: u64, level: u32) -> (Vec<u8>, Vec<u8>) {
    let (mut stream, mut whole) = (Vec::new(), Vec::new());
    for (number, &(length, gap)) in parts.iter().enumerate() {
        let bytes = content(length, seed.wrapping_add(number as u64));
        stream.extend(member_of(compression, level, &bytes));
        whole.extend(bytes);
        if gap > 127 {
            stream.extend(nothing(compression, gap));
        }
    }
    (stream, whole)
}

/// Read in one go through a buffer of that size.
fn pulled(compression: Compression, stream: &[u8], step: usize) -> Vec<u8> {
    let mut out = Vec::new();
    reader(BufReader::with_capacity(step, stream), compression).unwrap().read_to_end(&mut out).unwrap();
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_a_reference_encoder_writes_is_read(
        parts in prop::collection::vec((length(), any::<u8>()), 1..4),
        seed: u64,
        level in 1..5u32,
        step in 1..70_000usize,
    ) {
        for compression in [Compression::Gzip, Compression::Zstd, Compression::Xz] {
            let (stream, whole) = stream(compression, &parts, seed, level);
            prop_assert!(pulled(compression, &stream, step) == whole, "{compression} is pulled wrongly");
            if compression != Compression::Xz {
                let pushed = inflate(compression, &stream, step).unwrap();
                prop_assert!(pushed.is_some(), "{compression} of {} bytes has no end", whole.len());
                prop_assert!(pushed.unwrap() == whole, "{compression} is pushed wrongly");
            }
        }
    }

    #[test]
    fn an_end_in_the_middle_is_never_an_end(
        length in length(), seed: u64, step in 1..70_000usize, cut in any::<prop::sample::Index>(),
    ) {
        for compression in [Compression::Gzip, Compression::Zstd] {
            let bytes = content(length, seed);
            let stream = member_of(compression, 2, &bytes);
            let stream = &stream[..1 + cut.index(stream.len() - 1)];
            prop_assert_eq!(inflate(compression, stream, step).unwrap(), None, "{}", compression);
            let mut out = Vec::new();
            prop_assert!(reader(stream, compression).unwrap().read_to_end(&mut out).is_err());
        }
    }
}

/// Every edge and its neighbors, in pieces that end where the buffers do and where they do not.
#[test]
fn lengths_at_the_edges_of_the_buffers_are_read() {
    for edge in EDGES {
        for length in
            (0..4).flat_map(|times| [edge * times, edge * times + 1, (edge * times).saturating_sub(1)])
        {
            let bytes = content(length, 7);
            for compression in [Compression::Gzip, Compression::Zstd, Compression::Xz] {
                let stream = member_of(compression, 1, &bytes);
                for step in [1 << 10, 4096, CHUNK - 1, CHUNK, 128 << 10] {
                    let at = format!("{compression}, {length} bytes in pieces of {step}");
                    assert!(pulled(compression, &stream, step) == bytes, "{at}");
                    if compression != Compression::Xz {
                        assert!(inflate(compression, &stream, step).unwrap().unwrap() == bytes, "{at}");
                    }
                }
            }
        }
    }
}

#[test]
fn what_nixoci_writes_at_any_level_it_reads() {
    let codecs = (1..=9).map(Codec::Gzip).chain((1..=19).map(Codec::Zstd));
    let (mut encoder, mut block) = (Encoder::default(), Vec::new());
    for codec in codecs {
        for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK] {
            let bytes = content(length, 3);
            let size = encoder.encode(codec, &bytes, &mut block).unwrap();
            let at = format!("{codec}, {length} bytes");
            let read = inflate(codec.compression(), &block[..size], 50_000).unwrap();
            assert!(read.expect(&at) == bytes, "{at}");
            // Blocks follow each other in a layer.
            let twice = [&block[..size], &block[..size]].concat();
            assert!(
                inflate(codec.compression(), &twice, CHUNK).unwrap().expect(&at).len() == 2 * length,
                "{at}"
            );
        }
    }
}
