//! The domain of nixoci: what a backend is, what is asked of it, and the words everything else speaks.
//!
//! This crate spawns no process, owns no terminal and reads no command line. It defines the
//! [`Backend`](backend::Backend) trait and the plain data around it, so that backends, the engine and
//! third parties agree on types without depending on each other.
//!
//! Invariants:
//! - Every fallible public function returns [`Error`], which carries a stable code, the causes, and the
//!   commands that fix it.
//! - A process is only ever asked for through [`runner::Runner`]; the implementation lives elsewhere.
//! - Plans, events, requests and errors are data: they serialise, and cross process borders unchanged.

pub mod artifact;
pub mod backend;
pub mod codes;
pub mod config;
pub mod credentials;
pub mod digest;
pub mod error;
pub mod event;
pub mod factory;
pub mod file;
pub mod help;
pub mod host;
pub mod pattern;
pub mod plan;
pub mod platform;
pub mod registry;
pub mod release;
pub mod request;
pub mod runner;
pub mod secrets;
pub mod stall;
pub mod temporary;
pub mod text;

pub use error::{Code, Error, ErrorKind, LOG_TAIL_LINES, Remedy, Report, Result, ResultExt};
