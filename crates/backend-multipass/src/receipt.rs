//! What nixoci remembers of a virtual machine that it made, so that it need not be woken up to be known.

use std::hash::{BuildHasher, RandomState};
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
    /// What the machine's first boot wrote into it, by which it is known; empty in receipts of before there was that.
    #[serde(default)]
    pub(crate) id: String,
}

/// The directory of what belongs to an instance on this host.
pub(crate) fn dir(cx: &Cx<'_>, instance: &str) -> PathBuf {
    cx.dirs.state.join("multipass").join(instance)
}

impl Receipt {
    /// An id that no other machine has.
    pub(crate) fn new_id() -> String {
        (0..2).map(|word| format!("{:016x}", RandomState::new().hash_one(word))).collect()
    }

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

    /// Forgets who an instance is that another nixoci has made; the key that logs in stays.
    pub(crate) fn disown(cx: &Cx<'_>, instance: &str) {
        let dir = dir(cx, instance);
        for name in ["receipt.json", "known_hosts"] {
            let _ = std::fs::remove_file(dir.join(name));
        }
    }

    /// Forgets all of an instance.
    pub(crate) fn forget(cx: &Cx<'_>, instance: &str) {
        let _ = std::fs::remove_dir_all(dir(cx, instance));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_of_before_there_were_ids_is_read_and_ids_differ() {
        let old: Receipt = serde_json::from_str(r#"{"stamp":"v1 x","system":"aarch64-linux"}"#).unwrap();
        assert!(old.id.is_empty() && old.stamp == "v1 x");
        let (one, other) = (Receipt::new_id(), Receipt::new_id());
        assert!(one.len() == 32 && one != other, "{one} {other}");
    }
}
