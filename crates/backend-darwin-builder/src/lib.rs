//! The backend of a Mac whose Nix knows a Linux builder: nix-darwin's `nix.linux-builder`, Determinate's, nix-rosetta-builder,
//! virby, or any other machine in `/etc/nix/machines`.
//!
//! Usually the Nix daemon does the work (transport `daemon`): it sends derivations to the builder and brings what they made
//! back. It is root, so it may read root's key; the user needs neither root nor trust. A user who may read the key builds in
//! the builder's own store (transport `store`).
//!
//! Where Nix knows no builder at all, nixoci runs one of its own for the user, for the Mac's own CPU (module `transient`).

mod error;
mod plan;
mod probe;
mod settings;
mod transient;

use std::borrow::Cow;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

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
use nixoci_nix::mac::{MacBuilders, Manager, Vm, configuration, require_mac, wrong_system};
use nixoci_nix::{BuildStore, Machine};
use tokio::io::AsyncWrite;

pub use error::CODES;
pub use settings::Settings;

use transient::Transient;

/// Makes [`DarwinBuilder`] backends.
#[derive(Debug, Clone, Default)]
pub struct Factory {
    nixoci: Option<PathBuf>,
}

impl Factory {
    /// With a program that runs [`keeper_main`](nixoci_nix::keeper::keeper_main) when its first argument is
    /// [`KEEPER`](nixoci_nix::keeper::KEEPER): nixoci itself. Without one, no builder
    /// of nixoci's own is offered.
    pub fn kept_by(nixoci: Option<PathBuf>) -> Self {
        Factory { nixoci }
    }
}

impl TypedFactory for Factory {
    const DESCRIPTOR: Descriptor = Descriptor {
        name: Cow::Borrowed("darwin-builder"),
        aliases: Cow::Borrowed(&[Cow::Borrowed("linux-builder")]),
        summary: Cow::Borrowed("the Linux builder that this Mac's Nix knows, or one that nixoci starts"),
        concurrent_builds: true,
        automatic: true,
        hosts: Cow::Borrowed(&[Cow::Borrowed("darwin")]),
        credentials: false,
    };
    type Settings = Settings;
    type Backend = DarwinBuilder;

    fn create(&self, settings: Settings) -> Result<DarwinBuilder> {
        let transient = self.nixoci.clone().and_then(|nixoci| {
            Transient::new(nixoci, settings.idle.0, settings.vm.clone(), settings.transport)
        });
        let builders = MacBuilders::new(settings.transport, |_| true, true);
        Ok(DarwinBuilder { builders, vm: settings.vm, transient })
    }
}

/// A Mac's Nix with its builders.
#[derive(Debug)]
pub struct DarwinBuilder {
    builders: MacBuilders,
    vm: Vm,
    /// The builder of nixoci's own, if there may be one.
    transient: Option<Transient>,
}

impl DarwinBuilder {
    /// nixoci's own builder, where Nix knows none.
    async fn own(&self, cx: &Cx<'_>) -> Result<Option<&Transient>> {
        let none =
            self.builders.machines(cx).await?.is_empty() && self.builders.external(cx).await?.is_empty();
        Ok(self.transient.as_ref().filter(|_| none))
    }

    /// The store that these paths were built in, if it is of nixoci's own builder.
    fn built(&self, paths: &[StorePath]) -> Option<Arc<BuildStore>> {
        self.transient.as_ref().and_then(Transient::built)?.owner(paths)
    }

    /// The same, if it is one that builds for this system.
    async fn own_for(&self, cx: &Cx<'_>, system: &NixSystem) -> Result<Option<&Transient>> {
        Ok(self.own(cx).await?.filter(|_| is_own_cpu(cx.host, system)))
    }
}

fn is_own_cpu(host: &Host, system: &NixSystem) -> bool {
    system.is_linux() && system.cpu() == host.system.cpu()
}

/// The answer for a system that no machine is listed for. `own` is how near a builder of nixoci's own is.
fn missing(host: &Host, machines: &[Machine], own: Readiness, system: NixSystem) -> Offer {
    let readiness = if machines.is_empty() && is_own_cpu(host, &system) {
        own
    } else {
        Readiness::No { error: wrong_system(host, machines, &system) }
    };
    let builder = BuilderId("linux-builder".to_owned());
    Offer { system, how: How::Native, readiness, builder }
}

#[async_trait]
impl Backend for DarwinBuilder {
    async fn offers(&self, cx: &Cx<'_>, want: Option<&NixSystem>) -> Result<Vec<Offer>> {
        let own = match self.own(cx).await? {
            Some(own) if want.is_none_or(|want| is_own_cpu(cx.host, want)) => own.readiness(cx).await,
            // `plan` says how to get one.
            _ => Readiness::NeedsRoot,
        };
        let missing = |machines: &[Machine], system| missing(cx.host, machines, own.clone(), system);
        self.builders.offers(cx, want, missing).await
    }

    async fn probe(&self, cx: &Cx<'_>) -> Result<Vec<Check>> {
        let own = match self.own(cx).await? {
            Some(own) => Some(own.check(cx).await),
            None => None,
        };
        probe::checks(cx, &self.builders, own).await
    }

