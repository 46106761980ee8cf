//! [`Nix`]: one installed Nix, found and understood, and the questions it can be asked.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use nixoci_core::artifact::{ParseStorePathError, StorePath};
use nixoci_core::backend::{Check, Cx};
use nixoci_core::runner::{Command, Output, output};
use nixoci_core::{Error, Remedy, Result, codes as core_codes, shell};

use crate::diagnose::{Subject, diagnose};
use crate::guest::Called;
use crate::guest::sources::Sources;
use crate::place::{GuestNix, Place};
use crate::record::Record;
use crate::settings::{NixSettings, StoreInfo};
use crate::version::{Implementation, Version};
use crate::{cli, codes, version_cache};

const INSTALL: &str = "curl -L https://nixos.org/nix/install | sh -s -- --daemon";

/// A Nix that nixoci can work with.
#[derive(Clone, Debug)]
pub struct Nix {
    pub(crate) program: PathBuf,
    pub(crate) version: Version,
    place: Place,
}

impl Nix {
    pub(crate) fn new(program: PathBuf, version: Version) -> Nix {
        Nix { program, version, place: Place::Own }
    }

    /// The Nix of a guest, which sees what was sent to it. Every [`Cx`] that it is given has a runner into that guest.
    ///
    /// # Errors
    /// [`codes::UNKNOWN_VERSION`], [`codes::TOO_OLD`].
    pub fn in_guest(version: &str, called: Called, sources: Sources) -> Result<Nix> {
        let unknown =
            || Error::new(&codes::UNKNOWN_VERSION, format!("`{version}` is no Nix that nixoci knows"));
        let version = Version::parse(version).ok_or_else(unknown)?;
        if !version.is_supported() {
            let anew = shell!("nixoci provision --backend {} --remove", called.backend);
            return Err(
                too_old_there(&version).remedy(Remedy::command("make the virtual machine anew", anew))
            );
        }
        let place = Place::Guest(Arc::new(GuestNix { called, sources }));
        Ok(Nix { program: PathBuf::from("nix"), version, place })
    }

    /// The same Nix, working in another store.
    pub fn at(&self, place: Place) -> Nix {
        Nix { place, ..self.clone() }
    }

    /// Whose store it works in.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Finds Nix on the runner's PATH and asks its version, which is remembered for as long as the program is
    /// the same file.
    ///
    /// # Errors
    /// [`codes::MISSING`], [`codes::TOO_OLD`], [`codes::UNKNOWN_VERSION`].
    pub async fn discover(cx: &Cx<'_>) -> Result<Nix> {
        let program = cx.runner.find("nix").await.ok_or_else(missing)?;
        let version = match version_cache::get(&cx.dirs.cache, &program) {
            Some(version) => version,
            None => {
                let version = ask_version(cx, &program).await?;
                version_cache::put(&cx.dirs.cache, &program, &version);
                version
            }
        };
        if !version.is_supported() {
            return Err(too_old(&version));
        }
        Ok(Nix::new(program, version))
    }

    /// Which Nix it is.
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// Where it is.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The settings that decide what can be built.
    ///
    /// # Errors
    /// Whatever keeps Nix from reading its configuration; [`codes::UNEXPECTED`].
    pub async fn settings(&self, cx: &Cx<'_>) -> Result<NixSettings> {
        let command = cli::settings(self);
        let text = self.ask(cx, &command, "Nix's settings could not be read").await?;
        NixSettings::parse(&text).map_err(|why| self.unexpected(&command, &why))
    }

    /// What the store says about itself. Connects to the daemon, where there is one.
    ///
    /// # Errors
    /// [`codes::DAEMON_PERMISSION`], [`codes::DAEMON_DOWN`] and what else keeps Nix from its store.
    pub async fn store_info(&self, cx: &Cx<'_>) -> Result<StoreInfo> {
        let command = cli::store_info(self);
        let text = self.ask(cx, &command, "the Nix store could not be reached").await?;
        StoreInfo::parse(&text).map_err(|why| self.unexpected(&command, &why))
    }

