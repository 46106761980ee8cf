//! The cached parts: roots from debootstrap, the stand-in nixpkgs with its sources, and stores filled with its packages.
//!
//! Everything here needs the network and runs before any namespace of the lab exists.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, anyhow};
use serde::{Deserialize, Serialize};

use super::binfmt;
use super::cache::{Cache, Lock, recipe};
use super::host;
use crate::{cargo, sh, workspace};

/// A Debian release with some packages: a root.
#[derive(Debug, Clone, Copy)]
struct Suite {
    /// What the root is called; its packages are listed in a file of this name.
    root: &'static str,
    name: &'static str,
    /// Nix kills every process of a build user, so each root has a range of its own.
    build_uid: u32,
}

const TRIXIE: Suite = Suite { root: "trixie", name: "trixie", build_uid: 31_000 };
const FORKY: Suite = Suite { root: "forky", name: "forky", build_uid: 32_000 };
const BOOKWORM: Suite = Suite { root: "bookworm", name: "bookworm", build_uid: 33_000 };

/// What runs in the guests of the double of multipass.
const GUEST: Suite = Suite { root: "guest", name: "trixie", build_uid: 35_000 };

/// Another Rust than the project's: plugins are built by it, too.
const RUST: Suite = Suite { root: "rust", name: "forky", build_uid: 34_000 };

const SUITES: [Suite; 5] = [TRIXIE, FORKY, BOOKWORM, GUEST, RUST];

/// How long an entry of another recipe is kept: people go back and forth between branches.
const KEEP: Duration = Duration::from_secs(5 * 24 * 3600);

/// How much of the lab is made and started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Scope {
    /// One Linux machine with the newer Nix, and the newer Docker and containerd: what the demo shows.
    Demo,
    /// Everything.
    Whole,
}

impl Scope {
    /// As scripts know it.
    fn name(self) -> &'static str {
        match self {
            Self::Demo => "demo",
            Self::Whole => "all",
        }
    }
}

/// Where every part lies: what a running lab is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Parts {
    pub(crate) forky: PathBuf,
    pub(crate) sources: PathBuf,
    pub(crate) nixpkgs: PathBuf,
    /// The Nix store with the stand-in's packages: every machine has an overlay over it.
    pub(crate) seed: PathBuf,
    /// The parts that only the whole lab has.
    more: Option<More>,
}

/// The parts that the demo does without.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct More {
    pub(crate) trixie: PathBuf,
    pub(crate) bookworm: PathBuf,
    pub(crate) rust: PathBuf,
    pub(crate) qemu: PathBuf,
    /// The root of multipass' guests, and where their apt gets Nix from.
    pub(crate) guest: PathBuf,
    pub(crate) repository: PathBuf,
    /// The same root with Nix installed: a custom image.
    pub(crate) guest_with_nix: PathBuf,
    /// The program behind `multipass exec`, made with libssh.
    pub(crate) multipass_exec: PathBuf,
}

impl Parts {
    /// Makes what is missing.
    pub(crate) fn ensure(cache: &Cache, scope: Scope) -> Result<Self> {
        let parts = match scope {
            Scope::Demo => Self::base(cache, scope)?,
            Scope::Whole => Self::whole(cache)?,
        };
        prune(cache, &parts)?;
        Ok(parts)
    }

    /// The machine with the newer Nix.
    fn base(cache: &Cache, scope: Scope) -> Result<Self> {
        let forky = alone(cache, FORKY)?;
        // Where everything is there already, the demo takes that.
        let has_all = cache.path(&sources_name(&forky, Scope::Whole)?).exists();
        let scope = if has_all { Scope::Whole } else { scope };
        let sources = sources(cache, &forky, scope)?;
        let nixpkgs = nixpkgs(cache, &sources)?;
        let seed = seed(cache, scope, &sources, &nixpkgs, &forky)?;
        Ok(Self { forky, sources, nixpkgs, seed, more: None })
    }

