//! A shell where a build would happen.

use std::collections::BTreeMap;
use std::ffi::OsString;

use nixoci_core::codes::BUG;
use nixoci_core::config::BackendTable;
use nixoci_core::platform::NixSystem;
use nixoci_core::runner::Command;
use nixoci_core::{Error, Result};

use crate::Engine;
use crate::choose::{Pool, choose};
use crate::consent::Agreed;
use crate::provision::make_ready;

/// Where a shell is wanted.
#[derive(Clone, Debug)]
pub struct ShellJob {
    /// Where something for this system would be built.
    pub system: NixSystem,
    /// Backends in order of preference; empty means by readiness.
    pub backends: Vec<String>,
    /// The configured tables of each backend, weakest first.
    pub backend_tables: BTreeMap<String, Vec<BackendTable>>,
    /// What was agreed to beforehand, should the backend have to be made ready.
    pub agreed: Agreed,
    /// What to run there instead of a shell.
    pub command: Vec<OsString>,
}

/// Chooses a backend as a build does, makes it ready, and says which command opens a shell there.
///
/// # Errors
/// Those of selection and provisioning.
pub async fn shell(engine: &Engine<'_>, job: &ShellJob) -> Result<Command> {
    let mut choices =
        choose(engine, &Pool::new(engine, &job.backends, &job.backend_tables)?, &job.system).await?;
    let choice = choices
        .able
        .pop_front()
        .ok_or_else(|| Error::new(&BUG, "nobody was chosen, and no error said so"))?;
    make_ready(engine, &choice, &job.system, job.agreed).await?;
    choice.backend.shell(&engine.cx, &job.system, &job.command).await
}
