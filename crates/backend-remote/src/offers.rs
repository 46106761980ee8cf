//! What the machines could build.

use futures_util::future::join_all;
use nixoci_core::backend::{BuilderId, Check, Cx, How, Offer, Readiness};
use nixoci_core::platform::NixSystem;
use nixoci_core::{Error, Remedy, Result};
use nixoci_nix::ssh::SshHost;
use nixoci_nix::{Fleet, Machine};

use crate::Remote;
use crate::error::SYSTEM;
use crate::fleet::Machines;

/// Whether a machine that answered a moment ago is asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// It is: somebody wants to know.
    Now,
    /// It is not: a build will find out.
    Lately,
}

/// An offer of every machine for each of its systems.
pub(crate) async fn offers(cx: &Cx<'_>, fleet: &Fleet, want: Option<&NixSystem>, ask: Ask) -> Vec<Offer> {
    let asked = fleet.machines().iter().map(|machine| of_machine(cx, machine, want, ask));
    let mut offers: Vec<Offer> = join_all(asked).await.into_iter().flatten().collect();
    if let Some(want) = want.filter(|want| !offers.iter().any(|offer| offer.system == **want)) {
        offers.push(Offer {
            system: want.clone(),
            how: How::Native,
            readiness: Readiness::No { error: wrong_system(fleet, want) },
            builder: BuilderId("remote".to_owned()),
        });
    }
    offers
}

async fn of_machine(cx: &Cx<'_>, machine: &Machine, want: Option<&NixSystem>, ask: Ask) -> Vec<Offer> {
    let wanted = |system: &&NixSystem| system.is_linux() && want.is_none_or(|want| want == *system);
    let systems: Vec<&NixSystem> = machine.systems.iter().filter(wanted).collect();
    if systems.is_empty() {
        return Vec::new();
    }
    let host = SshHost::from(machine);
    let refusal = match ask {
        Ask::Now => host.refusal(cx).await,
        Ask::Lately => host.refusal_lately(cx).await,
    };
    let readiness = match refusal {
        Some(error) => Readiness::No { error },
        None => Readiness::Ready,
    };
    let offer = |system: &NixSystem| Offer {
        system: system.clone(),
        // Which of its systems a machine translates is its own affair: only the first is surely its CPU's.
        how: if machine.systems.first() == Some(system) { How::Native } else { How::Translated },
        readiness: readiness.clone(),
        builder: BuilderId(machine.host().to_owned()),
    };
    systems.into_iter().map(offer).collect()
}

/// No machine builds for this system.
pub(crate) fn wrong_system(fleet: &Fleet, system: &NixSystem) -> Error {
    let error = Error::new(&SYSTEM, format!("no machine of the backend remote builds for {system}"));
    let error = fleet.machines().iter().fold(error, |error, machine| {
        error.because(format!("{} builds for {}", machine.host(), systems(machine)))
    });
    error.remedy(Remedy::lines(
        "add one that does, in nixoci.toml",
        format!("[backend.remote]\nbuilders = [{{ host = \"me@box\", systems = [\"{system}\"] }}]"),
    ))
}

pub(crate) fn systems(machine: &Machine) -> String {
    let names: Vec<&str> = machine.systems.iter().map(NixSystem::as_str).collect();
    names.join(", ")
}

/// Logs in wherever the user may, at once, and asks each store about itself.
pub(crate) async fn checks(cx: &Cx<'_>, remote: &Remote, machines: &Machines) -> Vec<Check> {
    let all = machines.fleet.machines().iter().map(|machine| check(cx, remote, machines, machine));
    Check::of_several(join_all(all).await)
}

async fn check(cx: &Cx<'_>, remote: &Remote, machines: &Machines, machine: &Machine) -> Check {
    let title = machine.host().to_owned();
    let jobs =
        if machine.max_jobs == 1 { "one job".to_owned() } else { format!("{} jobs", machine.max_jobs) };
    match version(cx, remote, machines, machine).await {
        Ok(version) => {
            let version = version.map(|version| format!("Nix {version}, ")).unwrap_or_default();
            Check::good(title, format!("{version}{}, {jobs}", systems(machine)))
        }
        Err(error) => {
            let mut check = Check::failed(&title, &error);
            check.detail =
                check.detail.strip_prefix(&format!("{title}: ")).unwrap_or(&check.detail).to_owned();
            check
        }
    }
}

/// The version of a machine's Nix, where the user may ask it. Of a machine whose key is root's, only that it answers can be
/// found out.
async fn version(
    cx: &Cx<'_>,
    remote: &Remote,
    machines: &Machines,
    machine: &Machine,
) -> Result<Option<String>> {
    // Asked first, because it is quicker and knows more than ssh says.
    if let Some(error) = SshHost::from(machine).refusal(cx).await {
        return Err(error);
    }
    let readable = machine.key.as_ref().is_some_and(|key| cx.host.read(key, 1).is_ok());
    if machines.of_nix && !readable {
        return Ok(None);
    }
    let nix = remote.host.nix(cx).await?;
    Ok(machines.fleet.ask_store(cx, nix, machine).await?.version)
}
