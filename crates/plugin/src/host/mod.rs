//! nixoci's side: from a file to a backend that behaves.
//!
//! ```text
//! places, pins     which files there are, and which the user trusts
//!    v
//! verify, inspect  is it what was trusted, could nobody else have changed it, is it a library for this machine
//!    v             (nothing of it has run so far)
//! serve, library   the process of its own that loads it: `nixoci __plugin-host`
//!    |  frames
//! client           the other end of that process: calls, and what becomes of them
//!    |             (ears: what is said in the middle of one; transfer: the bytes of a NAR)
//!    v
//! backend, factory a Backend and a Factory like any other
//! ```

mod backend;
mod clean;
mod client;
pub mod codes;
mod description;
mod ears;
mod factory;
mod frames;
pub mod inspect;
mod library;
pub mod pins;
pub mod places;
mod raw;
mod schema;
mod serve;
mod settings;
pub mod testing;
mod transfer;
mod verify;

use std::path::PathBuf;

pub use client::{Host, Source};
pub use description::{describe, described};
pub use factory::{Broken, PluginFactory};
pub use library::HostVersion;
pub use serve::plugin_host_main;
pub use verify::{Verified, examine, forget, sweep, verify};

/// The hidden command whose process loads a library: its arguments are the file and its SHA-256.
pub const PLUGIN_HOST: &str = "__plugin-host";

/// A library, and what its bytes have to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Library {
    /// The backend's name.
    pub name: String,
    /// The file, absolute and without symbolic links.
    pub path: PathBuf,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
}
