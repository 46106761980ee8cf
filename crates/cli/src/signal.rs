//! Ctrl-C and friends: the first asks nicely, the second does not wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use nixoci_core::codes::{CANCELLED, TERMINATED, TIMED_OUT};
use nixoci_core::event::Observer;
use nixoci_core::{Error, ErrorKind};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

/// What ended the work early, and whether the terminal's signals belong to a child at the moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Signals {
    cancel: CancellationToken,
    reason: Arc<AtomicU8>,
    child_has_terminal: Arc<AtomicBool>,
}

const INTERRUPTED: u8 = 1;
const ENDED: u8 = 2;
const TIMEOUT: u8 = 3;

impl Signals {
    /// Fires when the work should stop.
    pub(crate) fn cancel(&self) -> &CancellationToken {
        &self.cancel
    }

    /// From now on Ctrl-C is for a child in the foreground, which decides itself what it means.
    pub(crate) fn give_terminal_away(&self) {
        self.child_has_terminal.store(true, Ordering::SeqCst);
    }

    /// Listens in the background.
    pub(crate) fn listen(&self, observer: Arc<dyn Observer>) -> std::io::Result<()> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let own = self.clone();
        tokio::spawn(async move {
            loop {
                let reason = tokio::select! {
                    _ = interrupt.recv() => INTERRUPTED,
                    _ = terminate.recv() => ENDED,
                    _ = hangup.recv() => ENDED,
                };
                if reason == INTERRUPTED && own.child_has_terminal.load(Ordering::SeqCst) {
                    continue;
                }
                if own.cancel.is_cancelled() {
                    // The watchdog ends the children; waiting for them is what the user just refused to do.
                    std::process::exit(i32::from(own.kind(reason).exit_code()));
                }
                own.stop(reason);
                observer.as_ref().info("stopping; press Ctrl-C again to stop at once");
            }
        });
        Ok(())
    }

    /// Stops the work when the time is up, unless the limit is lifted before.
    pub(crate) fn limit(&self, limit: std::time::Duration) -> AbortHandle {
        let own = self.clone();
        let waiting = tokio::spawn(async move {
            tokio::time::sleep(limit).await;
            own.stop(TIMEOUT);
        });
        waiting.abort_handle()
    }

    fn stop(&self, reason: u8) {
        let _ = self.reason.compare_exchange(0, reason, Ordering::SeqCst, Ordering::SeqCst);
        self.cancel.cancel();
    }

    fn kind(&self, reason: u8) -> ErrorKind {
        if reason == ENDED { ErrorKind::Terminated } else { ErrorKind::Interrupted }
    }

    /// "Cancelled" is how every layer says that it stopped; only here is known what stopped it.
    pub(crate) fn explain(&self, error: Error) -> Error {
        if !error.is(&CANCELLED) {
            return error;
        }
        match self.reason.load(Ordering::SeqCst) {
            ENDED => Error::new(&TERMINATED, "stopped by a signal"),
            TIMEOUT => Error::new(&TIMED_OUT, "the time limit passed, and the build was stopped"),
            _ => Error::new(&CANCELLED, "stopped by Ctrl-C"),
        }
    }
}
