//! Keeps the parts of a file that decide how it starts, while its content streams past: the head of a program, the name of its
//! loader, and the lists of users.
//!
//! Sources: System V ABI, "Program Header", for `PT_INTERP`; Linux `fs/binfmt_elf.c`, which reads it.

use std::ops::Range;

use super::path::split_last;
use crate::machine::{self, HEAD, Head};
use crate::tar::{Entry, Kind};

/// How much of the beginning of a compiled program is kept until it has passed: its program headers are in there.
const ELF_HEAD: usize = 4 << 10;
/// The longest path of a loader. Source: Linux `PATH_MAX`.
const LOADER_LIMIT: u64 = 4 << 10;
/// The longest list of users or groups that is looked into.
const LIST_LIMIT: usize = 64 << 10;

/// The content of one entry, while it passes.
#[derive(Default)]
pub(crate) struct Capture {
    wanted: Wanted,
    head: Vec<u8>,
    /// How many bytes have passed.
    passed: u64,
    /// Where the file names its loader, and what of that has passed.
    loader: Option<Range<u64>>,
    name: Vec<u8>,
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
        // Again from where the first bytes ended.
        self.keep(&data[self.head.len() - before..], ELF_HEAD);
        if self.loader.is_none() {
            self.loader = machine::loader(&self.head).filter(|range| range.end - range.start <= LOADER_LIMIT);
            // The name may have passed with the headers.
            let head = std::mem::take(&mut self.head);
            self.collect(0, &head);
            self.head = head;
        }
        self.collect(self.passed, data);
    }

    /// Appends the part of `data`, which is at `at` in the file, that belongs to the loader's name.
    fn collect(&mut self, at: u64, data: &[u8]) {
        let Some(range) = self.loader.clone() else { return };
        let next = range.start + self.name.len() as u64;
        let end = range.end.min(at + data.len() as u64);
        if next < at || next >= end {
            return;
        }
        // Both are within `data`.
        let slice = (next - at) as usize..(end - at) as usize;
        self.name.extend_from_slice(data.get(slice).unwrap_or_default());
    }

    /// Ends the file.
    pub(crate) fn end(self) -> Captured {
        match self.wanted {
            Wanted::Nothing => Captured::Nothing,
            Wanted::List => Captured::List(self.head.into()),
            Wanted::Program => {
                let complete =
                    self.loader.is_some_and(|range| self.name.len() as u64 == range.end - range.start);
                let loader = self.name.split(|byte| *byte == 0).next().unwrap_or_default();
                let head = Head::of(&self.head[..self.head.len().min(HEAD)]);
                Captured::Program(if complete { head.loaded_by(loader) } else { head })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
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
