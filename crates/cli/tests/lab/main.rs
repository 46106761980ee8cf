//! What users do, on real Nix and real Docker: these tests run in the lab (`cargo xtask test` brings it up and runs
//! them; plain `cargo test` shows them as ignored).
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot start has failed"
)]

#[path = "../../../../lab/cases.rs"]
#[macro_use]
mod cases;
mod answers;
#[path = "../shared/conforms.rs"]
mod conforms;
mod cross;
mod doctor;
mod errors;
mod formats;
mod harness;
mod hostile;
mod images;
mod init;
mod mac;
mod machine;
mod memory;
mod mixed;
mod multipass;
mod platforms;
mod plugins;
mod provision;
mod remote;
mod rosetta;
mod runtimes;
mod schemas;
mod sparse;
mod stopping;
mod transfer;

use std::process::Command;

use harness::{Host, NIX_2_26, NIX_2_26_DOCKER_28, NIX_2_34, NIX_2_34_DOCKER_20, Run};
