//! Letting go of what a backend holds, also after the work was stopped.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::artifact::ArtifactId;
use crate::backend::{Backend, Cx, Release};
use crate::{Error, Result, codes};

/// After a cancellation a backend has this long to let go: a command in a virtual machine takes about a second.
const AFTER_CANCELLATION: Duration = Duration::from_secs(3);

/// How long letting go may take: a machine that has stopped answering must not hold up the end of the work.
const LIMIT: Duration = Duration::from_secs(10);

/// Lets go of an artifact.
///
/// A build may be done in the moment in which the work is cancelled, and what it holds is to be released all the same, by commands that a
/// cancelled token would end at once. So this has a token of its own, which is cancelled 3 s after `cx`'s, and after 10 s in any case.
///
/// # Errors
/// The backend's own; [`codes::CANCELLED`] and [`codes::TIMED_OUT`] if it takes longer.
pub async fn release_artifact(backend: &dyn Backend, cx: &Cx<'_>, id: ArtifactId) -> Result<()> {
    let own = CancellationToken::new();
    let own_cx = Cx { cancel: &own, ..*cx };
    tokio::select! {
        released = backend.release(&own_cx, Release::Artifact { id }) => released,
        () = overdue(cx) => {
            own.cancel();
            Err(Error::new(&codes::CANCELLED, "letting go of what was built was stopped"))
        }
        () = tokio::time::sleep(LIMIT) => {
            own.cancel();
            let text = format!("the backend did not let go of what was built within {} s", LIMIT.as_secs());
            Err(Error::new(&codes::TIMED_OUT, text))
        }
    }
}

/// Ends 3 s after `cx` was cancelled, and never if it is not: what is released with a token of its own has this long.
pub async fn overdue(cx: &Cx<'_>) {
    cx.cancel.cancelled().await;
    tokio::time::sleep(AFTER_CANCELLATION).await;
}
