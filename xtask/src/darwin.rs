//! `cargo xtask check-darwin`: does the product compile for macOS?
//!
//! There is no standard library for macOS on this machine, but its source is enough to check types against. The source
//! must be that of exactly the compiler in use; Debian has it as a package. The toolchain itself is not touched: a
//! directory of links stands in for it, with the source in the place where cargo looks.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::lab::cache::{Cache, recipe};
use crate::lab::host;
use crate::lab::parts;
use crate::{cargo, sh, workspace};

const TARGET: &str = "aarch64-apple-darwin";
/// Debian suites that may have the source, the likeliest first.
const SUITES: [&str; 4] = ["trixie-backports", "trixie", "forky", "sid"];

pub(crate) fn run() -> Result<i32> {
    let cache = Cache::open()?;
    let release = release()?;
    let library = library(&cache, &release)?;
    let stand_ins = stand_ins(&cache, &release, &library)?;

    let mut check = Command::new(cargo());
    check.args(["check", "-Z", "build-std", "--target", TARGET, "--workspace", "--exclude", "xtask"]);
    check.current_dir(workspace());
    // build-std is an unstable flag of cargo; nothing of ours is compiled with unstable features.
    check.env("RUSTC_BOOTSTRAP", "1");
    check.env("RUSTC", stand_ins.join("rustc"));
    check.env("CARGO_TARGET_DIR", cache.path("darwin/target"));
    // A wrapper around the compiler would be asked about the wrong compiler.
    check.env_remove("RUSTC_WRAPPER").env_remove("RUSTC_WORKSPACE_WRAPPER");
    check.env("CC_aarch64_apple_darwin", stand_ins.join("cc"));
    check.env("AR_aarch64_apple_darwin", stand_ins.join("ar"));
    let status = sh::step(&format!("checking for {TARGET} with Rust {release}"), || {
        check.status().context("cannot run cargo")
    })?;
    if !status.success() {
        sh::say(format!("the product does not compile for {TARGET}"));
        return Ok(1);
    }
    Ok(0)
}

/// The source of the compiler's own standard library.
fn library(cache: &Cache, release: &str) -> Result<PathBuf> {
    let installed = sysroot()?.join("lib/rustlib/src/rust/library");
    if installed.join("Cargo.lock").exists() {
        return Ok(installed);
    }
    let script = workspace().join("lab/roots/make-rust-src.sh");
    let name = format!("darwin/rust-src-{release}-{}", recipe(&[&fs::read(&script)?]));
    let dir = cache.entry(&name, |dir| {
        host::check()?;
        let root = parts::trixie(cache)?;
        let mirror = host::mirror()?;
        sh::step(&format!("fetching the source of Rust {release}'s standard library"), || {
            let work = cache.path("unfinished/rust-src-scratch");
            let mut make =
                parts::scratch(&root, &work, &[(&script, "/lab/make-rust-src.sh"), (dir, "/lab/out")])?;
            make.args(["sh", "/lab/make-rust-src.sh", release, "/lab/out", &mirror]).args(SUITES);
            sh::logged(&mut make, &cache.path("logs/rust-src.log"))?;
            crate::lab::cache::remove_all(&work)
        })
    })?;
    Ok(dir.join("library"))
}

/// A compiler that believes its standard library's source is installed, and C tools that only leave a file behind: a
/// type check never looks into it.
fn stand_ins(cache: &Cache, release: &str, library: &Path) -> Result<PathBuf> {
    let real = sysroot()?;
    let name = recipe(&[
        real.as_os_str().as_encoded_bytes(),
        library.as_os_str().as_encoded_bytes(),
        release.as_bytes(),
        b"1",
    ]);
    cache.entry(&format!("darwin/stand-ins-{name}"), |dir| {
        let rustlib = dir.join("sysroot/lib/rustlib");
        fs::create_dir_all(rustlib.join("src/rust"))?;
        symlink(library, rustlib.join("src/rust/library"))?;
        link_all(&real.join("lib"), &dir.join("sysroot/lib"))?;
        link_all(&real.join("lib/rustlib"), &rustlib)?;
        let final_place = cache.path(&format!("darwin/stand-ins-{name}"));
        let rustc = format!(
            "#!/bin/sh\nexec '{}' --sysroot '{}' \"$@\"\n",
            real.join("bin/rustc").display(),
            final_place.join("sysroot").display()
        );
        program(&dir.join("rustc"), &rustc)?;
        let last_output = "#!/bin/sh\nwhile [ $# -gt 0 ]; do [ \"$1\" != -o ] || : > \"$2\"; shift; done\n";
        program(&dir.join("cc"), last_output)?;
        program(&dir.join("ar"), "#!/bin/sh\nfor file; do case $file in *.a) : > \"$file\" ;; esac; done\n")
    })
}

/// Links to everything in a directory that is not there yet.
fn link_all(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let link = to.join(entry.file_name());
        if !link.exists() {
            symlink(entry.path(), link)?;
        }
    }
    Ok(())
}

fn program(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

fn sysroot() -> Result<PathBuf> {
    let path = sh::quiet(rustc().args(["--print", "sysroot"]))?;
    Ok(PathBuf::from(path.trim_end()))
}

/// The version of the compiler in use, `1.95.0`.
fn release() -> Result<String> {
    let text = sh::quiet(rustc().arg("-vV"))?;
    match text.lines().find_map(|line| line.strip_prefix("release: ")) {
        Some(release) => Ok(release.to_owned()),
        None => bail!("rustc does not say its release:\n{text}"),
    }
}

fn rustc() -> Command {
    let mut command = Command::new("rustc");
    command.current_dir(workspace());
    command
}
