//! The backend of a Linux host that builds for itself: its own platform, and whatever its Nix is configured to
//! run besides (`extra-platforms`, through binfmt).
//!
//! It is what CI uses, and the default on Linux. There is nothing to provision: either Nix works here, or the
//! offer says why not and what to do.

mod error;
mod offers;
mod probe;
mod settings;

use std::borrow::Cow;
use std::ffi::OsString;

use async_trait::async_trait;
use nixoci_core::artifact::{Artifact, PathInfo, StorePath};
use nixoci_core::backend::{Backend, Check, Cx, Depth, Descriptor, Forecast, Offer, Release};
use nixoci_core::factory::TypedFactory;
use nixoci_core::plan::{ProvisionPlan, Step, StepState};
use nixoci_core::platform::NixSystem;
use nixoci_core::request::BuildRequest;
use nixoci_core::runner::Command;
use nixoci_core::{Error, Result};
use nixoci_nix::{HostStore, proof};
use tokio::io::AsyncWrite;

pub use error::CODES;
pub use settings::Settings;

/// Makes [`Local`] backends.
#[derive(Debug, Clone, Copy, Default)]
pub struct Factory;

impl TypedFactory for Factory {
    const DESCRIPTOR: Descriptor = Descriptor {
        name: Cow::Borrowed("local"),
        aliases: Cow::Borrowed(&[]),
        summary: Cow::Borrowed("this Linux machine, with its own Nix"),
        concurrent_builds: true,
        automatic: true,
        hosts: Cow::Borrowed(&[Cow::Borrowed("linux")]),
        credentials: false,
    };
    type Settings = Settings;
    type Backend = Local;

    fn create(&self, settings: Settings) -> Result<Local> {
        Ok(Local { settings, store: HostStore::default() })
    }
}

/// This host as a place to build.
#[derive(Debug)]
pub struct Local {
    settings: Settings,
    store: HostStore,
}

impl Local {
    /// The reason why nothing can be built for `system` here, if there is one.
    async fn refusal(&self, cx: &Cx<'_>, system: &NixSystem) -> Result<Option<Error>> {
        let offers = self.offers(cx, Some(system)).await?;
        Ok(offers::refusal(&offers, cx.host, system))
    }
}

#[async_trait]
impl Backend for Local {
    async fn offers(&self, cx: &Cx<'_>, want: Option<&NixSystem>) -> Result<Vec<Offer>> {
        offers::require_linux(cx.host)?;
        let nix = self.store.nix(cx).await?;
        if want == Some(&cx.host.system) {
            // Nix builds for the machine it is on unless somebody took pains to prevent it, and then it says so
            // itself: asking it beforehand would cost every build the start of a process.
            return Ok(vec![offers::native(cx.host)]);
        }
        Ok(offers::offers(&nix.settings(cx).await?, &self.settings, cx.host))
    }

    async fn probe(&self, cx: &Cx<'_>) -> Result<Vec<Check>> {
        offers::require_linux(cx.host)?;
        let nix = self.store.nix(cx).await?;
        probe::checks(cx, nix, &self.settings).await
    }

    async fn plan(&self, cx: &Cx<'_>, want: &[NixSystem]) -> Result<ProvisionPlan> {
        let mut steps = Vec::new();
        for system in want {
            let state = match self.refusal(cx, system).await {
                Ok(None) => StepState::Satisfied,
                Ok(Some(error)) | Err(error) => StepState::Blocked { error },
            };
            let title = format!("Nix on this machine builds for {system}");
            steps.push(Step::new(format!("nix-{system}"), title, "the image is built here", state));
        }
        Ok(ProvisionPlan { steps, instead: Vec::new() })
    }

    async fn provision(&self, _: &Cx<'_>, plan: &ProvisionPlan) -> Result<()> {
        // There is nothing this backend could do: installing Nix or changing its settings is the user's.
        plan.blocked().map_or(Ok(()), |(_, error)| Err(error.clone()))
    }

    fn carries_out(&self, _: &Step) -> bool {
        false
    }

    async fn removable(&self, _: &Cx<'_>) -> Vec<String> {
        Vec::new()
    }

    async fn prove(&self, cx: &Cx<'_>, want: &[NixSystem]) -> Result<Vec<Check>> {
        offers::require_linux(cx.host)?;
        proof::checks(cx, self.store.nix(cx).await?, want).await
    }

    async fn forecast(&self, cx: &Cx<'_>, request: &BuildRequest, depth: Depth) -> Result<Forecast> {
        match depth {
            // This backend never declines, and the build evaluates anyway: asking first would do it twice.
            Depth::Verdict => Ok(Forecast::unknown()),
            Depth::Full => self.store.nix(cx).await?.forecast(cx, request).await,
        }
    }

    async fn build(&self, cx: &Cx<'_>, request: &BuildRequest, forecast: &Forecast) -> Result<Artifact> {
        self.store.get(cx).await?.build(cx, request, forecast).await
    }

    async fn query(&self, cx: &Cx<'_>, roots: &[StorePath], closure: bool) -> Result<Vec<PathInfo>> {
        self.store.get(cx).await?.query(cx, roots, closure).await
    }

    async fn fetch(
        &self,
        cx: &Cx<'_>,
        paths: &[StorePath],
        out: &mut (dyn AsyncWrite + Send + Unpin),
    ) -> Result<u64> {
        self.store.get(cx).await?.fetch(cx, paths, out).await
    }

    async fn release(&self, cx: &Cx<'_>, how: Release) -> Result<()> {
        match how {
            Release::Artifact { id } => self.store.get(cx).await?.release(cx, &id).await,
            _ => {
                cx.observer.info("local: there is nothing to stop and nothing to remove, the builder is this machine itself");
                Ok(())
            }
        }
    }

    async fn shell(&self, cx: &Cx<'_>, _: &NixSystem, command: &[OsString]) -> Result<Command> {
        offers::require_linux(cx.host)?;
        Ok(nixoci_nix::shell_here(cx, command))
    }
}
