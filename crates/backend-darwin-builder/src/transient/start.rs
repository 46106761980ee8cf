//! Carrying the steps out.

use std::ffi::OsString;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::Duration;

use nixoci_core::backend::{Cx, Forecast};
use nixoci_core::event::{Event, Stage};
use nixoci_core::plan::StepState;
use nixoci_core::request::{Attribute, BuildRequest, Installable, NixFlags};
use nixoci_core::runner::{Command, output};
use nixoci_core::{Error, Remedy, Result, ResultExt, codes as core_codes, shell};
use nixoci_nix::Nix;
use nixoci_nix::keeper::{KEEPER, Orders};
use nixoci_nix::ssh::SshHost;
use tokio::time::{Instant, sleep};

use super::dir::Dir;
use super::steps::ATTRIBUTE;
use super::{HOST_KEY, NAME, Transient, ssh_words};
use crate::error::{NO_KEYS, NO_PROGRAM, NO_START};

/// The first boot makes the disk; without hardware's help (a Mac that is a virtual machine itself) it is slow.
const BOOT: Duration = Duration::from_secs(300);
const PAUSE: Duration = Duration::from_millis(250);
/// How much of the console's log an error shows.
const LOG_LINES: usize = 20;
const LOG_LIMIT: u64 = 4 << 20;

impl Transient {
    /// Makes what is missing, and starts it. Two nixocis at once do it once.
    pub(crate) async fn provision(&self, cx: &Cx<'_>, nix: &Nix) -> Result<()> {
        let dir = Dir::of(cx);
        let _lock = dir.lock(cx).await?;
        // Another nixoci may have done some of it while we waited for the lock.
        for step in self.steps(cx).await {
            match (step.state, step.id.as_str()) {
                (StepState::Blocked { error }, _) => return Err(error),
                (StepState::Pending, "keys") => self.make_keys(cx, &dir).await?,
                (StepState::Pending, "program") => fetch(cx, nix, &dir).await?,
                (StepState::Pending, _) => self.start(cx, nix, &dir).await?,
                _ => {}
            }
        }
        self.hold(cx).await
    }

    async fn make_keys(&self, cx: &Cx<'_>, dir: &Dir) -> Result<()> {
        // One of the two alone is of no use.
        for file in [dir.key(), dir.public_key()] {
            let _ = std::fs::remove_file(file);
        }
        let command = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "nixoci", "-f"])
            .arg(dir.key());
        let answer = output(cx.runner, &command, cx.cancel).await?;
        if answer.exit.success() {
            return Ok(());
        }
        Err(Error::new(&NO_KEYS, NO_KEYS.title).because(answer.stderr_text().trim()))
    }

    async fn start(&self, cx: &Cx<'_>, nix: &Nix, dir: &Dir) -> Result<()> {
        // A keeper that is stopping has it alone: then it is gone when we have it. Booting is no idleness.
        let used = dir.in_use(cx).await?;
        *self.held() = Some(used);
        if dir.keeper().is_none() {
            authorize(dir)?;
            nix.add_public(cx, &dir.authorized(), &dir.keys()).await?;
            self.start_keeper(cx, dir).await?;
        }
        stage(cx, "waiting until the Linux builder answers, about 25 seconds");
        self.wait(cx, dir).await
    }

    async fn start_keeper(&self, cx: &Cx<'_>, dir: &Dir) -> Result<()> {
        let orders = serde_json::to_string(&self.orders(cx, dir)?)
            .or_error(&NO_START, || format!("{} cannot be told to another process", dir.path().display()))?;
        let command = Command::new(&self.nixoci).args([KEEPER, "start", &orders]);
        let answer = output(cx.runner, &command, cx.cancel).await?;
        if answer.exit.success() {
            return Ok(());
        }
        Err(Error::new(&NO_START, NO_START.title).because(answer.stderr_text().trim()))
    }

    /// What the keeper is told.
    fn orders(&self, cx: &Cx<'_>, dir: &Dir) -> Result<Orders> {
        let keys = std::fs::read_link(dir.keys())
            .or_error(&core_codes::PROCESS, || format!("{} cannot be read", dir.keys().display()))?;
        let text = |path: &Path| Some(path.to_string_lossy().into_owned());
        // macOS empties its own directory for temporary files every three days, and guests lose their certificates.
        let fresh = dir.vm().join("tmp");
        let env = [
            ("KEYS", text(&keys)),
            ("NIX_DISK_IMAGE", text(&dir.disk())),
            ("TMPDIR", text(&fresh)),
            ("USE_TMPDIR", Some("1".to_owned())),
            ("QEMU_OPTS", Some(self.qemu(cx))),
            ("QEMU_KERNEL_PARAMS", None),
            ("QEMU_NET_OPTS", None),
        ];
        // The guest lets its user do that.
        let ask = ssh_words(dir).into_iter().chain(["systemctl", "poweroff"].map(Into::into));
        Ok(Orders {
            program: dir.run(),
            env: env.map(|(name, value)| (name.to_owned(), value)).to_vec(),
            cwd: dir.vm(),
            fresh,
            log: dir.log(),
            lock: dir.keeper_lock(),
            used: dir.used(),
            ask: ask.map(|word: OsString| word.to_string_lossy().into_owned()).collect(),
            idle: self.idle.as_secs(),
        })
    }

    /// Until its ssh server answers, is who it should be, and lets us in.
    async fn wait(&self, cx: &Cx<'_>, dir: &Dir) -> Result<()> {
        let start = Instant::now();
        let host = SshHost::from(&self.machine(cx));
        loop {
            let error = match host.refusal(cx).await {
                Some(error) => error,
                None => {
                    let session = self.fleet(cx).await.session(cx).await?;
                    match session.connect(cx, NAME).await {
                        Ok(()) => return Ok(()),
                        Err(error) => error,
                    }
                }
            };
            let stranger = error.is(&nixoci_nix::ssh::codes::HOST_KEY_CHANGED)
                || error.is(&nixoci_nix::ssh::codes::NOT_SSH);
            if dir.keeper().is_none() || stranger || start.elapsed() > BOOT {
                return Err(did_not_start(cx, dir, &error));
            }
            tokio::select! {
                () = sleep(PAUSE) => {}
                () = cx.cancel.cancelled() => {
                    return Err(Error::new(&core_codes::CANCELLED, "waiting for the builder was stopped, and it goes on starting")
                        .remedy(Remedy::command("stop it", "nixoci provision --backend darwin-builder --stop")));
                }
            }
        }
    }
}

