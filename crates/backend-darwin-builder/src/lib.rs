//! The backend of a Mac whose Nix knows a Linux builder: nix-darwin's `nix.linux-builder`, Determinate's, nix-rosetta-builder,
//! virby, or any other machine in `/etc/nix/machines`.
//!
//! Usually the Nix daemon does the work (transport `daemon`): it sends derivations to the builder and brings what they made
//! back. It is root, so it may read root's key; the user needs neither root nor trust. A user who may read the key builds in
//! the builder's own store (transport `store`).

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
use nixoci_core::plan::ProvisionPlan;
use nixoci_core::platform::NixSystem;
use nixoci_core::request::BuildRequest;
use nixoci_core::runner::Command;
use nixoci_core::{Error, Result};
use nixoci_nix::Machine;
use nixoci_nix::mac::{MacBuilders, Vm, wrong_system};
use tokio::io::AsyncWrite;

pub use error::CODES;
pub use settings::Settings;

/// Makes [`DarwinBuilder`] backends.
#[derive(Debug, Clone, Copy, Default)]
pub struct Factory;

impl TypedFactory for Factory {
    const DESCRIPTOR: Descriptor = Descriptor {
        name: Cow::Borrowed("darwin-builder"),
        aliases: Cow::Borrowed(&[Cow::Borrowed("linux-builder")]),
        summary: Cow::Borrowed("the Linux builder that this Mac's Nix knows"),
        concurrent_builds: true,
        automatic: true,
        hosts: Cow::Borrowed(&[Cow::Borrowed("darwin")]),
    };
    type Settings = Settings;
    type Backend = DarwinBuilder;

    fn create(&self, settings: Settings) -> Result<DarwinBuilder> {
        Ok(DarwinBuilder { builders: MacBuilders::new(settings.transport, |_| true, true), vm: settings.vm })
    }
}

/// A Mac's Nix with its builders.
#[derive(Debug)]
pub struct DarwinBuilder {
    builders: MacBuilders,
    vm: Vm,
}

/// The answer for a system that no machine is listed for.
fn missing(host: &Host, machines: &[Machine], system: NixSystem) -> Offer {
    let readiness = if machines.is_empty() && system.cpu() == host.system.cpu() {
        // `plan` says how to get one.
        Readiness::NeedsRoot
    } else {
        Readiness::No { error: wrong_system(host, machines, &system) }
    };
    let builder = BuilderId("linux-builder".to_owned());
    Offer { system, how: How::Native, readiness, builder }
}

#[async_trait]
impl Backend for DarwinBuilder {
    async fn offers(&self, cx: &Cx<'_>, want: Option<&NixSystem>) -> Result<Vec<Offer>> {
        self.builders.offers(cx, want, |machines, system| missing(cx.host, machines, system)).await
    }

    async fn probe(&self, cx: &Cx<'_>) -> Result<Vec<Check>> {
        probe::checks(cx, &self.builders).await
    }

    async fn plan(&self, cx: &Cx<'_>, want: &[NixSystem]) -> Result<ProvisionPlan> {
        plan::plan(cx, &self.builders, &self.vm, want).await
    }

    async fn provision(&self, _: &Cx<'_>, plan: &ProvisionPlan) -> Result<()> {
        if let Some((_, error)) = plan.blocked() {
            return Err(error.clone());
        }
        // What is to be done is the administrator's: it changes how the whole machine is set up.
        plan.pending().next().map_or(Ok(()), |step| Err(plan::by_hand(step)))
    }

    fn carries_out(&self) -> bool {
        false
    }

    async fn prove(&self, cx: &Cx<'_>, want: &[NixSystem]) -> Result<Vec<Check>> {
        self.builders.prove(cx, want).await
    }

    async fn forecast(&self, cx: &Cx<'_>, request: &BuildRequest, depth: Depth) -> Result<Forecast> {
        self.builders.forecast(cx, request, depth).await
    }

    async fn build(&self, cx: &Cx<'_>, request: &BuildRequest, forecast: &Forecast) -> Result<Artifact> {
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
                cx.observer.info(
                    "darwin-builder: nixoci started nothing and set nothing up, the builder is the machine's own: it runs on",
                );
                Ok(())
            }
        }
    }

    async fn shell(&self, cx: &Cx<'_>, command: &[OsString]) -> Result<Command> {
        let none = || Error::new(&error::NO_BUILDER, error::NO_BUILDER.title);
        self.builders.shell(cx, command, none).await
    }
}
