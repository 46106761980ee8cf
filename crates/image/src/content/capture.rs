//! Keeps the parts of a file that decide how it starts, while its content streams past: the head of a program, the names of its
//! loader and its libraries, and the lists of users.
//!
//! Sources: System V ABI, "Program Header", for `PT_INTERP`; Linux `fs/binfmt_elf.c`, which reads it.

use std::ops::Range;

use super::dynamic::{Needed, Segments};
use super::path::split_last;
use crate::machine::{self, HEAD, Head};
use crate::tar::{Entry, Kind};

/// How much of the beginning of a compiled program is kept until its program headers are known, which are in there.
const HEADERS: usize = 4 << 10;
/// As much of a program with a loader: linkers put the table of strings near the beginning.
const BEGINNING: usize = 256 << 10;
/// The longest path of a loader. Source: Linux `PATH_MAX`.
const LOADER_LIMIT: u64 = 4 << 10;
/// The longest list of users or groups that is looked into.
const LIST_LIMIT: usize = 64 << 10;

/// A part of a file, and what of it has passed.
#[derive(Debug)]
struct Part {
    range: Range<u64>,
    bytes: Vec<u8>,
}

impl Part {
    fn new(range: Range<u64>) -> Part {
        Part { range, bytes: Vec::new() }
    }

    /// Appends what belongs to it of `data`, which is at `at` in the file.
    fn collect(&mut self, at: u64, data: &[u8]) {
        let next = self.range.start + self.bytes.len() as u64;
        let end = self.range.end.min(at + data.len() as u64);
        if next < at || next >= end {
            return;
        }
        // Both are within `data`.
        let slice = (next - at) as usize..(end - at) as usize;
        self.bytes.extend_from_slice(data.get(slice).unwrap_or_default());
    }

    fn complete(&self) -> Option<&[u8]> {
        (self.bytes.len() as u64 == self.range.end - self.range.start).then_some(&*self.bytes)
    }
}

/// The content of one entry, while it passes.
#[derive(Default)]
pub(crate) struct Capture {
    wanted: Wanted,
    head: Vec<u8>,
    /// How many bytes have passed.
    passed: u64,
    segments: Option<Segments>,
    loader: Option<Part>,
    dynamic: Option<Part>,
    /// The libraries that the dynamic section names, and their names where they are behind it.
    needed: Option<Needed>,
    strings: Option<Part>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Wanted {
    #[default]
    Nothing,
    Program,
    List,
}

/// The kept content of a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Captured {
    Nothing,
    Program(Head),
    /// `passwd` or `group`.
    List(Box<[u8]>),
}

impl Capture {
    /// For the content of this entry, whose path is clean.
    pub(crate) fn of(path: &[u8], entry: &Entry) -> Capture {
        let (parent, name) = split_last(path);
        // dockerTools' fakeNss has them in a store path, with a link to it.
        let is_list = matches!(name, b"passwd" | b"group") && split_last(parent).1 == b"etc";
        let wanted = match entry.kind {
            Kind::File if entry.mode & 0o111 != 0 => Wanted::Program,
            Kind::File if is_list => Wanted::List,
            _ => Wanted::Nothing,
        };
        Capture { wanted, ..Capture::default() }
    }

    /// The next bytes.
    pub(crate) fn feed(&mut self, data: &[u8]) {
        match self.wanted {
            Wanted::Nothing => return,
            Wanted::List => self.keep(data, LIST_LIMIT),
            Wanted::Program => self.program(data),
        }
        self.passed += data.len() as u64;
    }

    fn keep(&mut self, data: &[u8], limit: usize) {
        let taken = data.len().min(limit.saturating_sub(self.head.len()));
        self.head.extend_from_slice(&data[..taken]);
    }

    fn program(&mut self, data: &[u8]) {
        let before = self.head.len();
        self.keep(data, HEAD);
        if !machine::is_elf(&self.head) {
            return;
        }
        // Again from where the first bytes ended, unless bytes in between were let go of.
        let kept = |head: &Vec<u8>| head.len() - before;
        let follows = before as u64 == self.passed;
        if follows {
            self.keep(&data[kept(&self.head)..], HEADERS);
        }
        if self.segments.is_none() {
            self.begin();
        }
        if follows && self.loader.is_some() {
            self.keep(&data[kept(&self.head)..], BEGINNING);
        }
        self.collect(self.passed, data);
    }

    /// Reads the program headers, once they are there. What they name may have passed with them.
    fn begin(&mut self) {
        self.segments = Segments::of(&self.head);
        let Some(segments) = &self.segments else { return };
        let short = |range: &Range<u64>| range.end - range.start <= LOADER_LIMIT;
        self.loader = segments.loader.clone().filter(short).map(Part::new);
        self.dynamic = segments.dynamic.clone().filter(|_| self.loader.is_some()).map(Part::new);
        let head = std::mem::take(&mut self.head);
        self.collect(0, &head);
        self.head = head;
    }

