//! `lab plugins`: every library that tests load, built from what is in the checkout, and the crates that a new plugin needs, for hosts
//! without a network.
//!
//! The entry holds `lib*.so` (the examples, the mutant, nixoci's own backends as libraries), `second/` (the Rust example by another
//! compiler), `bad/` (libraries that have to be refused) and `cargo.toml` (what cargo is told on a host).

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, Result};

use super::cache::{Cache, recipe};
use super::host_root::PRODUCED;
use super::parts::{files_below, name_of};
use super::produce::ENTRIES;
use super::state::State;
use crate::{cargo, sh, workspace};

/// Where tests find the directory.
pub(crate) const VARIABLE: &str = "NIXOCI_LAB_PLUGINS";

/// The directory of the other compiler's builds.
const SECOND: &str = "plugins-second";

/// What an author depends on: patched into the place of what is not published yet.
const CRATES: [&str; 4] = ["core", "nix", "plugin", "testkit"];

/// Libraries that are wrong before they can be told anything: the name, and what the mutant is compiled with.
const BAD: [(&str, &[&str]); 11] = [
    ("no-json", &["-DNO_JSON"]),
    ("says-nothing", &["-DSAYS_NOTHING"]),
    ("lies", &["-DNAME=\"somebody-else\""]),
    ("open-schema", &["-DOPEN_SCHEMA", "-DNAME=\"open-schema\""]),
    ("small-table", &["-DSIZE=40"]),
    ("newer-minor", &["-DMINOR_NEEDED=9"]),
    ("version-2", &["-DENTRY=nixoci_backend_v2"]),
    ("no-entry", &["-DENTRY=something_else"]),
    ("no-table", &["-DNO_TABLE"]),
    ("no-cancel", &["-DNO_CANCEL"]),
    ("unresolved", &["-DUNRESOLVED"]),
];

/// The entry, made if it is not there yet. The lab is up, and stays so while this runs.
pub(crate) fn ensure() -> Result<PathBuf> {
    let cache = Cache::open()?;
    let rust = State::of(&cache)?.spec()?.parts.more()?.rust.clone();
    let vendor = vendor(&cache)?;
    let entry = cache.entry(&name(&rust)?, |dir| {
        sh::step("building plugins with two compilers", || {
            std::fs::write(dir.join("cargo.toml"), config(&vendor))?;
            rust_libraries(&cache, dir)?;
            second(&cache, &vendor, dir)?;
            c_libraries(dir)
        })
    })?;
    // Entries that nobody has used for days are removed.
    for used in [&entry, &vendor] {
        std::fs::File::open(used)?.set_modified(SystemTime::now())?;
    }
    Ok(entry)
}

/// Everything that decides what comes out.
fn name(rust: &Path) -> Result<String> {
    let checkout = workspace();
    let mut parts: Vec<Vec<u8>> =
        vec![checkout.as_os_str().as_encoded_bytes().to_vec(), name_of(rust).to_vec()];
    parts.push(sh::quiet(Command::new("rustc").arg("-vV").current_dir(&checkout))?.into_bytes());
    let built = [Path::new("target"), Path::new("plugin/target")];
    for below in ["crates", "examples/plugin-c", "examples/plugin-echo", "lab/plugins", "lab/doubles/rust"] {
        for file in files_below(&checkout.join(below))? {
            // No plugin is made of the program, or of tests.
            let other = file.starts_with("cli") || file.components().any(|part| part.as_os_str() == "tests");
            if !other && !built.iter().any(|dir| file.starts_with(dir)) {
                parts.push(file.as_os_str().as_encoded_bytes().to_vec());
                parts.push(std::fs::read(checkout.join(below).join(file))?);
            }
        }
    }
    parts.push(include_bytes!("plugins.rs").to_vec());
    let hash = recipe(&parts.iter().map(Vec::as_slice).collect::<Vec<_>>());
    Ok(format!("{ENTRIES}/plugins-{hash}"))
}

/// The crates that a plugin and its tests are made of.
fn vendor(cache: &Cache) -> Result<PathBuf> {
    let manifest = workspace().join("lab/plugins/Cargo.toml");
    let lock = std::fs::read(manifest.with_file_name("Cargo.lock"))?;
    cache.entry(&format!("{ENTRIES}/vendor-{}", recipe(&[&lock])), |dir| {
        sh::step("fetching the crates of a plugin", || {
            let mut vendor = Command::new(cargo());
            vendor.args(["vendor", "--quiet", "--locked", "--manifest-path"]).arg(&manifest).arg(dir);
            sh::logged(vendor.current_dir(workspace()), &cache.path("logs/vendor.log"))
        })
    })
}

