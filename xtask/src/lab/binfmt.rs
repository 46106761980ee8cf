//! arm64 programs on this machine: qemu's user emulation, registered with the kernel while a lab is up (`arm64.sh`).
//!
//! The registration is the one thing that the lab makes outside its namespaces. (A user namespace could have one of its
//! own, but dockerd does not work in there as it does for people.) Where the machine itself has binfmt_misc mounted, the
//! registration has to be removed: by init at the end, by the guard if init was killed, by the next start if both were.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::{sh, workspace};

const MISC: &str = "/proc/sys/fs/binfmt_misc";

/// A registration that ends with this value.
#[derive(Debug)]
pub(crate) struct Arm64 {
    id: String,
}

impl Arm64 {
    /// Registers `qemu`; an older registration of the same lab is replaced. The caller is in a mount namespace of its own.
    pub(crate) fn register(id: &str, qemu: &Path) -> Result<Self> {
        let mut command = Command::new(script());
        command.args(["register", &name(id), MISC]).arg(qemu);
        sh::quiet(&mut command)
            .context("cannot register the arm64 emulator with the kernel (binfmt_misc)")?;
        Ok(Self { id: id.to_owned() })
    }
}

impl Drop for Arm64 {
    fn drop(&mut self) {
        if let Err(error) = unregister(&self.id) {
            sh::say(format!("cannot unregister {}: {error:#}", name(&self.id)));
        }
    }
}

/// Removes the registration of a lab, if there is one.
pub(crate) fn unregister(id: &str) -> Result<()> {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "--"]);
    command.arg(script()).args(["unregister", &name(id), MISC]);
    sh::quiet(&mut command).map(drop)
}

pub(crate) fn name(id: &str) -> String {
    format!("nixoci-lab-aarch64-{id}")
}

fn script() -> std::path::PathBuf {
    workspace().join("lab/roots/arm64.sh")
}
