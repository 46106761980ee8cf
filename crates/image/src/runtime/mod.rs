//! Container runtimes that images are handed to.

pub mod docker;

pub use docker::{Docker, DockerInfo, Loaded, Store};
