//! Machines that are reached by ssh: their addresses, the configuration ssh gets, connections, and what stands in the way.

pub mod codes;

mod config;
mod host;
mod reach;
mod recent;
mod rules;
mod session;
mod shell;

pub use host::SshHost;
pub use session::{SshSession, words};
pub use shell::shell;