    /// For `doctor`: whether the store can be reached, and how.
    pub async fn store_check(&self, cx: &Cx<'_>) -> Check {
        const TITLE: &str = "Nix store";
        match self.store_info(cx).await {
            Ok(info) => {
                let how = if info.is_daemon() { "through the daemon" } else { "directly" };
                let version = info.version.map(|version| format!(" {version}")).unwrap_or_default();
                Check::good(TITLE, format!("{how}{version}"))
            }
            Err(error) => Check::failed(TITLE, &error),
        }
    }

    /// Copies a file or directory into the store, where everybody may read it, and makes `root` a garbage collector root of
    /// the copy: a symlink to it, which replaces the one that is there.
    ///
    /// # Errors
    /// What keeps Nix from its store; [`codes::UNEXPECTED`].
    pub async fn add_public(&self, cx: &Cx<'_>, path: &Path, root: &Path) -> Result<StorePath> {
        let failure = "nothing could be added to the Nix store";
        let command = cli::add(path);
        let text = self.ask(cx, &command, failure).await?;
        let added: StorePath = text
            .trim()
            .parse()
            .map_err(|error: ParseStorePathError| self.unexpected(&command, &error.to_string()))?;
        self.ask(cx, &cli::add_root(&added, root), failure).await?;
        Ok(added)
    }

    /// Runs a command that answers on standard output.
    pub(crate) async fn ask(&self, cx: &Cx<'_>, command: &Command, failure: &str) -> Result<String> {
        let answer = output(cx.runner, command, cx.cancel).await?;
        if answer.exit.success() {
            return Ok(answer.stdout_text());
        }
        Err(self.failed(cx, &answer, failure))
    }

    /// The error for a command that failed.
    pub(crate) fn failed(&self, cx: &Cx<'_>, answer: &Output, failure: &str) -> Error {
        let record = Record::of_text(&answer.stderr_text());
        diagnose(&record, &Subject::command(cx.host, failure).at(&self.place))
    }

    pub(crate) fn unexpected(&self, command: &Command, why: &str) -> Error {
        let shown: Vec<_> = command.args.iter().take(3).map(|arg| arg.to_string_lossy()).collect();
        Error::new(&codes::UNEXPECTED, format!("`nix {}` answered in an unknown form", shown.join(" ")))
            .because(why)
            .because(format!("this is {}", self.version))
    }
}

async fn ask_version(cx: &Cx<'_>, program: &Path) -> Result<Version> {
    let command = Command::new(program).arg("--version");
    let answer = output(cx.runner, &command, cx.cancel)
        .await
        .map_err(|error| if error.is(&core_codes::TOOL_MISSING) { missing() } else { error })?;
    let text = answer.stdout_text();
    Version::parse(&text).ok_or_else(|| {
        let said = if text.trim().is_empty() { answer.stderr_text() } else { text };
        Error::new(&codes::UNKNOWN_VERSION, format!("`{}` is no Nix that nixoci knows", program.display()))
            .because(format!(
                "`nix --version` says: {}",
                crate::lines::log_line(said.trim().lines().next().unwrap_or_default())
            ))
            .remedy(Remedy::command("see what it says", "nix --version"))
            .remedy(Remedy::command("install Nix", INSTALL))
    })
}

fn missing() -> Error {
    Error::new(&codes::MISSING, "Nix is not installed")
        .because("no program called `nix` is on PATH")
        .remedy(Remedy::command("install Nix", INSTALL))
        .remedy(Remedy::advice("if it is installed, open a new login shell, so that PATH is set up"))
}

fn too_old_there(version: &Version) -> Error {
    let wanted = if version.implementation == Implementation::Lix { "Lix 2.90" } else { "Nix 2.24" };
    Error::new(&codes::TOO_OLD, format!("{version} is too old: nixoci needs {wanted} or newer"))
}

fn too_old(version: &Version) -> Error {
    too_old_there(version)
        .remedy(Remedy::command("upgrade it, if the installer brought it", "sudo -i nix upgrade-nix"))
        .remedy(Remedy::command("or install a current one", INSTALL))
}
