//! What the fuzz targets share. `cargo xtask fuzz` builds and runs them.

use std::alloc::System;

use cap::Cap;

/// No input may make the product hold more than this: its own promise, whatever the image.
const LIMIT: usize = 128 << 20;

/// Counts what the code under test holds, to the byte: an allocation beyond the limit fails, which ends the process and is
/// reported like a panic. libFuzzer's own memory is C++'s and not counted here.
#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, LIMIT);

/// Reads an archive as `nixoci validate` does. Whatever it is, it is an image or an error.
pub fn check(bytes: Vec<u8>) {
    let cancel = tokio_util::sync::CancellationToken::new();
    let size = Some(bytes.len() as u64);
    let input = nixoci_image::Input::reader(Box::new(std::io::Cursor::new(bytes)), "fuzz".to_owned(), size);
    if let Err(error) = nixoci_image::check(input, &nixoci_image::ReadOptions::new(&cancel)) {
        // What people would see is made of the input, too.
        let _ = error.to_string();
    }
}
