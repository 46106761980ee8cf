//! Layers on their way into a store: compressed or not, in the order in which they came.

use std::collections::VecDeque;
use std::fs::File;
use std::io;

use nixoci_core::digest::Digest;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::blobs::BlobStore;
use super::encoding::{Codec, Encoding};
use super::pool::{Pool, Ticket};
use crate::detect::Compression;

/// A layer in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Stored {
    /// The digest of the uncompressed layer.
    pub(crate) diff_id: Digest,
    /// The digest of what was stored.
    pub(crate) digest: Digest,
    /// Its length.
    pub(crate) size: u64,
    /// How it is compressed.
    pub(crate) compression: Compression,
}

/// Something that was begun and is not in the store yet.
enum Pending {
    Begin,
    Block(Ticket),
    End(Digest, Codec),
}

/// Takes layers, compresses what is to be compressed, and stores them.
pub(crate) struct LayerWriter<'s> {
    store: Box<dyn BlobStore + 's>,
    encoding: Encoding,
    /// From the first layer that is compressed here: an encoding has one codec.
    pool: Option<Pool>,
    /// In the order of the layers; only blocks take time.
    pending: VecDeque<Pending>,
    blocks: usize,
    /// The block that is being filled.
    block: Vec<u8>,
    /// How the current layer is compressed here; `None` for one that is stored as it comes.
    codec: Option<Codec>,
    as_is: Compression,
    hasher: Sha256,
    written: u64,
    stored: Vec<Stored>,
}

impl<'s> LayerWriter<'s> {
    /// A writer into this store.
    pub(crate) fn new(store: Box<dyn BlobStore + 's>, encoding: Encoding) -> Self {
        LayerWriter {
            store,
            encoding,
            pool: None,
            pending: VecDeque::new(),
            blocks: 0,
            block: Vec::new(),
            codec: None,
            as_is: Compression::None,
            hasher: Sha256::new(),
            written: 0,
            stored: Vec::new(),
        }
    }

    /// How layers are stored.
    pub(crate) fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// A layer begins that comes compressed so. Whether it has to be decompressed first,
    /// [`Encoding::of`] says.
    pub(crate) fn begin(&mut self, found: Compression) -> io::Result<()> {
        self.codec = self.encoding.of(found).flatten();
        self.as_is = if self.encoding.of(found).is_none() { found } else { Compression::None };
        if self.codec.is_some() {
            self.pending.push_back(Pending::Begin);
            return Ok(());
        }
        self.drain(0)?;
        self.written = 0;
        self.store.begin()
    }

    /// More of it.
    pub(crate) fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let Some(codec) = self.codec else {
            self.written += bytes.len() as u64;
            return self.store.write(bytes);
        };
        while !bytes.is_empty() {
            if self.block.capacity() == 0 {
                self.block = self.pool(codec)?.block();
            }
            let taken = bytes.len().min(codec.block() - self.block.len());
            self.block.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if self.block.len() == codec.block() {
                self.submit(codec)?;
            }
        }
        Ok(())
    }

    /// A part of a file is more of it.
    pub(crate) fn copy(&mut self, source: &File, at: u64, size: u64) -> io::Result<()> {
        if self.codec.is_none() {
            self.written += size;
            return self.store.copy(source, at, size);
        }
        let mut chunk = vec![0; 256 << 10];
        let mut done = 0;
        while done < size {
            let step = chunk.len().min(usize::try_from(size - done).unwrap_or(usize::MAX));
            std::os::unix::fs::FileExt::read_exact_at(source, &mut chunk[..step], at + done)?;
            self.write(&chunk[..step])?;
            done += step as u64;
        }
        Ok(())
    }

    /// The layer ends. `digest` is that of the bytes that were given, `diff_id` that of the uncompressed layer.
    pub(crate) fn end(&mut self, diff_id: Digest, digest: Digest) -> io::Result<()> {
        if let Some(codec) = self.codec {
            if !self.block.is_empty() {
                self.submit(codec)?;
            }
            self.pending.push_back(Pending::End(diff_id, codec));
            return Ok(());
        }
        self.store.end(digest, self.written)?;
        self.stored.push(Stored { diff_id, digest, size: self.written, compression: self.as_is });
        Ok(())
    }

    fn pool(&mut self, codec: Codec) -> io::Result<&mut Pool> {
        let pool = match self.pool.take() {
            Some(pool) => pool,
            None => Pool::start(codec)?,
        };
        Ok(self.pool.insert(pool))
    }

    fn submit(&mut self, codec: Codec) -> io::Result<()> {
        let block = std::mem::take(&mut self.block);
        let pool = self.pool(codec)?;
        let (ticket, window) = (pool.submit(block), pool.window());
        self.pending.push_back(Pending::Block(ticket));
        self.blocks += 1;
        self.drain(window)
    }

    /// Stores what is ready, in order, until at most so many blocks are on their way.
    fn drain(&mut self, most: usize) -> io::Result<()> {
        while self.blocks > most || (most == 0 && !self.pending.is_empty()) {
            match self.pending.pop_front() {
                None => break,
                Some(Pending::Begin) => {
                    self.written = 0;
                    self.hasher = Sha256::new();
                    self.store.begin()?;
                }
                Some(Pending::Block(ticket)) => {
                    let encoded = ticket.wait()?;
                    self.blocks -= 1;
                    self.hasher.update(encoded.bytes());
                    self.written += encoded.bytes().len() as u64;
                    self.store.write(encoded.bytes())?;
                    if let Some(pool) = &mut self.pool {
                        pool.give_back(encoded);
                    }
                }
                Some(Pending::End(diff_id, codec)) => {
                    let hasher = std::mem::take(&mut self.hasher);
                    let digest = Digest::from_bytes(hasher.finalize().into());
                    self.store.end(digest, self.written)?;
                    let compression = codec.compression();
                    self.stored.push(Stored { diff_id, digest, size: self.written, compression });
                }
            }
        }
        Ok(())
    }

    /// Waits for everything that was begun; the layers that ended since the last call, in their order.
    pub(crate) fn flush(&mut self) -> io::Result<Vec<Stored>> {
        self.drain(0)?;
        Ok(std::mem::take(&mut self.stored))
    }

    /// The store, at the end.
    pub(crate) fn into_store(self) -> Box<dyn BlobStore + 's> {
        self.store
    }
}
