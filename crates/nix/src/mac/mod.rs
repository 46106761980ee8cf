//! The Linux builders that a Mac's Nix knows: what the backends darwin-builder and rosetta share.

pub mod codes;

mod known;
mod offers;
mod place_in;
mod probe;
mod reach;
mod set_up;

use std::ffi::OsString;

use nixoci_core::artifact::{Artifact, ArtifactId, PathInfo, StorePath};
use nixoci_core::backend::{Check, Cx, Depth, Forecast, Offer};
use nixoci_core::host::Host;
use nixoci_core::platform::NixSystem;
use nixoci_core::request::BuildRequest;
use nixoci_core::runner::Command;
use nixoci_core::{Error, Result};
use tokio::io::AsyncWrite;
use tokio::sync::OnceCell;

pub use known::Known;
pub use offers::wrong_system;
pub use place_in::{Placed, place};
pub use probe::checks;
pub use reach::refusal;
pub(crate) use reach::{explain, unreached};
pub use set_up::{Manager, SetUp, Vm, configuration, set_up};

use crate::build_store::HostStore;
use crate::fleet::Fleet;
use crate::machines::Machine;
use crate::settings::ExternalBuilder;
use crate::ssh::{self, SshHost};
use crate::transport::{Transport, Way};
use crate::version::Implementation;
use crate::ways::Ways;

/// Some of the builders that this Mac's Nix knows.
#[derive(Debug)]
pub struct MacBuilders {
    transport: Transport,
    takes: fn(&Machine) -> bool,
    external: bool,
    store: HostStore,
    fleet: OnceCell<Fleet>,
}

/// The host has to be a Mac.
///
/// # Errors
/// [`codes::NOT_MAC`].
pub fn require_mac(host: &Host) -> Result<()> {
    if host.system.kernel() == "darwin" {
        return Ok(());
    }
    Err(Error::new(&codes::NOT_MAC, format!("this machine is {}, not a Mac", host.system)))
}

impl MacBuilders {
    /// Those of the Mac's builders that `takes` takes; with `external`, programs that build in Nix's place as well.
    pub fn new(transport: Transport, takes: fn(&Machine) -> bool, external: bool) -> Self {
        MacBuilders { transport, takes, external, store: HostStore::default(), fleet: OnceCell::new() }
    }

    /// This host's store.
    pub fn store(&self) -> &HostStore {
        &self.store
    }

    async fn fleet(&self, cx: &Cx<'_>) -> Result<&Fleet> {
        let find = || async {
            require_mac(cx.host)?;
            let settings = self.store.settings(cx).await?;
            let mut machines = Machine::list(cx.host, &settings.system, &settings.builders);
            machines
                .retain(|machine| machine.systems.iter().any(NixSystem::is_linux) && (self.takes)(machine));
            Ok(Fleet::new(machines))
        };
        self.fleet.get_or_try_init(find).await
    }

