//! A process in a guest, seen through the program that entered it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use nixoci_core::Result;
use nixoci_core::runner::{Exit, GRACE, Input, Process, Stream};
use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::watch;
use tokio::time::timeout;

use super::{Door, script};
use crate::lines::{LINE_LIMIT, Lines};

/// So much of standard error may be on its way.
const PIPE: usize = 64 << 10;
/// So much of it is kept for the case that no exit code comes.
const KEPT: usize = 16 << 10;

/// What is known of the end.
#[derive(Clone, Debug, Default)]
struct End {
    code: Option<i32>,
    said: String,
    closed: bool,
}

pub(super) struct GuestProcess {
    inner: Box<dyn Process>,
    door: Arc<dyn Door>,
    /// Held open for as long as the command shall run, unless the command reads.
    stdin: Option<Input>,
    reads: bool,
    stderr: Option<DuplexStream>,
    end: watch::Receiver<End>,
}

impl GuestProcess {
    pub(super) fn new(mut inner: Box<dyn Process>, door: Arc<dyn Door>, reads: bool) -> Self {
        let stdin = inner.take_stdin();
        let (here, there) = duplex(PIPE);
        let (tell, end) = watch::channel(End::default());
        if let Some(stderr) = inner.take_stderr() {
            tokio::spawn(filter(stderr, here, tell));
        }
        GuestProcess { inner, door, stdin, reads, stderr: Some(there), end }
    }

    /// Writes the first line, which a command that does not read is told.
    pub(super) async fn told(mut self, line: Option<&[u8]>) -> Self {
        if let (Some(line), Some(stdin)) = (line, &mut self.stdin) {
            // One that is gone already says why on its way out.
            let _ = (stdin.write_all(line).await, stdin.flush().await);
        }
        self
    }

    /// The exit code as the guest said it, which is written before the program here ends.
    async fn code(&mut self, inner: Exit) -> Result<Exit> {
        let _ = timeout(GRACE, self.end.wait_for(|end| end.closed)).await;
        let end = self.end.borrow().clone();
        match end.code {
            // As a shell counts it.
            Some(code @ 129..=192) => Ok(Exit::Signal(code - 128)),
            Some(code) => Ok(Exit::Code(code)),
            // The program itself was ended by us.
            None if matches!(inner, Exit::Signal(_)) => Ok(inner),
            None => Err(self.door.lost(&end.said)),
        }
    }
}

/// Passes standard error on, without the line that is ours.
async fn filter(stderr: Stream, mut out: DuplexStream, tell: watch::Sender<End>) {
    let mut lines = Lines::new(stderr, LINE_LIMIT);
    let mut open = true;
    // An empty line before ours is ours, too.
    let mut empty = false;
    while let Ok(Some(line)) = lines.next().await {
        let text = String::from_utf8_lossy(line);
        if let Some(code) = script::exit_code(&text) {
            tell.send_modify(|end| end.code = Some(code));
            empty = false;
            continue;
        }
        if empty {
            open = open && out.write_all(b"\n").await.is_ok();
        }
        empty = line.is_empty();
        if empty {
            continue;
        }
        // Nix's own events say nothing about the way into the guest.
        tell.send_modify(|end| {
            if end.said.len() < KEPT && !text.starts_with("@nix ") {
                end.said.push_str(text.trim_end());
                end.said.push('\n');
            }
        });
        // A reader that has gone does not stop us: the exit code comes last.
        open = open && out.write_all(line).await.is_ok() && out.write_all(b"\n").await.is_ok();
    }
    tell.send_modify(|end| end.closed = true);
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
        self.code(inner).await
    }

    async fn stop(&mut self, grace: Duration) -> Result<Exit> {
        // Its end is what the script waits for.
        drop(self.stdin.take());
        drop(self.stderr.take());
        let inner = match timeout(grace, self.inner.wait()).await {
            Ok(exit) => exit?,
            Err(_) => self.inner.stop(grace).await?,
        };
        match self.code(inner).await {
            // It was to end, and it has.
            Err(_) => Ok(inner),
            exit => exit,
        }
    }
}
