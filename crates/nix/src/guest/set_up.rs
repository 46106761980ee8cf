//! Making a guest build with Nix: installing it, its settings, and what switches an idle guest off.

use std::time::Duration;

use nixoci_core::backend::Cx;
use nixoci_core::event::{Event, Task, TaskKind};
use nixoci_core::runner::{Command, GRACE, Stream};
use nixoci_core::{Error, Remedy, Result, codes as core_codes, shell};
use sha2::{Digest, Sha256};

use super::codes::{DNS, INSTALLER, NO_NIX, SET_UP};
use super::inside::become_root;
use super::{GuestRunner, Installer};
use crate::lines::{LINE_LIMIT, Lines};

const SCRIPT: &str = include_str!("set-up.sh");
/// So much of what is said is kept for an error.
const KEPT: usize = 40;

/// What a guest is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetUp {
    /// Who logs in there.
    pub user: String,
    /// How long it runs on when nobody uses it; zero for ever.
    pub idle: Duration,
    /// An installer of Nix, in place of the release's package.
    pub installer: Option<Installer>,
    /// The installer of Nix for a release that has no package that is new enough.
    pub fallback: Option<Installer>,
    /// Whether it is to build for the other of the usual CPU architectures as well, whose programs qemu runs.
    pub emulate: bool,
    /// The backend that it is for, in the words of remedies.
    pub backend: &'static str,
}

impl SetUp {
    /// What the guest's Nix is told.
    fn conf(&self) -> String {
        [
            "experimental-features = nix-command flakes".to_owned(),
            format!("trusted-users = root {}", self.user),
            "max-jobs = auto".to_owned(),
            // There are no channels; whoever wants another nixpkgs pins one.
            "nix-path = nixpkgs=flake:nixpkgs".to_owned(),
            // Garbage goes when less than 2 GiB are free, until there are 8.
            "min-free = 2147483648".to_owned(),
            "max-free = 8589934592".to_owned(),
        ]
        .join("\n")
    }

    /// What a guest that was set up like this says of itself.
    pub fn stamp(&self) -> String {
        let mut hasher = Sha256::new();
        hasher.update(SCRIPT);
        hasher.update(self.conf());
        hasher.update(self.idle.as_secs().to_be_bytes());
        hasher.update([u8::from(self.emulate)]);
        format!("v1 {}", nixoci_core::text::hex(&hasher.finalize()[..8]))
    }

    /// Sets a guest up, telling what is done. What is done already is not done again.
    ///
    /// # Errors
    /// [`DNS`], [`NO_NIX`], [`INSTALLER`], [`SET_UP`]; those of the way into the guest.
    pub async fn run(&self, cx: &Cx<'_>, guest: &GuestRunner<'_>) -> Result<()> {
        let installer = self.installer.as_ref().or(self.fallback.as_ref());
        let (from, sha256) = installer.map_or(("", ""), |installer| (&installer.from, &installer.sha256));
        let idle = self.idle.as_secs().to_string();
        let command = Command::new("sh")
            .args([
                "-c",
                &format!("exec 2>&1\n{SCRIPT}"),
                "nixoci",
                &self.stamp(),
                &self.user,
                &idle,
                from,
                sha256,
            ])
            .arg(self.conf())
            .arg(if self.emulate { "1" } else { "" })
            .arg(if self.installer.is_some() { "1" } else { "" });
        let root = guest.clone().entered_by(become_root());
        let mut process = nixoci_core::runner::Runner::spawn(&root, &command).await?;
        let task = Task::start(cx.observer, TaskKind::Provision, "setting the virtual machine up", None);
        let (stdout, stderr) = (process.take_stdout(), process.take_stderr());
        let said = tokio::select! {
            (said, _) = async { tokio::join!(tell(cx, &task, stdout), tell(cx, &task, stderr)) } => said,
            () = cx.cancel.cancelled() => {
                process.stop(GRACE).await?;
                return Err(Error::new(&core_codes::CANCELLED, "setting the virtual machine up was stopped"));
            }
        };
        if process.wait().await?.success() {
            task.finish();
            return Ok(());
        }
        Err(self.failed(&said))
    }

    fn another_release(&self) -> Remedy {
        Remedy::advice(format!(
            "take a release that has it, with image = \"26.04\" in [backend.{}], for a new virtual machine",
            self.backend
        ))
    }

    fn an_installer(&self) -> Remedy {
        Remedy::advice("or name an installer there: installer = \"https://…\" and installer-sha256 = \"…\"")
    }

    fn another_installer(&self, found: &str) -> Error {
        let error = Error::new(&INSTALLER, "the installer of Nix is not the one that was meant");
        let differ = |installer: &Installer| {
            format!("the SHA-256 of {} is {found}, and {} was expected", installer.name, installer.sha256)
        };
        match (&self.installer, &self.fallback) {
            (Some(given), _) => error.because(differ(given)).remedy(Remedy::advice(format!(
                "correct `installer` or `installer-sha256` in [backend.{}]",
                self.backend
            ))),
            (None, Some(pinned)) => error
                .because(differ(pinned))
                .remedy(self.again("see whether a proxy changes what is downloaded, and try again"))
                .remedy(self.another_release())
                .remedy(self.an_installer()),
            (None, None) => error,
        }
    }

    fn failed(&self, said: &[String]) -> Error {
        let kind = said.iter().rev().find_map(|line| line.strip_prefix('@')).unwrap_or_default();
        let says = |text: &str| said.iter().any(|line| line.contains(text));
        let error = if says("Temporary failure resolving") || says("Could not resolve host") {
            Error::new(&DNS, DNS.title).remedy(Remedy::advice(
                "disconnect the VPN, or stop what owns port 53 on this host, and try again",
            ))
        } else if let Some(version) = kind.strip_prefix("old-package ") {
            Error::new(
                &NO_NIX,
                format!("Nix {version} is what the virtual machine's release has, and it is too old"),
            )
            .remedy(self.another_release())
            .remedy(self.an_installer())
        } else if kind == "no-package" {
            Error::new(&NO_NIX, "the virtual machine's release has no package of Nix")
                .remedy(self.another_release())
                .remedy(self.an_installer())
        } else if let Some(found) = kind.strip_prefix("sha256 ") {
            self.another_installer(found)
        } else {
            Error::new(&SET_UP, SET_UP.title)
        };
        let tail = said.iter().filter(|line| !line.starts_with('@')).cloned();
        let error = error.log(tail);
        // With three it is one of them.
        match error.report().remedies.len() {
            0..3 => error.remedy(self.again("try again: what was done is not done twice")),
            _ => error,
        }
    }

    fn again(&self, text: &str) -> Remedy {
        Remedy::command(text, shell!("nixoci provision --backend {} --yes", self.backend))
    }
}

/// Tells what is said, and keeps the end of it.
async fn tell(cx: &Cx<'_>, task: &Task<'_>, stream: Option<Stream>) -> Vec<String> {
    let mut said: Vec<String> = Vec::new();
    let Some(stream) = stream else { return said };
    let mut lines = Lines::new(stream, LINE_LIMIT);
    while let Ok(Some(line)) = lines.next().await {
        let line = crate::log_line(&String::from_utf8_lossy(line));
        if line.is_empty() {
            continue;
        }
        if !line.starts_with('@') {
            cx.observer.observe(Event::Log { task: Some(task.id()), line: line.clone() });
        }
        if said.len() == KEPT {
            said.remove(0);
        }
        said.push(line);
    }
    said
}
