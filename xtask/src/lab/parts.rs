//! The cached parts: roots from debootstrap, the stand-in nixpkgs with its sources, and stores filled with its packages.
//!
//! Everything here needs the network and runs before any namespace of the lab exists.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::{Result, anyhow};
use serde::{Deserialize, Serialize};

use super::binfmt;
use super::cache::{Cache, Lock, recipe};
use super::host;
use crate::sh;
use crate::workspace;

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

/// How long an entry of another recipe is kept: people go back and forth between branches.
const KEEP: Duration = Duration::from_secs(5 * 24 * 3600);

/// Where every part lies: what a running lab is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Parts {
    pub(crate) trixie: PathBuf,
    pub(crate) forky: PathBuf,
    pub(crate) bookworm: PathBuf,
    pub(crate) rust: PathBuf,
    pub(crate) sources: PathBuf,
    pub(crate) nixpkgs: PathBuf,
    pub(crate) seed_trixie: PathBuf,
    pub(crate) seed_forky: PathBuf,
    pub(crate) qemu: PathBuf,
    /// The root of multipass' guests, and where their apt gets Nix from.
    pub(crate) guest: PathBuf,
    pub(crate) repository: PathBuf,
}

impl Parts {
    /// Makes what is missing.
    pub(crate) fn ensure(cache: &Cache) -> Result<Self> {
        let [trixie, forky, bookworm, guest, rust] = roots(cache)?;
        let sources = sources(cache, &trixie)?;
        let nixpkgs = nixpkgs(cache, &sources)?;
        let qemu = sources.join("qemu-aarch64-static");
        let (seed_trixie, seed_forky) = seeds(cache, &sources, &nixpkgs, &qemu, &trixie, &forky)?;
        let repository = repository(cache, &guest)?;
        let parts = Self {
            trixie,
            forky,
            bookworm,
            rust,
            sources,
            nixpkgs,
            seed_trixie,
            seed_forky,
            qemu,
            guest,
            repository,
        };
        prune(cache, &parts)?;
        Ok(parts)
    }

    fn all(&self) -> [&Path; 10] {
        [
            &self.trixie,
            &self.forky,
            &self.bookworm,
            &self.rust,
            &self.sources,
            &self.nixpkgs,
            &self.seed_trixie,
            &self.seed_forky,
            &self.guest,
            &self.repository,
        ]
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

/// Those of Debian 13, of the next release, of Debian 12, of guests, and the one with Rust.
fn roots(cache: &Cache) -> Result<[PathBuf; 5]> {
    let mut named = Vec::new();
    for suite in [TRIXIE, FORKY, BOOKWORM, GUEST, RUST] {
        let (packages, name) = recipe_of(suite)?;
        named.push((suite, packages, name));
    }
    if named.iter().any(|(_, _, name)| !cache.path(name).exists()) {
        host::ensure_tools(&cache.path("logs/apt.log"))?;
    }
    let made = thread::scope(|scope| {
        let running: Vec<_> = named
            .iter()
            .map(|(suite, packages, name)| scope.spawn(|| root(cache, *suite, packages, name)))
            .collect();
        running.into_iter().map(join).collect::<Result<Vec<PathBuf>>>()
    })?;
    made.try_into().map_err(|_| anyhow!("a root is missing"))
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

fn sources(cache: &Cache, trixie: &Path) -> Result<PathBuf> {
    let list = workspace().join("lab/nixpkgs/debs.list");
    let script = scripts().join("make-sources.sh");
    let hash = recipe(&[&fs::read(&list)?, &fs::read(&script)?, name_of(trixie)]);
    cache.entry(&format!("sources/{hash}"), |dir| {
        sh::step("fetching the packages of the stand-in nixpkgs", || {
            let mut make = scratch(
                trixie,
                &cache.path("unfinished/sources-scratch"),
                &[(&list, "/lab/debs.list"), (&script, "/lab/make-sources.sh"), (dir, "/lab/out")],
            )?;
            make.args(["sh", "/lab/make-sources.sh", "/lab/debs.list", "/lab/out"]);
            sh::logged(&mut make, &cache.path("logs/sources.log"))?;
            super::cache::remove_all(&cache.path("unfinished/sources-scratch"))
        })
    })
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

fn seeds(
    cache: &Cache,
    sources: &Path,
    nixpkgs: &Path,
    qemu: &Path,
    trixie: &Path,
    forky: &Path,
) -> Result<(PathBuf, PathBuf)> {
    let script = scripts().join("seed-store.sh");
    let text = fs::read(&script)?;
    let name = |root: &Path| {
        format!("seeds/{}-{}", String::from_utf8_lossy(name_of(root)), recipe(&[&text, name_of(nixpkgs)]))
    };
    let (first, second) = (name(trixie), name(forky));
    let fill = |root: &Path, name: &str, title: &str| {
        cache.entry(name, |dir| {
            sh::step(&format!("filling the store of {title}"), || {
                start_from_older(cache, name, dir)?;
                let work = cache.path(&format!("unfinished/seed-scratch-{title}"));
                let mut make = scratch(
                    root,
                    &work,
                    &[
                        (dir, "/nix"),
                        (sources, "/lab/sources"),
                        (nixpkgs, "/lab/nixpkgs"),
                        (&script, "/lab/seed-store.sh"),
                    ],
                )?;
                make.args(["sh", "/lab/seed-store.sh", "x86_64-linux", "aarch64-linux"]);
                // Packages for arm64 are built by arm64 programs, here as anywhere.
                make.env("LAB_ARM64", binfmt::name(&format!("seed-{title}"))).env("LAB_QEMU", qemu);
                let filled = sh::logged(&mut make, &cache.path(&format!("logs/seed-{title}.log")));
                binfmt::unregister(&format!("seed-{title}"))?;
                filled?;
                super::cache::remove_all(&work)
            })
        })
    };
    thread::scope(|scope| {
        let other = scope.spawn(|| fill(forky, &second, "forky"));
        let one = fill(trixie, &first, "trixie");
        Ok((one?, join(other)?))
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
    for kind in ["roots", "sources", "nixpkgs", "seeds", "repositories", "produced"] {
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
