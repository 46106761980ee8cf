//! The backend that compiles on this machine for another: nixpkgs' cross package set, from projects that know nothing of it.
//!
//! A project's flake is called with a nixpkgs that yields the cross set (`cross.nix`), its Nix files are read with an `import` that
//! does. What that would cost is counted before anything is built, and too much is declined: what is crossed is in hardly any binary
//! cache. Its images have other digests than those that a Linux machine builds, so nobody gets one who has not named this backend.

mod cost;
mod elsewhere;
mod error;
mod explain;
mod settings;
mod wrap;

use std::borrow::Cow;
use std::ffi::OsString;

use async_trait::async_trait;
use nixoci_core::artifact::{Artifact, PathInfo, StorePath};
use nixoci_core::backend::{
    Backend, BuilderId, Check, Cx, Depth, Descriptor, Forecast, How, Offer, Readiness, Release, Verdict,
};
use nixoci_core::factory::TypedFactory;
use nixoci_core::plan::{ProvisionPlan, Step, StepState};
use nixoci_core::platform::NixSystem;
use nixoci_core::request::{BuildRequest, Installable};
use nixoci_core::runner::Command;
use nixoci_core::{Error, Remedy, Result, codes as core_codes};
use nixoci_nix::{HostStore, proof};
use tokio::io::AsyncWrite;

use cost::Cost;
pub use error::CODES;
use error::{NATIVE, SYSTEM};
pub use settings::{CONVENTIONS, Libc, Settings};

/// What nixoci crosses to.
const TARGETS: &[&str] = &["x86_64-linux", "aarch64-linux"];

/// Makes [`Cross`] backends.
#[derive(Debug, Clone, Copy, Default)]
pub struct Factory;

impl TypedFactory for Factory {
    const DESCRIPTOR: Descriptor = Descriptor {
        name: Cow::Borrowed("cross"),
        aliases: Cow::Borrowed(&[]),
        summary: Cow::Borrowed("this machine, which compiles for the other platform"),
        concurrent_builds: true,
        automatic: false,
        hosts: Cow::Borrowed(&[]),
        credentials: false,
    };
    type Settings = Settings;
    type Backend = Cross;

    fn create(&self, settings: Settings) -> Result<Cross> {
        settings.check()?;
        Ok(Cross { settings, store: HostStore::default() })
    }
}

/// This machine as a place to cross.
#[derive(Debug)]
pub struct Cross {
    settings: Settings,
    store: HostStore,
}

impl Cross {
    fn refusal(cx: &Cx<'_>, system: &NixSystem) -> Option<Error> {
        if *system == cx.host.system {
            return Some(
                Error::new(&NATIVE, format!("this machine builds for {system} itself"))
                    .remedy(Remedy::command("let it", "nixoci build --backend local")),
            );
        }
        (!TARGETS.contains(&system.as_str())).then(|| {
            Error::new(&SYSTEM, format!("nixoci does not cross to {system}"))
                .because(format!("it crosses to {}", TARGETS.join(" and ")))
        })
    }

    fn offer(cx: &Cx<'_>, system: NixSystem) -> Offer {
        let readiness = match Cross::refusal(cx, &system) {
            Some(error) => Readiness::No { error },
            None => Readiness::Ready,
        };
        Offer { system, how: How::Cross, readiness, builder: BuilderId("this machine".to_owned()) }
    }

    /// What a build would do, evaluated by one process.
    async fn foresee(&self, cx: &Cx<'_>, request: &BuildRequest) -> Result<Forecast> {
        let nix = self.store.nix(cx).await?;
        let wrapped = wrap::wrapped(cx, &self.settings, request)?;
        match nix.forecast(cx, &wrapped).await {
            // The wrapper's attribute says nothing to anybody.
            Ok(forecast) => Ok(Forecast { attribute: None, ..forecast }),
            Err(error) => Err(explain::explained(cx, nix, &self.settings, request, error).await),
        }
    }
}

#[async_trait]
impl Backend for Cross {
    async fn offers(&self, cx: &Cx<'_>, want: Option<&NixSystem>) -> Result<Vec<Offer>> {
        self.store.nix(cx).await?;
        let wanted = match want {
            Some(want) => vec![want.clone()],
            None => TARGETS
                .iter()
                .filter_map(|target| target.parse().ok())
                .filter(|target| *target != cx.host.system)
                .collect(),
        };
        Ok(wanted.into_iter().map(|system| Cross::offer(cx, system)).collect())
    }

