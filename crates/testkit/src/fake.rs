//! A backend without Nix: it "builds" bytes that the test gives it.

use std::borrow::Cow;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use nixoci_core::artifact::{Artifact, ArtifactId, PathInfo, Role, StorePath};
use nixoci_core::backend::{
    Backend, BuilderId, Check, Cx, Depth, Descriptor, Forecast, How, Offer, Readiness, Release, Verdict,
};
use nixoci_core::codes::CANCELLED;
use nixoci_core::digest::Digest;
use nixoci_core::factory::Factory;
use nixoci_core::plan::{ProvisionPlan, Step, StepState};
use nixoci_core::platform::NixSystem;
use nixoci_core::request::BuildRequest;
use nixoci_core::runner::Command;
use nixoci_core::{Error, Remedy, Result};
use nixoci_nix::nar::{HashingReader, Writer};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;

use crate::codes::{BY_HAND, FAULT, TRANSFER_FAULT};

/// What goes wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// It cannot build for any system.
    NoOffer,
    /// It declines the build when asked for a forecast.
    Declines,
    /// The build fails.
    BuildFails,
    /// What was built is gone when asked for.
    Vanishes,
    /// The transfer ends after this many bytes, with an error.
    BreaksAfter(usize),
    /// The transfer ends after this many bytes and claims to be complete.
    LiesAfter(usize),
    /// The byte at this place of the transfer is another one than in the store.
    Flips(usize),
    /// The transfer stops after this many bytes, and neither goes on nor ends by itself.
    StallsAfter(usize),
    /// Provisioning has no effect.
    ProvisionHasNoEffect,
    /// Something tiny does not build.
    ProofFails,
    /// The build never ends by itself.
    Hangs,
    /// The build panics.
    Panics,
}

/// A backend whose store holds one file.
#[derive(Debug)]
pub struct FakeBackend {
    system: NixSystem,
    nar: Vec<u8>,
    hash: Digest,
    fault: Fault,
    ready: Mutex<bool>,
    steps: Vec<Step>,
    by_hand: bool,
    builder: BuilderId,
    held: AtomicU32,
    builds: AtomicU32,
    fetches: AtomicU32,
    provisions: AtomicU32,
    put_away: Mutex<Vec<Release>>,
    stuck: Notify,
}

/// A store path that nobody else has.
pub fn store_path(name: &str) -> StorePath {
    let text = format!("/nix/store/{}-{name}", "0".repeat(32));
    text.parse().unwrap_or_else(|_| unreachable_path())
}

#[expect(clippy::panic, reason = "a test that asks for an impossible name should fail at once")]
fn unreachable_path() -> StorePath {
    panic!("not a store path name")
}

/// The NAR of a regular file with these bytes.
pub fn nar_of(file: &[u8]) -> Vec<u8> {
    let write = || {
        let mut writer = Writer::new(Vec::new())?;
        writer.regular(false, file.len() as u64, file)?;
        writer.finish()
    };
    // Writing into memory has no way to fail.
    write().unwrap_or_default()
}

/// The hash of a NAR.
pub fn hash_of(nar: &[u8]) -> Digest {
    let mut reader = HashingReader::new(nar);
    // Neither has reading from it.
    let _ = std::io::copy(&mut reader, &mut std::io::sink());
    reader.finish().0
}

/// A step that has to be done.
fn step(id: &str, title: &str, needs_root: bool, command: &str) -> Step {
    let step = Step::new(id, title, "tests", StepState::Pending);
    Step { needs_root, commands: vec![command.to_owned()], ..step }
}

impl FakeBackend {
    /// A backend for `system` whose builds all yield a file with these bytes. Each is a builder of its own.
    pub fn new(system: &NixSystem, file: &[u8]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let nar = nar_of(file);
        FakeBackend {
            system: system.clone(),
            hash: hash_of(&nar),
            nar,
            fault: Fault::None,
            ready: Mutex::new(true),
            steps: vec![step("pretend", "pretend to be ready", false, "pretend")],
            by_hand: false,
            builder: BuilderId(format!("fake-{}", NEXT.fetch_add(1, Ordering::Relaxed))),
            held: AtomicU32::new(0),
            builds: AtomicU32::new(0),
            fetches: AtomicU32::new(0),
            provisions: AtomicU32::new(0),
            put_away: Mutex::new(Vec::new()),
            stuck: Notify::new(),
        }
    }

    /// The same with a fault.
    #[must_use]
    pub fn with_fault(mut self, fault: Fault) -> Self {
        self.fault = fault;
        self
    }

    /// The same, but it has to be provisioned first.
    #[must_use]
    pub fn unprovisioned(self) -> Self {
        self.set_ready(false);
        self
    }

    /// The same, but a step of its provisioning needs root.
    #[must_use]
    pub fn with_root_step(mut self) -> Self {
        self.steps.push(step("root", "become root", true, "sudo pretend --harder"));
        self
    }

