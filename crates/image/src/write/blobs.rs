//! Where the bytes of layers go.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use nixoci_core::digest::Digest;

/// How much is copied at once.
const STEP: usize = 256 << 10;

/// The name of a blob in a layout.
pub(crate) fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// A place that takes blobs one after the other, each before its digest is known.
pub(crate) trait BlobStore: Send {
    /// A blob begins.
    fn begin(&mut self) -> io::Result<()>;

    /// More of it.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// A part of a file is more of it. Files are copied by the kernel where the store can have that done.
    fn copy(&mut self, source: &File, at: u64, size: u64) -> io::Result<()> {
        let mut source = source;
        source.seek(SeekFrom::Start(at))?;
        let mut buffer = vec![0; STEP];
        let mut left = size;
        while left > 0 {
            let wanted = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            source.read_exact(&mut buffer[..wanted])?;
            self.write(&buffer[..wanted])?;
            left -= wanted as u64;
        }
        Ok(())
    }

    /// The blob is complete. One that is there already is dropped.
    fn end(&mut self, digest: Digest, size: u64) -> io::Result<()>;

    /// Drops the blobs that no image uses, writes the other files, and ends.
    fn finish(self: Box<Self>, used: &HashSet<Digest>, files: &[(String, Vec<u8>)]) -> io::Result<u64>;
}