    /// All at once: each waits for the network, or for a disk, or for one processor.
    fn whole(cache: &Cache) -> Result<Self> {
        if SUITES.iter().any(|suite| recipe_of(*suite).is_ok_and(|(_, name)| !cache.path(&name).exists())) {
            host::ensure_tools(&cache.path("logs/apt.log"))?;
        }
        thread::scope(|scope| {
            let guest = scope.spawn(|| {
                let guest = alone(cache, GUEST)?;
                let repository = repository(cache, &guest)?;
                let guest_with_nix = guest_with_nix(cache, &guest, &repository)?;
                Ok((guest, repository, guest_with_nix))
            });
            let trixie = scope.spawn(|| {
                let trixie = alone(cache, TRIXIE)?;
                let multipass_exec = multipass_exec(cache, &trixie)?;
                Ok((trixie, multipass_exec))
            });
            let others = [BOOKWORM, RUST].map(|suite| scope.spawn(move || alone(cache, suite)));
            let base = Self::base(cache, Scope::Whole)?;
            let [bookworm, rust] = others.map(join);
            let (trixie, multipass_exec) = join(trixie)?;
            let (guest, repository, guest_with_nix) = join(guest)?;
            let qemu = base.sources.join("qemu-aarch64-static");
            let (bookworm, rust) = (bookworm?, rust?);
            let more =
                More { trixie, bookworm, rust, qemu, guest, repository, guest_with_nix, multipass_exec };
            Ok(Self { more: Some(more), ..base })
        })
    }

    pub(crate) fn scope(&self) -> Scope {
        if self.more.is_some() { Scope::Whole } else { Scope::Demo }
    }

    /// The parts that only the whole lab has.
    pub(crate) fn more(&self) -> Result<&More> {
        self.more.as_ref().context("the lab that is up is the demo's alone: run `cargo xtask lab up`")
    }

    fn all(&self) -> Vec<&Path> {
        let mut all: Vec<&Path> = vec![&self.forky, &self.sources, &self.nixpkgs, &self.seed];
        if let Some(more) = &self.more {
            all.extend(
                [
                    &more.trixie,
                    &more.bookworm,
                    &more.rust,
                    &more.guest,
                    &more.repository,
                    &more.guest_with_nix,
                    &more.multipass_exec,
                ]
                .map(PathBuf::as_path),
            );
        }
        all
    }
}

fn scripts() -> PathBuf {
    workspace().join("lab/roots")
}

/// The list of a root's packages, and the name of its entry in the cache.
fn recipe_of(suite: Suite) -> Result<(PathBuf, String)> {
    let packages = scripts().join(format!("{}.packages", suite.root));
    let script = fs::read(scripts().join("make-root.sh"))?;
    let hash = recipe(&[&script, &fs::read(&packages)?, suite.name.as_bytes()]);
    Ok((packages, format!("roots/{}-{hash}", suite.root)))
}

fn root(cache: &Cache, suite: Suite, packages: &Path, name: &str) -> Result<PathBuf> {
    cache.entry(name, |dir| {
        sh::step(&format!("making the {} root", suite.root), || {
            let mut make = sh::contained(scripts().join("make-root.sh"));
            make.arg(suite.name).arg(dir).arg(host::mirror()?).arg(packages).arg(suite.build_uid.to_string());
            sh::logged(&mut make, &cache.path(&format!("logs/root-{}.log", suite.root)))
        })
    })
}

/// The packages of the stand-in: Debian 13's, whatever root fetches them. The demo needs one CPU's, and no compiler.
fn sources(cache: &Cache, root: &Path, scope: Scope) -> Result<PathBuf> {
    let list = workspace().join("lab/nixpkgs/debs.list");
    let script = scripts().join("make-sources.sh");
    cache.entry(&sources_name(root, scope)?, |dir| {
        sh::step("fetching the packages of the stand-in nixpkgs", || {
            let work = cache.path(&format!("unfinished/sources-scratch-{}", scope.name()));
            let binds = [(&*list, "/lab/debs.list"), (&script, "/lab/make-sources.sh"), (dir, "/lab/out")];
            let mut make = scratch(root, &work, &binds)?;
            make.args(["sh", "/lab/make-sources.sh", "/lab/debs.list", "/lab/out"]);
            make.args([&host::mirror()?, TRIXIE.name, scope.name()]);
            sh::logged(&mut make, &cache.path("logs/sources.log"))?;
            super::cache::remove_all(&work)
        })
    })
}

fn sources_name(root: &Path, scope: Scope) -> Result<String> {
    let list = fs::read(workspace().join("lab/nixpkgs/debs.list"))?;
    let script = fs::read(scripts().join("make-sources.sh"))?;
    Ok(format!("sources/{}", recipe(&[&list, &script, name_of(root), scope.name().as_bytes()])))
}

/// An apt repository with Nix for guests, which are born without it.
fn repository(cache: &Cache, guest: &Path) -> Result<PathBuf> {
    let script = workspace().join("lab/multipass/make-repository.sh");
    let hash = recipe(&[&fs::read(&script)?, name_of(guest)]);
    cache.entry(&format!("repositories/{hash}"), |dir| {
        sh::step("fetching Nix for guests of multipass", || {
            let work = cache.path("unfinished/repository-scratch");
            let mut make = scratch(guest, &work, &[(&script, "/lab/make-repository.sh"), (dir, "/lab/out")])?;
            make.args(["sh", "/lab/make-repository.sh", "/lab/out"]);
            sh::logged(&mut make, &cache.path("logs/repository.log"))?;
            super::cache::remove_all(&work)
        })
    })
}

