//! `cargo xtask demo`: the project's main job, from nothing to a cow on the terminal.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::{cargo, lab, sh, workspace};

pub(crate) fn run() -> Result<i32> {
    lab::host::check()?;
    let start = Instant::now();
    sh::say("nixoci demo: a container image from a Nix expression, checked, loaded into Docker and run\n");
    sh::say(
        "1. A lab with real Nix and real Docker (the first time: three small Debian systems, some minutes)",
    );
    let _lease = lab::up()?;
    sh::say("2. nixoci itself");
    sh::step("cargo build", || build(&["--package", "nixoci"]))?;
    sh::say("3. The image: on a Linux machine with Nix 2.34 and Docker 28\n");
    host(&["nixoci", "build", "./examples/cowsay#container", "--load"])?;
    sh::say(format!("\nReady after {:.1} s. Does it run?\n", start.elapsed().as_secs_f64()));
    host(&["docker", "run", "--rm", "cowsay-hello-world:latest"])?;
    Ok(0)
}

/// Builds parts of the workspace; cargo speaks for itself when it fails.
pub(crate) fn build(arguments: &[&str]) -> Result<()> {
    let status = Command::new(cargo())
        .args(["build", "--quiet"])
        .args(arguments)
        .current_dir(workspace())
        .status()
        .context("cannot run cargo")?;
    if !status.success() {
        bail!("cargo build ended with {status}");
    }
    Ok(())
}

/// Runs a command on a host of the lab as a user would type it.
fn host(command: &[&str]) -> Result<()> {
    sh::say(format!("$ {}", command.join(" ")));
    let status = Command::new(std::env::current_exe()?)
        .args(["lab", "exec", "--no-build", "--cwd"])
        .arg(workspace())
        .arg("--")
        .args(command)
        .status()?;
    if !status.success() {
        bail!("`{}` ended with {status}", command.join(" "));
    }
    Ok(())
}
