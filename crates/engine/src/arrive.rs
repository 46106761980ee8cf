//! An image that arrives from a store elsewhere, as a NAR: it is hashed on the way, and nothing counts before the
//! hash is right.

use std::fs::File;
use std::io::{self, Read, Take};
use std::sync::{Arc, Mutex, PoisonError};

use nixoci_core::artifact::PathInfo;
use nixoci_core::{Error, ErrorKind, Result, ResultExt};
use nixoci_image::{Imported, Input, ReadOptions, import};
use nixoci_nix::nar::{HashingReader, SingleFile, single_file};

use crate::codes::SHORT_FETCH;

/// When what arrived is no good image, so much more is read to find out whether the transfer is to blame. Beyond it,
/// the image is: nobody waits for gigabytes to arrive only to be told the same.
const DOUBT: u64 = 64 << 20;

/// The NAR of a single file that is on its way.
pub(crate) struct Arrival {
    /// Where it comes from.
    pub(crate) stream: Box<dyn Read + Send>,
    /// What it should be.
    pub(crate) info: PathInfo,
}

type Nar = SingleFile<HashingReader<Take<Box<dyn Read + Send>>>>;

/// The file in the NAR, lent to the threads that read images and taken back afterwards.
#[derive(Clone)]
struct Lent(Arc<Mutex<Option<Nar>>>);

impl Lent {
    fn take_back(&self) -> Option<Nar> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Read for Lent {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            Some(nar) => nar.read(buffer),
            None => Ok(0),
        }
    }
}

impl Arrival {
    /// Reads the image into `out`. It is one only if the whole stream is what the store recorded.
    pub(crate) fn import(self, options: &ReadOptions<'_>, out: &mut File) -> Result<Imported> {
        let Arrival { stream, info } = self;
        // A store that goes on sending does not keep nixoci reading: one byte too many is enough to be wrong.
        let stream = stream.take(info.nar_size.saturating_add(1));
        let nar = single_file(HashingReader::new(stream))?;
        let (name, size) = (info.path.name().to_owned(), nar.len());
        let lent = Lent(Arc::new(Mutex::new(Some(nar))));
        let imported = import(Input::reader(Box::new(lent.clone()), name, Some(size)), options, out);
        let doubt = match &imported {
            Ok(_) => u64::MAX,
            Err(error) if matches!(error.kind(), ErrorKind::Image | ErrorKind::Transfer) => DOUBT,
            // A full disk, a cancellation: they have nothing to do with what arrives.
            Err(_) => return imported,
        };
        let nar = lent.take_back().ok_or_else(|| short(&info))?;
        // What is wrong with the transfer explains whatever seems wrong with the image.
        verify(nar, &info, doubt)?;
        imported
    }
}

/// Reads the rest, if it is at most `doubt` long, and compares everything that came with what the store recorded.
fn verify(mut nar: Nar, info: &PathInfo, doubt: u64) -> Result<()> {
    let rest =
        io::copy(&mut nar.by_ref().take(doubt), &mut io::sink()).or_error(&SHORT_FETCH, || text(info))?;
    if rest == doubt {
        return Ok(());
    }
    let mut stream = nar.finish()?;
    // One byte behind the end is enough to be wrong.
    io::copy(&mut stream.by_ref().take(1), &mut io::sink()).or_error(&SHORT_FETCH, || text(info))?;
    stream.check(info)
}

fn text(info: &PathInfo) -> String {
    format!("{} did not arrive whole", info.path)
}

fn short(info: &PathInfo) -> Error {
    Error::new(&SHORT_FETCH, text(info))
}
