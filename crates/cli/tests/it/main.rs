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
mod trust;

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

/// nixoci's words are those of this name in `snapshots/`. Everything else is held by exit codes, error codes and JSON.
#[track_caller]
fn shows(dir: &Path, name: &str, text: &str) {
    let text = text.replace(&dir.display().to_string(), "[DIR]");
    let filters =
        [(r"\.nixoci-[A-Za-z0-9]{6}", ".nixoci-[TMP]"), (r"just now|\d+ seconds? ago", "[TIME] ago")];
    insta::with_settings!({ filters => filters, prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!(name, text);
    });
}

/// An error as every error should be: this exit code, this code.
#[track_caller]
fn fails(output: &Output, exit: i32, code: &str) {
    assert_eq!(output.status.code(), Some(exit), "{}", err(output));
    assert!(err(output).ends_with(&format!("  more: nixoci explain {code}\n")), "{}", err(output));
}

fn project(toml: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join(".git")).unwrap();
    std::fs::write(dir.path().join("nixoci.toml"), toml).unwrap();
    dir
}
