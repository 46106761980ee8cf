//! The building blocks of tests that run on the lab's hosts.
//!
//! A test takes its host as an argument, and each host is a test of its own, with a name that says which (`lab/cases.rs`):
//!
//! ```ignore
//! each!(the_cow_says_hello: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
//! fn the_cow_says_hello(host: Host) {
//!     host.sh("nixoci run ./examples/cowsay#container").code(0).out("< hello world >");
//! }
//! ```
//!
//! Tests assert the interfaces that programs rely on: exit codes, error codes, JSON, the output of containers. Messages for people are
//! held by snapshots, one a message ([`Run::says`], [`Run::warns`], [`shows`]), so that its words can be mended in one place.

mod events;
mod host;
mod image;
mod message;

pub(crate) use self::events::{held, struck, unique};
pub(crate) use self::host::{Host, NIX_2_26, NIX_2_26_DOCKER_28, NIX_2_34, NIX_2_34_DOCKER_20, Run};
pub(crate) use self::image::{image, image_apart};
pub(crate) use self::message::shows;
