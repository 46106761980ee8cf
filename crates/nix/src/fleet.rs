//! Machines over ssh as one place to build: the transports `store` and `builders`.
//!
//! One machine builds in its own store, and only the image leaves it. Several are given to Nix's own scheduler, over a store
//! of nixoci's own, which needs no trust of the daemon's.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use nixoci_core::artifact::{Artifact, ArtifactId, PathInfo, StorePath};
use nixoci_core::backend::{Check, Cx, Forecast};
use nixoci_core::platform::NixSystem;
use nixoci_core::request::BuildRequest;
use nixoci_core::{Error, ErrorKind, Remedy, Result};
use tokio::sync::OnceCell;

use crate::build_store::BuildStore;
use crate::driver::Nix;
use crate::machines::Machine;
use crate::place::{self, Place};
use crate::settings::{NixSettings, StoreInfo};
use crate::ssh::SshSession;
use crate::{codes, mac, memory, mixed, proof, remote, ssh};

/// How long a machine may take to say what it builds for: offers have to be made meanwhile.
const LEARNING: Duration = Duration::from_secs(6);

/// How Nix is made to build on machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Over {
    /// In the store of the one machine that builds for the system.
    Store,
    /// By Nix's scheduler, over all machines, into a store of nixoci's.
    Builders,
}

/// Some machines, and what was built on them and is still in use.
#[derive(Debug)]
pub struct Fleet {
    machines: Vec<Machine>,
    session: OnceCell<Arc<SshSession>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By the names of the machines; a scheduler's key has several.
    stores: HashMap<(Over, Vec<String>), Arc<BuildStore>>,
    owners: HashMap<StorePath, Arc<BuildStore>>,
}

/// The machines that can be used now, and why the others cannot.
#[derive(Debug, Default)]
struct Reached {
    able: Vec<Machine>,
    refused: Vec<(String, Error)>,
}

impl Fleet {
    /// These machines; nobody is connected to yet.
    pub fn new(machines: Vec<Machine>) -> Fleet {
        Fleet { machines, session: OnceCell::new(), state: Mutex::default() }
    }

    /// Machines that a session has connections to already, by the same names.
    pub fn connected(machines: Vec<Machine>, session: Arc<SshSession>) -> Fleet {
        Fleet { session: OnceCell::new_with(Some(session)), ..Fleet::new(machines) }
    }

    /// The machines.
    pub fn machines(&self) -> &[Machine] {
        &self.machines
    }

    /// Those that build for a system.
    pub fn able(&self, system: &NixSystem) -> Vec<&Machine> {
        self.machines.iter().filter(|machine| machine.systems.contains(system)).collect()
    }

