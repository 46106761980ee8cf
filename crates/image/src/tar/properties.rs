//! Archives as other programs write them, in all the ways to say a long name or a large size: what is read is what was
//! written, whatever the pieces in which it comes, and a second reader agrees.

use proptest::prelude::*;

use super::tests::{archive, pax_bytes, read, seal, typed};
use super::*;

/// How a writer says a name that may not fit into its field.
#[derive(Clone, Copy, Debug)]
enum Spelling {
    /// In the header; where it does not fit, as [`Spelling::Gnu`].
    Field,
    /// GNU's `L` and `K` entries.
    Gnu,
    /// A pax header.
    Pax,
}

#[derive(Clone, Debug)]
struct Written {
    spelling: Spelling,
    flag: u8,
    name: Vec<u8>,
    link: Vec<u8>,
    data: Vec<u8>,
}

/// Any bytes but NUL and a slash at the end, which would make a directory of a file; not UTF-8 on the whole.
fn name() -> impl Strategy<Value = Vec<u8>> {
    let long = proptest::collection::vec(1u8.., 1..300);
    let short = proptest::collection::vec(1u8.., 1..12);
    prop_oneof![short, long].prop_map(|mut name| {
        if name.ends_with(b"/") {
            name.push(b'x');
        }
        name
    })
}

fn written() -> impl Strategy<Value = Written> {
    let spelling = prop_oneof![Just(Spelling::Field), Just(Spelling::Gnu), Just(Spelling::Pax)];
    let flag = prop_oneof![Just(b'0'), Just(b'0'), Just(b'1'), Just(b'2'), Just(b'5')];
    let data = proptest::collection::vec(any::<u8>(), 0..1500);
    (spelling, flag, name(), name(), data).prop_map(|(spelling, flag, name, link, data)| {
        let link = if matches!(flag, b'1' | b'2') { link } else { Vec::new() };
        let data = if flag == b'0' { data } else { Vec::new() };
        Written { spelling, flag, name, link, data }
    })
}

fn part(header: [u8; 512], data: &[u8]) -> Vec<u8> {
    let mut bytes = archive(&[(&header, data)]);
    bytes.truncate(bytes.len() - 1024);
    bytes
}

fn meta(flag: u8, data: &[u8]) -> Vec<u8> {
    part(typed("meta", data.len() as u64, flag), data)
}

/// The entry as its writer would put it down.
fn bytes_of(one: &Written) -> Vec<u8> {
    let mut bytes = Vec::new();
    let fits = one.name.len() <= 100 && one.link.len() <= 100;
    match one.spelling {
        Spelling::Field if fits => {}
        Spelling::Field | Spelling::Gnu => {
            bytes.extend(meta(b'L', &[&one.name[..], b"\0"].concat()));
            if !one.link.is_empty() {
                bytes.extend(meta(b'K', &[&one.link[..], b"\0"].concat()));
            }
        }
        Spelling::Pax => {
            let mut records = pax_bytes(&[("path", &one.name), ("mtime", b"1.5")]);
            if !one.link.is_empty() {
                records.extend(pax_bytes(&[("linkpath", &one.link)]));
            }
            bytes.extend(meta(b'x', &records));
        }
    }
    let mut header = typed("", one.data.len() as u64, one.flag);
    let mut put = |at: usize, text: &[u8]| {
        let length = text.len().min(100);
        header[at..at + length].copy_from_slice(&text[..length]);
    };
    put(0, &one.name);
    put(157, &one.link);
    bytes.extend(part(seal(header), &one.data));
    bytes
}

fn expected(one: &Written) -> (Kind, &[u8], &[u8], &[u8]) {
    let kind = match one.flag {
        b'1' => Kind::HardLink,
        b'2' => Kind::Symlink,
        b'5' => Kind::Directory,
        _ => Kind::File,
    };
    (kind, &one.name, &one.link, &one.data)
}