/// The public half in a directory of its own, and the guest's host key where ssh looks for it.
fn authorize(dir: &Dir) -> Result<()> {
    let write = || {
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create(dir.authorized())?;
        std::fs::copy(dir.public_key(), dir.authorized().join("builder_ed25519.pub"))?;
        std::fs::create_dir_all(dir.vm())?;
        std::fs::write(dir.known_hosts(), format!("{NAME} {HOST_KEY}\n"))
    };
    write().or_error(&core_codes::PROCESS, || format!("{} cannot be written to", dir.path().display()))
}

async fn fetch(cx: &Cx<'_>, nix: &Nix, dir: &Dir) -> Result<()> {
    stage(cx, "fetching the Linux builder from nixpkgs' binary cache");
    let system = cx.host.system.clone();
    let attribute = Attribute::Full(format!("legacyPackages.{system}.{ATTRIBUTE}"));
    let request = BuildRequest {
        // The registry's, whatever is called so in the current directory.
        installable: Installable::Flake { reference: "flake:nixpkgs".to_owned(), attribute },
        system,
        prefer: Vec::new(),
        flags: NixFlags::default(),
    };
    let built = nix.build(cx, &request, &Forecast::unknown(), &dir.program()).await;
    built.map_err(|error| {
        if error.is(&core_codes::CANCELLED) {
            return error;
        }
        let why = format!("{error}");
        let error = error
            .report()
            .causes
            .iter()
            .fold(Error::new(&NO_PROGRAM, NO_PROGRAM.title).because(why), Error::because);
        error.remedy(Remedy::command(
            "see whether nixpkgs has it, and it is in the cache",
            shell!("nix build {} --no-link -L", format!("nixpkgs#{ATTRIBUTE}")),
        ))
    })?;
    if dir.run().exists() {
        return Ok(());
    }
    Err(Error::new(&NO_PROGRAM, NO_PROGRAM.title).because(format!("there is no {}", dir.run().display())))
}

fn stage(cx: &Cx<'_>, text: &str) {
    cx.observer.observe(Event::Stage { stage: Stage::Provision, system: None, text: text.to_owned() });
}

fn did_not_start(cx: &Cx<'_>, dir: &Dir, last: &Error) -> Error {
    let said = cx.host.read(&dir.log(), LOG_LIMIT).unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    let lines: Vec<String> = said.lines().map(nixoci_nix::log_line).collect();
    let tail = lines[lines.len().saturating_sub(LOG_LINES)..].to_vec();
    let error = Error::new(&NO_START, NO_START.title).because(last.to_string());
    let error = last.report().causes.iter().fold(error, Error::because);
    error.log(tail).log_at(dir.log()).remedy(Remedy::command(
        "a disk that is damaged, or full, goes with the rest",
        "nixoci provision --backend darwin-builder --remove",
    ))
}
