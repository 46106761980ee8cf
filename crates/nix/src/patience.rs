//! Waiting for a lock that another nixoci holds.

use std::fs::{File, TryLockError};
use std::time::Duration;

use nixoci_core::backend::Cx;
use nixoci_core::{Error, Result, ResultExt, codes as core_codes};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(100);
/// After so many looks somebody is told what is waited for.
const TELL: u32 = 10;

/// Tries a lock until it is there, or until the work is to stop. `open` is called for each look: somebody may remove the file
/// meanwhile. `waiting` is what a user is told after a moment.
///
/// # Errors
/// [`nixoci_core::codes::CANCELLED`]; whatever keeps the file from being opened or locked.
pub async fn patiently(
    cx: &Cx<'_>,
    open: impl Fn() -> Result<File>,
    lock: fn(&File) -> std::result::Result<(), TryLockError>,
    waiting: &str,
) -> Result<File> {
    for tries in 0u32.. {
        let file = open()?;
        match lock(&file) {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => {
                return Err(error).or_error(&core_codes::PROCESS, || "a file cannot be locked");
            }
        }
        if tries == TELL {
            cx.observer.info(waiting);
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = cx.cancel.cancelled() => break,
        }
    }
    Err(Error::new(&core_codes::CANCELLED, "waiting was stopped"))
}