/// What cargo is told on a host: there is no network, and nothing of ours is published.
fn config(vendor: &Path) -> String {
    let vendor = Path::new(PRODUCED).join(vendor.file_name().unwrap_or_default());
    let mut text = format!(
        "[net]\noffline = true\n\n[source.crates-io]\nreplace-with = \"vendored\"\n\n[source.vendored]\ndirectory = {:?}\n\n[patch.crates-io]\n",
        vendor.display().to_string()
    );
    for name in CRATES {
        let path = workspace().join("crates").join(name).display().to_string();
        text.push_str(&format!("nixoci-{name} = {{ path = {path:?} }}\n"));
    }
    text
}

/// A build of a workspace outside ours, without what only a debugger wants.
fn build(cache: &Cache, manifest: &str) -> Result<PathBuf> {
    let target = cache.path("plugins-target");
    let mut build = Command::new(cargo());
    build.args(["build", "--quiet", "--locked", "--manifest-path"]).arg(workspace().join(manifest));
    build.args(["--workspace"]).current_dir(workspace());
    build.env("CARGO_TARGET_DIR", &target).env("CARGO_PROFILE_DEV_DEBUG", "0");
    sh::logged(&mut build, &cache.path("logs/plugins.log"))?;
    Ok(target.join("debug"))
}

fn rust_libraries(cache: &Cache, dir: &Path) -> Result<()> {
    for manifest in ["lab/plugins/Cargo.toml", "examples/plugin-echo/Cargo.toml"] {
        let built = build(cache, manifest)?;
        for file in std::fs::read_dir(&built)? {
            let path = file?.path();
            if path.extension() == Some(OsStr::new("so")) {
                std::fs::copy(&path, dir.join(path.file_name().context("a file without a name")?))?;
            }
        }
    }
    Ok(())
}

/// The Rust example by Debian's compiler, on a host that has it. What was built on the way stays where hosts see it: whoever builds
/// another plugin there with the same settings need not build its dependencies.
fn second(cache: &Cache, vendor: &Path, dir: &Path) -> Result<()> {
    let target = cache.path(&format!("{ENTRIES}/{SECOND}"));
    std::fs::create_dir_all(&target)?;
    let log = cache.path("logs/plugins-second.log");
    let script = format!(
        "export CARGO_HOME=$(mktemp -d) CARGO_TARGET_DIR={target} CARGO_PROFILE_DEV_DEBUG=0 CARGO_INCREMENTAL=0\n\
         cp {target}/config.toml $CARGO_HOME\n\
         cd {checkout}/examples/plugin-echo; cargo build --quiet; cargo test --quiet --tests --no-run; rm -r $CARGO_HOME",
        target = target.display(),
        checkout = workspace().display()
    );
    // The patches are for who names versions, which the example does not.
    let config = config(vendor);
    std::fs::write(target.join("config.toml"), config.split("[patch").next().unwrap_or_default())?;
    let mut host = Command::new(std::env::current_exe()?);
    host.args(["lab", "exec", "--no-build", "--with", "rust", "--", "sh", "-euc", &script]);
    sh::logged(&mut host, &log)?;
    let library = "libnixoci_backend_echo.so";
    std::fs::create_dir(dir.join("second"))?;
    std::fs::copy(target.join("debug").join(library), dir.join("second").join(library))?;
    Ok(())
}

fn c_libraries(dir: &Path) -> Result<()> {
    c(&dir.join("libnixoci_backend_c_example.so"), "examples/plugin-c/c_example.c", &[])?;
    c(&dir.join("libnixoci_backend_mutant.so"), "lab/plugins/mutant.c", &[])?;
    std::fs::create_dir(dir.join("bad"))?;
    for (name, flags) in BAD {
        let file = format!("bad/libnixoci_backend_{}.so", name.replace('-', "_"));
        c(&dir.join(file), "lab/plugins/mutant.c", flags)?;
    }
    Ok(())
}

/// As examples/plugin-c/README.md says, with every warning.
fn c(out: &Path, source: &str, flags: &[&str]) -> Result<()> {
    let mut compile = Command::new("cc");
    compile.args(["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", "-pthread"]);
    compile.args(flags).arg("-I").arg(workspace().join("crates/plugin/include"));
    compile.arg(workspace().join(source)).arg("-o").arg(out);
    sh::quiet(&mut compile).map(drop)
}
