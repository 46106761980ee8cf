//! `cargo xtask codegen`: writes docs/reference from what the program knows.
//!
//! The generators are tests: that of the binary's crate sees every flag and every code, that of the plugins' crate makes C's header
//! of the ABI, and neither is a part of the product. Without being told to write, they compare, so that `cargo test` guards what is
//! checked in.

use std::process::Command;

use anyhow::{Context, Result};

use crate::{cargo, sh, workspace};

pub(crate) fn run(check: bool) -> Result<i32> {
    let reference = ["--package", "nixoci", "--bin", "nixoci", "reference::"];
    let header = ["--package", "nixoci-plugin", "--test", "header", "header"];
    let mut fine = true;
    for what in [reference, header] {
        let mut generator = Command::new(cargo());
        generator.args(["test", "--quiet"]).args(what).current_dir(workspace());
        if !check {
            generator.env("NIXOCI_CODEGEN", "write");
        }
        fine &= generator.status().context("cannot run cargo")?.success();
    }
    if !fine {
        sh::say(if check {
            "something is not current: cargo xtask codegen"
        } else {
            "something could not be generated"
        });
    }
    Ok(i32::from(!fine))
}
