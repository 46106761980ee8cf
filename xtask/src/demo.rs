//! `cargo xtask demo`: the project's main job, from nothing to a cow on the terminal.

use std::process::Command;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};

use crate::lab::parts::Scope;
use crate::{cargo, lab, sh, workspace};

pub(crate) fn run() -> Result<i32> {
    lab::host::check()?;
    let start = Instant::now();
    sh::say("nixoci demo: a container image from a Nix expression, checked, loaded into Docker and run\n");
    sh::say("1. Compile nixoci, and make a Linux machine with real Nix and real Docker meanwhile");
    sh::say("   (about three minutes the first time, a second after that)");
    let _lease = thread::scope(|scope| {
        let compiled = scope.spawn(|| sh::step("compiling nixoci", || build(&["--package", "nixoci"])));
        let lease = lab::up(Scope::Demo);
        compiled.join().map_err(|_| anyhow!("a worker thread failed"))??;
        lease
    })?;
    sh::say("2. The image, on that machine\n");
    let building = Instant::now();
    host(&["nixoci", "build", "./examples/cowsay#container", "--load"])?;
    sh::say(format!("\n3. Does it run? (Built and loaded in {:.1} s)\n", building.elapsed().as_secs_f64()));
    host(&["docker", "run", "--rm", "cowsay-hello-world:latest"])?;
    sh::say(format!("\nDone in {}. To go on, on the same machine:\n", human(start.elapsed().as_secs())));
    sh::say("  cargo xtask lab exec -- bash");
    for (command, what) in TRY {
        sh::say(format!("    {command:<58}{what}"));
    }
    Ok(0)
}

/// Commands to try next.
const TRY: [(&str, &str); 3] = [
    ("nixoci run ./examples/cowsay#container -- cowsay moo", "another command in the image"),
    ("nixoci plan -f examples/layered/default.nix", "what a build would do"),
    ("nixoci build -f examples/layered/default.nix --load", "a file without a flake"),
];

fn human(seconds: u64) -> String {
    match (seconds / 60, seconds % 60) {
        (0, seconds) => format!("{seconds} s"),
        (minutes, seconds) => format!("{minutes} min {seconds} s"),
    }
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
