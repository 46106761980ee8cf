//! What nixoci remembers of a virtual machine that it made, so that it need not be woken up to be known.

use std::path::PathBuf;

use nixoci_core::backend::Cx;
use nixoci_core::platform::NixSystem;
use nixoci_core::{Result, ResultExt, codes as core_codes};
use serde::{Deserialize, Serialize};

/// What was made, and what was set up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Receipt {
    /// As the guest says it; empty for one that was launched, and not looked into yet.
    pub(crate) stamp: String,
    /// What it builds for.
    pub(crate) system: NixSystem,
}

/// The directory of what belongs to an instance on this host.
pub(crate) fn dir(cx: &Cx<'_>, instance: &str) -> PathBuf {
    cx.dirs.state.join("multipass").join(instance)
}

impl Receipt {
    pub(crate) fn read(cx: &Cx<'_>, instance: &str) -> Option<Receipt> {
        let bytes = std::fs::read(dir(cx, instance).join("receipt.json")).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    pub(crate) fn write(&self, cx: &Cx<'_>, instance: &str) -> Result<()> {
        let dir = dir(cx, instance);
        let write = || {
            std::fs::create_dir_all(&dir)?;
            let new = dir.join("receipt.json.new");
            std::fs::write(&new, serde_json::to_vec(self)?)?;
            std::fs::rename(new, dir.join("receipt.json"))
        };
        write().or_error(&core_codes::PROCESS, || format!("{} cannot be written", dir.display()))
    }

    /// Forgets all of an instance.
    pub(crate) fn forget(cx: &Cx<'_>, instance: &str) {
        let _ = std::fs::remove_dir_all(dir(cx, instance));
    }
}
