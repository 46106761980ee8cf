//! A layer while it streams past: hashed, and looked into.

use nixoci_core::Error;
use nixoci_core::digest::Digest;
use sha2::{Digest as _, Sha256};

use crate::codes;
use crate::content::{Budget, Capture, LayerIndex, clean, leads_out};
use crate::detect::Compression;
use crate::inflate::Inflater;
use crate::tar::{Entry, Item, Kind, Reader, TarError};
use crate::text::show;

/// A layer that is being read.
pub(super) struct Layer {
    compression: Compression,
    inflater: Inflater,
    /// Over the bytes as they come, where they are compressed.
    raw: Option<Sha256>,
    raw_size: u64,
    contents: LayerContents,
    problem: Option<Problem>,
}

/// The uncompressed layer.
struct LayerContents {
    hasher: Sha256,
    tar: Reader,
    index: LayerIndex,
    entries: u64,
    size: u64,
    /// The entry whose data is passing, by its clean name.
    current: Option<(Vec<u8>, Entry)>,
    /// The kept parts of its content.
    capture: Capture,
    problem: Option<Problem>,
    climbing_links: u64,
}

/// Why a layer must not be used. Raised only if the image uses it.
#[derive(Clone, Debug)]
pub(super) enum Problem {
    /// An entry of this name leads out.
    Unsafe(String),
    /// The tar archive is damaged.
    Tar(TarError),
    /// The compressed data is damaged, or ends early.
    Compressed(Compression, String),
    /// It decompresses to more than an image may be.
    TooLarge,
}

/// A layer that was read to its end.
pub(super) struct ReadLayer {
    /// Of the uncompressed layer.
    pub(super) digest: Digest,
    /// Of the bytes as they came.
    pub(super) blob: Digest,
    pub(super) blob_size: u64,
    pub(super) compression: Compression,
    pub(super) size: u64,
    pub(super) entries: u64,
    pub(super) index: LayerIndex,
    pub(super) problem: Option<Problem>,
    /// Symbolic links that climb above the root.
    pub(super) climbing_links: u64,
}

impl Problem {
    /// The error, for a layer of this name.
    pub(super) fn error(&self, layer: &str) -> Error {
        match self {
            Problem::Unsafe(name) => {
                Error::new(&codes::UNSAFE_PATH, format!("an entry of layer {layer} leads out of the image"))
                    .because(format!("its name, or what it is a hard link to, is `{name}`"))
            }
            Problem::Tar(error) => {
                Error::new(&codes::CORRUPT_TAR, format!("layer {layer} is damaged")).because(error)
            }
            Problem::Compressed(compression, error) => {
                Error::new(&codes::CORRUPT_GZIP, format!("the compressed data of layer {layer} is damaged"))
                    .because(format!("it begins as {compression} does"))
                    .because(error)
            }
            Problem::TooLarge => {
                Error::new(&codes::TOO_LARGE, format!("layer {layer} decompresses to too much"))
            }
        }
    }
}

impl Layer {
    /// A layer at its beginning, compressed so; `None` for a compression that layers do not have.
    pub(super) fn new(compression: Compression) -> Option<Self> {
        let inflater = Inflater::new(compression)?;
        let raw = (!inflater.is_plain()).then(Sha256::new);
        Some(Layer { compression, inflater, raw, raw_size: 0, contents: LayerContents::new(), problem: None })
    }

    /// Takes the next bytes. `room` is how much more may come out; `inflated` hears what
    /// comes out of a compressed layer, and says whether to go on.
    pub(super) fn feed(
        &mut self,
        bytes: &[u8],
        budget: &mut Budget,
        room: &mut u64,
        mut inflated: impl FnMut(&[u8]) -> bool,
    ) {
        self.raw_size += bytes.len() as u64;
        let Some(raw) = &mut self.raw else {
            return self.contents.feed(bytes, budget);
        };
        raw.update(bytes);
        if self.problem.is_some() {
            return;
        }
        let contents = &mut self.contents;
        let mut too_large = false;
        let pushed = self.inflater.push(bytes, &mut |bytes| {
            match room.checked_sub(bytes.len() as u64) {
                Some(rest) => *room = rest,
                None => too_large = true,
            }
            contents.feed(bytes, budget);
            !too_large && inflated(bytes)
        });
        if too_large {
            self.problem = Some(Problem::TooLarge);
        } else if let Err(error) = pushed {
            self.problem = Some(Problem::Compressed(self.compression, error.to_string()));
        }
    }

    /// Ends the layer.
    pub(super) fn finish(self) -> ReadLayer {
        let Layer { compression, inflater, raw, raw_size, contents, mut problem } = self;
        if problem.is_none() && !inflater.finished() {
            problem = Some(Problem::Compressed(compression, "it ends in the middle".to_owned()));
        }
        let mut layer = contents.finish();
        layer.compression = compression;
        if let Some(raw) = raw {
            layer.blob = Digest::from_bytes(raw.finalize().into());
            layer.blob_size = raw_size;
        }
        layer.problem = problem.or(layer.problem);
        layer
    }
}

impl LayerContents {
    fn new() -> Self {
        LayerContents {
            hasher: Sha256::new(),
            tar: Reader::new(),
            index: LayerIndex::default(),
            entries: 0,
            size: 0,
            current: None,
            capture: Capture::default(),
            problem: None,
            climbing_links: 0,
        }
    }

    fn feed(&mut self, bytes: &[u8], budget: &mut Budget) {
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        if self.problem.is_none()
            && let Err(problem) = self.look(bytes, budget)
        {
            self.problem = Some(problem);
        }
    }

    fn look(&mut self, mut bytes: &[u8], budget: &mut Budget) -> Result<(), Problem> {
        while let Some(item) = self.tar.next(&mut bytes).map_err(Problem::Tar)? {
            match item {
                Item::Entry(entry) => self.begin(entry)?,
                Item::Data(data) => self.capture.feed(data),
                Item::EntryEnd => {
                    if let Some((path, entry)) = self.current.take() {
                        let content = std::mem::take(&mut self.capture).end();
                        self.index.add(budget, &path, &entry, content);
                    }
                }
            }
        }
        Ok(())
    }

    fn begin(&mut self, entry: Entry) -> Result<(), Problem> {
        let leads_out_of_image = |name: &[u8]| Problem::Unsafe(show(name));
        let path = clean(&entry.name).map_err(|_| leads_out_of_image(&entry.name))?;
        match entry.kind {
            Kind::HardLink if clean(&entry.link).is_err() => return Err(leads_out_of_image(&entry.link)),
            Kind::Symlink if leads_out(&path, &entry.link) => self.climbing_links += 1,
            _ => {}
        }
        self.entries += 1;
        self.capture = Capture::of(&path, &entry);
        self.current = Some((path, entry));
        Ok(())
    }

    fn finish(mut self) -> ReadLayer {
        if self.problem.is_none() {
            self.problem = self.tar.finish().err().map(Problem::Tar);
        }
        self.index.seal();
        let digest = Digest::from_bytes(self.hasher.finalize().into());
        ReadLayer {
            digest,
            blob: digest,
            blob_size: self.size,
            compression: Compression::None,
            size: self.size,
            entries: self.entries,
            index: self.index,
            problem: self.problem,
            climbing_links: self.climbing_links,
        }
    }
}
