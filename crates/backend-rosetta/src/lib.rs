//! The backend of an Apple-silicon Mac with a builder that runs both CPUs' programs: arm64 natively, x86_64 by Rosetta.
//!
//! It is a virtual machine on the Mac: nixpkgs' `linux-builder-vz`, nix-rosetta-builder or virby. The last two may sleep until
//! somebody connects: whoever only asks does not connect, and a build wakes them up and waits. Linux builders elsewhere, and
//! those of one CPU, are the backend darwin-builder's.

mod error;
mod plan;
mod probe;
mod settings;

use std::borrow::Cow;
use std::ffi::OsString;

use async_trait::async_trait;
use nixoci_core::artifact::{Artifact, PathInfo, StorePath};
use nixoci_core::backend::{
    Backend, BuilderId, Check, Cx, Depth, Descriptor, Forecast, How, Offer, Readiness, Release,
};
use nixoci_core::factory::TypedFactory;
use nixoci_core::host::Host;
use nixoci_core::plan::{Configuration, ProvisionPlan, Step};
use nixoci_core::platform::NixSystem;
use nixoci_core::request::BuildRequest;
use nixoci_core::runner::Command;
use nixoci_core::{Error, Result};
use nixoci_nix::Machine;
use nixoci_nix::mac::{Known, MacBuilders, Manager, Vm, configuration, wrong_system};
use tokio::io::AsyncWrite;

pub use error::CODES;
pub use settings::Settings;

/// Makes [`Rosetta`] backends.
#[derive(Debug, Clone, Copy, Default)]
pub struct Factory;

impl TypedFactory for Factory {
    const DESCRIPTOR: Descriptor = Descriptor {
        name: Cow::Borrowed("rosetta"),
        aliases: Cow::Borrowed(&[]),
        summary: Cow::Borrowed("a builder on this Mac that runs both CPUs' programs"),
        concurrent_builds: true,
        automatic: true,
        hosts: Cow::Borrowed(&[Cow::Borrowed("darwin")]),
        credentials: false,
    };
    type Settings = Settings;
    type Backend = Rosetta;

    fn create(&self, settings: Settings) -> Result<Rosetta> {
        Ok(Rosetta { builders: MacBuilders::new(settings.transport, takes, false), vm: settings.vm })
    }
}

/// A builder for both CPUs on this Mac.
#[derive(Debug)]
pub struct Rosetta {
    builders: MacBuilders,
    vm: Vm,
}

/// Whether a machine of Nix's list is a virtual machine on this Mac that runs both CPUs' programs.
fn takes(machine: &Machine) -> bool {
    let has = |cpu: &str| machine.systems.iter().any(|system| system.is_linux() && system.cpu() == cpu);
    Known::named(machine.host()).is_some() && has("aarch64") && has("x86_64")
}

/// The answer for a system that no machine is listed for.
fn missing(host: &Host, machines: &[Machine], system: NixSystem) -> Offer {
    let common = matches!(system.as_str(), "aarch64-linux" | "x86_64-linux");
    let readiness = if machines.is_empty() && common {
        // `plan` says how to get one.
        Readiness::NeedsRoot
    } else {
        Readiness::No { error: wrong_system(host, machines, &system) }
    };
    let how = if system.cpu() == host.system.cpu() { How::Native } else { How::Translated };
    Offer { system, how, readiness, builder: BuilderId("linux-builder-vz".to_owned()) }
}

#[async_trait]
impl Backend for Rosetta {
    async fn offers(&self, cx: &Cx<'_>, want: Option<&NixSystem>) -> Result<Vec<Offer>> {
        plan::require_apple_silicon(cx.host)?;
        let mut offers =
            self.builders.offers(cx, want, |machines, system| missing(cx.host, machines, system)).await?;
        for offer in offers.iter_mut().filter(|offer| plan::lacks_rosetta(cx.host, &offer.system)) {
            if offer.readiness.rank().is_some() {
                offer.readiness = Readiness::NeedsRoot;
            }
        }
        Ok(offers)
    }

    async fn probe(&self, cx: &Cx<'_>) -> Result<Vec<Check>> {
        probe::checks(cx, self).await
    }

    async fn plan(&self, cx: &Cx<'_>, want: &[NixSystem]) -> Result<ProvisionPlan> {
        plan::plan(cx, self, want).await
    }

    async fn provision(&self, cx: &Cx<'_>, plan: &ProvisionPlan) -> Result<()> {
        if let Some((_, error)) = plan.blocked() {
            return Err(error.clone());
        }
        let ours = plan.pending().filter(|step| self.carries_out(step));
        for _ in ours {
            plan::install(cx).await?;
        }
        // What is to be done is the administrator's: it changes how the whole machine is set up.
        plan.pending().find(|step| !self.carries_out(step)).map_or(Ok(()), |step| Err(plan::by_hand(step)))
    }

    fn carries_out(&self, step: &Step) -> bool {
        step.id == plan::ROSETTA
    }

    async fn removable(&self, _: &Cx<'_>) -> Vec<String> {
        Vec::new()
    }

    async fn configuration(&self, cx: &Cx<'_>) -> Result<Option<Configuration>> {
        plan::require_apple_silicon(cx.host)?;
        Ok(Some(configuration(Manager::of(cx).await, true, &self.vm)))
    }

    async fn prove(&self, cx: &Cx<'_>, want: &[NixSystem]) -> Result<Vec<Check>> {
        self.builders.prove(cx, want).await
    }

    async fn forecast(&self, cx: &Cx<'_>, request: &BuildRequest, depth: Depth) -> Result<Forecast> {
        self.builders.forecast(cx, request, depth).await
    }

    async fn build(&self, cx: &Cx<'_>, request: &BuildRequest, forecast: &Forecast) -> Result<Artifact> {
        if plan::lacks_rosetta(cx.host, &request.system) {
            return Err(plan::missing());
        }
        self.builders.build(cx, request, forecast).await
    }

    async fn query(&self, cx: &Cx<'_>, roots: &[StorePath], closure: bool) -> Result<Vec<PathInfo>> {
        self.builders.query(cx, roots, closure).await
    }

    async fn fetch(
        &self,
        cx: &Cx<'_>,
        paths: &[StorePath],
        out: &mut (dyn AsyncWrite + Send + Unpin),
    ) -> Result<u64> {
        self.builders.fetch(cx, paths, out).await
    }

    async fn release(&self, cx: &Cx<'_>, how: Release) -> Result<()> {
        match how {
            Release::Artifact { id } => self.builders.release(cx, &id).await,
            _ => {
                cx.observer.info("rosetta: nixoci started nothing and set nothing up, the builder is the machine's own: it runs on");
                Ok(())
            }
        }
    }

    async fn shell(&self, cx: &Cx<'_>, system: &NixSystem, command: &[OsString]) -> Result<Command> {
        let none = || Error::new(&error::NONE, error::NONE.title);
        self.builders.shell(cx, system, command, none).await
    }
}
