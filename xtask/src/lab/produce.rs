//! `lab produce`: one small image in every shape that people meet, made by the real tools (`lab/producers`), for tests of
//! whatever reads images.
//!
//! It takes some seconds, and what comes out depends on the tools and the recipe alone: an entry of the cache.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use anyhow::{Context, Result, bail};

use super::cache::{Cache, recipe};
use super::parts::{Parts, files_below, name_of};
use super::state::State;
use crate::{sh, workspace};

/// Where tests find the directory.
pub(crate) const VARIABLE: &str = "NIXOCI_LAB_PRODUCED";

/// Where its entries lie in the cache. Hosts see them at their own path.
pub(crate) const ENTRIES: &str = "produced";

/// The entry, made if it is not there yet. The lab is up, and stays so while this runs.
pub(crate) fn ensure() -> Result<PathBuf> {
    let cache = Cache::open()?;
    let parts = State::of(&cache)?.spec()?.parts;
    let entry = cache.entry(&name(&parts)?, |dir| {
        sh::step("making images with every tool", || make(dir, &cache.path("logs/produced.log")))
    })?;
    // Entries that nobody has used for days are removed.
    std::fs::File::open(&entry)?.set_modified(SystemTime::now())?;
    Ok(entry)
}

/// The roots of the lab that is up: plenty of programs, libraries and texts.
pub(crate) fn roots() -> Result<Vec<PathBuf>> {
    let parts = State::of(&Cache::open()?)?.spec()?.parts;
    let more = parts.more()?;
    Ok(vec![parts.forky.clone(), more.trixie.clone(), more.bookworm.clone()])
}

/// Copies everything to a directory of the caller's.
pub(crate) fn copy(to: &Path) -> Result<()> {
    let from = ensure()?;
    std::fs::create_dir_all(to)?;
    sh::quiet(Command::new("cp").arg("-a").arg(from.join(".")).arg(to))?;
    sh::say(format!("{} lists what is there", to.join("manifest.tsv").display()));
    Ok(())
}

/// Everything that decides what comes out: the recipe, the stand-in, the roots with the tools.
fn name(parts: &Parts) -> Result<String> {
    let from = workspace().join("lab/producers");
    let mut recipe_parts = Vec::new();
    for file in files_below(&from)? {
        recipe_parts.push(std::fs::read(from.join(file))?);
    }
    for part in [&parts.nixpkgs, &parts.forky, &parts.more()?.bookworm] {
        recipe_parts.push(name_of(part).to_vec());
    }
    let hash = recipe(&recipe_parts.iter().map(Vec::as_slice).collect::<Vec<_>>());
    Ok(format!("{ENTRIES}/{hash}"))
}

/// Runs the recipe on a host. What it makes comes out as a tar stream: nothing unfinished lies where hosts look.
fn make(dir: &Path, log: &Path) -> Result<()> {
    let file = std::fs::File::create(log)?;
    let mut host = Command::new(std::env::current_exe()?)
        .args(["lab", "exec", "--no-build", "--arm64", "--cwd"])
        .arg(workspace())
        .args(["--", "sh", "-euc"])
        .arg("made=$(mktemp -d); lab/producers/produce.sh \"$made\" >&2; tar -C \"$made\" -c .; rm -r \"$made\"")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(file)
        .spawn()?;
    let stream = host.stdout.take().context("the host has no output")?;
    let unpacked =
        Command::new("tar").arg("-C").arg(dir).args(["--no-same-owner", "-x"]).stdin(stream).status()?;
    let made = host.wait()?;
    if !made.success() || !unpacked.success() {
        bail!(
            "lab/producers/produce.sh ended with {made}\n{}\n(the whole log: {})",
            sh::tail(log, 25),
            log.display()
        );
    }
    Ok(())
}
