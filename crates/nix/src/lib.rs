//! Everything about running Nix: its processes, its command line, what it says, and what it stores.
//!
//! - [`process`] and [`watch`] run programs so that nothing is left behind, whatever happens to nixoci;
//! - [`keeper`] keeps a program running that is meant to be left behind, until nobody uses it;
//! - [`version`] knows what each Nix can do, `cli` builds every argument list;
//! - [`Nix`] asks, forecasts, builds and reads, through a [`Runner`](nixoci_core::runner::Runner), wherever
//!   that runs;
//! - `log` turns internal-json into events, `diagnose` turns error texts into errors with remedies;
//! - [`nar`] reads and writes Nix archives;
//! - [`proof`] builds something tiny and reads it back, to see whether a builder builds.
//!
//! Invariants: no argument for Nix is put together outside `cli`; a text of Nix's is only interpreted in
//! `diagnose`, `warnings` and `plan`; whatever a build prints is bounded and stripped of escape sequences
//! before anybody sees it.

pub mod codes;
pub mod git;
pub mod guest;
pub mod keeper;
pub mod mac;
pub mod nar;
pub mod private_store;
pub mod process;
pub mod proof;
pub mod ssh;
pub mod sudo;
pub mod version;
pub mod watch;

mod build;
mod build_store;
mod cli;
mod diagnose;
mod driver;
mod fleet;
mod group;
mod idle;
mod images;
mod lines;
mod log;
mod log_file;
mod lookup;
mod machines;
mod memory;
mod mixed;
pub mod patience;
mod place;
mod plan;
mod record;
mod reference;
mod remote;
mod roots;
mod rules;
mod settings;
mod source;
mod store;
mod transfer;
mod transport;
mod version_cache;
mod warnings;
mod ways;

pub use build::Built;
pub use build_store::{BuildStore, HostStore, shell_here};
pub use driver::Nix;
pub use fleet::{Fleet, Over};
pub use idle::Idle;
pub use images::Images;
pub use lines::{Lines, caught_up, log_line, plain};
pub use machines::Machine;
pub use place::{Place, PrivateStore, RemoteMachine};
pub use process::HostRunner;
pub use reference::{canonical_reference, local_dir};
pub use settings::{ExternalBuilder, NixSettings, StoreInfo};
pub use transport::{Transport, Way};
pub use watch::{FileGuard, Watchdog, watchdog_main};
pub use ways::Ways;
