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
use nixoci_core::runner::{Command, quote};
use nixoci_core::{Error, Result};
use tokio::io::AsyncWrite;
use tokio::sync::OnceCell;

pub use known::Known;
pub use offers::wrong_system;
pub use place_in::{Placed, place};
pub use probe::checks;
pub use reach::{explain, refusal};
pub use set_up::{Manager, SetUp, Vm, configuration, customised, set_up};

use crate::build_store::HostStore;
use crate::fleet::{Fleet, Over};
use crate::machines::Machine;
use crate::proof;
use crate::settings::ExternalBuilder;
use crate::ssh::SshHost;
use crate::transport::{Transport, Way};
use crate::version::Implementation;

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
            Fleet::new(machines)
        };
        self.fleet.get_or_try_init(find).await
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
        let fleet = self.fleet(cx).await?;
        let able = able(fleet, system);
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
        let (fleet, nix) = (self.fleet(cx).await?, self.store.nix(cx).await?);
        let asleep = able(fleet, &request.system)
            .iter()
            .any(|machine| Known::named(machine.host()).is_some_and(|known| known.wakes));
        match (depth, self.way(cx, &request.system).await?) {
            (Depth::Verdict, Way::User(Over::Store)) => fleet.foresee(cx, nix, request).await,
            // The build evaluates anyway: asking first would do it twice.
            (Depth::Verdict, _) => Ok(Forecast::unknown()),
            (Depth::Full, Way::User(over)) if !asleep => fleet.forecast(cx, nix, request, over).await,
            // A builder that sleeps is not woken by a plan.
            (Depth::Full, _) => nix.forecast(cx, request).await,
        }
    }

    /// Builds, waking the builder up first if nobody is awake who could do it.
    ///
    /// # Errors
    /// As [`crate::BuildStore::build`]; [`codes::ASLEEP`]; the codes of [`crate::ssh`], where Nix hides them.
    pub async fn build(&self, cx: &Cx<'_>, request: &BuildRequest, forecast: &Forecast) -> Result<Artifact> {
        let fleet = self.fleet(cx).await?;
        let woken = self.wake(cx, &able(fleet, &request.system)).await?;
        let built = self.build_once(cx, fleet, request, forecast).await;
        match built {
            // A builder that has just come up may refuse its first connection.
            Err(error) if woken && error.is(&crate::codes::BUILDER) => {
                cx.observer.debug(format!("{error}: trying once more"));
                self.build_once(cx, fleet, request, forecast).await
            }
            built => built,
        }
    }

    /// Wakes a machine up, if nobody is awake.
    async fn wake(&self, cx: &Cx<'_>, able: &[&Machine]) -> Result<bool> {
        let wakes = |machine: &Machine| Known::named(machine.host()).is_some_and(|known| known.wakes);
        match able.first() {
            Some(machine) if able.iter().all(|machine| wakes(machine)) => {
                reach::wake(cx, machine).await.map(|()| true)
            }
            _ => Ok(false),
        }
    }

    async fn build_once(
        &self,
        cx: &Cx<'_>,
        fleet: &Fleet,
        request: &BuildRequest,
        forecast: &Forecast,
    ) -> Result<Artifact> {
        let store = self.store.get(cx).await?;
        match self.way(cx, &request.system).await? {
            Way::Daemon => match store.build(cx, request, forecast).await {
                Err(error) => Err(reach::explain(cx, &able(fleet, &request.system), error).await),
                built => built,
            },
            Way::User(over) => match fleet.build(cx, store.nix(), request, forecast, over).await {
                Err(error) if error.code().starts_with("nixoci::ssh::") => {
                    let known = able(fleet, &request.system)
                        .into_iter()
                        .find_map(|machine| Known::named(machine.host()));
                    Err(known.map_or(error.clone(), |known| known.help(error)))
                }
                built => built,
            },
        }
    }

    /// Builds something tiny for each system, as a build of that system would be done.
    ///
    /// # Errors
    /// As [`MacBuilders::machines`]; those of a transport that cannot be.
    pub async fn prove(&self, cx: &Cx<'_>, want: &[NixSystem]) -> Result<Vec<Check>> {
        let fleet = self.fleet(cx).await?;
        let nix = self.store.nix(cx).await?;
        let mut checks = Vec::new();
        for system in want {
            let one = std::slice::from_ref(system);
            self.wake(cx, &able(fleet, system)).await?;
            checks.extend(match self.way(cx, system).await? {
                Way::Daemon => proof::checks(cx, nix, one).await?,
                Way::User(_) => fleet.prove(cx, nix, one).await?,
            });
        }
        Ok(checks)
    }

    /// What the store that built them knows about paths.
    ///
    /// # Errors
    /// As [`crate::BuildStore::query`].
    pub async fn query(&self, cx: &Cx<'_>, paths: &[StorePath], closure: bool) -> Result<Vec<PathInfo>> {
        let fleet = self.fleet(cx).await?;
        if fleet.has(paths) {
            return fleet.query(cx, paths, closure).await;
        }
        self.store.get(cx).await?.query(cx, paths, closure).await
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
        let fleet = self.fleet(cx).await?;
        if fleet.has(paths) {
            return fleet.fetch(cx, paths, out).await;
        }
        self.store.get(cx).await?.fetch(cx, paths, out).await
    }

    /// Lets the garbage collectors have what was built.
    ///
    /// # Errors
    /// As [`crate::BuildStore::release`].
    pub async fn release(&self, cx: &Cx<'_>, id: &ArtifactId) -> Result<()> {
        self.fleet(cx).await?.release(cx, id).await?;
        self.store.get(cx).await?.release(cx, id).await
    }

    /// The command that opens a shell on the first machine. Unless its key may be read by everybody, it is root's.
    ///
    /// # Errors
    /// `none` if there is no machine.
    pub async fn shell(
        &self,
        cx: &Cx<'_>,
        command: &[OsString],
        none: impl FnOnce() -> Error,
    ) -> Result<Command> {
        let machine = self.machines(cx).await?.first().ok_or_else(none)?;
        let by_hand = SshHost::from(machine).by_hand();
        let readable = machine.key.as_ref().is_some_and(|key| cx.host.read(key, 1).is_ok());
        let ssh =
            if readable { by_hand } else { Command::new("sudo").arg(by_hand.program).args(by_hand.args) };
        let ssh = if command.is_empty() { ssh.arg("-t") } else { ssh };
        Ok(ssh.args(command.iter().map(|word| quote(word))).interactive())
    }
}

fn able<'a>(fleet: &'a Fleet, system: &NixSystem) -> Vec<&'a Machine> {
    fleet.machines().iter().filter(|machine| machine.systems.contains(system)).collect()
}