    async fn probe(&self, _: &Cx<'_>) -> Result<Vec<Check>> {
        // What it takes is Nix, which others look at; what it costs depends on the project.
        Ok(Vec::new())
    }

    async fn plan(&self, cx: &Cx<'_>, want: &[NixSystem]) -> Result<ProvisionPlan> {
        let step = |system: &NixSystem| {
            let title = format!(
                "Nix on this machine compiles for {system}: the project gets a nixpkgs with localSystem = {}, crossSystem = {}",
                cx.host.system,
                self.settings.config(system)
            );
            let state = match Cross::refusal(cx, system) {
                Some(error) => StepState::Blocked { error },
                None => StepState::Satisfied,
            };
            Step::new(format!("cross-{system}"), title, "the image is built here", state)
        };
        Ok(ProvisionPlan { steps: want.iter().map(step).collect(), instead: Vec::new() })
    }

    async fn provision(&self, _: &Cx<'_>, plan: &ProvisionPlan) -> Result<()> {
        plan.blocked().map_or(Ok(()), |(_, error)| Err(error.clone()))
    }

    fn carries_out(&self, _: &Step) -> bool {
        false
    }

    async fn removable(&self, _: &Cx<'_>) -> Vec<String> {
        Vec::new()
    }

    async fn prove(&self, cx: &Cx<'_>, want: &[NixSystem]) -> Result<Vec<Check>> {
        let nix = self.store.nix(cx).await?;
        let mut checks = Vec::new();
        for system in want {
            if let Some(error) = Cross::refusal(cx, system) {
                checks.push(Check::failed(system.as_str(), &error));
                continue;
            }
            // Something tiny that is crossed would need a whole compiler: what is proven is that this machine's Nix builds.
            checks.push(match proof::prove(cx, nix, &cx.host.system).await {
                Ok(proof) => Check::good(
                    system.as_str(),
                    format!(
                        "Nix builds on this machine, in {:.1} s; what a project's compiler costs, `nixoci plan` says",
                        proof.seconds.as_secs_f64()
                    ),
                ),
                Err(error) if error.is(&core_codes::CANCELLED) => return Err(error),
                Err(error) => Check::failed(system.as_str(), &error),
            });
        }
        Ok(checks)
    }

    async fn forecast(&self, cx: &Cx<'_>, request: &BuildRequest, depth: Depth) -> Result<Forecast> {
        let forecast = self.foresee(cx, request).await?;
        let cost = Cost::of(&forecast.will_build, &self.settings);
        let words = cost.words(&forecast);
        if let (Depth::Verdict, true) = (depth, cost.builds > 0) {
            cx.observer.info(format!("cross compilation: {words}"));
        }
        let verdict = match cost.refusal(cx.host, &request.system, &forecast, &self.settings) {
            Some(error) => Verdict::Decline { error },
            None => Verdict::Go,
        };
        Ok(Forecast { verdict, cost: Some(words), ..forecast })
    }

    async fn build(&self, cx: &Cx<'_>, request: &BuildRequest, forecast: &Forecast) -> Result<Artifact> {
        let store = self.store.get(cx).await?;
        let wrapped = wrap::wrapped(cx, &self.settings, request)?;
        match store.build(cx, &wrapped, forecast).await {
            Ok(artifact) => {
                let attribute = match &request.installable {
                    Installable::Flake { attribute, .. } => Some(attribute.as_str().to_owned()),
                    _ => artifact.attribute,
                };
                Ok(Artifact { attribute, ..artifact })
            }
            Err(error) => Err(explain::explained(cx, store.nix(), &self.settings, request, error).await),
        }
    }

    async fn query(&self, cx: &Cx<'_>, paths: &[StorePath], closure: bool) -> Result<Vec<PathInfo>> {
        self.store.get(cx).await?.query(cx, paths, closure).await
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
                cx.observer.info(
                    "cross: there is nothing to stop and nothing to remove, the builder is this machine itself",
                );
                Ok(())
            }
        }
    }

    async fn shell(&self, cx: &Cx<'_>, _: &NixSystem, command: &[OsString]) -> Result<Command> {
        Ok(nixoci_nix::shell_here(cx, command))
    }
}
