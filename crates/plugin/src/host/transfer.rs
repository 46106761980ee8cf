//! The bytes of a NAR, as they come through a socket.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::UnixListener;

/// How long it may take to see a connection that was made before the plugin said that it is done.
const CONNECTED: Duration = Duration::from_secs(2);
/// How long nothing may come before the end, once the plugin has said that it is done.
const LAST_BYTES: Duration = Duration::from_secs(10);
/// What is read at once.
const PIECE: usize = 256 << 10;

/// How far a transfer is.
#[derive(Debug, Default)]
pub(super) struct Copied {
    /// Somebody has connected.
    began: AtomicBool,
    /// The bytes that the reader has.
    count: AtomicU64,
    /// The reader has to take what came, before more is read.
    writing: AtomicBool,
}

impl Copied {
    /// The bytes that the reader has.
    pub(super) fn bytes(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    fn state(&self) -> (bool, u64) {
        (self.began.load(Ordering::Relaxed), self.bytes())
    }
}

/// Copies what the first to connect writes.
pub(super) async fn copy(
    listener: &UnixListener,
    out: &mut (dyn AsyncWrite + Send + Unpin),
    copied: &Copied,
) -> std::io::Result<()> {
    let (stream, _) = listener.accept().await?;
    copied.began.store(true, Ordering::Relaxed);
    let mut stream = BufReader::with_capacity(PIECE, stream);
    loop {
        let piece = stream.fill_buf().await?;
        if piece.is_empty() {
            return out.flush().await;
        }
        copied.writing.store(true, Ordering::Relaxed);
        out.write_all(piece).await?;
        copied.writing.store(false, Ordering::Relaxed);
        let count = piece.len();
        copied.count.fetch_add(count as u64, Ordering::Relaxed);
        stream.consume(count);
    }
}

/// The end of a copy whose writer has said that it is done: perhaps before we have looked at its connection, and what it wrote last is on its
/// way. Who keeps an end open that has written all is not waited for for ever: what came is counted.
pub(super) async fn rest(
    mut copy: Pin<&mut impl Future<Output = std::io::Result<()>>>,
    copied: &Copied,
) -> std::io::Result<()> {
    loop {
        let before = copied.state();
        let limit = if before.0 { LAST_BYTES } else { CONNECTED };
        if let Ok(result) = tokio::time::timeout(limit, &mut copy).await {
            return result;
        }
        // A reader that takes its time is not the writer's fault.
        if before == copied.state() && !copied.writing.load(Ordering::Relaxed) {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    /// What is small is written and closed before anybody looks at the connection.
    #[tokio::test]
    async fn bytes_that_came_before_anybody_looked_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("s")).unwrap();
        UnixStream::connect(dir.path().join("s")).unwrap().write_all(b"small").unwrap();
        let (mut out, copied) = (Vec::new(), Copied::default());
        rest(std::pin::pin!(copy(&listener, &mut out, &copied)), &copied).await.unwrap();
        assert_eq!((out.as_slice(), copied.bytes()), (b"small".as_slice(), 5));
    }

    #[tokio::test]
    async fn nobody_is_waited_for_who_has_not_connected() {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("s")).unwrap();
        let (mut out, copied) = (Vec::new(), Copied::default());
        let copy = std::pin::pin!(copy(&listener, &mut out, &copied));
        rest(copy, &copied).await.unwrap();
        assert_eq!(copied.bytes(), 0);
    }
}