    fn collect(&mut self, at: u64, data: &[u8]) {
        for part in [&mut self.loader, &mut self.dynamic].into_iter().flatten() {
            part.collect(at, data);
        }
        let dynamic = self.dynamic.as_ref().and_then(Part::complete);
        if let (None, Some(segments), Some(dynamic)) = (&self.needed, &self.segments, dynamic) {
            self.needed = segments.needed(dynamic);
            self.dynamic = None;
            self.strings = self.needed.as_ref().map(|needed| Part::new(needed.strings.clone()));
        }
        if let Some(strings) = &mut self.strings {
            strings.collect(at, data);
        }
    }

    /// The names of the libraries: behind the dynamic section, or in the beginning.
    fn libraries(&self) -> Option<Vec<Box<[u8]>>> {
        let needed = self.needed.as_ref()?;
        let start = usize::try_from(needed.strings.start).ok()?;
        let behind = self.strings.as_ref().map(|strings| &*strings.bytes).unwrap_or_default();
        needed.names(behind).or_else(|| needed.names(self.head.get(start..)?))
    }

    /// Ends the file.
    pub(crate) fn end(self) -> Captured {
        match self.wanted {
            Wanted::Nothing => Captured::Nothing,
            Wanted::List => Captured::List(self.head.into()),
            Wanted::Program => {
                let head = Head::of(&self.head[..self.head.len().min(HEAD)]);
                let Some(loader) = self.loader.as_ref().and_then(Part::complete) else {
                    return Captured::Program(head);
                };
                let loader = loader.split(|byte| *byte == 0).next().unwrap_or_default();
                Captured::Program(head.loaded_by(loader, self.libraries().unwrap_or_default()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::content::dynamic::tests::program;
    use crate::machine::tests::dynamic;

    fn captured(bytes: &[u8], step: usize) -> Captured {
        let entry = Entry {
            kind: Kind::File,
            name: Vec::new(),
            link: Vec::new(),
            size: bytes.len() as u64,
            mode: 0o755,
        };
        let mut capture = Capture::of(b"bin/app", &entry);
        for piece in bytes.chunks(step) {
            capture.feed(piece);
        }
        capture.end()
    }

    proptest! {
        /// A linker puts the name near the beginning, and patchelf at the end.
        #[test]
        fn the_loader_is_found_wherever_it_is_named(
            at in prop_oneof![0x40..0x400u64, 0x400..20_000u64],
            wide: bool, little: bool, step in 1..9000usize, name in "/[a-z0-9/.-]{1,80}",
        ) {
            let bytes = dynamic(wide, little, at, name.as_bytes());
            let Captured::Program(head) = captured(&bytes, step) else { panic!("no program") };
            prop_assert_eq!(head.loader(), Some(name.as_bytes()));
        }

        /// A linker puts the names in front of the dynamic section, near the beginning; patchelf may put both at the end.
        #[test]
        fn libraries_are_found_where_tools_name_them(
            strings_at in prop_oneof![0x400..0x800u64, 0x800..200_000u64], gap in 0x100..200_000u64, at_the_end: bool,
            step in prop_oneof![1..200usize, 200..90_000usize], count in 0..5usize,
        ) {
            let names = [&b"libc.so.6"[..], b"libm.so.6", b"/abs/libx.so", b"liby.so.1", b"libz.so"];
            let (dynamic_at, strings_at) =
                if at_the_end { (strings_at + gap, strings_at + gap + 0x1000) } else { (strings_at + gap, strings_at) };
            let bytes = program(b"/lib/ld.so", &names[..count], dynamic_at, strings_at);
            let Captured::Program(head) = captured(&bytes, step) else { panic!("no program") };
            let wanted: Vec<Box<[u8]>> = names[..count].iter().map(|name| (*name).into()).collect();
            prop_assert_eq!(head.loader(), Some(&b"/lib/ld.so"[..]));
            prop_assert_eq!(head.libraries(), &*wanted);
        }

        #[test]
        fn no_bytes_make_it_fail(mut bytes in prop::collection::vec(any::<u8>(), 0..6000), step in 1..7000usize) {
            let _ = captured(&bytes, step);
            let beginning = dynamic(true, true, 0x200, b"/lib/ld.so");
            for (at, byte) in beginning.iter().enumerate().take(bytes.len().min(64)) {
                bytes[at] = *byte;
            }
            let _ = captured(&bytes, step);
        }
    }

    #[test]
    fn a_static_program_has_no_loader() {
        let mut bytes = dynamic(true, true, 0x200, b"/lib/ld.so");
        // The type of its one program header: PT_LOAD.
        bytes[64] = 1;
        let Captured::Program(head) = captured(&bytes, 1000) else { panic!("no program") };
        assert_eq!(head.loader(), None);
    }
}
