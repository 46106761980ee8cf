//! A Linux builder of nixoci's own, for a Mac whose Nix knows none: nixpkgs' `darwin.linux-builder`, as a virtual machine of
//! the user's, without root.
//!
//! Nothing of the machine's is changed: the key pair is nixoci's, and builds go over ssh into the guest's own store. A
//! [keeper](nixoci_nix::keeper) runs the virtual machine and stops it when nobody has used it for a while.
//!
//! Source: nixpkgs, `nixos/modules/profiles/nix-builder.nix`, `nix-builder-vm.nix` and `virtualisation/qemu-vm.nix`.

mod dir;
mod start;
mod steps;

use std::ffi::OsString;
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nixoci_core::artifact::Artifact;
use nixoci_core::backend::{Check, CheckVerdict, Cx, Forecast, Readiness};
use nixoci_core::platform::NixSystem;
use nixoci_core::request::BuildRequest;
use nixoci_core::runner::{Command, Exit, output};
use nixoci_core::{Error, Remedy, Result, codes as core_codes};
use nixoci_nix::mac::Vm;
use nixoci_nix::ssh::{self, SshHost};
use nixoci_nix::{Fleet, Idle, Machine, Nix, Over, Transport};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep, timeout};

use self::dir::Dir;
pub(crate) use self::steps::IDS;
use crate::error::{PORT_TAKEN, STOPPED};

/// Where the guest's ssh server is; `virtualisation.darwin-builder.hostPort`.
const PORT: u16 = 31022;
const ADDRESS: &str = "127.0.0.1";
/// What ssh is told to call it: a name that is in nobody's configuration.
const NAME: &str = "nixoci-linux-builder";
const USER: &str = "builder";
/// The host key of every such guest. It is public, private half and all: who listens at the port matters, and that is the
/// keeper's virtual machine or nobody. Source: nixpkgs `nixos/modules/profiles/keys/ssh_host_ed25519_key.pub`.
const HOST_KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJBWcxb/Blaqt1auOtE+F8QUWrUotiC5qBJ+UuEWdVCb";
/// What the guest's Nix offers; nix-darwin lists the same.
const FEATURES: [&str; 3] = ["kvm", "benchmark", "big-parallel"];
/// More CPUs than this it gets only if somebody says so.
const CPUS: u32 = 4;
/// The guest's own memory and disk, in MiB.
const MEMORY: u32 = 3 << 10;
const DISK: u32 = 20 << 10;
/// Powering off, the signals after it, and some more.
const STOPPING: Duration = Duration::from_secs(70);
const PAUSE: Duration = Duration::from_millis(100);
/// A connection on this machine is there at once.
const KNOCK: Duration = Duration::from_millis(500);

/// nixoci's own builder.
#[derive(Debug)]
pub(crate) struct Transient {
    nixoci: PathBuf,
    idle: Duration,
    vm: Vm,
    over: Option<Over>,
    fleet: OnceCell<Fleet>,
    /// Says that we build, until the backend is dropped.
    using: Mutex<Option<File>>,
}

/// How things stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Its ssh server answers.
    Answers,
    /// It was started, and does not answer yet.
    Starting,
    Stopped,
    /// Somebody else is at its port.
    PortTaken,
}

impl Transient {
    /// A builder that this nixoci keeps. With the transport `daemon` there is none: the daemon does not know it.
    pub(crate) fn new(nixoci: PathBuf, idle: Duration, vm: Vm, transport: Transport) -> Option<Transient> {
        let over = match transport {
            Transport::Daemon => return None,
            Transport::Builders => Some(Over::Builders),
            Transport::Store => Some(Over::Store),
            Transport::Auto => None,
        };
        Some(Transient { nixoci, idle, vm, over, fleet: OnceCell::new(), using: Mutex::default() })
    }

    fn cpus(&self, cx: &Cx<'_>) -> u32 {
        self.vm.cpus.unwrap_or_else(|| u32::try_from(cx.host.cpus).unwrap_or(CPUS).clamp(1, CPUS))
    }

    fn memory(&self) -> u32 {
        self.vm.memory.unwrap_or(MEMORY)
    }

    /// The machine, as Nix would list it.
    fn machine(&self, cx: &Cx<'_>) -> Machine {
        Machine {
            uri: format!("ssh-ng://{USER}@{NAME}:{PORT}"),
            systems: vec![cx.host.system.to_linux()],
            key: Some(Dir::of(cx).key()),
            max_jobs: self.cpus(cx),
            speed: 1.0,
            features: FEATURES.map(str::to_owned).to_vec(),
            mandatory: Vec::new(),
            host_key: Some(HOST_KEY.to_owned()),
            address: Some(ADDRESS.to_owned()),
        }
    }

