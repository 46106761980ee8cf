//! The outer archive: its members in whatever order they come, layers told from metadata by content.
//!
//! `buildLayeredImage` puts manifest.json last, so which members are layers is known only at the end. Every
//! member that begins as a tar archive is taken for one, and those that the manifest does not name are dropped.

use std::collections::HashMap;
use std::path::PathBuf;

use nixoci_core::digest::Digest;
use nixoci_core::text;
use nixoci_core::{Error, Result};

use sha2::{Digest as _, Sha256};

use super::layer::{Layer, ReadLayer};
use crate::codes;
use crate::content::{Budget, clean};
use crate::detect::{self, Compression};
use crate::pipeline::Outbox;
use crate::tar::{BLOCK, Entry, Item, Kind, Reader, looks_like_header};
use crate::text::show;

/// The longest JSON member; registries take manifests up to this size.
pub(crate) const JSON_LIMIT: u64 = 4 << 20;
/// All JSON members together.
const JSON_TOTAL: u64 = 16 << 20;
/// How many members an archive may have: images have one for each layer, and a few more.
const MEMBER_LIMIT: usize = 1 << 14;
/// How large an image may be, decompressed: a small file can decompress to a full disk.
const IMAGE_LIMIT: u64 = 1 << 40;

/// A member of the archive.
pub(super) enum Member {
    /// The layer of this number.
    Layer(usize),
    /// The JSON document of this number.
    Json(usize),
    /// The file of this number that is neither.
    Other(usize),
    /// Another name of this member.
    Link(Vec<u8>),
    /// A directory, a device, a link that leads out.
    NoFile,
}

/// The content of a file that is neither a layer nor a JSON document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// JSON beyond the limits, of this size.
    HugeJson(u64),
    /// Compressed so, as no layer is.
    Compressed(Compression),
    /// Neither.
    Unknown,
}

/// A file that is neither a layer nor a JSON document: read all the same, because only its digest can say whether it is
/// damaged.
pub(super) struct Other {
    pub(super) digest: Digest,
    pub(super) content: Content,
}

/// The member whose data is passing.
enum Current {
    None,
    /// Its first bytes are being collected, to tell what it is.
    Sniffing {
        name: Vec<u8>,
        size: u64,
        head: Vec<u8>,
    },
    Layer {
        name: Vec<u8>,
        layer: Box<Layer>,
        /// Whether it is stored as it comes.
        as_is: bool,
    },
    Json(Vec<u8>, Vec<u8>),
    Other {
        name: Vec<u8>,
        content: Content,
        hasher: Sha256,
    },
    /// Nothing of interest.
    Skip,
}

/// An outer archive that is being read.
pub(super) struct Archive {
    name: String,
    path: Option<PathBuf>,
    tar: Reader,
    current: Current,
    /// A source of less than a block.
    short: Vec<u8>,
    bytes: u64,
    /// What compressed layers may still decompress to.
    room: u64,
    json: u64,
    contents: Contents,
}

/// A JSON document.
pub(super) struct Document {
    pub(super) digest: Digest,
    pub(super) bytes: Vec<u8>,
}

/// What an archive held.
pub(super) struct Contents {
    /// The name of the source, for messages.
    pub(super) name: String,
    /// Its members by clean name; of several with one name, the last.
    pub(super) members: HashMap<Vec<u8>, Member>,
    /// All layers, in the order of the archive.
    pub(super) layers: Vec<ReadLayer>,
    /// All JSON documents.
    pub(super) documents: Vec<Document>,
    /// All other files.
    pub(super) others: Vec<Other>,
    /// What is left of the limits on contents.
    pub(super) budget: Budget,
}

impl Archive {
    /// An archive at its beginning.
    pub(super) fn new(name: &str, path: Option<PathBuf>) -> Self {
        Archive {
            name: name.to_owned(),
            path,
            tar: Reader::new(),
            current: Current::None,
            short: Vec::new(),
            bytes: 0,
            room: IMAGE_LIMIT,
            json: 0,
            contents: Contents {
                name: name.to_owned(),
                members: HashMap::new(),
                layers: Vec::new(),
                documents: Vec::new(),
                others: Vec::new(),
                budget: Budget::new(),
            },
        }
    }

