use super::*;
use std::io::Write;

pub(super) fn inflate(compression: Compression, bytes: &[u8], step: usize) -> io::Result<Option<Vec<u8>>> {
    let mut inflater = Inflater::new(compression).unwrap();
    let mut out = Vec::new();
    for piece in bytes.chunks(step) {
        inflater.push(piece, &mut |bytes| {
            out.extend_from_slice(bytes);
            true
        })?;
    }
    Ok(inflater.finished().then_some(out))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn several_members_are_one_stream_however_they_are_cut() {
    let content: Vec<u8> = (0..300_000u32).map(|n| (n / 9) as u8).collect();
    let (first, second) = content.split_at(100_000);
    let zipped = [gzip(first), gzip(b""), gzip(second)].concat();
    let frames = [zstd::bulk::compress(first, 3).unwrap(), zstd::bulk::compress(second, 3).unwrap()].concat();
    for step in [1, 7, 1000, 1 << 20] {
        assert_eq!(inflate(Compression::Gzip, &zipped, step).unwrap().unwrap(), content);
        assert_eq!(inflate(Compression::Zstd, &frames, step).unwrap().unwrap(), content);
    }
}

#[test]
fn an_end_in_the_middle_is_noticed() {
    let zipped = gzip(b"content");
    assert_eq!(inflate(Compression::Gzip, &zipped[..zipped.len() - 1], 3).unwrap(), None);
    let frame = zstd::bulk::compress(&[1; 5000], 3).unwrap();
    assert_eq!(inflate(Compression::Zstd, &frame[..frame.len() - 1], 3).unwrap(), None);
    assert!(inflate(Compression::Gzip, b"\x1f\x8b\x08\0\0\0\0\0\0\xffgarbage..", 100).is_err());
}

#[test]
fn a_window_beyond_the_limit_is_refused() {
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(27).unwrap();
    encoder.include_contentsize(false).unwrap();
    encoder.write_all(&[7; 3000]).unwrap();
    encoder.flush().unwrap();
    encoder.write_all(&[8; 3000]).unwrap();
    let bytes = encoder.finish().unwrap();
    assert!(inflate(Compression::Zstd, &bytes, 1 << 20).is_err());
    let mut out = Vec::new();
    let error = reader(&bytes[..], Compression::Zstd).unwrap().read_to_end(&mut out).unwrap_err();
    assert!(damaged("x", Compression::Zstd, &error).is(&codes::TOO_LARGE), "{error}");
}
