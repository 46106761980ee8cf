//! The transport `store`: this host's Nix evaluates, and builds in the virtual machine's store, through the ssh connection that everything else
//! goes through.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nixoci_core::artifact::{Artifact, ArtifactId, StorePath};
use nixoci_core::backend::{Check, Cx, Depth, Forecast};
use nixoci_core::platform::NixSystem;
use nixoci_core::request::BuildRequest;
use nixoci_core::runner::{Command, Runner as _};
use nixoci_core::{Error, Remedy, Result};
use nixoci_nix::{BuildStore, Fleet, HostStore, Machine as Builder, Over, Way, Ways};

use crate::connection::Connection;
use crate::error::KEY;
use crate::keys::Keys;
use crate::settings::USER;
use crate::work::Work;

const WAY: Way = Way::User(Over::Store);

/// This host's Nix, and the virtual machine as its builder: once for every connection.
#[derive(Debug, Default)]
pub(crate) struct HostNix {
    host: HostStore,
    /// The last one is the newest.
    builders: Mutex<Vec<(Arc<Connection>, Arc<Fleet>)>>,
}

impl HostNix {
    fn builders(&self) -> MutexGuard<'_, Vec<(Arc<Connection>, Arc<Fleet>)>> {
        self.builders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The store that the first of these paths was built in, if that was by this host's Nix.
    pub(crate) fn owner(&self, paths: &[StorePath]) -> Option<Arc<BuildStore>> {
        self.builders().iter().rev().find_map(|(_, fleet)| fleet.owner(paths))
    }

    /// Whether this host has a Nix that will do.
    pub(crate) async fn nix(&self, cx: &Cx<'_>) -> Result<()> {
        self.host.nix(cx).await.map(drop)
    }

    async fn fleet(&self, cx: &Cx<'_>, work: &Work<'_>) -> Result<Arc<Fleet>> {
        let connection = work.machine.connections.get(cx, &work.machine).await?;
        let mut builders = self.builders();
        if let Some((_, fleet)) = builders.iter().find(|(known, _)| Arc::ptr_eq(known, &connection)) {
            return Ok(Arc::clone(fleet));
        }
        let machines = vec![builder(&connection, work)];
        let fleet = Arc::new(Fleet::connected(machines, Arc::clone(&connection.session)));
        builders.push((connection, Arc::clone(&fleet)));
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
        // Keeps the machine from switching itself off: Nix's own sessions do not say that it is in use.
        let in_use = Command::new("sh").args(["-c", crate::IN_USE, "nixoci", "sleep", "infinity"]);
        let _in_use = work.machine.guest(cx).await?.spawn(&in_use).await?;
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
        let all: Vec<Arc<Fleet>> = self.builders().iter().map(|(_, fleet)| Arc::clone(fleet)).collect();
        for fleet in all {
            fleet.release(cx, id).await?;
        }
        Ok(())
    }
}

/// The virtual machine as a builder of this host's Nix.
fn builder(connection: &Connection, work: &Work<'_>) -> Builder {
    let host = &connection.host;
    Builder {
        uri: format!("ssh-ng://{USER}@{}", host.name),
        systems: work.systems.clone(),
        key: host.key.clone(),
        max_jobs: work.facts.cpus,
        speed: 1.0,
        features: Vec::new(),
        mandatory: Vec::new(),
        host_key: host.host_key.clone(),
        address: host.address.clone(),
    }
}

/// The machine is nixoci's, and ssh has just been there: what helps is not what would help with another one.
fn explained(cx: &Cx<'_>, work: &Work<'_>, error: Error) -> Error {
    if !error.code().starts_with("nixoci::ssh::") {
        return error;
    }
    let name = work.machine.name();
    let told = Error::new(&KEY, format!("this machine's Nix cannot use the virtual machine {name} by ssh"));
    let told = error.report().causes.iter().fold(told.because(&error.report().message), Error::because);
    told.remedy(Keys::of(cx, name).another())
        .remedy(Remedy::command("set the virtual machine up anew", "nixoci provision --backend multipass --remove --yes"))
        .remedy(Remedy::advice(
            "or leave `transport` out of [backend.multipass]: then the virtual machine's own Nix does everything",
        ))
}
