//! The threads an image flows through: one reads and decompresses, the caller's looks and hashes, one writes.
//!
//! They hand a fixed set of buffers round in a circle, so memory is bounded whatever the sizes, and every byte
//! is copied once on its way from the decompressor to the file.

use std::io::{self, BufReader, Read};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::Duration;

use nixoci_core::digest::Digest;
use nixoci_core::{Error, Result};
use tokio_util::sync::CancellationToken;

use crate::codes;
use crate::detect::Compression;
use crate::inflate;
use crate::input::{Input, ReadOptions};
use crate::write::{Encoding, LayerWriter, Stored};
use crate::write_error;

/// The size of a buffer, and how many there are: large enough that handing them over costs nothing, small
/// enough that one is still in the processor's cache when the next thread takes it.
const CHUNK: usize = 128 << 10;
const BUFFERS: usize = 8;
/// How many commands may wait for the writer. Each holds at most a buffer.
const QUEUE: usize = 32;
/// Compressed bytes read at once.
const READ_AHEAD: usize = 128 << 10;
/// How often a stalled source is left to see whether the work was cancelled.
const POLL: Duration = Duration::from_millis(100);

/// What is done with layers, in order.
enum Command {
    Begin(Compression),
    /// A part of a buffer.
    Part(Arc<Vec<u8>>, Range<usize>),
    Bytes(Vec<u8>),
    End {
        diff_id: Digest,
        digest: Digest,
    },
    /// Nothing more comes of this buffer.
    Done(Arc<Vec<u8>>),
}

/// Where the looking thread sends what is to be stored. Without a writer it goes nowhere.
pub(crate) struct Outbox<'c> {
    writer: Option<SyncSender<Command>>,
    encoding: Encoding,
    recycle: Sender<Vec<u8>>,
    buffer: Arc<Vec<u8>>,
    gone: bool,
    cancel: &'c CancellationToken,
}

impl Outbox<'_> {
    /// Whether anything is stored.
    pub(crate) fn stores(&self) -> bool {
        self.writer.is_some()
    }

    /// Whether a layer that comes compressed so is stored as it is.
    pub(crate) fn keeps(&self, found: Compression) -> bool {
        self.encoding.of(found).is_none()
    }

    /// Whether nobody wants more: the writer has failed, or the user has stopped it.
    pub(crate) fn closed(&self) -> bool {
        self.gone || self.cancel.is_cancelled()
    }

    fn send(&mut self, command: Command) {
        if let Some(writer) = &self.writer
            && writer.send(command).is_err()
        {
            // It says itself why it is gone.
            self.gone = true;
        }
    }

    /// A layer begins that comes compressed so.
    pub(crate) fn begin(&mut self, found: Compression) {
        self.send(Command::Begin(found));
    }

    /// A part of the current buffer belongs to the layer.
    pub(crate) fn part(&mut self, range: Range<usize>) {
        if self.writer.is_some() {
            self.send(Command::Part(Arc::clone(&self.buffer), range));
        }
    }

    /// Other bytes belong to the layer.
    pub(crate) fn bytes(&mut self, bytes: Vec<u8>) {
        self.send(Command::Bytes(bytes));
    }

    /// The layer ends. `digest` is that of the bytes that were given.
    pub(crate) fn end(&mut self, diff_id: Digest, digest: Digest) {
        self.send(Command::End { diff_id, digest });
    }

    /// The current buffer is done with.
    fn release(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        if self.writer.is_some() {
            self.send(Command::Done(buffer));
        } else if let Ok(buffer) = Arc::try_unwrap(buffer) {
            // The producer may be done already.
            let _ = self.recycle.send(buffer);
        }
    }
}

/// Why the source ended before its end.
enum Fault {
    Read(io::Error),
    Decompress(Compression, io::Error),
    Unsupported(Compression),
}