    async fn ways(&self, cx: &Cx<'_>) -> Result<Ways<'_>> {
        Ok(Ways { host: &self.store, fleet: self.fleet(cx).await? })
    }

    /// The machines.
    ///
    /// # Errors
    /// [`codes::NOT_MAC`]; as [`crate::Nix::settings`].
    pub async fn machines(&self, cx: &Cx<'_>) -> Result<&[Machine]> {
        Ok(self.fleet(cx).await?.machines())
    }

    /// Programs that build in Nix's place, if those are taken at all.
    ///
    /// # Errors
    /// As [`crate::Nix::settings`].
    pub async fn external(&self, cx: &Cx<'_>) -> Result<&[ExternalBuilder]> {
        const FEATURE: &str = "external-builders";
        let settings = self.store.settings(cx).await?;
        let on = settings.experimental_features.iter().any(|feature| feature == FEATURE)
            || self.store.nix(cx).await?.version().implementation == Implementation::Determinate;
        Ok(if on && self.external { &settings.external_builders } else { &[] })
    }

    /// What they could build. `missing` is the answer for a system that none of them has.
    ///
    /// # Errors
    /// As [`MacBuilders::machines`].
    pub async fn offers(
        &self,
        cx: &Cx<'_>,
        want: Option<&NixSystem>,
        missing: impl Fn(&[Machine], NixSystem) -> Offer,
    ) -> Result<Vec<Offer>> {
        Ok(offers::offers(cx, self.machines(cx).await?, self.external(cx).await?, want, missing).await)
    }

    /// How a build for this system is done.
    ///
    /// # Errors
    /// [`crate::codes::TRANSPORT`] and [`crate::ssh::codes::KEY_UNREADABLE`] for a transport that was asked for and cannot be.
    pub async fn way(&self, cx: &Cx<'_>, system: &NixSystem) -> Result<Way> {
        let able = self.fleet(cx).await?.able(system);
        if able.is_empty() {
            // Nix itself has it built.
            return Ok(Way::Daemon);
        }
        self.transport.way(cx, &able, self.store.settings(cx).await?)
    }

    /// What a build would do.
    ///
    /// # Errors
    /// As [`crate::Nix::forecast`].
    pub async fn forecast(&self, cx: &Cx<'_>, request: &BuildRequest, depth: Depth) -> Result<Forecast> {
        let ways = self.ways(cx).await?;
        // A builder that sleeps is not woken by a plan.
        let asleep = depth == Depth::Full
            && ways.fleet.able(&request.system).iter().any(|machine| reach::wakes(machine));
        let way = if asleep { Way::Daemon } else { self.way(cx, &request.system).await? };
        ways.forecast(cx, request, depth, way).await
    }

    /// Builds, waking the builder up first if nobody is awake who could do it.
    ///
    /// # Errors
    /// As [`crate::BuildStore::build`]; [`codes::ASLEEP`]; the codes of [`crate::ssh`], where Nix hides them.
    pub async fn build(&self, cx: &Cx<'_>, request: &BuildRequest, forecast: &Forecast) -> Result<Artifact> {
        let ways = self.ways(cx).await?;
        let woken = self.wake(cx, &request.system).await?;
        let way = self.way(cx, &request.system).await?;
        match ways.build(cx, request, forecast, way).await {
            // A builder that has just come up may refuse its first connection.
            Err(error) if woken && error.is(&crate::codes::BUILDER) => {
                cx.observer.debug(format!("{error}: trying once more"));
                ways.build(cx, request, forecast, way).await
            }
            built => built,
        }
    }

    /// Wakes a machine up, if nobody is awake who builds for the system.
    async fn wake(&self, cx: &Cx<'_>, system: &NixSystem) -> Result<bool> {
        let able = self.fleet(cx).await?.able(system);
        match able.first() {
            Some(machine) if able.iter().all(|machine| reach::wakes(machine)) => {
                reach::wake(cx, machine).await.map(|()| true)
            }
            _ => Ok(false),
        }
    }

    /// Builds something tiny for each system, as a build of that system would be done.
    ///
    /// # Errors
    /// As [`MacBuilders::machines`]; those of a transport that cannot be.
    pub async fn prove(&self, cx: &Cx<'_>, want: &[NixSystem]) -> Result<Vec<Check>> {
        let ways = self.ways(cx).await?;
        let mut checks = Vec::new();
        for system in want {
            self.wake(cx, system).await?;
            checks.extend(ways.prove(cx, system, self.way(cx, system).await?).await?);
        }
        Ok(checks)
    }

    /// What the store that built them knows about paths.
    ///
    /// # Errors
    /// As [`crate::BuildStore::query`].
    pub async fn query(&self, cx: &Cx<'_>, paths: &[StorePath], closure: bool) -> Result<Vec<PathInfo>> {
        self.ways(cx).await?.query(cx, paths, closure).await
    }

    /// Writes the NARs of paths.
    ///
    /// # Errors
    /// As [`crate::BuildStore::fetch`].
    pub async fn fetch(
        &self,
        cx: &Cx<'_>,
        paths: &[StorePath],
        out: &mut (dyn AsyncWrite + Send + Unpin),
    ) -> Result<u64> {
        self.ways(cx).await?.fetch(cx, paths, out).await
    }

    /// Lets the garbage collectors have what was built.
    ///
    /// # Errors
    /// As [`crate::BuildStore::release`].
    pub async fn release(&self, cx: &Cx<'_>, id: &ArtifactId) -> Result<()> {
        self.ways(cx).await?.release(cx, id).await
    }

    /// The command that opens a shell where a build for this system would run. Unless the machine's key may be read by
    /// everybody, it is root's.
    ///
    /// # Errors
    /// `none` if there is no such machine.
    pub async fn shell(
        &self,
        cx: &Cx<'_>,
        system: &NixSystem,
        command: &[OsString],
        none: impl FnOnce() -> Error,
    ) -> Result<Command> {
        let machine = self.fleet(cx).await?.answering(cx, system).await.ok_or_else(none)?;
        let by_hand = SshHost::from(machine).by_hand();
        let readable = machine.key.as_ref().is_some_and(|key| cx.host.read(key, 1).is_ok());
        let ssh =
            if readable { by_hand } else { Command::new("sudo").arg(by_hand.program).args(by_hand.args) };
        Ok(ssh::shell(ssh, command))
    }
}
