//! Where tests and builds tell each other what happens: a directory that every machine of a lab sees, the sandboxes of their Nix included.
//!
//! A test makes named pipes in it. A build writes to one to say that it has begun, and reads from another until it is told to go on, so
//! a fault is struck when the moment has come, however fast the machine is, and nobody has to spin or sleep.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::Result;

use super::mounts::Root;
use super::state::State;

/// Where everybody finds it. Tests know the name.
const EVENTS: &str = "/lab/events";

/// The setting by which a Nix lets its builds see it.
pub(crate) const SANDBOX: &str = "extra-sandbox-paths = /lab/events\n";

/// Puts it into a machine's root.
pub(crate) fn bind(root: &Root, state: &State) -> Result<()> {
    let shared = state.live("events");
    fs::create_dir_all(&shared)?;
    // Not sticky: in directories that are, the kernel lets nobody write to other users' pipes (fs.protected_fifos).
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o777))?;
    root.bind(&shared, Path::new(EVENTS))
}