    async fn fleet(&self, cx: &Cx<'_>) -> &Fleet {
        self.fleet.get_or_init(|| async { Fleet::new(vec![self.machine(cx)]) }).await
    }

    /// Whether it builds in its own store, where a binary cache that only this host knows would be lost.
    async fn over(&self, cx: &Cx<'_>, nix: &Nix, system: &NixSystem) -> Result<Over> {
        match self.over {
            Some(over) => Ok(over),
            None => {
                let own_caches = !nix.settings(cx).await?.own_caches().is_empty();
                Ok(self.fleet(cx).await.over(system, own_caches))
            }
        }
    }

    async fn state(&self, cx: &Cx<'_>) -> State {
        if Dir::of(cx).keeper().is_some() {
            let silent = SshHost::from(&self.machine(cx)).refusal(cx).await.is_some();
            return if silent { State::Starting } else { State::Answers };
        }
        match timeout(KNOCK, TcpStream::connect((ADDRESS, PORT))).await {
            Ok(Err(_)) => State::Stopped,
            Ok(Ok(_)) | Err(_) => State::PortTaken,
        }
    }

    /// How near it is to building.
    pub(crate) async fn readiness(&self, cx: &Cx<'_>) -> Readiness {
        match self.state(cx).await {
            State::Answers => Readiness::Ready,
            State::Starting | State::Stopped => Readiness::Startable,
            State::PortTaken => Readiness::NeedsRoot,
        }
    }

    /// For `doctor`.
    pub(crate) async fn check(&self, cx: &Cx<'_>) -> Check {
        let idle = Idle(self.idle);
        let size = Dir::of(cx).disk_size();
        let disk = size.map(|size| format!("; its disk takes {size}")).unwrap_or_default();
        let (detail, verdict, remedy) = match self.state(cx).await {
            State::Answers => {
                let keeper = Dir::of(cx).keeper().flatten();
                let pid = keeper.map(|keeper| format!(", process {}", keeper.pid)).unwrap_or_default();
                let detail = format!(
                    "nixoci's own runs: {}{pid}; stops when unused for {idle}{disk}",
                    cx.host.system.to_linux()
                );
                (detail, CheckVerdict::Good, None)
            }
            State::Starting => ("nixoci's own is starting".to_owned(), CheckVerdict::Warning, None),
            State::Stopped => {
                let remedy = Remedy::command("start it", "nixoci provision --backend darwin-builder");
                let detail =
                    format!("this Mac's Nix knows none; nixoci can start one of its own, without root{disk}");
                (detail, CheckVerdict::Warning, Some(remedy))
            }
            State::PortTaken => {
                let remedy = Remedy::command("see who is there", steps::WHO);
                let detail = format!(
                    "this Mac's Nix knows none, and nixoci cannot start one: somebody else is at port {PORT}"
                );
                (detail, CheckVerdict::Bad, Some(remedy))
            }
        };
        remedy.into_iter().fold(Check::new("Linux builder", verdict, detail), Check::remedy)
    }

    fn held(&self) -> MutexGuard<'_, Option<File>> {
        self.using.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps it running for as long as this backend is there.
    async fn hold(&self, cx: &Cx<'_>) -> Result<()> {
        if self.held().is_some() {
            return Ok(());
        }
        let dir = Dir::of(cx);
        let used = if dir.exists() { Some(dir.in_use(cx).await?) } else { None };
        if dir.keeper().is_none() {
            return Err(Error::new(&STOPPED, STOPPED.title)
                .remedy(Remedy::command("start it again", "nixoci provision --backend darwin-builder")));
        }
        *self.held() = used;
        Ok(())
    }

    pub(crate) async fn build(
        &self,
        cx: &Cx<'_>,
        nix: &Nix,
        request: &BuildRequest,
        forecast: &Forecast,
    ) -> Result<Artifact> {
        self.hold(cx).await?;
        let over = self.over(cx, nix, &request.system).await?;
        self.fleet(cx).await.build(cx, nix, request, forecast, over).await
    }

    pub(crate) async fn prove(&self, cx: &Cx<'_>, nix: &Nix, want: &[NixSystem]) -> Result<Vec<Check>> {
        self.hold(cx).await?;
        self.fleet(cx).await.prove(cx, nix, want).await
    }

    /// What was built with it, if anything was.
    pub(crate) fn built(&self) -> Option<&Fleet> {
        self.fleet.get()
    }