    /// Takes the next bytes; what of them is to be stored goes to `outbox`.
    pub(super) fn feed(&mut self, bytes: &[u8], outbox: &mut Outbox<'_>) -> Result<()> {
        let first = self.bytes == 0;
        if first && bytes.len() < BLOCK {
            // Buffers come full: this is all there is, unless the source fails, which explains more.
            self.short = bytes.to_vec();
            return Ok(());
        }
        if first && !looks_like_header(bytes) {
            return Err(detect::refuse_bytes(&self.name, self.path.as_deref(), bytes));
        }
        self.bytes += bytes.len() as u64;
        if self.bytes > IMAGE_LIMIT {
            let text = format!("{} is larger than {} decompressed", self.name, text::bytes(IMAGE_LIMIT));
            return Err(Error::new(&codes::TOO_LARGE, text));
        }
        let mut rest = bytes;
        while let Some(item) = self.tar.next(&mut rest).map_err(|error| self.damaged(&error))? {
            match item {
                Item::Entry(entry) => self.begin(entry)?,
                Item::Data(data) => {
                    let end = bytes.len() - rest.len();
                    self.data(data, end - data.len(), outbox);
                }
                Item::EntryEnd => self.end(outbox),
            }
        }
        Ok(())
    }

    fn damaged(&self, error: &crate::tar::TarError) -> Error {
        let code = match error {
            crate::tar::TarError::Truncated => &codes::TRUNCATED,
            _ => &codes::CORRUPT_TAR,
        };
        Error::new(code, format!("{} is damaged", self.name)).because(error)
    }

    fn begin(&mut self, entry: Entry) -> Result<()> {
        let leads_out = || {
            Error::new(&codes::UNSAFE_PATH, format!("a member of {} leads out of the archive", self.name))
                .because(format!("its name is `{}`", show(&entry.name)))
        };
        let name = clean(&entry.name).map_err(|_| leads_out())?;
        if self.contents.members.len() >= MEMBER_LIMIT {
            return Err(detect::not_an_image(
                &self.name,
                &format!("an archive of more than {MEMBER_LIMIT} files"),
            ));
        }
        let member = match entry.kind {
            Kind::File => {
                self.current = Current::Sniffing { name, size: entry.size, head: Vec::new() };
                return Ok(());
            }
            Kind::Symlink => link_target(&name, &entry.link).map(Member::Link),
            Kind::HardLink => clean(&entry.link).ok().map(Member::Link),
            _ => None,
        };
        self.contents.members.insert(name, member.unwrap_or(Member::NoFile));
        self.current = Current::Skip;
        Ok(())
    }

    /// Data of the current member, which is at `at` in the buffer.
    fn data(&mut self, data: &[u8], at: usize, outbox: &mut Outbox<'_>) {
        match &mut self.current {
            Current::Layer { .. } => self.layer(data, Some(at), outbox),
            Current::Json(_, text) => text.extend_from_slice(data),
            Current::Other { hasher, .. } => hasher.update(data),
            Current::Sniffing { size, head, .. } => {
                let wanted = usize::try_from(*size).unwrap_or(usize::MAX).min(BLOCK) - head.len();
                let (taken, rest) = data.split_at(wanted.min(data.len()));
                head.extend_from_slice(taken);
                if taken.len() == wanted {
                    self.decide(outbox);
                    let at = at + taken.len();
                    if !rest.is_empty() {
                        self.data(rest, at, outbox);
                    }
                }
            }
            Current::None | Current::Skip => {}
        }
    }

    /// Bytes of the current layer, which are at `at` in the buffer, or elsewhere.
    fn layer(&mut self, data: &[u8], at: Option<usize>, outbox: &mut Outbox<'_>) {
        let Current::Layer { layer, as_is, .. } = &mut self.current else { return };
        if *as_is && !data.is_empty() {
            match at {
                Some(at) => outbox.part(at..at + data.len()),
                None => outbox.bytes(data.to_vec()),
            }
        }
        let stores = !*as_is && outbox.stores();
        layer.feed(data, &mut self.contents.budget, &mut self.room, |inflated| {
            if stores {
                outbox.bytes(inflated.to_vec());
            }
            !outbox.closed()
        });
    }

