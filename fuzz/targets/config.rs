//! Any text, as a nixoci.toml.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
// Its allocator counts.
use nixoci_core::config::ConfigFile;
use nixoci_fuzz as _;

fuzz_target!(|text: String| {
    match ConfigFile::parse(Path::new("nixoci.toml"), text, "0.1.0") {
        Ok(file) => drop(format!("{file:?}")),
        Err(error) => drop(error.to_string()),
    }
});
