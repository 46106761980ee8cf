//! Any bytes, as an archive of any kind.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| nixoci_fuzz::check(data.to_vec()));
