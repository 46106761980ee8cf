//! The transport `ssh`: this host's Nix evaluates, and builds in the virtual machine's store, to which it connects with a key of
//! its own.
//!
//! The key belongs to the virtual machine's receipt, and goes with it. The guest's host key is read through Multipass, which is
//! asked for the address anew whenever the machine was off: another machine that has got the address is not talked to.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nixoci_core::artifact::{Artifact, ArtifactId, StorePath};
use nixoci_core::backend::{Check, Cx, Depth, Forecast};
use nixoci_core::platform::NixSystem;
use nixoci_core::request::BuildRequest;
use nixoci_core::runner::{Command, Runner as _, output};
use nixoci_core::{Error, Remedy, Result, ResultExt};
use nixoci_nix::{BuildStore, Fleet, HostStore, Machine as Builder, Over, Way, Ways};

use crate::error::KEY;
use crate::receipt::dir;
use crate::settings::USER;
use crate::work::Work;

const WAY: Way = Way::User(Over::Store);

/// Lets a key in, for commands alone, and says whom it meets.
const LET_IN: &str = r#"umask 077; mkdir -p ~/.ssh; file=~/.ssh/authorized_keys
grep -qxF -- "$1" "$file" 2>/dev/null || printf '\n%s\n' "$1" >>"$file" || exit
cat /etc/ssh/ssh_host_ed25519_key.pub"#;

/// This host's Nix, and its connections to the virtual machine: one for every time that it was started.
#[derive(Debug, Default)]
pub(crate) struct OverSsh {
    host: HostStore,
    fleets: Mutex<Fleets>,
}

#[derive(Debug, Default)]
struct Fleets {
    /// The last one is the newest.
    all: Vec<Arc<Fleet>>,
    current: bool,
}

impl OverSsh {
    fn fleets(&self) -> MutexGuard<'_, Fleets> {
        self.fleets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The machine may have another address from now on.
    pub(crate) fn forget(&self) {
        self.fleets().current = false;
    }

    /// The store that the first of these paths was built in, if that was over this way.
    pub(crate) fn owner(&self, paths: &[StorePath]) -> Option<Arc<BuildStore>> {
        self.fleets().all.iter().rev().find_map(|fleet| fleet.owner(paths))
    }

    /// Whether this host has a Nix that will do.
    pub(crate) async fn nix(&self, cx: &Cx<'_>) -> Result<()> {
        self.host.nix(cx).await.map(drop)
    }

    async fn fleet(&self, cx: &Cx<'_>, work: &Work<'_>) -> Result<Arc<Fleet>> {
        {
            let fleets = self.fleets();
            if let (true, Some(fleet)) = (fleets.current, fleets.all.last()) {
                return Ok(Arc::clone(fleet));
            }
        }
        let fleet = Arc::new(Fleet::new(vec![builder(cx, work).await?]));
        let mut fleets = self.fleets();
        fleets.all.push(Arc::clone(&fleet));
        fleets.current = true;
        Ok(fleet)
    }

    pub(crate) async fn forecast(
        &self,
        cx: &Cx<'_>,
        work: &Work<'_>,
        request: &BuildRequest,
    ) -> Result<Forecast> {
        let fleet = self.fleet(cx, work).await?;
        let forecast = Ways { host: &self.host, fleet: &fleet }.forecast(cx, request, Depth::Full, WAY).await;
        forecast.map_err(|error| explained(cx, work, error))
    }

    pub(crate) async fn build(
        &self,
        cx: &Cx<'_>,
        work: &Work<'_>,
        request: &BuildRequest,
        forecast: &Forecast,
    ) -> Result<Artifact> {
        let fleet = self.fleet(cx, work).await?;
        // Nothing else that Multipass starts there runs meanwhile.
        let in_use = Command::new("sh").args(["-c", crate::IN_USE, "nixoci", "sleep", "infinity"]);
        let _in_use = work.machine.guest(cx).spawn(&in_use).await?;
        let built = Ways { host: &self.host, fleet: &fleet }.build(cx, request, forecast, WAY).await;
        built.map_err(|error| explained(cx, work, error))
    }

    pub(crate) async fn prove(&self, cx: &Cx<'_>, work: &Work<'_>, want: &[NixSystem]) -> Result<Vec<Check>> {
        let fleet = self.fleet(cx, work).await?;
        let ways = Ways { host: &self.host, fleet: &fleet };
        let mut checks = Vec::new();
        for system in want {
            checks.extend(ways.prove(cx, system, WAY).await?);
        }
        Ok(checks)
    }

    pub(crate) async fn release(&self, cx: &Cx<'_>, id: &ArtifactId) -> Result<()> {
        let all = self.fleets().all.clone();
        for fleet in all {
            fleet.release(cx, id).await?;
        }
        Ok(())
    }
}

