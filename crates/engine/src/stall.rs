//! A transfer in which nothing moves is given up: a connection may be there and silent for ever.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::AsyncWrite;

/// So many looks within the time that a transfer may stand still.
const LOOKS: u32 = 8;

/// How far a transfer has come.
#[derive(Debug, Default)]
pub(crate) struct Moved {
    bytes: AtomicU64,
    /// Whether what was sent waits to be read: then it is not the sender that stands still.
    waits: AtomicBool,
}

impl Moved {
    /// How many bytes were sent.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Ends when the sender has sent nothing for `limit`, though it could have; never with zero.
    pub(crate) async fn stalled(&self, limit: Duration) {
        if limit.is_zero() {
            return std::future::pending().await;
        }
        let (mut last, mut idle) = (self.bytes(), 0);
        while idle < LOOKS {
            tokio::time::sleep(limit / LOOKS).await;
            let bytes = self.bytes();
            let stands = bytes == last && !self.waits.load(Ordering::Relaxed);
            idle = if stands { idle + 1 } else { 0 };
            last = bytes;
        }
    }
}

/// A writer that tells [`Moved`].
pub(crate) struct Told<W> {
    pub(crate) writer: W,
    pub(crate) moved: Arc<Moved>,
}

impl<W: AsyncWrite + Unpin> AsyncWrite for Told<W> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.writer).poll_write(cx, bytes);
        self.moved.waits.store(written.is_pending(), Ordering::Relaxed);
        if let Poll::Ready(Ok(count)) = &written {
            self.moved.bytes.fetch_add(*count as u64, Ordering::Relaxed);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    /// Whether a transfer counts as stalled while `work` goes on, on a clock that moves when nothing else does.
    async fn is_stalled(moved: &Moved, work: impl Future<Output = ()>) -> bool {
        tokio::select! {
            () = moved.stalled(LIMIT) => true,
            () = work => false,
        }
    }

    /// A time passes on that clock.
    async fn later(time: Duration) {
        let never = tokio::time::timeout(time, std::future::pending::<()>()).await;
        assert!(never.is_err());
    }

    fn pipe() -> (Told<tokio::io::DuplexStream>, tokio::io::DuplexStream, Arc<Moved>) {
        let (writer, reader) = tokio::io::duplex(4);
        let moved = Arc::new(Moved::default());
        (Told { writer, moved: Arc::clone(&moved) }, reader, moved)
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_sender_is_stalled_and_a_slow_one_is_not() {
        let (mut writer, mut reader, moved) = pipe();
        assert!(is_stalled(&moved, std::future::pending()).await);
        let slow = async {
            for _ in 0..5 {
                later(LIMIT * 3 / 4).await;
                writer.write_all(b"x").await.unwrap();
                reader.read_u8().await.unwrap();
            }
        };
        assert!(!is_stalled(&moved, slow).await);
        assert_eq!(moved.bytes(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_sender_whose_reader_is_slow_is_not_stalled() {
        let (mut writer, mut reader, moved) = pipe();
        let send = async { writer.write_all(b"more than fits").await.unwrap() };
        let read = async {
            later(LIMIT * 5).await;
            reader.read_exact(&mut [0; 14]).await.unwrap();
        };
        let both = async { tokio::join!(send, read).0 };
        assert!(!is_stalled(&moved, both).await);
        assert_eq!(moved.bytes(), 14);
    }
}