    pub(crate) async fn shell(&self, cx: &Cx<'_>, command: &[OsString]) -> Result<Command> {
        self.hold(cx).await?;
        // The shell runs longer than this backend lives: until nixoci ends, which waits for it.
        std::mem::forget(self.held().take());
        let mut words = ssh_words(&Dir::of(cx)).into_iter();
        Ok(ssh::shell(Command::new(words.next().unwrap_or_default()).args(words), command))
    }

    /// What removing it would take away.
    pub(crate) fn contents(cx: &Cx<'_>) -> Vec<String> {
        Dir::of(cx).contents()
    }

    /// Stops it. False: it did not run.
    pub(crate) async fn stop(&self, cx: &Cx<'_>) -> Result<bool> {
        let dir = Dir::of(cx);
        if !dir.exists() {
            return Ok(false);
        }
        let _lock = dir.lock(cx).await?;
        self.stop_locked(cx, &dir).await
    }

    async fn stop_locked(&self, cx: &Cx<'_>, dir: &Dir) -> Result<bool> {
        let Some(first) = dir.keeper() else { return self.stop_orphan(cx, dir).await };
        if dir.is_used() {
            cx.observer.warn("something is being built on the Linux builder that is to stop", Vec::new());
        }
        cx.observer.info("darwin-builder: stopping the Linux builder");
        let start = Instant::now();
        let mut asked = false;
        let mut last = first;
        while let Some(keeper) = dir.keeper() {
            last = keeper.or(last);
            if let (false, Some(keeper)) = (asked, last) {
                asked = true;
                keeper.stop();
            }
            if start.elapsed() > STOPPING {
                // Whoever does not stop is stopped.
                if let Some(keeper) = last {
                    keeper.kill();
                }
                break;
            }
            tokio::select! {
                () = sleep(PAUSE) => {}
                () = cx.cancel.cancelled() => {
                    return Err(Error::new(&core_codes::CANCELLED, "waiting for the builder to stop was stopped"));
                }
            }
        }
        Ok(true)
    }

    /// A virtual machine whose keeper was killed: nobody else's lets our key in.
    async fn stop_orphan(&self, cx: &Cx<'_>, dir: &Dir) -> Result<bool> {
        if !dir.key().exists() || self.state(cx).await != State::PortTaken {
            return Ok(false);
        }
        let mut words = ssh_words(dir).into_iter();
        let ssh = Command::new(words.next().unwrap_or_default()).args(words).args(["systemctl", "poweroff"]);
        // 255 is ssh's own: the guest may be gone before it answers.
        if !matches!(output(cx.runner, &ssh, cx.cancel).await?.exit, Exit::Code(0 | 255)) {
            return Ok(false);
        }
        let start = Instant::now();
        while self.state(cx).await == State::PortTaken {
            if start.elapsed() > STOPPING {
                // Not ours, or one that does not listen: its disk stays.
                return Err(Error::new(&PORT_TAKEN, "what is at the Linux builder's port does not stop")
                    .because(format!("{ADDRESS}:{PORT} is in use")));
            }
            tokio::select! {
                () = sleep(PAUSE) => {}
                () = cx.cancel.cancelled() => {
                    return Err(Error::new(&core_codes::CANCELLED, "waiting for the builder to stop was stopped"));
                }
            }
        }
        Ok(true)
    }

    /// Stops it, and removes all of it. False: nothing was there.
    pub(crate) async fn remove(&self, cx: &Cx<'_>) -> Result<bool> {
        let dir = Dir::of(cx);
        if !dir.exists() {
            return Ok(false);
        }
        let _lock = dir.lock(cx).await?;
        self.stop_locked(cx, &dir).await?;
        dir.remove()?;
        Ok(true)
    }
}

/// ssh to the guest, with nothing of the user's configuration.
fn ssh_words(dir: &Dir) -> Vec<OsString> {
    let known = format!("UserKnownHostsFile=\"{}\"", dir.known_hosts().display());
    let alias = format!("HostKeyAlias={NAME}");
    let port = PORT.to_string();
    let mut words: Vec<OsString> = ["ssh", "-F", "/dev/null", "-i"].map(OsString::from).to_vec();
    words.push(dir.key().into());
    for option in [
        "IdentitiesOnly=yes",
        "IdentityAgent=none",
        "BatchMode=yes",
        "ConnectTimeout=5",
        "StrictHostKeyChecking=yes",
        "GlobalKnownHostsFile=/dev/null",
        &known,
        &alias,
    ] {
        words.extend(["-o", option].map(OsString::from));
    }
    words.extend(["-p", &port, &format!("{USER}@{ADDRESS}")].map(OsString::from));
    words
}