/// Sends the decompressed bytes of `input` through `look`, and what it wants stored to `writer`. Returns the layers as
/// they were stored, in the order of their ends.
pub(crate) fn run(
    input: Input,
    options: &ReadOptions<'_>,
    writer: Option<&mut LayerWriter<'_>>,
    mut look: impl FnMut(&[u8], &mut Outbox<'_>) -> Result<()>,
) -> Result<Vec<Stored>> {
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
        let encoding = writer.as_ref().map_or(Encoding::Plain, |writer| writer.encoding());
        let mut outbox = Outbox {
            writer: None,
            encoding,
            recycle: recycle.clone(),
            buffer: Arc::default(),
            gone: false,
            cancel: options.cancel,
        };
        let mut writing = None;
        if let Some(writer) = writer {
            let (commands, queue) = sync_channel(QUEUE);
            let handle = builder().spawn_scoped(scope, move || store(writer, &queue, &recycle));
            writing = Some(handle.map_err(no_thread)?);
            outbox.writer = Some(commands);
        }
        let looked = look_at_all(&filled, &mut outbox, options, (&count, size), &mut look);
        drop((filled, outbox));
        // What stopped the writer explains more than the closed channel that the looking thread saw.
        let stored = match writing.map(thread::ScopedJoinHandle::join) {
            Some(Ok(Err(error))) => return Err(write_error(&error, "the image")),
            Some(Ok(Ok(stored))) => stored,
            _ => Vec::new(),
        };
        looked.map(|()| stored).map_err(|stop| match stop {
            Stop::Error(error) => error,
            Stop::Fault(fault) => describe_fault(fault, &name),
        })
    })
}

enum Stop {
    Error(Error),
    Fault(Fault),
}

fn look_at_all(
    filled: &Receiver<Result<Vec<u8>, Fault>>,
    outbox: &mut Outbox<'_>,
    options: &ReadOptions<'_>,
    (count, size): (&AtomicU64, Option<u64>),
    look: &mut impl FnMut(&[u8], &mut Outbox<'_>) -> Result<()>,
) -> Result<(), Stop> {
    loop {
        if options.cancel.is_cancelled() {
            let error = Error::new(&nixoci_core::codes::CANCELLED, "reading the image was stopped");
            return Err(Stop::Error(error));
        }
        let buffer = match filled.recv_timeout(POLL) {
            Ok(buffer) => Arc::new(buffer.map_err(Stop::Fault)?),
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        };
        outbox.buffer = Arc::clone(&buffer);
        let looked = look(&buffer, outbox);
        drop(buffer);
        outbox.release();
        looked.map_err(Stop::Error)?;
        (options.progress)(count.load(Ordering::Relaxed), size);
        if outbox.gone {
            return Ok(());
        }
    }
}

/// Stores what the queue brings, and gives the buffers back.
fn store(
    writer: &mut LayerWriter<'_>,
    queue: &Receiver<Command>,
    recycle: &Sender<Vec<u8>>,
) -> io::Result<Vec<Stored>> {
    while let Ok(command) = queue.recv() {
        match command {
            Command::Begin(found) => writer.begin(found)?,
            Command::Part(buffer, range) => writer.write(buffer.get(range).unwrap_or_default())?,
            Command::Bytes(bytes) => writer.write(&bytes)?,
            Command::End { diff_id, digest } => writer.end(diff_id, digest)?,
            Command::Done(buffer) => {
                // All parts of it were stored before; the producer may be done already.
                let _ = recycle.send(Arc::try_unwrap(buffer).unwrap_or_default());
            }
        }
    }
    writer.flush()
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
        Compression::Gzip | Compression::Zstd | Compression::Xz => {
            let source = BufReader::with_capacity(READ_AHEAD, Marked(source));
            match inflate::reader(source, compression) {
                Ok(reader) => pump(reader, free, full).map_err(|error| tell_apart(compression, error)),
                Err(error) => Err(Fault::Decompress(compression, error)),
            }
        }
        Compression::Bzip2 => Err(Fault::Unsupported(compression)),
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

fn tell_apart(compression: Compression, error: io::Error) -> Fault {
    match error.downcast::<SourceError>() {
        Ok(SourceError(error)) => Fault::Read(error),
        Err(error) => Fault::Decompress(compression, error),
    }
}

fn describe_fault(fault: Fault, name: &str) -> Error {
    match fault {
        Fault::Read(error) => {
            Error::new(&codes::READ_FAILED, format!("{name} could not be read to its end")).caused_by(&error)
        }
        Fault::Decompress(compression, error) => inflate::damaged(name, compression, &error),
        Fault::Unsupported(compression) => crate::detect::unsupported(name, compression),
    }
}
