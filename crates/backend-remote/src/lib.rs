//! The backend of Linux machines that are reached by ssh: one, or a fleet.
//!
//! One machine builds in its own store, and only the image comes back (transport `store`). Several are given to Nix's own
//! scheduler (transport `builders`), over a store in nixoci's cache, so that nobody has to be trusted by a daemon. Who connects
//! is the user, with the user's own ssh: names, jump hosts, agents and hardware keys work as they do by hand.

mod error;
mod fleet;
mod offers;
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
use nixoci_core::{Error, Remedy, Result};
use nixoci_nix::ssh::{self, SshHost};
use nixoci_nix::{Fleet, HostStore, Over, Transport, Way, Ways, codes};
use tokio::io::AsyncWrite;
use tokio::sync::OnceCell;

pub use error::CODES;
use fleet::Machines;
use offers::Ask;
pub use settings::{Builder, Settings};

/// Makes [`Remote`] backends.
#[derive(Debug, Clone, Copy, Default)]
pub struct Factory;

impl TypedFactory for Factory {
    const DESCRIPTOR: Descriptor = Descriptor {
        name: Cow::Borrowed("remote"),
        aliases: Cow::Borrowed(&[]),
        summary: Cow::Borrowed("Linux machines that are reached by ssh"),
        concurrent_builds: true,
        automatic: true,
        hosts: Cow::Borrowed(&[]),
        credentials: false,
    };
    type Settings = Settings;
    type Backend = Remote;
    const PATHS: &'static [&'static str] = &["from", "builders.key"];

    fn create(&self, settings: Settings) -> Result<Remote> {
        // What is wrong with a builder's settings is said before anything is asked.
        settings.builders.iter().try_for_each(|builder| builder.machine().map(drop))?;
        Ok(Remote { settings, host: HostStore::default(), machines: OnceCell::new() })
    }
}

/// Machines that are reached by ssh.
#[derive(Debug)]
pub struct Remote {
    settings: Settings,
    host: HostStore,
    machines: OnceCell<Machines>,
}

impl Remote {
    async fn machines(&self, cx: &Cx<'_>) -> Result<&Machines> {
        self.machines.get_or_try_init(|| fleet::find(cx, self)).await
    }

    async fn fleet(&self, cx: &Cx<'_>) -> Result<&Fleet> {
        Ok(&self.machines(cx).await?.fleet)
    }

    async fn ways(&self, cx: &Cx<'_>) -> Result<Ways<'_>> {
        Ok(Ways { host: &self.host, fleet: self.fleet(cx).await? })
    }

    /// How a build for `system` is done.
    async fn way(&self, cx: &Cx<'_>, system: &NixSystem) -> Result<Way> {
        let Machines { fleet, of_nix } = self.machines(cx).await?;
        let settings = self.host.settings(cx).await?;
        match self.settings.transport {
            Transport::Daemon if !of_nix => {
                let text = "the Nix daemon does not know the machines of nixoci.toml: transport `daemon` cannot use them";
                Err(Error::new(&codes::TRANSPORT, text).remedy(Remedy::command(
                    "name them in /etc/nix/machines, and leave `builders` out of nixoci.toml",
                    "sudo tee -a /etc/nix/machines <<< 'ssh-ng://me@box x86_64-linux /root/.ssh/id_ed25519'",
                )))
            }
            // Whoever is named here is reached as the user reaches it.
            Transport::Auto if !of_nix => {
                Ok(Way::User(fleet.over(system, !settings.own_caches().is_empty())))
            }
            transport => transport.way(cx, &fleet.able(system), settings),
        }
    }

    async fn step(&self, cx: &Cx<'_>, system: &NixSystem) -> Result<Step> {
        let fleet = self.fleet(cx).await?;
        let offers = offers::offers(cx, fleet, Some(system), Ask::Now).await;
        let able: Vec<&str> = offers
            .iter()
            .filter(|offer| offer.readiness.rank().is_some())
            .map(|offer| offer.builder.0.as_str())
            .collect();
        let refusal = offers.iter().find_map(|offer| match &offer.readiness {
            nixoci_core::backend::Readiness::No { error } => Some(error.clone()),
            _ => None,
        });
        let (title, state) = match (able.as_slice(), refusal) {
            ([], Some(error)) => (format!("a machine builds for {system}"), StepState::Blocked { error }),
            ([], None) => {
                let error = offers::wrong_system(fleet, system);
                (format!("a machine builds for {system}"), StepState::Blocked { error })
            }
            (able, _) => (self.described(cx, able, system).await?, StepState::Satisfied),
        };
        Ok(Step::new(format!("remote-{system}"), title, "the image is built there", state))
    }

    async fn described(&self, cx: &Cx<'_>, able: &[&str], system: &NixSystem) -> Result<String> {
        let way = self.way(cx, system).await?;
        let able = if way == Way::User(Over::Store) { &able[..able.len().min(1)] } else { able };
        let verb = if able.len() == 1 { "builds" } else { "build" };
        Ok(format!("{} {verb} for {system} ({})", able.join(", "), way.words()))
    }
}

#[async_trait]
impl Backend for Remote {
    async fn offers(&self, cx: &Cx<'_>, want: Option<&NixSystem>) -> Result<Vec<Offer>> {
        // Who wants one system's is about to build for it.
        let ask = if want.is_some() { Ask::Lately } else { Ask::Now };
        Ok(offers::offers(cx, self.fleet(cx).await?, want, ask).await)
    }

