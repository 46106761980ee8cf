//! The threads an image flows through: one reads and decompresses, the caller's looks and hashes, one writes.
//!
//! They hand a fixed set of buffers round in a circle, so memory is bounded whatever the sizes, and every byte
//! is copied once on its way from the decompressor to the file.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::Duration;

use flate2::bufread::MultiGzDecoder;
use nixoci_core::{Error, Result};

use crate::codes;
use crate::detect::Compression;
use crate::input::{Input, ReadOptions};
use crate::write_error;

/// The size of a buffer, and how many there are: large enough that handing them over costs nothing, small
/// enough that one is still in the processor's cache when the next thread takes it.
const CHUNK: usize = 128 << 10;
const BUFFERS: usize = 8;
/// Compressed bytes read at once.
const READ_AHEAD: usize = 128 << 10;
/// How often a stalled source is left to see whether the work was cancelled.
const POLL: Duration = Duration::from_millis(100);

/// Something to write, at a fixed place of the output.
pub(crate) enum Write {
    /// A part of the buffer that was just looked at.
    Part {
        /// Which.
        range: Range<usize>,
        /// Where to.
        at: u64,
    },
    /// Other bytes.
    Bytes {
        /// Which.
        bytes: Vec<u8>,
        /// Where to.
        at: u64,
    },
}

/// A full buffer and what is to be written of it.
type Job = (Vec<u8>, Vec<Write>);

/// Why the source ended before its end.
enum Fault {
    Read(io::Error),
    Gzip(io::Error),
    Unsupported(Compression),
}

/// Sends the decompressed bytes of `input` through `look`, and what it wants written to `out`.
pub(crate) fn run(
    input: Input,
    options: &ReadOptions<'_>,
    out: Option<&File>,
    mut look: impl FnMut(&[u8], &mut Vec<Write>) -> Result<()>,
) -> Result<()> {
    let (name, size) = (input.name, input.size);
    let count = AtomicU64::new(0);
    let reader = Counted { inner: input.reader, count: &count };
    thread::scope(|scope| {
        let (full, filled) = sync_channel(BUFFERS);
        let (recycle, free) = channel();
        for _ in 0..BUFFERS {
            // The receiver is right here.
            let _ = recycle.send(Vec::new());
        }
        let builder = || thread::Builder::new().name("image".to_owned());
        let no_thread = |error: io::Error| {
            Error::new(&nixoci_core::codes::PROCESS, "a thread could not be started").caused_by(&error)
        };
        builder().spawn_scoped(scope, move || produce(reader, &free, &full)).map_err(no_thread)?;
        let mut sink = Sink::Recycle(recycle.clone());
        let mut writer = None;
        if let Some(file) = out {
            let (jobs, queue) = sync_channel(BUFFERS);
            let handle = builder().spawn_scoped(scope, move || write(file, &queue, &recycle));
            writer = Some(handle.map_err(no_thread)?);
            sink = Sink::Write(jobs);
        } else {
            drop(recycle);
        }
        let looked = look_at_all(&filled, &sink, options, &count, size, &mut look);
        drop((filled, sink));
        // What stopped the writer explains more than the closed channel that the looking thread saw.
        if let Some(writer) = writer
            && let Ok(Err(error)) = writer.join()
        {
            return Err(write_error(&error, "the image"));
        }
        looked.map_err(|stop| match stop {
            Stop::Error(error) => error,
            Stop::Fault(fault) => describe_fault(fault, &name),
        })
    })
}

enum Stop {
    Error(Error),
    Fault(Fault),
}

enum Sink {
    Recycle(Sender<Vec<u8>>),
    Write(SyncSender<Job>),
}

