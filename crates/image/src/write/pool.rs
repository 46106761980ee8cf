//! Threads that compress blocks.

use std::io;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::encoding::{Codec, Encoder};

/// What the blocks and results of all threads may take. With it an image stays below 128 MiB, whatever is in it.
const MEMORY: usize = 104 << 20;
/// How many blocks may wait beside those that are being compressed, so that no thread waits while one result is written;
/// and the one that is being filled.
const WAITING: usize = 2;
const FILLING: usize = 1;

/// A block to compress, and where the result goes.
struct Job {
    codec: Codec,
    block: Vec<u8>,
    result: Vec<u8>,
    done: SyncSender<io::Result<Encoded>>,
}

/// A compressed block, with the buffers it needed.
pub(super) struct Encoded {
    result: Vec<u8>,
    length: usize,
    block: Vec<u8>,
}

impl Encoded {
    /// The compressed bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.result[..self.length]
    }
}

/// A block that is being compressed.
pub(super) struct Ticket(Receiver<io::Result<Encoded>>);

impl Ticket {
    /// Waits for the result.
    pub(super) fn wait(self) -> io::Result<Encoded> {
        self.0.recv().unwrap_or_else(|_| Err(io::Error::other("a thread that compresses has died")))
    }
}

/// Threads that compress, and the buffers for it. The threads end when this is dropped.
pub(super) struct Pool {
    codec: Codec,
    jobs: Sender<Job>,
    threads: usize,
    /// Buffers of blocks and of results, used again: new ones cost page faults.
    blocks: Vec<Vec<u8>>,
    results: Vec<Vec<u8>>,
}

impl Pool {
    /// Starts a thread for each CPU, as far as memory allows.
    pub(super) fn start(codec: Codec) -> io::Result<Pool> {
        let threads = thread::available_parallelism().map_or(1, usize::from).min(most_threads(codec));
        let (jobs, queue) = channel();
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..threads {
            let queue = Arc::clone(&queue);
            thread::Builder::new().name("compress".to_owned()).spawn(move || work(&queue))?;
        }
        Ok(Pool { codec, jobs, threads, blocks: Vec::new(), results: Vec::new() })
    }

    /// How many blocks may be on their way.
    pub(super) fn window(&self) -> usize {
        self.threads + WAITING
    }

    /// An empty buffer for a block.
    pub(super) fn block(&mut self) -> Vec<u8> {
        self.blocks.pop().unwrap_or_else(|| Vec::with_capacity(self.codec.block()))
    }

    /// Has a block compressed.
    pub(super) fn submit(&mut self, block: Vec<u8>) -> Ticket {
        let (done, result) = sync_channel(1);
        let job = Job { codec: self.codec, block, result: self.results.pop().unwrap_or_default(), done };
        // A failure shows when the result is waited for.
        let _ = self.jobs.send(job);
        Ticket(result)
    }

    /// Takes the buffers back.
    pub(super) fn give_back(&mut self, encoded: Encoded) {
        let Encoded { result, mut block, .. } = encoded;
        block.clear();
        self.blocks.push(block);
        self.results.push(result);
    }
}

/// A block that does not get smaller needs its size twice.
fn most_threads(codec: Codec) -> usize {
    (MEMORY / codec.block()).saturating_sub(2 * WAITING + FILLING) / 2
}

fn work(queue: &Mutex<Receiver<Job>>) {
    let mut encoder = Encoder::default();
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { codec, block, mut result, done }) = next else { return };
        let encoded =
            encoder.encode(codec, &block, &mut result).map(|length| Encoded { result, length, block });
        // Nobody waits any more after a failure.
        let _ = done.send(encoded);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_sets_the_number_of_threads() {
        // Four threads of zstd's default level do about what one thread can hash meanwhile.
        assert_eq!(most_threads(Codec::Zstd(2)), 4);
        assert_eq!(most_threads(Codec::Gzip(4)), 10);
    }
}