    async fn probe(&self, cx: &Cx<'_>) -> Result<Vec<Check>> {
        match self.machines(cx).await {
            Ok(machines) => Ok(offers::checks(cx, self, machines).await),
            // Most people have no machines elsewhere, and that is nothing to find fault with.
            Err(error) if error.is(&error::NONE) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    async fn plan(&self, cx: &Cx<'_>, want: &[NixSystem]) -> Result<ProvisionPlan> {
        let mut steps = Vec::new();
        for system in want {
            steps.push(self.step(cx, system).await?);
        }
        Ok(ProvisionPlan { steps, instead: Vec::new() })
    }

    async fn provision(&self, _: &Cx<'_>, plan: &ProvisionPlan) -> Result<()> {
        // The machines are other people's to set up.
        plan.blocked().map_or(Ok(()), |(_, error)| Err(error.clone()))
    }

    fn carries_out(&self, _: &Step) -> bool {
        false
    }

    async fn removable(&self, _: &Cx<'_>) -> Vec<String> {
        Vec::new()
    }

    async fn prove(&self, cx: &Cx<'_>, want: &[NixSystem]) -> Result<Vec<Check>> {
        let ways = self.ways(cx).await?;
        let mut checks = Vec::new();
        for system in want {
            checks.extend(ways.prove(cx, system, self.way(cx, system).await?).await?);
        }
        Ok(checks)
    }

    async fn forecast(&self, cx: &Cx<'_>, request: &BuildRequest, depth: Depth) -> Result<Forecast> {
        self.ways(cx).await?.forecast(cx, request, depth, self.way(cx, &request.system).await?).await
    }

    async fn build(&self, cx: &Cx<'_>, request: &BuildRequest, forecast: &Forecast) -> Result<Artifact> {
        self.ways(cx).await?.build(cx, request, forecast, self.way(cx, &request.system).await?).await
    }

    async fn query(&self, cx: &Cx<'_>, roots: &[StorePath], closure: bool) -> Result<Vec<PathInfo>> {
        self.ways(cx).await?.query(cx, roots, closure).await
    }

    async fn fetch(
        &self,
        cx: &Cx<'_>,
        paths: &[StorePath],
        out: &mut (dyn AsyncWrite + Send + Unpin),
    ) -> Result<u64> {
        self.ways(cx).await?.fetch(cx, paths, out).await
    }

    async fn release(&self, cx: &Cx<'_>, how: Release) -> Result<()> {
        match how {
            Release::Artifact { id } => self.ways(cx).await?.release(cx, &id).await,
            _ => {
                cx.observer.info(
                    "remote: there is nothing to stop and nothing to remove, the machines are not nixoci's",
                );
                Ok(())
            }
        }
    }

    async fn shell(&self, cx: &Cx<'_>, system: &NixSystem, command: &[OsString]) -> Result<Command> {
        let fleet = self.fleet(cx).await?;
        let machine = fleet.answering(cx, system).await;
        let machine = machine.ok_or_else(|| offers::wrong_system(fleet, system))?;
        Ok(ssh::shell(SshHost::from(machine).by_hand(), command))
    }
}
