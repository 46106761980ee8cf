//! A layer while it streams past: hashed, and looked into.

use nixoci_core::Error;
use nixoci_core::digest::Digest;
use sha2::{Digest as _, Sha256};

use crate::codes;
use crate::content::{Budget, LayerIndex, clean, leads_out};
use crate::machine::HEAD;
use crate::tar::{Entry, Item, Kind, Reader, TarError};
use crate::text::show;

/// A layer that is being read.
pub(super) struct Layer {
    hasher: Sha256,
    tar: Reader,
    index: LayerIndex,
    entries: u64,
    size: u64,
    /// The entry whose data is passing, by its clean name.
    current: Option<(Vec<u8>, Entry)>,
    /// Its first bytes, while they are wanted.
    head: Vec<u8>,
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
}

/// A layer that was read to its end.
pub(super) struct ReadLayer {
    pub(super) digest: Digest,
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
        }
    }
}

impl Layer {
    /// A layer at its beginning.
    pub(super) fn new() -> Self {
        Layer {
            hasher: Sha256::new(),
            tar: Reader::new(),
            index: LayerIndex::default(),
            entries: 0,
            size: 0,
            current: None,
            head: Vec::with_capacity(HEAD),
            problem: None,
            climbing_links: 0,
        }
    }

    /// Takes the next bytes.
    pub(super) fn feed(&mut self, bytes: &[u8], budget: &mut Budget) {
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
                Item::Data(data) => {
                    let wanted = data.len().min(HEAD - self.head.len());
                    self.head.extend_from_slice(&data[..wanted]);
                }
                Item::EntryEnd => {
                    if let Some((path, entry)) = self.current.take() {
                        self.index.add(budget, &path, &entry, &self.head);
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
        self.head.clear();
        self.current = Some((path, entry));
        Ok(())
    }

    /// Ends the layer.
    pub(super) fn finish(mut self) -> ReadLayer {
        if self.problem.is_none() {
            self.problem = self.tar.finish().err().map(Problem::Tar);
        }
        self.index.seal();
        ReadLayer {
            digest: Digest::from_bytes(self.hasher.finalize().into()),
            size: self.size,
            entries: self.entries,
            index: self.index,
            problem: self.problem,
            climbing_links: self.climbing_links,
        }
    }
}
