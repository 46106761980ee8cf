//! A transfer in which nothing moves is given up: a connection may be there and silent for ever.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::AsyncWrite;

/// How long nothing may move in a transfer, unless the user says otherwise.
pub const DEFAULT_LIMIT: Duration = Duration::from_secs(60);
/// How often progress is looked at within the limit.
const LOOKS: u32 = 8;

/// How far a transfer has come. A [`Meter`] writes it.
#[derive(Debug, Default)]
pub struct Progress {
    bytes: AtomicU64,
    /// Whether the reader has not taken what was written last.
    is_blocked: AtomicBool,
}

impl Progress {
    /// How many bytes were taken.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Returns when the sender has sent nothing for `limit`, though the reader could have taken it; never if the limit is zero.
    pub async fn sender_stalled(&self, limit: Duration) {
        self.stalled(limit, false).await;
    }

    /// Returns when the reader has taken nothing for `limit`, though there was something to take; never if the limit is zero.
    pub async fn reader_stalled(&self, limit: Duration) {
        self.stalled(limit, true).await;
    }

    async fn stalled(&self, limit: Duration, blocked: bool) {
        if limit.is_zero() {
            return std::future::pending().await;
        }
        let (mut last, mut idle) = (self.bytes(), 0);
        while idle < LOOKS {
            tokio::time::sleep(limit / LOOKS).await;
            let bytes = self.bytes();
            let stands = bytes == last && self.is_blocked.load(Ordering::Relaxed) == blocked;
            idle = if stands { idle + 1 } else { 0 };
            last = bytes;
        }
    }
}

/// A writer that records its [`Progress`].
#[derive(Debug)]
pub struct Meter<W> {
    writer: W,
    progress: Arc<Progress>,
}

impl<W> Meter<W> {
    /// Records in `progress` what is written to `writer`.
    pub fn new(writer: W, progress: Arc<Progress>) -> Self {
        Meter { writer, progress }
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for Meter<W> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.writer).poll_write(cx, bytes);
        self.progress.is_blocked.store(written.is_pending(), Ordering::Relaxed);
        if let Poll::Ready(Ok(count)) = &written {
            self.progress.bytes.fetch_add(*count as u64, Ordering::Relaxed);
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

    /// Which of sender and reader counts as stalled while `work` goes on, on a clock that moves when nothing else does.
    async fn stalled(progress: &Progress, work: impl Future<Output = ()>) -> Option<&'static str> {
        tokio::select! {
            () = progress.sender_stalled(LIMIT) => Some("sender"),
            () = progress.reader_stalled(LIMIT) => Some("reader"),
            () = work => None,
        }
    }

    /// A time passes on that clock.
    async fn later(time: Duration) {
        let never = tokio::time::timeout(time, std::future::pending::<()>()).await;
        assert!(never.is_err());
    }

    fn pipe() -> (Meter<tokio::io::DuplexStream>, tokio::io::DuplexStream, Arc<Progress>) {
        let (writer, reader) = tokio::io::duplex(4);
        let progress = Arc::new(Progress::default());
        (Meter::new(writer, Arc::clone(&progress)), reader, progress)
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_sender_is_stalled_and_a_slow_one_is_not() {
        let (mut writer, mut reader, progress) = pipe();
        assert_eq!(stalled(&progress, std::future::pending()).await, Some("sender"));
        let slow = async {
            for _ in 0..5 {
                later(LIMIT * 3 / 4).await;
                writer.write_all(b"x").await.unwrap();
                reader.read_u8().await.unwrap();
            }
        };
        assert_eq!(stalled(&progress, slow).await, None);
        assert_eq!(progress.bytes(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_takes_nothing_is_stalled_and_a_slow_one_is_not() {
        let (mut writer, mut reader, progress) = pipe();
        let send = async { writer.write_all(b"more than fits").await.unwrap() };
        assert_eq!(stalled(&progress, send).await, Some("reader"));
        assert_eq!(progress.bytes(), 4);

        let (mut writer, mut slow, progress) = pipe();
        let send = async { writer.write_all(b"more than fits").await.unwrap() };
        let read = async {
            loop {
                later(LIMIT * 3 / 4).await;
                slow.read_u8().await.unwrap();
            }
        };
        let until_sent = async {
            tokio::select! {
                () = send => {}
                () = read => {}
            }
        };
        assert_eq!(stalled(&progress, until_sent).await, None);
        assert_eq!(progress.bytes(), 14);
        // It is still there.
        reader.read_u8().await.unwrap();
    }
}