/// An old GNU sparse file: a header, further blocks of its map, and the data that is there.
fn sparse(blocks: usize, data: &[u8]) -> Vec<u8> {
    let mut header = typed("sparse", data.len() as u64, b'S');
    header[257..265].copy_from_slice(b"ustar  \0");
    header[482] = u8::from(blocks > 0);
    let mut bytes = seal(header).to_vec();
    for left in (0..blocks).rev() {
        let mut map = [7; 512];
        map[504] = u8::from(left > 0);
        bytes.extend(map);
    }
    bytes.extend(data);
    bytes.resize(bytes.len() + padding(data.len() as u64) as usize, 0);
    bytes
}

proptest! {
    #[test]
    fn what_is_read_is_what_was_written(
        entries in proptest::collection::vec(written(), 0..8),
        // Of names that come twice, both entries are told: which one counts is not the reader's business.
        twice in any::<bool>(),
        step in 1usize..3000,
    ) {
        let mut entries = entries;
        if twice && let Some(first) = entries.first().cloned() {
            entries.push(Written { data: Vec::new(), ..first });
        }
        let mut bytes: Vec<u8> = entries.iter().flat_map(bytes_of).collect();
        bytes.extend([0; 1024]);
        let found = read(&bytes, step).unwrap();
        let ours: Vec<_> = found
            .iter()
            .map(|(entry, data)| (entry.kind, &entry.name[..], &entry.link[..], &data[..]))
            .collect();
        prop_assert_eq!(ours, entries.iter().map(expected).collect::<Vec<_>>());

        // The other reader cuts pax records at line ends, and so at those in names.
        let cut = |one: &Written| {
            matches!(one.spelling, Spelling::Pax) && [&one.name, &one.link].iter().any(|text| text.contains(&b'\n'))
        };
        if !entries.iter().any(cut) {
            let mut other = ::tar::Archive::new(&bytes[..]);
            let names: Vec<Vec<u8>> =
                other.entries().unwrap().map(|entry| entry.unwrap().path_bytes().into_owned()).collect();
            prop_assert_eq!(names, entries.iter().map(|one| one.name.clone()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn sparse_maps_of_any_length_are_stepped_over(
        blocks in 0usize..5, data in proptest::collection::vec(any::<u8>(), 0..1500), step in 1usize..3000,
    ) {
        let mut bytes = sparse(blocks, &data);
        bytes.extend(archive(&[(&file_header("next", 2), b"ok")]));
        let found = read(&bytes, step).unwrap();
        prop_assert_eq!(&found[0].1, &data);
        prop_assert_eq!((&found[1].0.name[..], &found[1].1[..]), (&b"next"[..], &b"ok"[..]));
    }

    /// Beyond 8 GiB the field holds binary digits, or a pax header has the size.
    #[test]
    fn sizes_of_all_lengths_are_read(bits in 0u32..62, low: u64, in_pax: bool) {
        let size = (1 << bits) | (low & ((1 << bits) - 1));
        let mut bytes = Vec::new();
        if in_pax {
            bytes.extend(meta(b'x', &pax_bytes(&[("size", size.to_string().as_bytes())])));
        }
        bytes.extend(file_header("big", if in_pax { 0 } else { size }));
        let mut reader = Reader::new();
        let mut input = &bytes[..];
        let Some(Item::Entry(entry)) = reader.next(&mut input).unwrap() else { panic!("no entry") };
        prop_assert_eq!(entry.size, size);
        prop_assert_eq!(reader.skip(), size.next_multiple_of(512));
        prop_assert!(matches!(reader.next(&mut &file_header("next", 0)[..]), Ok(Some(Item::Entry(_)))));
    }

    /// What we write, others read.
    #[test]
    fn our_headers_are_read_elsewhere(name in "[a-z0-9/]{1,99}[a-z]", size in 0u64..1 << 62) {
        let header = file_header(&name, size);
        let other = ::tar::Header::from_byte_slice(&header);
        prop_assert_eq!(other.size().unwrap(), size);
        prop_assert_eq!(&other.path_bytes()[..], name.as_bytes());
        prop_assert_eq!(header::check(&header), Ok(()));
    }
}