    /// The same, but every step of its provisioning needs root.
    #[must_use]
    pub fn root_only(mut self) -> Self {
        self.steps.clear();
        self.with_root_step()
    }

    /// The same, but its steps are for the administrator to do.
    #[must_use]
    pub fn by_hand(mut self) -> Self {
        self.by_hand = true;
        self
    }

    /// Waits until [`Fault::Hangs`] or [`Fault::StallsAfter`] has brought a build or a transfer to a stop. Each stop ends one wait.
    pub async fn stuck(&self) {
        self.stuck.notified().await;
    }

    /// How often its steps were carried out.
    pub fn provisions(&self) -> u32 {
        self.provisions.load(Ordering::SeqCst)
    }

    /// How it was put away, in order.
    pub fn put_away(&self) -> Vec<Release> {
        self.put_away.lock().map(|how| how.clone()).unwrap_or_default()
    }

    /// How many artifacts are held by roots.
    pub fn held(&self) -> u32 {
        self.held.load(Ordering::SeqCst)
    }

    /// How many builds were asked for.
    pub fn builds(&self) -> u32 {
        self.builds.load(Ordering::SeqCst)
    }

    /// How many transfers were asked for.
    pub fn fetches(&self) -> u32 {
        self.fetches.load(Ordering::SeqCst)
    }

    fn is_ready(&self) -> bool {
        self.ready.lock().is_ok_and(|ready| *ready)
    }

    fn set_ready(&self, value: bool) {
        if let Ok(mut ready) = self.ready.lock() {
            *ready = value;
        }
    }

    fn damage<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        let mut bytes = Cow::Borrowed(bytes);
        if let Fault::Flips(at) = self.fault
            && at < bytes.len()
        {
            bytes.to_mut()[at] ^= 1;
        }
        bytes
    }

    fn info(&self) -> PathInfo {
        PathInfo {
            path: store_path("image.tar"),
            nar_hash: self.hash,
            nar_size: self.nar.len() as u64,
            references: Vec::new(),
            deriver: None,
            local: None,
        }
    }
}

#[async_trait]
impl Backend for FakeBackend {
    async fn offers(&self, _: &Cx<'_>, _: Option<&NixSystem>) -> Result<Vec<Offer>> {
        let readiness = match (self.fault, self.is_ready()) {
            (Fault::NoOffer, _) => Readiness::No { error: Error::new(&FAULT, "the fake has no builder") },
            (_, true) => Readiness::Ready,
            (_, false) => Readiness::Startable,
        };
        let builder = self.builder.clone();
        Ok(vec![Offer { system: self.system.clone(), how: How::Native, readiness, builder }])
    }

    async fn probe(&self, _: &Cx<'_>) -> Result<Vec<Check>> {
        Ok(vec![Check::good("fake", "always there")])
    }

    async fn plan(&self, _: &Cx<'_>, _: &[NixSystem]) -> Result<ProvisionPlan> {
        let mut steps = self.steps.clone();
        if self.is_ready() {
            steps.iter_mut().for_each(|step| step.state = StepState::Satisfied);
        }
        Ok(ProvisionPlan { steps, instead: Vec::new() })
    }

    async fn provision(&self, _: &Cx<'_>, plan: &ProvisionPlan) -> Result<()> {
        if self.by_hand && !plan.is_satisfied() {
            return Err(Error::new(&BY_HAND, "the fake must be made ready by hand"));
        }
        self.provisions.fetch_add(1, Ordering::SeqCst);
        if self.fault != Fault::ProvisionHasNoEffect {
            self.set_ready(true);
        }
        Ok(())
    }

    fn carries_out(&self, _: &Step) -> bool {
        !self.by_hand
    }

    async fn prove(&self, cx: &Cx<'_>, want: &[NixSystem]) -> Result<Vec<Check>> {
        if cx.cancel.is_cancelled() {
            return Err(Error::new(&CANCELLED, "stopped"));
        }
        let prove = |system: &NixSystem| {
            if self.fault == Fault::ProofFails || system != &self.system {
                let error = Error::new(&FAULT, "the fake builds nothing").because("a test said so");
                return Check::failed(
                    system.as_str(),
                    &error.remedy(Remedy::command("mend it", "mend fake")),
                );
            }
            Check::good(system.as_str(), "built and read back in 0.0 s")
        };
        Ok(want.iter().map(prove).collect())
    }

    async fn forecast(&self, _: &Cx<'_>, _: &BuildRequest, _: Depth) -> Result<Forecast> {
        let verdict = match self.fault {
            Fault::Declines => Verdict::Decline { error: Error::new(&FAULT, "the fake declines") },
            _ => Verdict::Go,
        };
        Ok(Forecast { output: Some(store_path("image.tar")), verdict, ..Forecast::unknown() })
    }

