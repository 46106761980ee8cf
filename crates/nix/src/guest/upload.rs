//! Writing to a command in a guest, until the guest stops taking what is written.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use nixoci_core::backend::Cx;
use nixoci_core::runner::{Command, Feed, Input, output_fed};
use nixoci_core::stall::{Meter, Progress};
use nixoci_core::text::bytes;
use nixoci_core::{Error, Remedy, Result};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::GuestRunner;
use super::codes::{SET_UP, STALLED};

/// Writes a file in a guest.
///
/// # Errors
/// [`STALLED`]; [`SET_UP`] if the guest cannot write it; those of the connection to the guest.
pub async fn upload(cx: &Cx<'_>, guest: &GuestRunner<'_>, content: &[u8], place: &str) -> Result<()> {
    let command = Command::new("sh").args(["-c", "cat >\"$1\"", "nixoci", place]).with_stdin();
    let upload = Upload { content, place, limit: cx.stall_timeout };
    let answer = output_fed(guest, &command, &upload, cx.cancel).await?;
    if answer.exit.success() {
        return Ok(());
    }
    Err(Error::new(&SET_UP, format!("{place} could not be written in the virtual machine"))
        .because(answer.stderr_text().trim()))
}

struct Upload<'a> {
    content: &'a [u8],
    place: &'a str,
    limit: Duration,
}

#[async_trait]
impl Feed for Upload<'_> {
    async fn feed(&self, stdin: &mut Input) -> Result<()> {
        let progress = Arc::new(Progress::default());
        let mut out = Meter::new(stdin, Arc::clone(&progress));
        let write = async {
            // A guest that stops reading says why itself.
            let _ = out.write_all(self.content).await;
            Ok(())
        };
        unless_stalled(&progress, self.limit, self.place, write).await
    }
}

/// Where the guest reads.
pub(super) type Sink<'a> = &'a mut (dyn AsyncWrite + Send + Unpin);

/// Runs `write`, until the guest has taken nothing for `limit`.
pub(super) async fn unless_stalled(
    progress: &Progress,
    limit: Duration,
    what: &str,
    write: impl Future<Output = Result<()>> + Send,
) -> Result<()> {
    tokio::select! {
        written = write => written,
        () = progress.reader_stalled(limit) => Err(stalled(what, limit, progress.bytes())),
    }
}

fn stalled(what: &str, limit: Duration, taken: u64) -> Error {
    Error::new(&STALLED, format!("sending {what} to the virtual machine stalled"))
        .because(format!("it has taken nothing for {} s, after {}", limit.as_secs_f64(), bytes(taken)))
        .remedy(Remedy::command("or wait longer", "--stall-timeout 10m"))
}