    /// The first of those that build for a system that answers; if nobody does, the first.
    pub async fn answering(&self, cx: &Cx<'_>, system: &NixSystem) -> Option<&Machine> {
        let able = self.able(system);
        for machine in &able {
            if mac::refusal(cx, machine).await.is_none() {
                return Some(machine);
            }
        }
        able.first().copied()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connections to the machines, none of which is made before it is needed.
    ///
    /// # Errors
    /// As [`SshSession::new`].
    pub async fn session(&self, cx: &Cx<'_>) -> Result<&Arc<SshSession>> {
        let hosts = || self.machines.iter().map(ssh::SshHost::from).collect();
        let open = || async {
            // Only ssh needs to tell them apart by their names.
            place::distinct(&self.machines)?;
            SshSession::new(cx, hosts())
        };
        self.session.get_or_try_init(open).await
    }

    /// Asks the machines whose systems nobody has told what their Nix builds for.
    ///
    /// # Errors
    /// Those of connecting, if no machine is left that is known to build for anything.
    pub async fn learn_systems(&mut self, cx: &Cx<'_>) -> Result<()> {
        if self.machines.iter().all(|machine| !machine.systems.is_empty()) {
            return Ok(());
        }
        let session = Arc::clone(self.session(cx).await?);
        let asked = self.machines.iter_mut().filter(|machine| machine.systems.is_empty());
        let answers = join_all(asked.map(|machine| learn(cx, &session, machine))).await;
        for error in answers.into_iter().filter_map(Result::err) {
            if self.machines.iter().all(|machine| machine.systems.is_empty()) {
                return Err(error);
            }
            cx.observer.warn(error.to_string(), error.report().remedies.clone());
        }
        Ok(())
    }

    /// What a machine's store says of itself.
    ///
    /// # Errors
    /// Those of connecting; [`ssh::codes::NO_NIX`].
    pub async fn ask_store(&self, cx: &Cx<'_>, nix: &Nix, machine: &Machine) -> Result<StoreInfo> {
        let session = self.session(cx).await?;
        session.connect(cx, machine.host()).await?;
        let place = Place::machine(cx, machine.clone(), Arc::clone(session));
        let info = nix.at(place.clone()).store_info(cx).await;
        match (info, &place) {
            (Err(error), Place::Machine(remote)) => {
                Err(remote::explain(cx, remote, "it was asked about its store", error).await)
            }
            (info, _) => info,
        }
    }

    /// How a build for `system` would be done: in a machine's own store where one machine is enough, unless this host has
    /// binary caches that the machine may not know.
    pub fn over(&self, system: &NixSystem, own_caches: bool) -> Over {
        if self.able(system).len() > 1 || own_caches { Over::Builders } else { Over::Store }
    }

    /// Builds. A machine that cannot be reached, and one that is lost in the middle, is left out while others are there.
    ///
    /// # Errors
    /// As [`BuildStore::build`].
    pub async fn build(
        &self,
        cx: &Cx<'_>,
        nix: &Nix,
        request: &BuildRequest,
        forecast: &Forecast,
        over: Over,
    ) -> Result<Artifact> {
        let (mut lost, mut over) = (Vec::new(), over);
        loop {
            let store = self.store(cx, nix, &request.system, over, &lost).await?;
            let error = match store.build(cx, request, forecast).await {
                Ok(artifact) => {
                    self.state().owners.insert(artifact.path.clone(), store);
                    return Ok(artifact);
                }
                Err(error) => error,
            };
            // One machine is not enough for a graph with derivations for several: Nix's scheduler has them all.
            if over == Over::Store && mixed::required(&error).is_some_and(|other| self.others(&store, &other))
            {
                cx.observer.info(format!("{error}: building with all machines"));
                over = Over::Builders;
                continue;
            }
            // Nix does not move work off a machine that is lost; what is finished is kept.
            let Some(name) = self.lost(cx, &store, &error).await else { return Err(error) };
            let text = format!("{error}: building on without {name}");
            cx.observer.warn(text, error.report().remedies.clone());
            lost.push(name);
        }
    }

    /// Whether a machine other than the one whose store this is builds for a system.
    fn others(&self, store: &BuildStore, system: &NixSystem) -> bool {
        let Place::Machine(remote) = store.nix().place() else { return false };
        self.able(system).iter().any(|machine| machine.host() != remote.machine.host())
    }

    /// Builds something tiny for each system in the own store of each machine that builds for it.
    ///
    /// # Errors
    /// Those of ssh's files.
    pub async fn prove(&self, cx: &Cx<'_>, nix: &Nix, want: &[NixSystem]) -> Result<Vec<Check>> {
        let session = self.session(cx).await?;
        let one = |machine: Machine| async move {
            let systems: Vec<NixSystem> =
                want.iter().filter(|system| machine.systems.contains(system)).cloned().collect();
            let host = machine.host().to_owned();
            if systems.is_empty() {
                return Ok(Vec::new());
            }
            match session.connect(cx, &host).await {
                Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
                Err(error) => {
                    let failed = |system: &NixSystem| Check::failed(format!("{host}: {system}"), &error);
                    return Ok(systems.iter().map(failed).collect());
                }
                Ok(()) => {}
            }
            let nix = nix.at(Place::machine(cx, machine, Arc::clone(session)));
            let mut checks = proof::checks(cx, &nix, &systems).await?;
            for check in &mut checks {
                check.title = format!("{host}: {}", check.title);
            }
            Ok::<_, Error>(checks)
        };
        let proven = join_all(self.machines.iter().cloned().map(one)).await;
        let mut checks: Vec<Check> =
            proven.into_iter().collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
        let nobodys = want.iter().filter(|system| self.able(system).is_empty());
        checks.extend(nobodys.map(|system| Check::failed(system.as_str(), &nobody(system, Vec::new()))));
        Ok(checks)
    }

    /// What a build would do.
    ///
    /// # Errors
    /// As [`Nix::forecast`]; those of connecting.
    pub async fn forecast(
        &self,
        cx: &Cx<'_>,
        nix: &Nix,
        request: &BuildRequest,
        over: Over,
    ) -> Result<Forecast> {
        self.store(cx, nix, &request.system, over, &[]).await?.nix().forecast(cx, request).await
    }

    /// Evaluates a build in a machine's own store, and recalls what that machine made of the same derivation before: then the
    /// image may be at hand, and nobody is connected to. (Connecting meanwhile would save some of the time when something has
    /// changed, and ask for a hardware key's touch when nothing has.)
    ///
    /// # Errors
    /// [`nixoci_core::codes::CANCELLED`].
    pub async fn foresee(&self, cx: &Cx<'_>, nix: &Nix, request: &BuildRequest) -> Result<Forecast> {
        let Some((drv, attribute)) = nix.evaluate(cx, request).await? else { return Ok(Forecast::unknown()) };
        let known = self.recall(cx, &request.system, &drv);
        Ok(Forecast { drv: Some(drv), attribute, known, ..Forecast::unknown() })
    }

    fn recall(&self, cx: &Cx<'_>, system: &NixSystem, drv: &StorePath) -> Option<PathInfo> {
        self.able(system).into_iter().find_map(|machine| memory::recall(&cx.dirs.cache, machine, drv))
    }

    /// The store that the first of these paths was built in, if that was here. Paths of two stores are never asked for at once.
    pub fn owner(&self, paths: &[StorePath]) -> Option<Arc<BuildStore>> {
        self.state().owners.get(paths.first()?).cloned()
    }

    /// Lets the garbage collectors have what was built.
    ///
    /// # Errors
    /// As [`BuildStore::release`].
    pub async fn release(&self, cx: &Cx<'_>, id: &ArtifactId) -> Result<()> {
        let stores: Vec<_> = self.state().stores.values().cloned().collect();
        for store in stores {
            store.release(cx, id).await?;
        }
        Ok(())
    }

    /// The store to build in for a system, with a connection to everybody who takes part.
    async fn store(
        &self,
        cx: &Cx<'_>,
        nix: &Nix,
        system: &NixSystem,
        over: Over,
        without: &[String],
    ) -> Result<Arc<BuildStore>> {
        let takes_part = |machine: &&Machine| {
            let serves = over == Over::Builders || machine.systems.contains(system);
            serves && !without.iter().any(|name| name == machine.host())
        };
        let wanted: Vec<Machine> = self.machines.iter().filter(takes_part).cloned().collect();
        let reached = self.reach(cx, wanted, system).await?;
        let names = |machines: &[Machine]| machines.iter().map(|machine| machine.host().to_owned()).collect();
        let key: (Over, Vec<String>) = match over {
            Over::Store => (over, names(&reached[..1])),
            Over::Builders => (over, names(&reached)),
        };
        if let Some(store) = self.state().stores.get(&key) {
            return Ok(Arc::clone(store));
        }
        let session = Arc::clone(self.session(cx).await?);
        let place = match (over, reached.into_iter().next()) {
            (Over::Store, Some(machine)) => Place::machine(cx, machine, session),
            _ => {
                let machines =
                    self.machines.iter().filter(|machine| key.1.iter().any(|name| name == machine.host()));
                Place::private(cx, &self.machines, machines.cloned().collect(), session).await?
            }
        };
        let store = Arc::new(BuildStore::new(nix.at(place)));
        Ok(Arc::clone(self.state().stores.entry(key).or_insert(store)))
    }

    /// Connects to everybody at once. At least one of those who are left builds for the system.
    async fn reach(&self, cx: &Cx<'_>, wanted: Vec<Machine>, system: &NixSystem) -> Result<Vec<Machine>> {
        let session = self.session(cx).await?;
        let connected = join_all(wanted.iter().map(|machine| session.connect(cx, machine.host()))).await;
        let mut reached = Reached::default();
        for (machine, connected) in wanted.into_iter().zip(connected) {
            match connected {
                Ok(()) => reached.able.push(machine),
                Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
                Err(error) => reached.refused.push((machine.host().to_owned(), error)),
            }
        }
        if reached.able.iter().any(|machine| machine.systems.contains(system)) {
            for (_, error) in &reached.refused {
                cx.observer.warn(format!("{error}: building without it"), error.report().remedies.clone());
            }
            return Ok(reached.able);
        }
        Err(nobody(system, reached.refused))
    }

    /// Which machine has dropped out of a failed build, if others can do without it.
    async fn lost(&self, cx: &Cx<'_>, store: &BuildStore, error: &Error) -> Option<String> {
        let Place::Private(private) = store.nix().place() else { return None };
        let blames = |machine: &&Machine| {
            let uri = machine.store_uri();
            error.report().causes.iter().any(|text| text.starts_with(&format!("{uri}: ")))
        };
        let its_own = [&codes::BUILDER, &codes::BUILDER_LOST, &codes::UNTRUSTED, &codes::CONNECTION_LOST];
        let its_own = its_own.iter().any(|code| error.is(code));
        if !its_own || private.machines.len() < 2 || cx.cancel.is_cancelled() {
            return None;
        }
        if let Some(machine) = private.machines.iter().find(blames) {
            return Some(machine.host().to_owned());
        }
        // Nix names nobody: whoever does not answer any more is it.
        let session = self.session(cx).await.ok()?;
        for machine in &private.machines {
            if !matches!(session.ask(cx, machine.host(), "true").await, Ok(Some(_))) {
                return Some(machine.host().to_owned());
            }
        }
        None
    }
}

/// Asks a machine's Nix what it builds for, and with which features.
async fn learn(cx: &Cx<'_>, session: &SshSession, machine: &mut Machine) -> Result<()> {
    // Whoever is not there is told from one that is slow within a moment.
    if let Some(error) = ssh::SshHost::from(&*machine).refusal_lately(cx).await {
        return Err(error);
    }
    let script = remote::settings_script(machine.remote_program());
    let asked = tokio::time::timeout(LEARNING, session.ask(cx, machine.host(), &script)).await;
    let Ok(answer) = asked else {
        let text =
            format!("{} did not say within {} s what it builds for", machine.host(), LEARNING.as_secs());
        return Err(Error::new(&ssh::codes::UNREACHABLE, text)
            .remedy(Remedy::lines("write it down, in nixoci.toml", "systems = [\"x86_64-linux\"]")));
    };
    let answer = answer?;
    let settings = answer.as_deref().map(NixSettings::parse);
    let Some(Ok(settings)) = settings else {
        return Err(remote::no_nix(machine.host()));
    };
    machine.systems = std::iter::once(settings.system).chain(settings.extra_platforms).collect();
    if machine.features.is_empty() {
        machine.features = settings.system_features;
    }
    Ok(())
}

/// Nobody is left who builds for the system.
fn nobody(system: &NixSystem, refused: Vec<(String, Error)>) -> Error {
    let mut refused = refused.into_iter();
    match (refused.next(), refused.len()) {
        (Some((_, error)), 0) => error,
        (Some((_, first)), _) => {
            let error =
                Error::new(&codes::BUILDER, format!("no machine that builds for {system} can be used"));
            std::iter::once(first).chain(refused.map(|(_, error)| error)).fold(error, |error, each| {
                let remedies = each.report().remedies.clone();
                let causes = each.report().causes.join(": ");
                let why = if causes.is_empty() { each.to_string() } else { format!("{each}: {causes}") };
                remedies.into_iter().take(1).fold(error.because(why), Error::remedy)
            })
        }
        (None, _) => Error::new(&codes::BUILDER, format!("no machine builds for {system}")),
    }
}