    async fn build(&self, cx: &Cx<'_>, request: &BuildRequest, _: &Forecast) -> Result<Artifact> {
        self.builds.fetch_add(1, Ordering::SeqCst);
        if cx.cancel.is_cancelled() {
            return Err(Error::new(&CANCELLED, "stopped"));
        }
        match self.fault {
            Fault::BuildFails => return Err(Error::new(&FAULT, "the fake build fails")),
            #[expect(clippy::panic, reason = "that is what it is for")]
            Fault::Panics => panic!("the fake panics"),
            Fault::Hangs => {
                self.stuck.notify_one();
                cx.cancel.cancelled().await;
                return Err(Error::new(&CANCELLED, "stopped"));
            }
            _ => {}
        }
        self.held.fetch_add(1, Ordering::SeqCst);
        Ok(Artifact {
            path: store_path("image.tar"),
            role: Role::Output,
            system: request.system.clone(),
            drv: None,
            attribute: None,
            id: ArtifactId("fake".to_owned()),
        })
    }

    async fn query(&self, _: &Cx<'_>, roots: &[StorePath], _: bool) -> Result<Vec<PathInfo>> {
        let info = self.info();
        if self.fault == Fault::Vanishes || !roots.contains(&info.path) {
            return Err(Error::new(&TRANSFER_FAULT, "the path is gone"));
        }
        Ok(vec![info])
    }

    async fn fetch(
        &self,
        cx: &Cx<'_>,
        paths: &[StorePath],
        out: &mut (dyn AsyncWrite + Send + Unpin),
    ) -> Result<u64> {
        let broken =
            |error: &std::io::Error| Error::new(&TRANSFER_FAULT, "the reader went away").caused_by(error);
        self.fetches.fetch_add(1, Ordering::SeqCst);
        let mut total = 0;
        self.query(cx, paths, false).await?;
        for _ in paths {
            let bytes = match self.fault {
                Fault::BreaksAfter(count) | Fault::LiesAfter(count) | Fault::StallsAfter(count) => {
                    &self.nar[..count.min(self.nar.len())]
                }
                _ => &self.nar,
            };
            let bytes = self.damage(bytes);
            out.write_all(&bytes).await.map_err(|error| broken(&error))?;
            out.flush().await.map_err(|error| broken(&error))?;
            total += bytes.len() as u64;
        }
        match self.fault {
            Fault::BreaksAfter(_) => Err(Error::new(&TRANSFER_FAULT, "the transfer broke off")),
            Fault::StallsAfter(_) => {
                self.stuck.notify_one();
                cx.cancel.cancelled().await;
                Err(Error::new(&CANCELLED, "stopped"))
            }
            _ => Ok(total),
        }
    }

    async fn release(&self, cx: &Cx<'_>, how: Release) -> Result<()> {
        if matches!(how, Release::Artifact { .. }) {
            // As one whose machine has to be told.
            if cx.cancel.is_cancelled() {
                return Err(Error::new(&CANCELLED, "`sh` was stopped"));
            }
            let _ = self.held.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |held| held.checked_sub(1));
            return Ok(());
        }
        cx.observer.info("the fake is put away");
        self.set_ready(false);
        if let Ok(mut put_away) = self.put_away.lock() {
            put_away.push(how);
        }
        Ok(())
    }

    async fn shell(&self, _: &Cx<'_>, _: &NixSystem, command: &[std::ffi::OsString]) -> Result<Command> {
        let command = command.split_first();
        let shell = || Command::new("sh");
        Ok(command.map_or_else(shell, |(program, args)| Command::new(program).args(args)).interactive())
    }
}

/// Hands out one fake backend under a name.
pub struct FakeFactory {
    name: &'static str,
    backend: std::sync::Arc<FakeBackend>,
}

impl FakeFactory {
    /// A factory for this backend.
    pub fn new(name: &'static str, backend: FakeBackend) -> Self {
        FakeFactory { name, backend: std::sync::Arc::new(backend) }
    }

    /// The backend it hands out.
    pub fn backend(&self) -> std::sync::Arc<FakeBackend> {
        std::sync::Arc::clone(&self.backend)
    }
}

impl Factory for FakeFactory {
    fn descriptor(&self) -> Descriptor {
        Descriptor {
            name: Cow::Borrowed(self.name),
            aliases: Cow::Borrowed(&[]),
            summary: Cow::Borrowed("a fake"),
            concurrent_builds: true,
            automatic: true,
            hosts: Cow::Borrowed(&[]),
            credentials: true,
        }
    }

    fn schema(&self) -> serde_json::Value {
        serde_json::json!({ "type": "object" })
    }

    fn check(&self, _: &nixoci_core::config::BackendTable) -> Result<()> {
        Ok(())
    }

    fn create(&self, _: &[nixoci_core::config::BackendTable]) -> Result<std::sync::Arc<dyn Backend>> {
        Ok(self.backend())
    }
}