    async fn plan(&self, cx: &Cx<'_>, want: &[NixSystem]) -> Result<ProvisionPlan> {
        let Some(own) = self.own(cx).await? else {
            return plan::plan(cx, &self.builders, &self.vm, want).await;
        };
        let (ours, others): (Vec<NixSystem>, Vec<NixSystem>) =
            want.iter().cloned().partition(|system| is_own_cpu(cx.host, system));
        let mut plan = plan::plan(cx, &self.builders, &self.vm, &others).await?;
        if !ours.is_empty() {
            plan.steps.extend(own.steps(cx).await);
        }
        if !plan.is_satisfied() {
            plan.instead = own.instead(cx).await;
        }
        Ok(plan)
    }

    async fn provision(&self, cx: &Cx<'_>, plan: &ProvisionPlan) -> Result<()> {
        if let Some((_, error)) = plan.blocked() {
            return Err(error.clone());
        }
        // What is to be done elsewhere is the administrator's: it changes how the whole machine is set up.
        if let Some(step) = plan.pending().find(|step| !self.carries_out(step)) {
            return Err(plan::by_hand(step));
        }
        match self.own(cx).await? {
            Some(own) if plan.pending().next().is_some() => {
                own.provision(cx, self.builders.store().nix(cx).await?).await
            }
            _ => Ok(()),
        }
    }

    fn carries_out(&self, step: &Step) -> bool {
        transient::IDS.contains(&step.id.as_str())
    }

    async fn removable(&self, cx: &Cx<'_>) -> Vec<String> {
        if self.transient.is_some() { Transient::contents(cx) } else { Vec::new() }
    }

    async fn configuration(&self, cx: &Cx<'_>) -> Result<Option<Configuration>> {
        require_mac(cx.host)?;
        Ok(Some(configuration(Manager::of(cx).await, false, &self.vm)))
    }

    async fn prove(&self, cx: &Cx<'_>, want: &[NixSystem]) -> Result<Vec<Check>> {
        match self.own(cx).await? {
            Some(own) => {
                let (ours, others): (Vec<NixSystem>, Vec<NixSystem>) =
                    want.iter().cloned().partition(|system| is_own_cpu(cx.host, system));
                let mut checks = own.prove(cx, self.builders.store().nix(cx).await?, &ours).await?;
                let nobody =
                    |system: &NixSystem| Check::failed(system.as_str(), &wrong_system(cx.host, &[], system));
                checks.extend(others.iter().map(nobody));
                Ok(checks)
            }
            None => self.builders.prove(cx, want).await,
        }
    }

    async fn forecast(&self, cx: &Cx<'_>, request: &BuildRequest, depth: Depth) -> Result<Forecast> {
        self.builders.forecast(cx, request, depth).await
    }

    async fn build(&self, cx: &Cx<'_>, request: &BuildRequest, forecast: &Forecast) -> Result<Artifact> {
        match self.own_for(cx, &request.system).await? {
            Some(own) => own.build(cx, self.builders.store().nix(cx).await?, request, forecast).await,
            None => self.builders.build(cx, request, forecast).await,
        }
    }

    async fn query(&self, cx: &Cx<'_>, roots: &[StorePath], closure: bool) -> Result<Vec<PathInfo>> {
        match self.built(roots) {
            Some(store) => store.query(cx, roots, closure).await,
            None => self.builders.query(cx, roots, closure).await,
        }
    }

    async fn fetch(
        &self,
        cx: &Cx<'_>,
        paths: &[StorePath],
        out: &mut (dyn AsyncWrite + Send + Unpin),
    ) -> Result<u64> {
        match self.built(paths) {
            Some(store) => store.fetch(cx, paths, out).await,
            None => self.builders.fetch(cx, paths, out).await,
        }
    }

    async fn release(&self, cx: &Cx<'_>, how: Release) -> Result<()> {
        let done = match (&self.transient, how) {
            (own, Release::Artifact { id }) => {
                if let Some(fleet) = own.as_ref().and_then(Transient::built) {
                    fleet.release(cx, &id).await?;
                }
                return self.builders.release(cx, &id).await;
            }
            (None, _) => None,
            (Some(own), Release::Remove) => {
                let text = "darwin-builder: the Linux builder is removed, with its disk and its keys";
                own.remove(cx).await?.then(|| text.to_owned())
            }
            (Some(own), _) => {
                own.stop(cx).await?.then(|| "darwin-builder: the Linux builder is stopped".to_owned())
            }
        };
        cx.observer.info(done.as_deref().unwrap_or(
            "darwin-builder: nixoci started nothing and set nothing up here, the builder is the machine's own: it runs on",
        ));
        Ok(())
    }

    async fn shell(&self, cx: &Cx<'_>, system: &NixSystem, command: &[OsString]) -> Result<Command> {
        if let Some(own) = self.own_for(cx, system).await? {
            return own.shell(cx, command).await;
        }
        let none = || Error::new(&error::NO_BUILDER, error::NO_BUILDER.title);
        self.builders.shell(cx, system, command, none).await
    }
}
