//! Nix archives (NAR): how the contents of a store path travel.
//!
//! A NAR is a tree of directories, regular files and symbolic links, with an executable bit and nothing else, in
//! exactly one order; so it can be hashed. Readers and writers stream, hold at most one name or link target in
//! memory, and refuse what Nix would refuse to unpack.
//!
//! Source: Nix manual, "Nix Archive (NAR) format".

mod hashing;
mod reader;
mod single;
mod writer;

pub use hashing::HashingReader;
pub(crate) use hashing::damaged;
pub use reader::{Contents, Event, Reader};
pub use single::{SingleFile, single_file};
pub use writer::Writer;

use nixoci_core::Error;

use crate::codes;

const MAGIC: &[u8] = b"nix-archive-1";
/// Longest name in a directory: what file systems take.
const NAME_LIMIT: u64 = 255;
/// Longest target of a link: what kernels take, without the closing zero.
const TARGET_LIMIT: u64 = 4095;
/// Deepest nesting: more would not fit a path that kernels take.
const DEPTH_LIMIT: usize = 2048;

fn bad(why: impl Into<String>) -> Error {
    Error::new(&codes::BAD_NAR, "the Nix archive is malformed").because(why.into())
}

/// Zero bytes that follow `len` bytes, up to a multiple of eight.
fn padding(len: u64) -> usize {
    ((8 - len % 8) % 8) as usize
}

/// Whether something may be called that in a directory, after `previous`.
fn check_name(name: &[u8], previous: Option<&[u8]>) -> Result<(), Error> {
    let shown = String::from_utf8_lossy(name);
    if name.is_empty() || name == b"." || name == b".." || name.contains(&b'/') || name.contains(&0) {
        return Err(bad(format!("`{}` is no name for a file", shown.escape_debug())));
    }
    if name.len() as u64 > NAME_LIMIT {
        return Err(bad("a name is too long"));
    }
    match previous {
        Some(previous) if previous >= name => Err(bad(format!("`{}` is out of order", shown.escape_debug()))),
        _ => Ok(()),
    }
}

fn check_target(target: &[u8]) -> Result<(), Error> {
    if target.is_empty() || target.contains(&0) || target.len() as u64 > TARGET_LIMIT {
        return Err(bad("a symbolic link has an impossible target"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
