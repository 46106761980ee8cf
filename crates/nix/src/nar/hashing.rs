//! Hashing what passes by.

use std::io::{self, Read};

use nixoci_core::artifact::{PathInfo, StorePath};
use nixoci_core::digest::Digest;
use nixoci_core::{Error, Remedy, Result, shell};
use sha2::{Digest as _, Sha256};

use crate::codes;

/// Passes a stream on, and knows its hash and length at the end.
#[derive(Debug)]
pub struct HashingReader<R> {
    input: R,
    hasher: Sha256,
    size: u64,
}

impl<R: Read> HashingReader<R> {
    /// Begins to hash.
    pub fn new(input: R) -> Self {
        HashingReader { input, hasher: Sha256::new(), size: 0 }
    }

    /// SHA-256 and length of what was read.
    pub fn finish(self) -> (Digest, u64) {
        (Digest::from_bytes(self.hasher.finalize().into()), self.size)
    }

    /// Compares what was read with what Nix recorded.
    ///
    /// # Errors
    /// [`codes::TRANSFER`] if it is too short, [`codes::DAMAGED`] if it is something else.
    pub fn check(self, info: &PathInfo) -> Result<()> {
        let (hash, size) = self.finish();
        if size < info.nar_size {
            let message = format!("{} ended after {size} of {} bytes", info.path, info.nar_size);
            return Err(Error::new(&codes::TRANSFER, message));
        }
        if (hash, size) != (info.nar_hash, info.nar_size) {
            return Err(damaged(&info.path)
                .because(format!("it is {} ({size} bytes)", hash.sri()))
                .because(format!("Nix recorded {} ({} bytes)", info.nar_hash.sri(), info.nar_size)));
        }
        Ok(())
    }
}

/// What came is not what was recorded.
pub(crate) fn damaged(path: &StorePath) -> Error {
    Error::new(&codes::DAMAGED, format!("{path} does not match its hash")).remedy(Remedy::command(
        "check the store, and repair it",
        shell!("sudo nix-store --repair-path {}", path.as_str()),
    ))
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.size += count as u64;
        Ok(count)
    }
}
