//! Any bytes, as a Nix archive: of one file, and of a tree.
#![no_main]

use std::io::{Read, copy, sink};

use libfuzzer_sys::fuzz_target;
// Its allocator counts.
use nixoci_fuzz as _;
use nixoci_nix::nar::{Event, Reader, single_file};

fuzz_target!(|data: &[u8]| {
    if let Ok(mut file) = single_file(data) {
        let whole = copy(&mut file.by_ref(), &mut sink());
        if whole.is_ok() {
            let _ = file.finish();
        }
    }
    walk(data);
});

/// Every second file is read, the others are passed over.
fn walk(data: &[u8]) {
    let mut reader = Reader::new(data);
    let mut read = false;
    while let Ok(Some(event)) = reader.next() {
        if matches!(event, Event::Regular { .. }) {
            read = !read;
            if read && copy(&mut reader.contents(), &mut sink()).is_err() {
                return;
            }
        }
    }
}
