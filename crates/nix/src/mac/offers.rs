//! What a Mac's builders could build.

use futures_util::future::join_all;
use nixoci_core::backend::{BuilderId, Cx, How, Offer, Readiness};
use nixoci_core::host::Host;
use nixoci_core::platform::NixSystem;
use nixoci_core::{Error, Remedy};

use super::codes::WRONG_SYSTEM;
use super::{Known, reach};
use crate::machines::Machine;
use crate::settings::ExternalBuilder;

/// The systems that people ask for: each gets an answer, so that a refusal can say what would change it.
const COMMON: &[&str] = &["x86_64-linux", "aarch64-linux"];

/// An offer of every machine for each of its systems, and a reasoned answer for other systems. `want` spares asking
/// machines that do not matter.
pub(super) async fn offers(
    cx: &Cx<'_>,
    machines: &[Machine],
    external: &[ExternalBuilder],
    want: Option<&NixSystem>,
    missing: impl Fn(&[Machine], NixSystem) -> Offer,
) -> Vec<Offer> {
    // At once: each may take as long as somebody is willing to wait for all.
    let asked = machines.iter().map(|machine| of_machine(cx, machine, want));
    let mut offers: Vec<Offer> = join_all(asked).await.into_iter().flatten().collect();
    offers.extend(external.iter().flat_map(|builder| of_program(cx.host, builder)));
    let asked = COMMON.iter().filter_map(|name| name.parse().ok()).chain(want.cloned());
    for system in asked {
        if system.is_linux() && !offers.iter().any(|offer| offer.system == system) {
            offers.push(missing(machines, system));
        }
    }
    offers
}

async fn of_machine(cx: &Cx<'_>, machine: &Machine, want: Option<&NixSystem>) -> Vec<Offer> {
    let wanted = |system: &&NixSystem| system.is_linux() && want.is_none_or(|want| want == *system);
    let systems: Vec<&NixSystem> = machine.systems.iter().filter(wanted).collect();
    if systems.is_empty() {
        return Vec::new();
    }
    let readiness = readiness(cx, machine).await;
    let offer = |system: &NixSystem| Offer {
        system: system.clone(),
        how: how(cx.host, machine, system),
        readiness: readiness.clone(),
        builder: BuilderId(machine.host().to_owned()),
    };
    systems.into_iter().map(offer).collect()
}

/// Nix runs the program when it builds: nobody can be asked before.
fn of_program(host: &Host, builder: &ExternalBuilder) -> impl Iterator<Item = Offer> {
    builder.systems.iter().filter(|system| system.is_linux()).map(|system| Offer {
        system: system.clone(),
        how: if system.cpu() == host.system.cpu() { How::Native } else { How::Translated },
        readiness: Readiness::Ready,
        builder: BuilderId("external-builders".to_owned()),
    })
}

async fn readiness(cx: &Cx<'_>, machine: &Machine) -> Readiness {
    match reach::refusal(cx, machine).await {
        Some(error) => Readiness::No { error },
        // It was not asked: a connection would start it, and so will the build's.
        None if Known::named(machine.host()).is_some_and(|known| known.wakes) => Readiness::Asleep,
        None => Readiness::Ready,
    }
}

/// A virtual machine on this Mac has its CPU; programs of another one are translated there.
fn how(host: &Host, machine: &Machine, system: &NixSystem) -> How {
    let here = Known::named(machine.host()).is_some();
    if here && system.cpu() != host.system.cpu() { How::Translated } else { How::Native }
}

/// No machine is listed for this system, with what would change that.
pub fn wrong_system(host: &Host, machines: &[Machine], system: &NixSystem) -> Error {
    let mut error = Error::new(&WRONG_SYSTEM, format!("no Linux builder of this Mac builds for {system}"));
    if machines.is_empty() {
        error = error.because("its Nix knows no Linux builder at all");
    }
    for machine in machines {
        let systems: Vec<&str> = machine.systems.iter().map(NixSystem::as_str).collect();
        error = error.because(format!("{} builds for {}", machine.host(), systems.join(", ")));
    }
    if host.system.cpu() == "aarch64" && system.cpu() == "x86_64" {
        return error.remedy(Remedy::lines(
            "with nix-darwin: a builder that runs x86_64 programs by Rosetta",
            "nix.linux-builder = {\n  enable = true;\n  package = pkgs.darwin.linux-builder-vz;\n  \
             systems = [ \"aarch64-linux\" \"x86_64-linux\" ];\n};",
        ));
    }
    error.remedy(Remedy::advice(format!("add a machine that builds for {system} to /etc/nix/machines")))
}
