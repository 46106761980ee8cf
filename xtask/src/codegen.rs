//! `cargo xtask codegen`: writes docs/reference from what the program knows.
//!
//! The generator is a test of the binary's crate: it sees every flag and every code, and is no part of the product. Without
//! being told to write, it compares, so that `cargo test` guards what is checked in.

use std::process::Command;

use anyhow::{Context, Result};

use crate::{cargo, sh, workspace};

pub(crate) fn run(check: bool) -> Result<i32> {
    let mut generator = Command::new(cargo());
    generator.args(["test", "--quiet", "--package", "nixoci", "--bin", "nixoci", "reference::"]);
    generator.current_dir(workspace());
    if !check {
        generator.env("NIXOCI_CODEGEN", "write");
    }
    let status = generator.status().context("cannot run cargo")?;
    if !status.success() {
        sh::say(if check {
            "docs/reference is not current: cargo xtask codegen"
        } else {
            "nothing could be generated"
        });
    }
    Ok(i32::from(!status.success()))
}
