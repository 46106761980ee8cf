//! Backends from elsewhere: `nixoci build --backend mine`, where `mine` is somebody's dynamic library.
//!
//! - [`abi`] is the contract: a table of C functions, laid out for ever. `include/nixoci_backend.h` is the same in C.
//! - [`wire`] is what is said across it, as JSON.
//! - [`guest`] is for authors: they write the ordinary [`Backend`](core::backend::Backend), and
//!   [`export_backend!`](crate::export_backend) makes a library of it.
//! - `host` (a feature) is nixoci's side: it finds and checks libraries, loads them in processes of their own, and makes
//!   backends of them that behave.
//!
//! This is the one crate with `unsafe` code, and the only one that loads libraries.

pub mod abi;
pub mod guest;
#[cfg(feature = "host")]
pub mod host;
pub mod wire;

/// What an author needs, in the versions that this crate speaks.
pub use {
    async_trait::async_trait, nixoci_core as core, nixoci_nix as nix, schemars, serde, serde_json, tokio,
};
