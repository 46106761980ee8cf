//! The dynamic section of an ELF program: the libraries that its loader looks for.
//!
//! Sources: System V ABI, "Program Header" and "Dynamic Section"; musl, `ldso/dynlink.c`, for the names that its loader stands for itself.

use std::ops::Range;

/// The longest table of program headers, dynamic section, and library's name that are looked into; real ones are far below.
const HEADERS_LIMIT: u64 = 128;
const DYNAMIC_LIMIT: u64 = 64 << 10;
const NAME_LIMIT: usize = 255;
/// So many libraries of a program are remembered.
const NEEDED_LIMIT: usize = 256;
/// As much of a table of strings behind the dynamic section is kept.
const STRINGS_LIMIT: u64 = 256 << 10;

const PT_LOAD: u64 = 1;
const PT_DYNAMIC: u64 = 2;
const PT_INTERP: u64 = 3;
const DT_NULL: u64 = 0;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const DT_STRSZ: u64 = 10;

/// Numbers in a file of this class and byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Format {
    wide: bool,
    little: bool,
}

impl Format {
    fn number(self, bytes: &[u8], at: usize, length: usize) -> Option<u64> {
        let field = bytes.get(at..at.checked_add(length)?)?;
        let digit = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        Some(if self.little { field.iter().rev().fold(0, digit) } else { field.iter().fold(0, digit) })
    }

    /// An address, an offset or a size.
    fn word(self, bytes: &[u8], at: usize) -> Option<u64> {
        self.number(bytes, at, if self.wide { 8 } else { 4 })
    }
}

/// What the program headers say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segments {
    format: Format,
    /// Where in the file the name of the loader is.
    pub(super) loader: Option<Range<u64>>,
    /// Where the dynamic section is.
    pub(super) dynamic: Option<Range<u64>>,
    /// Addresses in memory, and where in the file their content is.
    loads: Vec<(Range<u64>, u64)>,
}

impl Segments {
    /// Reads the program headers, where they are within these first bytes of a file.
    pub(super) fn of(bytes: &[u8]) -> Option<Segments> {
        let format = Format { wide: *bytes.get(4)? == 2, little: *bytes.get(5)? == 1 };
        // e_phoff, e_phentsize, e_phnum.
        let (table, size, count) = if format.wide {
            (format.word(bytes, 32)?, format.number(bytes, 54, 2)?, format.number(bytes, 56, 2)?)
        } else {
            (format.word(bytes, 28)?, format.number(bytes, 42, 2)?, format.number(bytes, 44, 2)?)
        };
        let mut segments = Segments { format, loader: None, dynamic: None, loads: Vec::new() };
        for place in 0..count.min(HEADERS_LIMIT) {
            let at = usize::try_from(table.checked_add(place.checked_mul(size)?)?).ok()?;
            segments.read(bytes, at)?;
        }
        Some(segments)
    }

    /// One program header: p_type, p_offset, p_vaddr and p_filesz, in the two classes.
    fn read(&mut self, bytes: &[u8], at: usize) -> Option<()> {
        let places = if self.format.wide { [8, 16, 32] } else { [4, 8, 16] };
        let [offset, address, length] =
            places.map(|place| at.checked_add(place).and_then(|at| self.format.word(bytes, at)));
        let (offset, address, length) = (offset?, address?, length?);
        let in_file = offset..offset.checked_add(length)?;
        match self.format.number(bytes, at, 4)? {
            PT_INTERP if self.loader.is_none() => self.loader = Some(in_file),
            PT_DYNAMIC if length <= DYNAMIC_LIMIT => self.dynamic = Some(in_file),
            PT_LOAD => self.loads.push((address..address.checked_add(length)?, offset)),
            _ => {}
        }
        Some(())
    }

    fn in_file(&self, address: u64) -> Option<u64> {
        let (memory, offset) = self.loads.iter().find(|(memory, _)| memory.contains(&address))?;
        offset.checked_add(address - memory.start)
    }

    /// The libraries that a dynamic section names, by the places of their names, and where the table with the names is in the file.
    pub(super) fn needed(&self, dynamic: &[u8]) -> Option<Needed> {
        let size = if self.format.wide { 8 } else { 4 };
        let (mut places, mut table, mut length) = (Vec::new(), None, None);
        for entry in dynamic.chunks_exact(2 * size) {
            let (tag, value) = (self.format.word(entry, 0)?, self.format.word(entry, size)?);
            match tag {
                DT_NULL => break,
                DT_NEEDED if places.len() < NEEDED_LIMIT => places.push(value),
                DT_STRTAB => table = Some(value),
                DT_STRSZ => length = Some(value),
                _ => {}
            }
        }
        let start = self.in_file(table?)?;
        let end = start.checked_add(length?.min(STRINGS_LIMIT))?;
        Some(Needed { places, strings: start..end })
    }
}

