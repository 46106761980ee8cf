//! Telling how far work on another thread has come.

use std::pin::pin;
use std::time::Duration;

use nixoci_core::event::Task;

/// How often progress is told.
const TICK: Duration = Duration::from_millis(100);

/// Waits for `work`, and tells meanwhile how much is done, of how much.
pub(crate) async fn telling<T>(
    task: &Task<'_>,
    progress: impl Fn() -> (u64, Option<u64>),
    work: impl Future<Output = T>,
) -> T {
    let mut work = pin!(work);
    loop {
        tokio::select! {
            result = &mut work => return result,
            () = tokio::time::sleep(TICK) => {
                let (done, total) = progress();
                task.progress(done, total);
            }
        }
    }
}
