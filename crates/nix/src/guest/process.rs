//! A process in a guest, seen through the program that entered it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use nixoci_core::Result;
use nixoci_core::runner::{Exit, GRACE, Input, Process, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::watch;
use tokio::time::timeout;

use super::{GuestTransport, LOST};

/// The buffer between standard error and its reader, in bytes.
const PIPE: usize = 64 << 10;
/// How much of the end of standard error is kept for the case that the connection is lost, in bytes.
const KEPT: usize = 16 << 10;

/// The end of what was written to standard error.
#[derive(Clone, Debug, Default)]
struct Tail {
    bytes: Vec<u8>,
    closed: bool,
}

pub(super) struct GuestProcess {
    inner: Box<dyn Process>,
    transport: Arc<dyn GuestTransport>,
    /// Held open for as long as the command shall run, unless the command reads.
    stdin: Option<Input>,
    reads: bool,
    stderr: Option<DuplexStream>,
    tail: watch::Receiver<Tail>,
}

impl GuestProcess {
    pub(super) fn new(mut inner: Box<dyn Process>, transport: Arc<dyn GuestTransport>, reads: bool) -> Self {
        let stdin = inner.take_stdin();
        let (here, there) = duplex(PIPE);
        let (tell, tail) = watch::channel(Tail::default());
        if let Some(stderr) = inner.take_stderr() {
            tokio::spawn(copy(stderr, here, tell));
        }
        GuestProcess { inner, transport, stdin, reads, stderr: Some(there), tail }
    }

    /// Writes the first line, which a command that does not read is told.
    pub(super) async fn told(mut self, line: Option<&[u8]>) -> Self {
        if let (Some(line), Some(stdin)) = (line, &mut self.stdin) {
            // One that is gone already says why on its way out.
            let _ = (stdin.write_all(line).await, stdin.flush().await);
        }
        self
    }

    /// How the command in the guest ended, by how the program here ended.
    async fn exit(&mut self, inner: Exit) -> Result<Exit> {
        match inner {
            Exit::Code(LOST) => {
                let _ = timeout(GRACE, self.tail.wait_for(|tail| tail.closed)).await;
                let said = said(&self.tail.borrow().bytes);
                Err(self.transport.lost(&said).await)
            }
            // A shell reports a signal like this.
            Exit::Code(code @ 129..=192) => Ok(Exit::Signal(code - 128)),
            exit => Ok(exit),
        }
    }
}

/// The lines of the end of standard error, without Nix's events, which say nothing about the connection.
fn said(tail: &[u8]) -> String {
    let text = String::from_utf8_lossy(tail);
    let lines = text.lines().map(str::trim_end).filter(|line| !line.is_empty() && !line.starts_with("@nix "));
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// Passes standard error on, and keeps the end of it. A reader that is gone does not stop it: the process must not block on a full pipe.
async fn copy(mut stderr: Stream, mut out: DuplexStream, tell: watch::Sender<Tail>) {
    let mut buffer = [0; 8 << 10];
    let mut open = true;
    while let Ok(count @ 1..) = stderr.read(&mut buffer).await {
        tell.send_modify(|tail| {
            tail.bytes.extend_from_slice(&buffer[..count]);
            let over = tail.bytes.len().saturating_sub(KEPT);
            tail.bytes.drain(..over);
        });
        open = open && out.write_all(&buffer[..count]).await.is_ok();
    }
    tell.send_modify(|tail| tail.closed = true);
}

#[async_trait]
impl Process for GuestProcess {
    fn take_stdin(&mut self) -> Option<Input> {
        if self.reads { self.stdin.take() } else { None }
    }

    fn take_stdout(&mut self) -> Option<Stream> {
        self.inner.take_stdout()
    }

    fn take_stderr(&mut self) -> Option<Stream> {
        self.stderr.take().map(|stream| Box::new(stream) as Stream)
    }

    async fn wait(&mut self) -> Result<Exit> {
        // Standard error that nobody took must not fill up.
        drop(self.stderr.take());
        let inner = self.inner.wait().await?;
        self.exit(inner).await
    }

    async fn stop(&mut self, grace: Duration) -> Result<Exit> {
        // Its end is what the script waits for.
        drop(self.stdin.take());
        drop(self.stderr.take());
        let inner = match timeout(grace, self.inner.wait()).await {
            Ok(exit) => exit?,
            Err(_) => self.inner.stop(grace).await?,
        };
        match self.exit(inner).await {
            // It was to end, and it has.
            Err(_) => Ok(inner),
            exit => exit,
        }
    }
}
