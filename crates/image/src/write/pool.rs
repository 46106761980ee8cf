//! Threads that compress blocks.

use std::io;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::encoding::{Codec, Encoder};

/// More threads than this would need more memory than an image may cost: each holds a block and its result.
const MOST: usize = 6;

/// A block to compress, and where the result goes.
struct Job {
    codec: Codec,
    block: Vec<u8>,
    done: SyncSender<io::Result<Encoded>>,
}

/// A compressed block, and the buffer it was made from.
pub(super) struct Encoded {
    pub(super) bytes: Vec<u8>,
    pub(super) block: Vec<u8>,
}

/// A block that is being compressed.
pub(super) struct Ticket(Receiver<io::Result<Encoded>>);

impl Ticket {
    /// Waits for the result.
    pub(super) fn wait(self) -> io::Result<Encoded> {
        self.0.recv().unwrap_or_else(|_| Err(io::Error::other("a thread that compresses has died")))
    }
}

/// Threads that compress. They end when this is dropped.
pub(super) struct Pool {
    jobs: Sender<Job>,
    threads: usize,
}

impl Pool {
    /// Starts a thread for each CPU.
    pub(super) fn start() -> io::Result<Pool> {
        let threads = thread::available_parallelism().map_or(1, usize::from).min(MOST);
        let (jobs, queue) = channel();
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..threads {
            let queue = Arc::clone(&queue);
            thread::Builder::new().name("compress".to_owned()).spawn(move || work(&queue))?;
        }
        Ok(Pool { jobs, threads })
    }

    /// How many blocks may be on their way: enough that no thread waits while one result is written.
    pub(super) fn window(&self) -> usize {
        self.threads + 2
    }

    /// Has a block compressed.
    pub(super) fn submit(&self, codec: Codec, block: Vec<u8>) -> Ticket {
        let (done, result) = sync_channel(1);
        // A failure shows when the result is waited for.
        let _ = self.jobs.send(Job { codec, block, done });
        Ticket(result)
    }
}

fn work(queue: &Mutex<Receiver<Job>>) {
    let mut encoder = Encoder::default();
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { codec, block, done }) = next else { return };
        let encoded = encoder.encode(codec, &block).map(|bytes| Encoded { bytes, block });
        // Nobody waits any more after a failure.
        let _ = done.send(encoded);
    }
}
