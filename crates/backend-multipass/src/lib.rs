//! The backend of a virtual machine that Multipass runs: Linux with a Nix of its own, on a host that needs no Nix at all.
//!
//! nixoci makes the virtual machine ([`driver`]), installs Nix in it ([`nixoci_nix::guest`]), sends what Nix has to see of the project,
//! builds there with the same code that drives every other Nix, and reads the image out of it. Multipass makes and changes instances; commands
//! in one go through an ssh connection of nixoci's own (`connection`).

mod connection;
pub mod driver;
pub mod error;
mod grow;
mod host_nix;
mod keys;
mod machine;
mod mounts;
mod plan;
mod put_away;
mod receipt;
mod settings;
mod size;
mod work;

use std::borrow::Cow;
use std::ffi::OsString;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use nixoci_core::artifact::{Artifact, PathInfo, StorePath};
use nixoci_core::backend::{
    Amendment, Backend, BuilderId, Check, CheckVerdict, Cx, Depth, Descriptor, Forecast, How, Offer,
    Readiness, Release,
};
use nixoci_core::factory::TypedFactory;
use nixoci_core::plan::{ProvisionPlan, StepState};
use nixoci_core::platform::NixSystem;
use nixoci_core::request::BuildRequest;
use nixoci_core::runner::Command;
use nixoci_core::text::bytes;
use nixoci_core::{Error, ErrorKind, Remedy, Result};
use nixoci_nix::guest::{Facts, Held, Outside};
use tokio::io::AsyncWrite;
use tokio::sync::OnceCell;

use connection::Connections;
use driver::{Multipass, State};
pub use error::CODES;
use error::WRONG_CPU;
use grow::Growth;
use host_nix::HostNix;
use machine::{Machine, host_memory};
use mounts::Mounted;
use plan::{Standing, is_current};
use receipt::Receipt;
pub use settings::{OnOom, Send as Sending, Settings, Transport};
pub use size::Size;
use work::{Built, Work};

/// Keeps the machine from switching itself off while the command that follows runs.
const IN_USE: &str =
    r#"if [ -e /run/nixoci/in-use ]; then exec 9</run/nixoci/in-use; flock -s 9; fi; exec "$@""#;

/// Makes [`MultipassBackend`]s.
#[derive(Debug, Clone, Copy, Default)]
pub struct Factory;

impl TypedFactory for Factory {
    const DESCRIPTOR: Descriptor = Descriptor {
        name: Cow::Borrowed("multipass"),
        aliases: Cow::Borrowed(&[]),
        summary: Cow::Borrowed("a virtual machine that Multipass runs, with a Nix of its own"),
        concurrent_builds: true,
        automatic: true,
        hosts: Cow::Borrowed(&[Cow::Borrowed("darwin")]),
        credentials: true,
    };
    type Settings = Settings;
    type Backend = MultipassBackend;

    fn create(&self, settings: Settings) -> Result<MultipassBackend> {
        settings.check()?;
        Ok(MultipassBackend {
            settings,
            multipass: OnceCell::new(),
            facts: tokio::sync::Mutex::default(),
            growth: Mutex::default(),
            built: Built::default(),
            host_nix: HostNix::default(),
            connections: Connections::default(),
            held: tokio::sync::Mutex::default(),
        })
    }
}

/// A virtual machine of Multipass's.
#[derive(Debug)]
pub struct MultipassBackend {
    settings: Settings,
    multipass: OnceCell<Multipass>,
    /// What there is in it, once it was woken up.
    facts: tokio::sync::Mutex<Option<Facts>>,
    /// What a build that failed would need.
    growth: Mutex<Option<Growth>>,
    built: Built,
    host_nix: HostNix,
    connections: Connections,
    /// Keeps proxies' passwords in the guest for as long as this runs.
    held: tokio::sync::Mutex<Option<Held>>,
}

impl MultipassBackend {
    async fn multipass(&self, cx: &Cx<'_>) -> Result<&Multipass> {
        self.multipass.get_or_try_init(|| Multipass::find(cx)).await
    }

