//! Images out: layers into a store of blobs, documents around them.
//!
//! ```text
//! layers --LayerWriter (compresses)--> BlobStore: a tar file, or the directory of a layout
//! images --documents--> configurations, manifests, indexes, what names them
//! ```

mod blobs;
mod documents;
mod encoding;
mod layers;
mod layout_dir;
mod pool;
mod tar_file;

pub(crate) use blobs::{BlobStore, blob_name};
pub(crate) use documents::{Described, Documents, Format, OutImage, OutVariant, Target, hash};
pub use documents::{INDEX_TYPE, MANIFEST_TYPE};
#[cfg(test)]
pub(crate) use encoding::Encoder;
pub use encoding::{Codec, Encoding};
pub(crate) use layers::{LayerWriter, Stored};
pub(crate) use layout_dir::LayoutDir;
pub(crate) use tar_file::TarFile;
