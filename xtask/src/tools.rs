//! Programs of cargo's that the project needs and a new machine does not have: installed once, into the lab's cache.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::lab::cache::{Cache, remove_all};
use crate::{cargo, sh, workspace};

/// A program that is installed with `cargo install`.
#[derive(Debug)]
pub(crate) struct Tool {
    /// The crate, which is also the program's name.
    name: &'static str,
    /// The version that is installed where none is there.
    version: &'static str,
    /// Further flags for `cargo install`.
    flags: &'static [&'static str],
    /// Whether a program on PATH serves as well, whatever its version.
    from_path: bool,
}

/// The test runner. Development machines have it; what `.config/nextest.toml` needs of it is named there.
pub(crate) const NEXTEST: Tool = Tool {
    name: "cargo-nextest",
    version: "0.9.143",
    flags: &["--no-default-features", "--features", "default-no-update"],
    from_path: true,
};

/// Checks licenses and sources. Its findings depend on its version.
const DENY: Tool = Tool { name: "cargo-deny", version: "0.20.2", flags: &[], from_path: false };

impl Tool {
    /// The program, installed if it is not there yet.
    ///
    /// It is compiled unoptimized: it runs for seconds, and compiling takes minutes.
    pub(crate) fn ensure(&self) -> Result<PathBuf> {
        if self.from_path && self.runs(&PathBuf::from(self.name)) {
            return Ok(PathBuf::from(self.name));
        }
        let cache = Cache::open()?;
        let program = cache.path("tools/bin").join(self.name);
        let _lock = cache.lock(&format!("locks/{}", self.name))?;
        if self.installed_version(&program).as_deref() == Some(self.version) {
            return Ok(program);
        }
        sh::step(&format!("installing {} {} (minutes, once)", self.name, self.version), || {
            let target = cache.path(&format!("unfinished/{}", self.name));
            let mut install = Command::new(cargo());
            install.args(["install", "--quiet", "--locked", "--debug", "--version", self.version]);
            install.arg("--root").arg(cache.path("tools")).args(self.flags).arg(self.name);
            // Neither the checkout's toolchain file nor its settings are meant for it.
            install.env("CARGO_PROFILE_DEV_DEBUG", "0").env("CARGO_TARGET_DIR", &target);
            sh::logged(install.current_dir("/"), &cache.path(&format!("logs/{}.log", self.name)))?;
            remove_all(&target)
        })?;
        Ok(program)
    }

    fn runs(&self, program: &PathBuf) -> bool {
        self.installed_version(program).is_some()
    }

    /// `cargo-deny 0.20.2`, or `cargo-nextest 0.9.143 (commit date)` and more lines.
    fn installed_version(&self, program: &PathBuf) -> Option<String> {
        let said = sh::quiet(Command::new(program).arg("--version")).ok()?;
        Some(said.split_whitespace().nth(1)?.to_owned())
    }
}

/// `cargo xtask deny`: licenses, sources and forbidden crates of everything that the product is made of (`deny.toml`).
pub(crate) fn deny() -> Result<i32> {
    let status = Command::new(DENY.ensure()?)
        .args(["--locked", "check", "--hide-inclusion-graph", "bans", "licenses", "sources"])
        .current_dir(workspace())
        .status()?;
    Ok(i32::from(!status.success()))
}