/// The names of libraries, not read yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Needed {
    places: Vec<u64>,
    /// Where in the file the table of strings is.
    pub(super) strings: Range<u64>,
}

impl Needed {
    /// The names, out of a table of which this is the beginning. `None` if one of them is not in it.
    pub(super) fn names(&self, strings: &[u8]) -> Option<Vec<Box<[u8]>>> {
        let name = |place: &u64| {
            let rest = strings.get(usize::try_from(*place).ok()?..)?;
            let name = &rest[..rest.iter().position(|byte| *byte == 0)?];
            (!name.is_empty() && name.len() <= NAME_LIMIT).then(|| name.into())
        };
        self.places.iter().map(name).collect()
    }
}

/// Whether a loader provides a library of this name by itself, or a container runtime does, from the machine's driver.
pub(super) fn is_provided(loader: &[u8], library: &[u8]) -> bool {
    const OF_MUSL: [&[u8]; 7] = [b"c", b"pthread", b"rt", b"m", b"dl", b"util", b"xnet"];
    let of_musl = |library: &[u8]| {
        let stem = library.strip_prefix(b"lib").and_then(|rest| rest.split(|byte| *byte == b'.').next());
        stem.is_some_and(|stem| OF_MUSL.contains(&stem))
    };
    let is_musl = loader.windows(7).any(|part| part == b"ld-musl");
    let of_driver = library.starts_with(b"libcuda.so") || library.starts_with(b"libnvidia-");
    of_driver || (is_musl && of_musl(library))
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A program of 64 bits, little-endian, with a loader, whose dynamic section and table of strings are at these places.
    pub(crate) fn program(loader: &[u8], libraries: &[&[u8]], dynamic_at: u64, strings_at: u64) -> Vec<u8> {
        const BASE: u64 = 0x40_0000;
        let mut strings = vec![0];
        let mut dynamic = Vec::new();
        for library in libraries {
            dynamic.extend([DT_NEEDED, strings.len() as u64]);
            strings.extend_from_slice(library);
            strings.push(0);
        }
        dynamic.extend([DT_STRTAB, BASE + strings_at, DT_STRSZ, strings.len() as u64, DT_NULL, 0]);
        let dynamic: Vec<u8> = dynamic.iter().flat_map(|word| word.to_le_bytes()).collect();
        let end = (strings_at + strings.len() as u64).max(dynamic_at + dynamic.len() as u64).max(0x400);
        let mut bytes = vec![0u8; usize::try_from(end).unwrap()];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        let loader = [loader, b"\0"].concat();
        let mut put = |at: u64, data: &[u8]| {
            bytes[usize::try_from(at).unwrap()..][..data.len()].copy_from_slice(data);
        };
        put(18, &62u16.to_le_bytes());
        put(32, &64u64.to_le_bytes());
        put(54, &56u16.to_le_bytes());
        put(56, &3u16.to_le_bytes());
        let headers = [
            (PT_INTERP, 0x300, 0, loader.len() as u64),
            (PT_LOAD, 0, BASE, end),
            (PT_DYNAMIC, dynamic_at, BASE + dynamic_at, dynamic.len() as u64),
        ];
        for (place, (kind, offset, address, length)) in headers.into_iter().enumerate() {
            let at = 64 + 56 * place as u64;
            put(at, &kind.to_le_bytes()[..4]);
            put(at + 8, &offset.to_le_bytes());
            put(at + 16, &address.to_le_bytes());
            put(at + 32, &length.to_le_bytes());
        }
        put(0x300, &loader);
        put(dynamic_at, &dynamic);
        put(strings_at, &strings);
        bytes
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_fail(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
            if let Some(segments) = Segments::of(&bytes)
                && let Some(needed) = segments.needed(&bytes)
            {
                let _ = needed.names(&bytes);
            }
        }
    }

    #[test]
    fn what_musl_and_drivers_provide_is_not_missing() {
        let (glibc, musl) = (&b"/lib64/ld-linux-x86-64.so.2"[..], &b"/lib/ld-musl-x86_64.so.1"[..]);
        assert!(is_provided(musl, b"libc.so") && is_provided(musl, b"libc.musl-x86_64.so.1"));
        assert!(!is_provided(glibc, b"libc.so.6") && !is_provided(musl, b"libcrypto.so.3"));
        assert!(is_provided(glibc, b"libcuda.so.1") && !is_provided(glibc, b"libcudart.so.12"));
    }
}
