//! Any text, as the name of an image; and what is a name stays one when it is written out and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
// Its allocator counts.
use nixoci_fuzz as _;
use nixoci_image::Reference;

fuzz_target!(|text: &str| {
    if let Ok(name) = Reference::parse(text) {
        for written in [name.full(), name.familiar()] {
            match Reference::parse(&written) {
                Ok(again) => assert_eq!(again.full(), name.full(), "{text:?} is written as {written:?}"),
                Err(error) => panic!("{text:?} is written as {written:?}, which is refused: {error}"),
            }
        }
    }
});