/// The root of guests with Nix's packages installed.
fn guest_with_nix(cache: &Cache, guest: &Path, repository: &Path) -> Result<PathBuf> {
    let script = workspace().join("lab/multipass/install-nix.sh");
    let hash = recipe(&[&fs::read(&script)?, name_of(repository)]);
    cache.entry(&format!("roots/guest-with-nix-{hash}"), |dir| {
        sh::step("installing Nix in a guest's root", || {
            let work = cache.path("unfinished/guest-with-nix-scratch");
            let binds = [(&*script, "/lab/install-nix.sh"), (repository, "/lab/apt"), (dir, "/lab/out")];
            let mut make = scratch(guest, &work, &binds)?;
            make.args(["sh", "/lab/install-nix.sh", "/lab/out"]);
            sh::logged(&mut make, &cache.path("logs/guest-with-nix.log"))?;
            super::cache::remove_all(&work)
        })
    })
}

/// The program behind `multipass exec`. Its libssh is a crate's source: crates stay as they are, and Debian's libssh does not.
/// It is made in the older of the roots that hosts with multipass have, and runs in both.
fn multipass_exec(cache: &Cache, trixie: &Path) -> Result<PathBuf> {
    let from = workspace().join("lab/multipass/libssh");
    let [source, script, manifest] = ["exec.c", "make-exec.sh", "Cargo.toml"].map(|name| from.join(name));
    let lock = fs::read(from.join("Cargo.lock"))?;
    let hash = recipe(&[&fs::read(&source)?, &fs::read(&script)?, &lock, name_of(trixie)]);
    cache.entry(&format!("multipass-exec/{hash}"), |dir| {
        sh::step("compiling multipass' exec with libssh", || {
            let log = cache.path("logs/multipass-exec.log");
            let [crates, work] =
                ["crates", "scratch"].map(|name| cache.path(&format!("unfinished/exec-{name}")));
            super::cache::remove_all(&crates)?;
            let mut vendor = Command::new(cargo());
            vendor.args(["vendor", "--quiet", "--locked", "--manifest-path"]).arg(&manifest).arg(&crates);
            sh::logged(vendor.current_dir(workspace()), &log)?;
            let libssh = crates.join("libssh-rs-sys/vendored");
            let binds = [
                (&*source, "/lab/exec.c"),
                (&script, "/lab/make-exec.sh"),
                (&libssh, "/lab/libssh"),
                (dir, "/lab/out"),
            ];
            let mut make = scratch(trixie, &work, &binds)?;
            make.args(["sh", "/lab/make-exec.sh", "/lab/exec.c", "/lab/libssh", "/lab/out"]);
            sh::logged(&mut make, &log)?;
            super::cache::remove_all(&crates)?;
            super::cache::remove_all(&work)
        })
    })
}

/// The stand-in as builds see it: our expressions next to the list of sources.
fn nixpkgs(cache: &Cache, sources: &Path) -> Result<PathBuf> {
    let from = workspace().join("lab/nixpkgs");
    let files = files_below(&from)?;
    let mut parts: Vec<Vec<u8>> = vec![name_of(sources).to_vec()];
    for file in &files {
        parts.push(file.as_os_str().as_encoded_bytes().to_vec());
        parts.push(fs::read(from.join(file))?);
    }
    let hash = recipe(&parts.iter().map(Vec::as_slice).collect::<Vec<_>>());
    cache.entry(&format!("nixpkgs/{hash}"), |dir| {
        for file in &files {
            let to = dir.join(file);
            if let Some(parent) = to.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::copy(from.join(file), to)?;
        }
        fs::copy(sources.join("sources.json"), dir.join("sources.json"))?;
        Ok(())
    })
}

