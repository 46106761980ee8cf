//! The binary as users start it, where neither Nix nor Docker is needed.
#![expect(clippy::unwrap_used, reason = "a test that cannot start has failed")]

mod cache;
mod cli;
mod config;
#[path = "../shared/conforms.rs"]
mod conforms;
mod init;
mod memory;
mod progress;
mod provision;
mod schemas;

use std::path::Path;
use std::process::{Command, Output};

/// nixoci in a directory, without anything of the developer's own environment.
fn nixoci(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nixoci"))
        .args(args)
        .current_dir(dir)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", dir)
        .output()
        .unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn project(toml: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join(".git")).unwrap();
    std::fs::write(dir.path().join("nixoci.toml"), toml).unwrap();
    dir
}