    async fn machine(&self, cx: &Cx<'_>) -> Result<Machine<'_>> {
        Ok(Machine {
            multipass: self.multipass(cx).await?,
            settings: &self.settings,
            connections: &self.connections,
        })
    }

    /// The machine, awake and set up.
    async fn work(&self, cx: &Cx<'_>) -> Result<Work<'_>> {
        let machine = self.machine(cx).await?;
        let mut known = self.facts.lock().await;
        let facts = match known.as_ref() {
            Some(facts) => facts.clone(),
            None => machine.awake(cx).await?,
        };
        let systems = self.serves(cx).into_iter().map(|(system, _)| system).collect();
        let work = Work { machine, facts, systems };
        work.is_set_up()?;
        if known.is_none() {
            self.tell_outside(cx, &work.machine, &work.facts).await?;
        }
        *known = Some(work.facts.clone());
        Ok(work)
    }

    /// Tells the guest how this host gets out. It knows passwords for as long as this backend is there.
    async fn tell_outside(&self, cx: &Cx<'_>, machine: &Machine<'_>, facts: &Facts) -> Result<()> {
        let mut held = self.held.lock().await;
        *held = Outside::of_host(cx)?.tell(cx, &machine.guest(cx).await?, &facts.environment).await?;
        Ok(())
    }

    /// Does something in the guest, for as long as the machine runs: who waits for one that is gone, and has not said so, waits for ever.
    async fn while_it_runs<T>(&self, cx: &Cx<'_>, work: impl Future<Output = Result<T>>) -> Result<T> {
        let machine = self.machine(cx).await?;
        let done = tokio::select! {
            done = work => done,
            error = machine.gone(cx) => Err(error),
        };
        self.doubting(done).await
    }

    /// After a failure nothing is known of the machine. It may be off, or have another address.
    async fn doubting<T>(&self, done: Result<T>) -> Result<T> {
        if let Err(error) = &done {
            *self.facts.lock().await = None;
            if error.kind() == ErrorKind::Transfer {
                self.connections.forget();
            }
        }
        done
    }

    fn growth(&self) -> Option<Growth> {
        *self.growth.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_growth(&self, growth: Option<Growth>) {
        *self.growth.lock().unwrap_or_else(PoisonError::into_inner) = growth;
    }

    /// The system that its virtual machine builds for.
    fn system(&self, cx: &Cx<'_>) -> NixSystem {
        let receipt = Receipt::read(cx, &self.settings.instance);
        receipt.map_or_else(|| cx.host.system.to_linux(), |receipt| receipt.system)
    }

    /// What it builds for, and how.
    fn serves(&self, cx: &Cx<'_>) -> Vec<(NixSystem, How)> {
        let own = self.system(cx);
        let other = if own.as_str() == "aarch64-linux" { "x86_64-linux" } else { "aarch64-linux" };
        let other =
            other.parse().ok().filter(|_| self.settings.emulate).map(|other| (other, How::Translated));
        std::iter::once((own, How::Native)).chain(other).collect()
    }

    /// Looks at a virtual machine that runs, and of which another CPU than this host's is remembered. That is right in a shell under Rosetta, and wrong
    /// where files came from another Mac.
    async fn correct_system(&self, cx: &Cx<'_>) -> Result<()> {
        let instance = &self.settings.instance;
        let other = |receipt: &Receipt| receipt.system != cx.host.system.to_linux();
        let Some(receipt) = Receipt::read(cx, instance).filter(other) else { return Ok(()) };
        let machine = self.machine(cx).await?;
        if machine.state(cx).await? != Some(State::Running) {
            return Ok(());
        }
        if let Ok(facts) = machine.look_only(cx).await
            && facts.system != receipt.system
        {
            Receipt { system: facts.system, ..receipt }.write(cx, instance)?;
        }
        Ok(())
    }

    /// The first of these systems that it does not build for, as an error.
    fn refusal(&self, cx: &Cx<'_>, want: &[NixSystem]) -> Option<Error> {
        let serves = self.serves(cx);
        let other = want.iter().find(|want| serves.iter().all(|(system, _)| system != *want))?;
        Some(self.wrong_cpu(other, &serves[0].0))
    }

    /// Why this machine's Nix cannot evaluate, where it is to.
    async fn no_nix(&self, cx: &Cx<'_>) -> Option<Error> {
        let error = match self.settings.transport {
            Transport::Guest => return None,
            Transport::Store => self.host_nix.nix(cx).await.err()?,
        };
        Some(error.because("transport = \"store\" has this machine's Nix evaluate").remedy(Remedy::advice(
            "or leave `transport` out of [backend.multipass]: then the virtual machine's Nix does everything",
        )))
    }

    async fn readiness(&self, cx: &Cx<'_>) -> Result<Readiness> {
        if let Some(error) = self.no_nix(cx).await {
            return Ok(Readiness::No { error });
        }
        let machine = self.machine(cx).await?;
        let receipt = Receipt::read(cx, &self.settings.instance);
        let current = is_current(receipt.as_ref(), &self.settings);
        Ok(match machine.state(cx).await? {
            Some(State::Running) if current => Readiness::Ready,
            Some(State::Stopped | State::Suspended | State::Changing) if current => Readiness::Asleep,
            Some(State::Deleted) if receipt.is_none() => Readiness::No { error: machine.deleted() },
            Some(State::Unknown) if receipt.is_none() => Readiness::No { error: machine.not_ours() },
            Some(State::Unavailable) => Readiness::No { error: machine.zone_off() },
            _ => Readiness::Startable,
        })
    }

    fn wrong_cpu(&self, system: &NixSystem, own: &NixSystem) -> Error {
        let error = Error::new(
            &WRONG_CPU,
            format!("the virtual machine {} builds for {own}, not for {system}", self.settings.instance),
        )
        .because("Multipass runs virtual machines of this machine's own CPU architecture only");
        let mac = "a builder for both, on a Mac with Apple's CPU, which has Nix";
        error
            .remedy(Remedy::command(mac, "nixoci build --backend rosetta"))
            .remedy(Remedy::command("or a Linux machine of that CPU", "nixoci build --backend remote"))
            .remedy(Remedy::lines(
                "or, many times slower, qemu in the virtual machine, in nixoci.toml",
                "[backend.multipass]\nemulate = true",
            ))
    }

    async fn set_up(&self, cx: &Cx<'_>, machine: &Machine<'_>, facts: Facts) -> Result<Facts> {
        let stamp = plan::stamp(&self.settings);
        if facts.stamp != stamp || facts.nix.is_empty() {
            self.tell_outside(cx, machine, &facts).await?;
            let installer = if facts.nix.is_empty() { machine.installer(cx).await? } else { None };
            let set_up = self.settings.set_up(installer, self.settings.fallback(&facts.system));
            set_up.run(cx, &machine.guest(cx).await?).await?;
        }
        let facts = machine.look(cx).await?;
        Receipt { stamp: facts.stamp.clone(), system: facts.system.clone(), id: facts.id.clone() }
            .write(cx, &self.settings.instance)?;
        Ok(facts)
    }
}

#[async_trait]
impl Backend for MultipassBackend {
    async fn offers(&self, cx: &Cx<'_>, want: Option<&NixSystem>) -> Result<Vec<Offer>> {
        let builder = BuilderId(format!("multipass {}", self.settings.instance));
        // Without Multipass there is nothing to look at; the offer says so.
        let _ = self.correct_system(cx).await;
        let offer = |system, how, readiness| Offer { system, how, readiness, builder: builder.clone() };
        if let Some(want) = want
            && let Some(error) = self.refusal(cx, std::slice::from_ref(want))
        {
            return Ok(vec![offer(want.clone(), How::Native, Readiness::No { error })]);
        }
        let readiness = self.readiness(cx).await?;
        let serves = self.serves(cx).into_iter();
        let wanted = serves.filter(|(system, _)| want.is_none_or(|want| want == system));
        Ok(wanted.map(|(system, how)| offer(system, how, readiness.clone())).collect())
    }

    /// With the transport ssh, this host's Nix opens what is private, with its own settings.
    fn takes_credentials(&self) -> bool {
        self.settings.transport == Transport::Guest
    }

    async fn probe(&self, cx: &Cx<'_>) -> Result<Vec<Check>> {
        let version = match self.multipass(cx).await {
            Ok(multipass) => multipass.check(cx).await,
            Err(error) => Err(error),
        };
        let version = match version {
            Ok(version) => version,
            // Who has Nix has other ways, and need not hear of this one.
            Err(error) if error.is(&error::MISSING) && cx.runner.find("nix").await.is_some() => {
                return Ok(Vec::new());
            }
            Err(error) => return Ok(vec![Check::failed("Multipass", &error)]),
        };
        let mut checks = vec![Check::good("Multipass", version)];
        let machine = self.machine(cx).await?;
        let plan = plan::plan(cx, &self.settings, plan::standing(cx, &machine).await?, None).await;
        for step in plan.steps {
            let (title, detail) = ("virtual machine", step.title.clone());
            checks.push(match step.state {
                StepState::Blocked { error } => Check::failed(title, &error),
                StepState::Pending => Check::warning(title, format!("to do: {detail}")),
                StepState::Unknown { would_need } => {
                    Check::good(title, format!("{detail}, as far as can be seen without {would_need}"))
                }
                _ => Check::good(title, detail),
            });
        }
        // Once, behind all that it does.
        if let Some(last) = checks.iter_mut().rev().find(|check| check.verdict == CheckVerdict::Warning) {
            last.remedies = vec![Remedy::command("make it ready", "nixoci provision --backend multipass")];
        }
        Ok(checks)
    }

    async fn plan(&self, cx: &Cx<'_>, want: &[NixSystem]) -> Result<ProvisionPlan> {
        let machine = self.machine(cx).await?;
        let refusal = match self.refusal(cx, want) {
            None => self.no_nix(cx).await,
            refusal => refusal,
        };
        let standing = match refusal {
            Some(error) => Standing::Refused(error),
            None => plan::standing(cx, &machine).await?,
        };
        let wanted = match &standing {
            Standing::Awake(facts) => {
                for (text, remedies) in Growth::smaller(&self.settings, facts) {
                    cx.observer.warn(text, remedies);
                }
                Growth::wanted(&self.settings, facts)
            }
            _ => None,
        };
        let growth = self.growth().or(wanted);
        self.set_growth(growth);
        Ok(plan::plan(cx, &self.settings, standing, growth).await)
    }

    async fn provision(&self, cx: &Cx<'_>, plan: &ProvisionPlan) -> Result<()> {
        if let Some((_, error)) = plan.blocked() {
            return Err(error.clone());
        }
        let machine = self.machine(cx).await?;
        machine.multipass.check(cx).await?;
        let _lock = machine.lock(cx).await?;
        if plan.pending().next().is_none() {
            return Ok(());
        }
        let mut known = self.facts.lock().await;
        *known = None;
        let facts = machine.bring_up(cx).await?;
        if self.growth().is_some() {
            machine.is_the_same(cx, &facts)?;
        }
        // Whether it knows the way out now, with passwords; otherwise the build tells it.
        let mut told = facts.stamp != plan::stamp(&self.settings) || facts.nix.is_empty();
        let mut facts = self.set_up(cx, &machine, facts).await?;
        if let Some(growth) = self.growth() {
            told = false;
            machine.is_free(cx).await?;
            growth.carry_out(cx, &machine).await?;
            self.set_growth(None);
            facts = machine.awake(cx).await?;
        }
        *known = told.then_some(facts);
        Ok(())
    }

    async fn removable(&self, cx: &Cx<'_>) -> Vec<String> {
        let Ok(machine) = self.machine(cx).await else { return Vec::new() };
        let state = machine.state(cx).await.ok().flatten();
        let known = Receipt::read(cx, &self.settings.instance).is_some();
        if state.is_none() || !known {
            return Vec::new();
        }
        let weight = match state {
            Some(State::Running) => machine.look_only(cx).await.ok(),
            _ => None,
        };
        let weight = weight.map(|facts| format!(" ({})", bytes(facts.disk.total - facts.disk.free)));
        vec![format!(
            "the virtual machine {}, with Nix and everything that was built in it{}",
            self.settings.instance,
            weight.unwrap_or_default()
        )]
    }

    async fn prove(&self, cx: &Cx<'_>, want: &[NixSystem]) -> Result<Vec<Check>> {
        let work = self.work(cx).await?;
        match self.settings.transport {
            Transport::Guest => work.prove(cx, want).await,
            Transport::Store => self.host_nix.prove(cx, &work, want).await,
        }
    }

    async fn forecast(&self, cx: &Cx<'_>, request: &BuildRequest, depth: Depth) -> Result<Forecast> {
        match depth {
            // Who evaluates is the guest, and a plan neither makes one nor wakes one up.
            Depth::Full if matches!(self.readiness(cx).await?, Readiness::Ready) => {
                let work = self.work(cx).await?;
                match self.settings.transport {
                    Transport::Guest => {
                        let mounted = Mounted::default();
                        let forecast = work.forecast(cx, request, &mounted).await;
                        mounted.remove(cx, &work.machine).await;
                        forecast
                    }
                    Transport::Store => self.host_nix.forecast(cx, &work, request).await,
                }
            }
            _ => Ok(Forecast::unknown()),
        }
    }

    async fn build(&self, cx: &Cx<'_>, request: &BuildRequest, forecast: &Forecast) -> Result<Artifact> {
        let work = self.work(cx).await?;
        let mounted = Mounted::default();
        let build = async {
            match self.settings.transport {
                Transport::Guest => work.build(cx, request, forecast, &self.built, &mounted).await,
                Transport::Store => self.host_nix.build(cx, &work, request, forecast).await,
            }
        };
        let built = self.while_it_runs(cx, work.with_room(cx, build)).await;
        mounted.remove(cx, &work.machine).await;
        let error = match built {
            Err(error) => error,
            built => return built,
        };
        let growth = Growth::against(&error, &work.facts, host_memory(cx).await);
        self.set_growth(growth);
        let remedies = growth.map(|growth| growth.remedies(&self.settings)).unwrap_or_default();
        Err(remedies.into_iter().fold(error, Error::remedy))
    }

    async fn amend(&self, cx: &Cx<'_>, _: &Error) -> Result<Option<Amendment>> {
        let mut amendment = self.growth().and_then(|growth| growth.amendment(&self.settings));
        // What failed is told as it failed, where nothing can be done about it now.
        if amendment.is_some()
            && let Err(error) = self.machine(cx).await?.is_free(cx).await
        {
            cx.observer.warn(format!("it is not enlarged: {error}"), Vec::new());
            amendment = None;
        }
        if amendment.is_none() {
            self.set_growth(None);
        }
        Ok(amendment)
    }

    async fn query(&self, cx: &Cx<'_>, roots: &[StorePath], closure: bool) -> Result<Vec<PathInfo>> {
        if let Some(store) = self.host_nix.owner(roots) {
            return self.while_it_runs(cx, store.query(cx, roots, closure)).await;
        }
        let work = self.work(cx).await?;
        let store = self.built.owner(roots).map_or_else(|| work.store(), Ok)?;
        let query = async {
            let inside = work.inside(cx, Vec::new()).await?;
            store.query(&Cx { runner: &inside, ..*cx }, roots, closure).await
        };
        self.while_it_runs(cx, query).await
    }

    async fn fetch(
        &self,
        cx: &Cx<'_>,
        paths: &[StorePath],
        out: &mut (dyn AsyncWrite + Send + Unpin),
    ) -> Result<u64> {
        let attempt = self.connections.attempt();
        let fetched = match self.host_nix.owner(paths) {
            Some(store) => self.while_it_runs(cx, store.fetch(cx, paths, out)).await,
            None => {
                let work = self.work(cx).await?;
                let store = self.built.owner(paths).map_or_else(|| work.store(), Ok)?;
                let fetch = async {
                    let inside = work.inside(cx, Vec::new()).await?;
                    store.fetch(&Cx { runner: &inside, ..*cx }, paths, out).await
                };
                self.while_it_runs(cx, fetch).await
            }
        };
        attempt.done();
        fetched
    }

    async fn release(&self, cx: &Cx<'_>, how: Release) -> Result<()> {
        let instance = &self.settings.instance;
        match how {
            Release::Artifact { id } if self.settings.transport == Transport::Store => {
                return self.host_nix.release(cx, &id).await;
            }
            Release::Artifact { id } => {
                let work = self.work(cx).await?;
                let store = self.built.holder(&id).map_or_else(|| work.store(), Ok)?;
                let inside = work.inside(cx, Vec::new()).await?;
                return store.release(&Cx { runner: &inside, ..*cx }, &id).await;
            }
            Release::Stop | Release::Remove if Receipt::read(cx, instance).is_none() => {
                cx.observer.info("multipass: nixoci has made no virtual machine");
            }
            Release::Stop => {
                let machine = self.machine(cx).await?;
                let _lock = machine.lock(cx).await?;
                machine.switch_off_for_now(cx).await?;
            }
            Release::Remove => {
                let machine = self.machine(cx).await?;
                let _lock = machine.lock(cx).await?;
                machine.remove(cx).await?;
            }
            _ => {}
        }
        *self.facts.lock().await = None;
        Ok(())
    }

    async fn shell(&self, cx: &Cx<'_>, _: &NixSystem, command: &[OsString]) -> Result<Command> {
        let work = self.work(cx).await?;
        // As long as it runs, the machine is in use.
        let mut words: Vec<OsString> = ["sh", "-c", IN_USE, "nixoci"].map(OsString::from).into();
        words.extend(if command.is_empty() { vec!["bash".into(), "-l".into()] } else { command.to_vec() });
        Ok(self.connections.get(cx, &work.machine).await?.terminal(cx, &words))
    }
}
