use super::*;
use proptest::prelude::*;

/// Reads a whole archive, cut into pieces of `step` bytes.
pub(super) fn read(bytes: &[u8], step: usize) -> Result<Vec<(Entry, Vec<u8>)>, TarError> {
    let mut reader = Reader::new();
    let mut entries: Vec<(Entry, Vec<u8>)> = Vec::new();
    for piece in bytes.chunks(step) {
        let mut input = piece;
        while let Some(item) = reader.next(&mut input)? {
            match item {
                Item::Entry(entry) => entries.push((entry, Vec::new())),
                Item::Data(data) => entries.last_mut().unwrap().1.extend_from_slice(data),
                Item::EntryEnd => {}
            }
        }
    }
    reader.finish()?;
    Ok(entries)
}

pub(super) fn archive(parts: &[(&[u8; 512], &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (header, data) in parts {
        bytes.extend_from_slice(*header);
        bytes.extend_from_slice(data);
        bytes.resize(bytes.len() + padding(data.len() as u64) as usize, 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

pub(super) fn typed(name: &str, size: u64, flag: u8) -> [u8; 512] {
    let mut block = file_header(name, size);
    block[156] = flag;
    seal(block)
}

pub(super) fn seal(mut block: [u8; 512]) -> [u8; 512] {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    let records: Vec<_> = records.iter().map(|(key, value)| (*key, value.as_bytes())).collect();
    pax_bytes(&records)
}

pub(super) fn pax_bytes(records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (key, value) in records {
        let body = key.len() + value.len() + 3;
        let mut length = body + 1;
        while length != body + length.to_string().len() {
            length = body + length.to_string().len();
        }
        bytes.extend([length.to_string().as_bytes(), b" ", key.as_bytes(), b"=", value, b"\n"].concat());
    }
    bytes
}

#[test]
fn reads_plain_entries_whatever_the_pieces() {
    let bytes = archive(&[(&file_header("a", 3), b"abc"), (&directory_header("d/"), b"")]);
    for step in [1, 7, 511, 512, 513, 4096] {
        let entries = read(&bytes, step).unwrap();
        assert_eq!(entries.len(), 2);
        assert_eq!((entries[0].0.name.as_slice(), entries[0].1.as_slice()), (&b"a"[..], &b"abc"[..]));
        assert_eq!(entries[1].0.kind, Kind::Directory);
    }
}

#[test]
fn extended_headers_apply_to_the_next_entry_only() {
    let long = "n".repeat(300);
    let records = pax(&[("path", &long), ("linkpath", "target"), ("mtime", "1.5")]);
    let bytes = archive(&[
        (&typed("././@PaxHeader", records.len() as u64, b'x'), &records),
        (&typed("short", 0, b'2'), b""),
        (&typed("././@LongLink", 5, b'L'), b"gnu/\0"),
        (&typed("cut", 0, b'0'), b""),
        (&file_header("plain", 0), b""),
    ]);
    let entries = read(&bytes, 100).unwrap();
    assert_eq!(entries[0].0.name, long.as_bytes());
    assert_eq!(entries[0].0.link, b"target");
    assert_eq!(entries[1].0.name, b"gnu/");
    assert_eq!(entries[2].0.name, b"plain");
}

#[test]
fn a_global_header_is_skipped_as_go_skips_it() {
    let records = pax(&[("path", "evil")]);
    let bytes = archive(&[
        (&typed("pax_global_header", records.len() as u64, b'g'), &records),
        (&file_header("good", 0), b""),
    ]);
    assert_eq!(read(&bytes, 64).unwrap()[0].0.name, b"good");
}

#[test]
fn of_several_names_the_one_that_go_reads_counts() {
    let one = pax(&[("path", "first")]);
    let two = pax(&[("mtime", "1")]);
    let sparse = pax(&[("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.name", "real")]);
    let loose = pax(&[("GNU.sparse.name", "no"), ("path", "yes")]);
    let extended = |records: &[u8]| typed("x", records.len() as u64, b'x');
    type Headers<'a> = &'a [(u8, &'a [u8])];
    let cases: [(Headers<'_>, &str); 5] = [
        (&[(b'x', &one), (b'x', &two)], "plain"),
        (&[(b'L', b"gnu\0"), (b'x', &one)], "gnu"),
        (&[(b'x', &sparse)], "real"),
        (&[(b'x', &loose)], "yes"),
        (&[(b'x', &one), (b'g', &two)], "plain"),
    ];
    for (headers, expected) in cases {
        let mut bytes = Vec::new();
        for (flag, data) in headers {
            let mut block = extended(data);
            block[156] = *flag;
            bytes.extend_from_slice(&archive(&[(&seal(block), data)])[..1024]);
        }
        bytes.extend_from_slice(&archive(&[(&file_header("plain", 0), b"")]));
        assert_eq!(read(&bytes, 512).unwrap()[0].0.name, expected.as_bytes());
    }
}

#[test]
fn prefixes_of_all_formats() {
    let with = |magic: &[u8; 8], prefix: &[u8], end: &[u8; 4]| {
        let mut block = file_header("n", 0);
        block[257..265].copy_from_slice(magic);
        block[345..500].fill(0);
        block[345..345 + prefix.len()].copy_from_slice(prefix);
        block[508..].copy_from_slice(end);
        read(&archive(&[(&seal(block), b"")]), 512).unwrap()[0].0.name.clone()
    };
    assert_eq!(with(b"ustar\x0000", b"dir", &[0; 4]), b"dir/n");
    assert_eq!(with(b"ustar\x0000", &[b'p'; 150], b"tar\0"), [&[b'p'; 131][..], b"/n"].concat());
    assert_eq!(with(b"ustar  \0", b"00000000001\x0000000000001", &[0; 4]), b"n");
    assert_eq!(with(b"ustar  \0", b"dir", &[0; 4]), b"dir/n");
    assert_eq!(with(&[0; 8], b"dir", &[0; 4]), b"n");
}

#[test]
fn numbers_in_all_their_spellings() {
    for (text, value) in [
        (&b"0000644\0"[..], 0o644),
        (b" 644 \0", 0o644),
        (b"\0\0\x00644", 0o644),
        (b"", 0),
        (b"\0\0", 0),
        (b"\x80\0\0\x01\0", 256),
    ] {
        assert_eq!(header::number(text), Ok(value), "{text:?}");
    }
    for text in [
        &b"9"[..],
        b"6 4",
        b"-1",
        b"\xff\xff",
        b"7777777777777777777777777",
        b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    ] {
        assert_eq!(header::number(text), Err(TarError::Number), "{text:?}");
    }
}

#[test]
fn sparse_maps_are_stepped_over() {
    let mut block = typed("sparse", 4, b'S');
    block[257..265].copy_from_slice(b"ustar  \0");
    block[482] = 1;
    let mut bytes = seal(block).to_vec();
    let mut map = [0u8; 512];
    map[504] = 1;
    bytes.extend_from_slice(&map);
    map[504] = 0;
    bytes.extend_from_slice(&map);
    bytes.extend_from_slice(b"data");
    bytes.resize(bytes.len() + 508, 0);
    bytes.extend_from_slice(&archive(&[(&file_header("next", 0), b"")]));
    let entries = read(&bytes, 333).unwrap();
    assert_eq!(entries[0].1, b"data");
    assert_eq!(entries[1].0.name, b"next");
}

#[test]
fn eight_gibibytes_and_more_have_a_header() {
    let block = file_header("big", 9 << 30);
    assert_eq!(header::size(&block), Ok(9 << 30));
    assert_eq!(header::check(&block), Ok(()));
    assert_eq!(header::size(&file_header("small", (8 << 30) - 1)), Ok((8 << 30) - 1));
}

#[test]
fn damage_is_told_apart() {
    let good = archive(&[(&file_header("a", 600), &[7; 600])]);
    assert_eq!(read(&good[..700], 64), Err(TarError::Truncated));
    let mut bad = good.clone();
    bad[0] ^= 1;
    assert_eq!(read(&bad, 64), Err(TarError::Checksum));
    let records = b"99 path=x\n";
    let bytes = archive(&[(&typed("x", records.len() as u64, b'x'), records)]);
    assert_eq!(read(&bytes, 64), Err(TarError::Extended));
    assert_eq!(read(&archive(&[(&typed("x", 2 << 20, b'x'), b"")]), 64), Err(TarError::TooLong));
    let name = pax(&[("path", &"n".repeat(NAME_LIMIT + 1))]);
    let bytes = archive(&[(&typed("x", name.len() as u64, b'x'), &name), (&file_header("y", 0), b"")]);
    assert_eq!(read(&bytes, 64), Err(TarError::TooLong));
}

#[test]
fn an_extended_header_without_its_entry_is_damage() {
    let records = pax(&[("path", "x")]);
    let mut bytes = archive(&[(&typed("x", records.len() as u64, b'x'), &records)]);
    bytes.truncate(1024);
    assert_eq!(read(&bytes, 64), Err(TarError::Truncated));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..4096), step in 1usize..600) {
        let _ = read(&bytes, step);
    }

    #[test]
    fn a_changed_archive_never_panics(at in 0usize..3000, value: u8, step in 1usize..600) {
        let records = pax(&[("path", "some/name"), ("size", "4")]);
        let mut bytes = archive(&[
            (&file_header("a", 600), &[7; 600]),
            (&typed("x", records.len() as u64, b'x'), &records),
            (&file_header("b", 4), b"abcd"),
        ]);
        let at = at % bytes.len();
        bytes[at] = value;
        // A right checksum lets the change through to the fields.
        if at < 512 {
            let block: [u8; 512] = bytes[..512].try_into().unwrap();
            bytes[..512].copy_from_slice(&seal(block));
        }
        let _ = read(&bytes, step);
    }

    #[test]
    fn the_pieces_make_no_difference(step in 1usize..2000) {
        let bytes = archive(&[(&file_header("a", 600), &[7; 600]), (&file_header("b", 4), b"abcd")]);
        prop_assert_eq!(read(&bytes, step), read(&bytes, bytes.len()));
    }
}