    /// Tells by its first bytes what the current member is.
    fn decide(&mut self, outbox: &mut Outbox<'_>) {
        let Current::Sniffing { name, size, head } = std::mem::replace(&mut self.current, Current::Skip)
        else {
            return;
        };
        let compression = Compression::of(&head);
        // An archive without entries may be no bytes at all: runtimes take such a layer.
        let is_layer = size == 0 || looks_like_header(&head) || compression != Compression::None;
        if is_layer && let Some(layer) = Layer::new(compression) {
            // An uncompressed layer is stored as it comes in any case, as far as this side is concerned.
            let as_is = compression == Compression::None || outbox.keeps(compression);
            outbox.begin(compression);
            self.current = Current::Layer { name, layer: Box::new(layer), as_is };
            return self.layer(&head, None, outbox);
        }
        let is_json = head.trim_ascii_start().first().is_some_and(|byte| matches!(byte, b'{' | b'['));
        let content = match compression {
            Compression::None if !is_json => Content::Unknown,
            Compression::None if size > JSON_LIMIT || self.json + size > JSON_TOTAL => {
                Content::HugeJson(size)
            }
            Compression::None => {
                self.json += size;
                self.current = Current::Json(name, head);
                return;
            }
            compression => Content::Compressed(compression),
        };
        self.current = Current::Other { name, content, hasher: Sha256::new_with_prefix(&head) };
    }

    fn end(&mut self, outbox: &mut Outbox<'_>) {
        if matches!(self.current, Current::Sniffing { .. }) {
            // It has no bytes, or fewer than would decide.
            self.decide(outbox);
        }
        match std::mem::replace(&mut self.current, Current::None) {
            Current::Layer { name, layer, as_is } => {
                let layer = layer.finish();
                outbox.end(layer.digest, if as_is { layer.blob } else { layer.digest });
                self.contents.members.insert(name, Member::Layer(self.contents.layers.len()));
                self.contents.layers.push(layer);
            }
            Current::Json(name, bytes) => {
                let digest = Digest::from_bytes(Sha256::digest(&bytes).into());
                self.contents.members.insert(name, Member::Json(self.contents.documents.len()));
                self.contents.documents.push(Document { digest, bytes });
            }
            Current::Other { name, content, hasher } => {
                let digest = Digest::from_bytes(hasher.finalize().into());
                self.contents.members.insert(name, Member::Other(self.contents.others.len()));
                self.contents.others.push(Other { digest, content });
            }
            Current::None | Current::Skip | Current::Sniffing { .. } => {}
        }
    }

    /// Ends the archive.
    pub(super) fn finish(self) -> Result<Contents> {
        if self.bytes == 0 {
            return Err(detect::refuse_bytes(&self.name, self.path.as_deref(), &self.short));
        }
        self.tar.finish().map_err(|error| self.damaged(&error))?;
        Ok(self.contents)
    }
}

/// Where a symbolic link leads, as a name in the archive; nothing if it leads out.
fn link_target(name: &[u8], target: &[u8]) -> Option<Vec<u8>> {
    if target.starts_with(b"/") {
        return None;
    }
    let mut parts: Vec<&[u8]> = name.split(|&byte| byte == b'/').collect();
    parts.pop();
    for component in target.split(|&byte| byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => {
                parts.pop()?;
            }
            other => parts.push(other),
        }
    }
    Some(parts.join(&b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_of_skopeo_lead_to_their_layer() {
        let target = |name: &str, link: &str| link_target(name.as_bytes(), link.as_bytes());
        assert_eq!(target("abc/layer.tar", "../def.tar").unwrap(), b"def.tar");
        assert_eq!(target("a", "b/./c").unwrap(), b"b/c");
        assert_eq!(target("a/b", "../../c"), None);
        assert_eq!(target("a", "/c"), None);
    }
}
