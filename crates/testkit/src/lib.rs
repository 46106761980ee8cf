//! What tests of backends, and of everything around them, are made with.
//!
//! - [`World`]: a host, directories and a recorder of events, ready to become a [`Cx`](nixoci_core::backend::Cx);
//! - [`FakeBackend`]: a backend without Nix, whose faults are settings;
//! - [`lab`]: a test that runs itself again on an emulated host;
//! - [`mod@conformance`]: the contract of [`Backend`](nixoci_core::backend::Backend), as checks that run against any
//!   backend.

pub mod author;
mod codes;
pub mod conformance;
pub mod factory;
mod fake;
pub mod lab;
mod world;

pub use codes::CODES;
pub use fake::{FakeBackend, FakeFactory, Fault, hash_of, nar_of, store_path};
pub use world::{NoProcesses, World};