fn look_at_all(
    filled: &Receiver<Result<Vec<u8>, Fault>>,
    sink: &Sink,
    options: &ReadOptions<'_>,
    count: &AtomicU64,
    size: Option<u64>,
    look: &mut impl FnMut(&[u8], &mut Vec<Write>) -> Result<()>,
) -> Result<(), Stop> {
    loop {
        if options.cancel.is_cancelled() {
            let error = Error::new(&nixoci_core::codes::CANCELLED, "reading the image was stopped");
            return Err(Stop::Error(error));
        }
        let buffer = match filled.recv_timeout(POLL) {
            Ok(buffer) => buffer.map_err(Stop::Fault)?,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        };
        let mut writes = Vec::new();
        look(&buffer, &mut writes).map_err(Stop::Error)?;
        (options.progress)(count.load(Ordering::Relaxed), size);
        let gone = match sink {
            Sink::Recycle(recycle) => recycle.send(buffer).is_err(),
            Sink::Write(jobs) => jobs.send((buffer, writes)).is_err(),
        };
        // The producer may be done with its buffers; a writer that is gone has failed, and says why.
        if gone && matches!(sink, Sink::Write(_)) {
            return Ok(());
        }
    }
}

struct Counted<'a> {
    inner: Box<dyn Read + Send>,
    count: &'a AtomicU64,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.count.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// Fills buffers with decompressed bytes until the source ends or nobody wants more.
fn produce(mut reader: Counted<'_>, free: &Receiver<Vec<u8>>, full: &SyncSender<Result<Vec<u8>, Fault>>) {
    let mut magic = Vec::with_capacity(8);
    if let Err(error) = reader.by_ref().take(8).read_to_end(&mut magic) {
        let _ = full.send(Err(Fault::Read(error)));
        return;
    }
    let compression = Compression::of(&magic);
    let source = io::Cursor::new(magic).chain(reader);
    let fault = match compression {
        Compression::None => pump(source, free, full).map_err(Fault::Read),
        Compression::Gzip => {
            let source = BufReader::with_capacity(READ_AHEAD, Marked(source));
            pump(MultiGzDecoder::new(source), free, full).map_err(tell_apart)
        }
        other => Err(Fault::Unsupported(other)),
    };
    if let Err(fault) = fault {
        let _ = full.send(Err(fault));
    }
}

fn pump(
    mut source: impl Read,
    free: &Receiver<Vec<u8>>,
    full: &SyncSender<Result<Vec<u8>, Fault>>,
) -> io::Result<()> {
    while let Ok(mut buffer) = free.recv() {
        buffer.resize(CHUNK, 0);
        let mut filled = 0;
        let end = loop {
            match source.read(&mut buffer[filled..]) {
                Ok(0) => break Ok(true),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
            if filled == CHUNK {
                break Ok(false);
            }
        };
        buffer.truncate(filled);
        // What came before a fault may already tell what the source is.
        if full.send(Ok(buffer)).is_err() || end? {
            break;
        }
    }
    Ok(())
}

/// Marks errors of the source itself, so that they can be told from errors of the decompressor on top of it.
struct Marked<R>(R);

#[derive(Debug)]
struct SourceError(io::Error);

impl std::fmt::Display for SourceError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for SourceError {}

impl<R: Read> Read for Marked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::Interrupted => error,
            kind => io::Error::new(kind, SourceError(error)),
        })
    }
}

fn tell_apart(error: io::Error) -> Fault {
    match error.downcast::<SourceError>() {
        Ok(SourceError(error)) => Fault::Read(error),
        Err(error) => Fault::Gzip(error),
    }
}

fn describe_fault(fault: Fault, name: &str) -> Error {
    match fault {
        Fault::Read(error) => {
            Error::new(&codes::READ_FAILED, format!("{name} could not be read to its end")).caused_by(&error)
        }
        Fault::Gzip(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Error::new(&codes::TRUNCATED, format!("{name} is truncated"))
                .because("the gzip data ends in the middle")
        }
        Fault::Gzip(error) => {
            Error::new(&codes::CORRUPT_GZIP, format!("the compressed data of {name} is damaged"))
                .caused_by(&error)
        }
        Fault::Unsupported(compression) => crate::detect::unsupported(name, compression),
    }
}

/// Writes what the queue brings, and gives the buffers back.
fn write(file: &File, queue: &Receiver<Job>, recycle: &Sender<Vec<u8>>) -> io::Result<()> {
    while let Ok((buffer, writes)) = queue.recv() {
        for write in writes {
            match write {
                Write::Part { range, at } => {
                    file.write_all_at(buffer.get(range).unwrap_or_default(), at)?;
                }
                Write::Bytes { bytes, at } => file.write_all_at(&bytes, at)?,
            }
        }
        // The producer may be done already.
        let _ = recycle.send(buffer);
    }
    Ok(())
}
