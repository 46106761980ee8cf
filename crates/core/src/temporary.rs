//! Temporary files that must not outlive nixoci, however it ends.
//!
//! Whoever writes one registers it first; where there is a watchdog, it removes what a killed nixoci left behind.
//! This crate only says how to ask; the watchdog lives in `nixoci-nix`.

use std::fmt;
use std::path::Path;

/// Somebody who removes temporary files when nixoci was killed.
pub trait TemporaryFiles: Send + Sync + fmt::Debug {
    /// Has a file or directory removed if nixoci is killed before the guard is dropped. Dropping the guard removes
    /// nothing.
    ///
    /// A regular file that another process has locked (`flock`) by then is that process's, and stays. Without a
    /// lock, register the file before it exists; where processes compete for one name, once it is locked.
    fn guard(&self, path: &Path) -> Box<dyn Send + Sync>;
}

/// Nobody: temporary files stay until the next nixoci sweeps them. For tests, and where no watchdog can run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unguarded;

impl TemporaryFiles for Unguarded {
    fn guard(&self, _: &Path) -> Box<dyn Send + Sync> {
        Box::new(())
    }
}