/// The virtual machine as a builder of this host's Nix.
async fn builder(cx: &Cx<'_>, work: &Work<'_>) -> Result<Builder> {
    let (machine, name) = (&work.machine, &work.machine.settings.instance);
    let key = key(cx, work).await?;
    let host_key = let_in(cx, work, &key).await?;
    let info = machine.multipass.info(cx, name).await?;
    let address = info.ipv4.first().cloned().ok_or_else(|| {
        Error::new(&KEY, format!("Multipass knows no address of the virtual machine {name}"))
    })?;
    Ok(Builder {
        uri: format!("ssh-ng://{USER}@nixoci-vm-{name}"),
        systems: work.systems.clone(),
        key: Some(key),
        max_jobs: work.facts.cpus,
        speed: 1.0,
        features: Vec::new(),
        mandatory: Vec::new(),
        host_key: Some(host_key),
        address: Some(address),
    })
}

/// The machine is nixoci's, so what helps is not what would help with another: Multipass has just been let into it.
fn explained(cx: &Cx<'_>, work: &Work<'_>, error: Error) -> Error {
    if !error.code().starts_with("nixoci::ssh::") {
        return error;
    }
    let name = &work.machine.settings.instance;
    let key = key_file(cx, name);
    let told = Error::new(&KEY, format!("this machine's Nix cannot use the virtual machine {name} by ssh"));
    let told = error.report().causes.iter().fold(told.because(&error.report().message), Error::because);
    let forget = Command::new("rm").arg("-f").arg(&key).arg(public(&key));
    told.remedy(Remedy::command("have another key made, by the next build", forget.to_string()))
        .remedy(Remedy::command("set the virtual machine up anew", "nixoci provision --backend multipass --remove --yes"))
        .remedy(Remedy::advice(
            "or leave `transport` out of [backend.multipass]: then the virtual machine's own Nix does everything",
        ))
}

fn key_file(cx: &Cx<'_>, instance: &str) -> PathBuf {
    dir(cx, instance).join("id_ed25519")
}

/// The key that logs in, made when it is first needed.
async fn key(cx: &Cx<'_>, work: &Work<'_>) -> Result<PathBuf> {
    let dir = dir(cx, &work.machine.settings.instance);
    let key = key_file(cx, &work.machine.settings.instance);
    let _lock = work.machine.lock(cx).await?;
    if key.exists() {
        return Ok(key);
    }
    let failed =
        |why: &str| Error::new(&KEY, format!("no key could be made in {}", dir.display())).because(why);
    let new = tempfile::tempdir_in(&dir).map_err(|error| failed(&error.to_string()))?;
    let made = new.path().join("key");
    let command =
        Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "nixoci", "-f"]).arg(&made);
    let answer = output(cx.runner, &command, cx.cancel).await?;
    if !answer.exit.success() {
        return Err(failed(answer.stderr_text().trim()));
    }
    // The public half first: whoever finds the key finds both.
    let moved = std::fs::rename(public(&made), public(&key)).and_then(|()| std::fs::rename(&made, &key));
    moved.map_err(|error| failed(&error.to_string()))?;
    Ok(key)
}

fn public(key: &Path) -> PathBuf {
    key.with_extension("pub")
}

/// Has the guest let the key in; its host key.
async fn let_in(cx: &Cx<'_>, work: &Work<'_>, key: &Path) -> Result<String> {
    let public = std::fs::read_to_string(public(key))
        .or_error(&KEY, || format!("{} cannot be read", public(key).display()))?;
    let line = format!("restrict {}", public.trim());
    let command = Command::new("sh").args(["-c", LET_IN, "nixoci", &line]);
    let answer = output(&work.machine.guest(cx), &command, cx.cancel).await?;
    host_key(&answer.stdout_text()).ok_or_else(|| {
        Error::new(
            &KEY,
            format!("the virtual machine {} does not say its host key", work.machine.settings.instance),
        )
        .because(answer.stderr_text().trim())
    })
}

/// Type and key of `ssh-ed25519 AAAA… root@vm`.
fn host_key(line: &str) -> Option<String> {
    let mut words = line.split_whitespace();
    let (kind, key) = (words.next()?, words.next()?);
    (kind == "ssh-ed25519").then(|| format!("{kind} {key}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_key_is_two_words_of_a_known_kind() {
        assert_eq!(host_key("ssh-ed25519 AAAA root@vm\n").as_deref(), Some("ssh-ed25519 AAAA"));
        for odd in ["", "ssh-ed25519", "ssh-rsa AAAA", "cat: no such file"] {
            assert_eq!(host_key(odd), None);
        }
    }
}
