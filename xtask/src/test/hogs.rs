//! Processes that keep processors busy: whether a test depends on luck shows where time is short.

use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

/// They end with this value, and with this process.
#[derive(Debug)]
pub(super) struct Hogs(Vec<Child>);

impl Hogs {
    pub(super) fn start(count: u32) -> Result<Self> {
        let mut hogs = Self(Vec::new());
        for _ in 0..count {
            let mut hog = Command::new("setpriv");
            hog.args(["--pdeathsig", "KILL", "--", "sh", "-c", "while :; do :; done"]).stdin(Stdio::null());
            hogs.0.push(hog.spawn().context("cannot run setpriv")?);
        }
        Ok(hogs)
    }
}

impl Drop for Hogs {
    fn drop(&mut self) {
        for hog in &mut self.0 {
            let _ = hog.kill();
            let _ = hog.wait();
        }
    }
}
