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

/// What cargo is told, with whichever toolchain.
const CHECK: [&str; 8] =
    ["check", "-Z", "build-std", "--target", TARGET, "--workspace", "--exclude=xtask", "--color=auto"];

pub(crate) fn run() -> Result<i32> {
    let cache = Cache::open()?;
    let release = release()?;
    let mut check = match library(&cache, &release) {
        Ok(library) => with_own_toolchain(&cache, &release, &library)?,
        Err(error) => {
            sh::say(format!("  the source of Rust {release}'s standard library is not to be had ({error})"));
            sh::say("  taking Debian's own toolchain, in a root of the lab");
            in_root(&cache)?
        }
    };
    let status = sh::step(&format!("checking for {TARGET}"), || check.status().context("cannot run cargo"))?;
    if !status.success() {
        sh::say(format!("the product does not compile for {TARGET}"));
        return Ok(1);
    }
    Ok(0)
}

fn with_own_toolchain(cache: &Cache, release: &str, library: &Path) -> Result<Command> {
    let stand_ins = stand_ins(cache, release, library)?;
    let mut check = Command::new(cargo());
    check.args(CHECK).current_dir(workspace());
    // build-std is an unstable flag of cargo; nothing of ours is compiled with unstable features.
    check.env("RUSTC_BOOTSTRAP", "1");
    check.env("RUSTC", stand_ins.join("rustc"));
    check.env("CARGO_TARGET_DIR", cache.path("darwin/target"));
    // A wrapper around the compiler would be asked about the wrong compiler.
    check.env_remove("RUSTC_WRAPPER").env_remove("RUSTC_WORKSPACE_WRAPPER");
    check.env("CC_aarch64_apple_darwin", stand_ins.join("cc"));
    check.env("AR_aarch64_apple_darwin", stand_ins.join("ar"));
    Ok(check)
}

/// The check with another compiler than the project's: it says less about today's compiler and as much about macOS.
fn in_root(cache: &Cache) -> Result<Command> {
    host::check()?;
    let root = parts::rust(cache)?;
    let (target, work) = (cache.path("darwin/target-in-root"), cache.path("unfinished/darwin-scratch"));
    let home = match std::env::var_os("CARGO_HOME") {
        Some(home) => PathBuf::from(home),
        None => PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?).join(".cargo"),
    };
    let tools = cache.entry("darwin/c-tools-1", c_tools)?;
    let certificates = Path::new("/etc/ssl/certs/ca-certificates.crt");
    fs::create_dir_all(&target)?;
    let checkout = workspace();
    let inside = checkout.to_str().context("the checkout's path is not UTF-8")?;
    let mut binds = vec![
        (checkout.as_path(), inside),
        (home.as_path(), "/cargo"),
        (target.as_path(), "/target"),
        (tools.as_path(), "/c-tools"),
    ];
    if certificates.exists() {
        // Whom the machine trusts to be crates.io.
        binds.push((certificates, "/etc/ssl/certs/ca-certificates.crt"));
    }
    let mut check = parts::scratch(&root, &work, &binds)?;
    check.args(["env", "--chdir", inside]);
    check.args(["RUSTC_BOOTSTRAP=1", "CARGO_HOME=/cargo", "CARGO_TARGET_DIR=/target"]);
    check.args(["CC_aarch64_apple_darwin=/c-tools/cc", "AR_aarch64_apple_darwin=/c-tools/ar"]);
    check.arg("/usr/bin/cargo").args(CHECK);
    Ok(check)
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
        c_tools(dir)
    })
}

/// C tools that leave an empty file where they were to leave a full one.
fn c_tools(dir: &Path) -> Result<()> {
    let last_output = "#!/bin/sh\nwhile [ $# -gt 0 ]; do [ \"$1\" != -o ] || : > \"$2\"; shift; done\n";
    program(&dir.join("cc"), last_output)?;
    program(&dir.join("ar"), "#!/bin/sh\nfor file; do case $file in *.a) : > \"$file\" ;; esac; done\n")
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
