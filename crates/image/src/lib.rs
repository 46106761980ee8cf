//! Container images for nixoci: formats in, formats out.
//!
//! This crate reads what a Nix build leaves, decides by content what it is, checks every digest and for which
//! machine the programs are, keeps it in a cache and hands it on: to a file, or to a container runtime. It
//! knows no backend; bytes come from a file or a stream.
//!
//! Invariants:
//! - Input is not trusted: whatever the bytes, there is no panic, no path that leads out, no memory beyond
//!   fixed limits, and no output of an image that failed a check.
//! - Every byte of a source is read once and hashed once.
//! - The configuration keeps its bytes, because their digest is the image's identity (one exception:
//!   [`codes::COMMAND_IS_STRING`]).
//! - Output is the same, byte for byte, whenever and wherever it is made.
//! - Outputs appear by rename: there is never half a file under its final name.

pub mod cache;
pub mod codes;
mod config;
mod content;
pub mod destination;
pub mod detect;
mod directory;
mod imported;
mod inflate;
mod input;
mod json;
mod machine;
mod pipeline;
mod read;
pub mod reference;
pub mod runtime;
mod summary;
mod tar;
mod text;
mod write;

pub use cache::{Cache, CacheEntry, CacheKey, CachedImage, Collected, check_link};
pub use destination::{Delivered, DeliveredLayer, DeliveredPlatform, Destination, Writing, convert, merge};
pub use detect::{Shape, describe};
pub use imported::Imported;
pub use input::{Input, ReadOptions};
pub use machine::Machine;
pub use read::{check, import};
pub use reference::{Naming, Reference};
pub use summary::{Executable, Image, ImageSummary, LayerSummary, Mismatch, Verdict, Warning};
pub use write::{Codec, Encoding, INDEX_TYPE, MANIFEST_TYPE};

use nixoci_core::{Error, Remedy};

/// The error for a failed write: a full disk has a code of its own.
pub(crate) fn write_error(error: &std::io::Error, what: &str) -> Error {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    match error.kind() {
        StorageFull | QuotaExceeded => {
            Error::new(&codes::DISK_FULL, format!("the disk is full: {what} could not be written"))
                .caused_by(error)
                .remedy(Remedy::command("see what fills it", "df -h"))
        }
        _ => Error::new(&codes::WRITE_FAILED, format!("{what} could not be written")).caused_by(error),
    }
}
