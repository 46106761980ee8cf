//! Signals that end nixoci. The first cancels the work, which then ends in order; the second ends nixoci at once. Work that does not end by itself is ended
//! after a while, so that a program that sends one signal is rid of nixoci.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

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
    /// Whether the work was polled since the cancellation: a loop that computes is not.
    noticed: Arc<AtomicBool>,
}

/// How long work may go on after its cancellation without being polled.
const UNNOTICED: Duration = Duration::from_secs(3);
/// How long work may take to end. `docker stop` alone gives a container 10 s.
const ENDING: Duration = Duration::from_secs(30);

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
            own.overdue().await;
            std::process::exit(i32::from(own.ended_by().exit_code()));
        });
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

    /// Does the work, and sees to it that its cancellation is noticed.
    pub(crate) async fn watched<T>(&self, work: impl Future<Output = T>) -> T {
        let notice = async {
            self.cancel.cancelled().await;
            self.noticed.store(true, Ordering::SeqCst);
            std::future::pending().await
        };
        tokio::select! {
            biased;
            done = work => done,
            never = notice => never,
        }
    }

    /// Ends when the work should have ended long ago.
    async fn overdue(&self) {
        self.cancel.cancelled().await;
        tokio::time::sleep(UNNOTICED).await;
        if self.noticed.load(Ordering::SeqCst) {
            tokio::time::sleep(ENDING - UNNOTICED).await;
        }
    }

    fn ended_by(&self) -> ErrorKind {
        match self.reason.load(Ordering::SeqCst) {
            TIMEOUT => TIMED_OUT.kind,
            reason => self.kind(reason),
        }
    }

    /// Stops the work when the time is up, unless the limit is lifted before.
    pub(crate) fn limit(&self, limit: Duration) -> AbortHandle {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether work is overdue so long after its cancellation; it notices that, or not. The clock moves when nothing else does.
    async fn is_overdue(notices: bool, after: Duration) -> bool {
        let signals = Signals::default();
        signals.stop(ENDED);
        let work = std::future::pending::<()>();
        tokio::select! {
            overdue = tokio::time::timeout(after, signals.overdue()) => overdue.is_ok(),
            () = signals.watched(work), if notices => unreachable!("it never ends"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_signal_is_enough() {
        let moment = Duration::from_millis(10);
        assert!(!is_overdue(false, UNNOTICED - moment).await);
        assert!(is_overdue(false, UNNOTICED + moment).await);
        assert!(!is_overdue(true, ENDING - moment).await);
        assert!(is_overdue(true, ENDING + moment).await);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_overdue_before_a_signal() {
        let signals = Signals::default();
        let never = tokio::time::timeout(ENDING * 10, signals.overdue()).await;
        assert!(never.is_err());
        assert_eq!(signals.watched(async { 7 }).await, 7);
    }
}