/// A store that holds what a machine with a warm binary cache would have. Each Nix of the lab takes it: the layout of a store and its
/// database have been the same since Nix 2.0, and what a derivation is called does not depend on the version.
fn seed(cache: &Cache, scope: Scope, sources: &Path, nixpkgs: &Path, root: &Path) -> Result<PathBuf> {
    let script = scripts().join("seed-store.sh");
    let hash = recipe(&[&fs::read(&script)?, name_of(nixpkgs)]);
    let name = format!("seeds/{}-{hash}", String::from_utf8_lossy(name_of(root)));
    cache.entry(&name, |dir| {
        sh::step("filling a Nix store", || {
            start_from_older(cache, &name, dir)?;
            let work = cache.path(&format!("unfinished/seed-scratch-{hash}"));
            let binds = [
                (dir, "/nix"),
                (sources, "/lab/sources"),
                (nixpkgs, "/lab/nixpkgs"),
                (&*script, "/lab/seed-store.sh"),
            ];
            let mut make = scratch(root, &work, &binds)?;
            make.args(["sh", "/lab/seed-store.sh"]);
            make.args([scope.name(), "x86_64-linux"]);
            if scope == Scope::Whole {
                // Packages for arm64 are built by arm64 programs, here as anywhere.
                make.env("LAB_ARM64", binfmt::name("seed"))
                    .env("LAB_QEMU", sources.join("qemu-aarch64-static"));
                make.arg("aarch64-linux");
            }
            let filled = sh::logged(&mut make, &cache.path("logs/seed.log"));
            if scope == Scope::Whole {
                binfmt::unregister("seed")?;
            }
            filled?;
            super::cache::remove_all(&work)
        })
    })
}

/// Copies the newest store that was filled for the same root: most of what another version of the stand-in needs is in
/// there, and what is not needed any more is collected at the end.
fn start_from_older(cache: &Cache, name: &str, dir: &Path) -> Result<()> {
    let Some((same_root, _)) = name.rsplit_once('-') else { return Ok(()) };
    let Ok(entries) = fs::read_dir(cache.path("seeds")) else { return Ok(()) };
    let older = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().contains(&format!("{same_root}-")))
        .max_by_key(|path| path.metadata().and_then(|meta| meta.modified()).ok());
    match older {
        Some(older) => sh::quiet(Command::new("cp").arg("-a").arg(older.join(".")).arg(dir)).map(drop),
        None => Ok(()),
    }
}

/// The root of Debian 13 alone: others than the lab find it useful.
pub(crate) fn trixie(cache: &Cache) -> Result<PathBuf> {
    alone(cache, TRIXIE)
}

/// A root with a Rust toolchain and the source of its standard library.
pub(crate) fn rust(cache: &Cache) -> Result<PathBuf> {
    alone(cache, RUST)
}

fn alone(cache: &Cache, suite: Suite) -> Result<PathBuf> {
    let (packages, name) = recipe_of(suite)?;
    if !cache.path(&name).exists() {
        host::ensure_tools(&cache.path("logs/apt.log"))?;
    }
    root(cache, suite, &packages, &name)
}

/// A command in a throw-away copy of a root, online.
pub(crate) fn scratch(root: &Path, work: &Path, binds: &[(&Path, &str)]) -> Result<Command> {
    super::cache::remove_all(work)?;
    let binds: Vec<String> =
        binds.iter().map(|(source, target)| format!("{}:{target}", source.display())).collect();
    let mut command = sh::contained(scripts().join("in-scratch.sh"));
    command.arg(root).arg(work).arg(binds.join(","));
    Ok(command)
}

/// Removes what no run has used for days and no lab may be standing on: entries of older recipes.
fn prune(cache: &Cache, parts: &Parts) -> Result<()> {
    let now = SystemTime::now();
    for part in parts.all() {
        fs::File::open(part)?.set_modified(now)?;
    }
    let Some(_alone) = cache.try_lock("locks/in-use", false)? else { return Ok(()) };
    for kind in ["roots", "sources", "nixpkgs", "seeds", "repositories", "multipass-exec", "produced"] {
        let Ok(entries) = fs::read_dir(cache.path(kind)) else { continue };
        for entry in entries {
            let path = entry?.path();
            let unused = now.duration_since(path.metadata()?.modified()?).unwrap_or_default();
            if unused > KEEP {
                super::cache::remove_all(&path)?;
            }
        }
    }
    Ok(())
}

/// Held by a running lab: parts that are in use are not pruned.
pub(crate) fn in_use(cache: &Cache) -> Result<Option<Lock>> {
    cache.try_lock("locks/in-use", true)
}

/// The files below a directory, by their paths there, in order.
pub(crate) fn files_below(base: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    collect(base, Path::new(""), &mut files)?;
    files.sort();
    Ok(files)
}

fn collect(base: &Path, below: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(base.join(below))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            collect(base, &path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

pub(crate) fn name_of(path: &Path) -> &[u8] {
    path.file_name().map(|name| name.as_encoded_bytes()).unwrap_or_default()
}

fn join<T>(handle: thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    handle.join().map_err(|_| anyhow!("a worker thread failed"))?
}
