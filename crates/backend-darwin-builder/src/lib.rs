//! The backend of a Mac whose Nix knows a Linux builder: nix-darwin's `nix.linux-builder`, Determinate's, nix-rosetta-builder,
//! virby, or any other machine in `/etc/nix/machines`.
//!
//! The Nix daemon does the work (transport `daemon`): it sends derivations to the builder and brings what they made back.
//! It is root, so it may read root's key; the user needs neither root nor trust.

mod error;
mod known;
mod offers;
mod plan;
mod probe;
mod reach;
mod settings;

use std::borrow::Cow;
use std::ffi::OsString;

use async_trait::async_trait;
use nixoci_core::artifact::{Artifact, PathInfo, StorePath};
use nixoci_core::backend::{Backend, Check, Cx, Depth, Descriptor, Forecast, Offer, Release};
use nixoci_core::factory::TypedFactory;
use nixoci_core::plan::ProvisionPlan;
use nixoci_core::platform::NixSystem;
use nixoci_core::request::BuildRequest;
use nixoci_core::runner::Command;
use nixoci_core::{Error, Result};
use nixoci_nix::{HostStore, Machine, proof};
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

    fn create(&self, _: Settings) -> Result<DarwinBuilder> {
        Ok(DarwinBuilder { store: HostStore::default() })
    }
}

/// A Mac's Nix with its builders.
#[derive(Debug)]
pub struct DarwinBuilder {
    store: HostStore,
}

impl DarwinBuilder {
    /// The machines that this Mac's Nix may send Linux builds to.
    async fn machines(&self, cx: &Cx<'_>) -> Result<Vec<Machine>> {
        offers::require_mac(cx.host)?;
        let settings = self.store.nix(cx).await?.settings(cx).await?;
        let mut machines = Machine::list(cx.host, &settings.system, &settings.builders);
        machines.retain(|machine| machine.systems.iter().any(NixSystem::is_linux));
        Ok(machines)
    }
}

#[async_trait]
impl Backend for DarwinBuilder {
    async fn offers(&self, cx: &Cx<'_>, want: Option<&NixSystem>) -> Result<Vec<Offer>> {
        let machines = self.machines(cx).await?;
        Ok(offers::offers(cx, &machines, want).await)
    }

    async fn probe(&self, cx: &Cx<'_>) -> Result<Vec<Check>> {
        let machines = self.machines(cx).await?;
        probe::checks(cx, self.store.nix(cx).await?, &machines).await
    }

    async fn plan(&self, cx: &Cx<'_>, want: &[NixSystem]) -> Result<ProvisionPlan> {
        plan::plan(cx, &self.machines(cx).await?, want).await
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
        offers::require_mac(cx.host)?;
        proof::checks(cx, self.store.nix(cx).await?, want).await
    }

    async fn forecast(&self, cx: &Cx<'_>, request: &BuildRequest, depth: Depth) -> Result<Forecast> {
        match depth {
            // The build evaluates anyway: asking first would do it twice.
            Depth::Verdict => Ok(Forecast::unknown()),
            Depth::Full => self.store.nix(cx).await?.forecast(cx, request).await,
        }
    }

    async fn build(&self, cx: &Cx<'_>, request: &BuildRequest, forecast: &Forecast) -> Result<Artifact> {
        self.store.build(cx, request, forecast).await
    }

    async fn query(&self, cx: &Cx<'_>, roots: &[StorePath], closure: bool) -> Result<Vec<PathInfo>> {
        self.store.query(cx, roots, closure).await
    }

    async fn fetch(
        &self,
        cx: &Cx<'_>,
        paths: &[StorePath],
        out: &mut (dyn AsyncWrite + Send + Unpin),
    ) -> Result<u64> {
        self.store.fetch(cx, paths, out).await
    }

    async fn release(&self, cx: &Cx<'_>, how: Release) -> Result<()> {
        match how {
            Release::Artifact { id } => self.store.release(cx, &id).await,
            _ => {
                cx.observer.info(
                    "darwin-builder: nixoci started nothing and set nothing up, the builder is the machine's own: it runs on",
                );
                Ok(())
            }
        }
    }

    async fn shell(&self, cx: &Cx<'_>, command: &[OsString]) -> Result<Command> {
        let machines = self.machines(cx).await?;
        let machine =
            machines.first().ok_or_else(|| Error::new(&error::NO_BUILDER, error::NO_BUILDER.title))?;
        // The key is root's.
        let ssh = Command::new("sudo").arg("ssh");
        let ssh = match &machine.key {
            Some(key) => ssh.arg("-i").arg(key),
            None => ssh,
        };
        let ssh = if command.is_empty() { ssh.arg("-t") } else { ssh };
        let words = command.iter().map(|word| nixoci_core::runner::quote(word));
        Ok(ssh.arg(machine.destination()).args(words).interactive())
    }
}
