//! The virtual machine: making it, waking it up, and knowing what it is.

use std::fs::File;
use std::time::Duration;

use nixoci_core::backend::Cx;
use nixoci_core::event::{Task, TaskKind};
use nixoci_core::runner::{Command, output};
use nixoci_core::{Error, Remedy, Result, ResultExt, codes as core_codes, shell};
use nixoci_nix::guest::{Facts, GuestRunner, look, upload};
use nixoci_nix::patience::patiently;
use tokio_util::sync::CancellationToken;

use crate::connection::{Connections, lost};
use crate::driver::{Launch, Multipass, State};
use crate::error::{ABSENT, BUSY, DELETED, FIRST_BOOT, NOT_OURS, PREPARING, SLOW, ZONE_OFF};
use crate::keys::{HostKey, Keys};
use crate::receipt::Receipt;
use crate::settings::Settings;
use crate::size::Size;

/// How long a machine that is on its way somewhere may take.
pub(crate) const CHANGING: Duration = Duration::from_secs(300);
/// How often a machine that works is looked at.
const LOOK: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(500);
/// The configuration of the first boot: the keys of the ssh connection, the file that says who made the machine, by an id of its own, and
/// swap, which cloud images have none of. Multipass reads and writes it anew, so nothing depends on quotes.
///
/// Source for the keys: cloud-init's module `cc_ssh`; with `ssh_keys` it generates no host keys of its own.
const CLOUD_INIT: &str = "\
ssh_authorized_keys:
  - @authorized@
ssh_deletekeys: true
ssh_keys:
  ed25519_private: |
@private@
  ed25519_public: @public@
swap:
  filename: /swap.img
  size: 4G
package_update: false
write_files:
  - path: /etc/nixoci/vm.json
    content: |
      {\"schema\":1,\"owner\":\"nixoci\",\"id\":\"@id@\"}
";

/// A virtual machine by its name.
#[derive(Debug)]
pub(crate) struct Machine<'a> {
    pub(crate) multipass: &'a Multipass,
    pub(crate) settings: &'a Settings,
    pub(crate) connections: &'a Connections,
}

impl Machine<'_> {
    pub(crate) fn name(&self) -> &str {
        &self.settings.instance
    }

    pub(crate) async fn state(&self, cx: &Cx<'_>) -> Result<Option<State>> {
        self.multipass.state(cx, self.name()).await
    }

    /// Runs commands in it; it runs.
    ///
    /// # Errors
    /// As [`Connections::get`].
    pub(crate) async fn guest<'c>(&self, cx: &Cx<'c>) -> Result<GuestRunner<'c>> {
        let connection = self.connections.get(cx, self).await?;
        Ok(GuestRunner::new(cx.runner, connection))
    }

    /// Keeps other nixocis from changing it.
    pub(crate) async fn lock(&self, cx: &Cx<'_>) -> Result<File> {
        let dir = cx.dirs.state.join("multipass");
        let path = dir.join(format!("{}.lock", self.name()));
        let open = || {
            std::fs::create_dir_all(&dir)
                .and_then(|()| File::options().create(true).truncate(false).write(true).open(&path))
                .or_error(&core_codes::PROCESS, || format!("{} cannot be opened", path.display()))
        };
        let waiting = format!("waiting for another nixoci that sets up the virtual machine {}", self.name());
        patiently(cx, open, File::try_lock, &waiting).await
    }

    /// Wakes it up if it sleeps, and says what there is in it.
    ///
    /// # Errors
    /// [`ABSENT`], [`DELETED`], [`SLOW`], [`NOT_OURS`] and what Multipass says otherwise.
    pub(crate) async fn awake(&self, cx: &Cx<'_>) -> Result<Facts> {
        let found = self.start(cx).await?;
        self.looked(cx, Some(found)).await
    }

    /// What there is in it. One that is not nixoci's, and was started for the look, is put back to how it was found.
    pub(crate) async fn looked(&self, cx: &Cx<'_>, found: Option<State>) -> Result<Facts> {
        let looked = self.look(cx).await;
        self.put_back_unless_ours(cx, found, looked).await
    }

    pub(crate) async fn put_back_unless_ours(
        &self,
        cx: &Cx<'_>,
        found: Option<State>,
        looked: Result<Facts>,
    ) -> Result<Facts> {
        if looked.as_ref().is_err_and(|error| error.is(&NOT_OURS) || error.is(&FIRST_BOOT)) {
            self.put_back(cx, found).await?;
        }
        looked
    }

    pub(crate) async fn put_back(&self, cx: &Cx<'_>, found: Option<State>) -> Result<()> {
        if !matches!(found, Some(State::Running)) {
            self.connections.forget();
        }
        match found {
            Some(State::Stopped) => self.multipass.stop(cx, self.name(), false).await,
            Some(State::Suspended) => self.multipass.suspend(cx, self.name()).await,
            Some(State::Deleted) => self.multipass.discard(cx, self.name()).await,
            _ => Ok(()),
        }
    }

    /// Whether it is the one that was made here: somebody may have made another one of its name meanwhile.
    ///
    /// # Errors
    /// [`NOT_OURS`].
    pub(crate) fn is_the_same(&self, cx: &Cx<'_>, facts: &Facts) -> Result<()> {
        match Receipt::read(cx, self.name()) {
            Some(receipt) if !receipt.id.is_empty() && receipt.id != facts.id => Err(self.another()),
            _ => Ok(()),
        }
    }

    /// Waits for a machine that is starting, starts one that is off; how it was found.
    pub(crate) async fn start(&self, cx: &Cx<'_>) -> Result<State> {
        let mut found = None;
        let begin = tokio::time::Instant::now();
        let mut forced = false;
        loop {
            let state = self.state(cx).await?;
            found = found.or_else(|| state.clone());
            match state {
                None => return Err(self.absent()),
                Some(State::Running) => return Ok(found.unwrap_or(State::Running)),
                Some(State::Stopped | State::Suspended) => {
                    let task = Task::start(
                        cx.observer,
                        TaskKind::Provision,
                        format!("starting the virtual machine {}", self.name()),
                        None,
                    );
                    self.connections.forget();
                    let started = self.multipass.start(cx, self.name()).await;
                    // Two that start it at once are no reason to fail.
                    if let Err(error) = started
                        && self.state(cx).await? != Some(State::Running)
                    {
                        return Err(error);
                    }
                    task.finish();
                }
                Some(State::Deleted) => return Err(self.deleted()),
                Some(State::Unknown) if !forced => {
                    forced = true;
                    self.switch_off(cx).await?;
                }
                Some(State::Changing) if begin.elapsed() < CHANGING => pause(cx).await?,
                Some(state) => return Err(self.undecided(&state)),
            }
        }
    }

    /// One that runs and does not answer. Only one of ours may be switched off.
    pub(crate) async fn switch_off(&self, cx: &Cx<'_>) -> Result<()> {
        if Receipt::read(cx, self.name()).is_none() {
            return Err(self
                .not_ours()
                .because("it is in an unknown state, so that it cannot be looked into"));
        }
        cx.observer.warn(
            format!(
                "the virtual machine {} runs and does not answer: it is switched off and on",
                self.name()
            ),
            Vec::new(),
        );
        self.connections.forget();
        self.multipass.stop(cx, self.name(), true).await
    }

    /// What there is in it; it runs.
    pub(crate) async fn look(&self, cx: &Cx<'_>) -> Result<Facts> {
        let facts = look(cx, &self.guest(cx).await?).await?;
        self.is_ours(cx, &facts)?;
        Ok(facts)
    }

    /// # Errors
    /// [`NOT_OURS`]; [`FIRST_BOOT`] for one that nixoci launched.
    pub(crate) fn is_ours(&self, cx: &Cx<'_>, facts: &Facts) -> Result<()> {
        match facts.ours {
            true => Ok(()),
            // Its file is missing, but we have launched it.
            false if Receipt::read(cx, self.name()).is_some_and(|receipt| receipt.stamp.is_empty()) => {
                Err(self.first_boot())
            }
            false => Err(self.not_ours()),
        }
    }

    /// Makes it, if it is not there; a failure to launch counts only if nothing came of it.
    pub(crate) async fn launch(&self, cx: &Cx<'_>) -> Result<()> {
        let (settings, id) = (self.settings, Receipt::new_id());
        let keys = Keys::of(cx, self.name());
        let (authorized, host_key) = (keys.authorized(cx).await?, keys.new_host_key(cx).await?);
        let memory = settings.memory(host_memory(cx).await);
        let launch = Launch {
            image: settings.image.clone(),
            cpus: settings.cpus(cx),
            memory: memory.argument(),
            disk: settings.disk.argument(),
            timeout: settings.timeout,
            cloud_init: cloud_init(&authorized, &host_key, &id),
        };
        let remember = || {
            keys.pin(&host_key.public)?;
            Receipt { stamp: String::new(), system: cx.host.system.to_linux(), id: id.clone() }
                .write(cx, self.name())
        };
        let title = format!("launching the virtual machine {}", self.name());
        let task = Task::start(cx.observer, TaskKind::Provision, title, None);
        if let Err(error) = self.launched(cx, &launch, &remember).await {
            // Also who was cancelled remembers no machine that is not there: the next one of that name may be anybody's.
            let never = CancellationToken::new();
            let there = self.state(&Cx { cancel: &never, ..*cx }).await;
            if matches!(there, Ok(None)) {
                Receipt::forget(cx, self.name());
            }
            if error.is(&core_codes::CANCELLED) || there?.is_none() {
                return Err(error);
            }
            cx.observer.debug(format!("launching {}: {error}; it is there all the same", self.name()));
            // Another nixoci was faster: the keys and the id of this launch are not in it.
            if error.report().causes.iter().any(|cause| cause.contains("already exists")) {
                Receipt::disown(cx, self.name());
            }
        }
        task.finish();
        Ok(())
    }

    /// Waits while somebody else's launch prepares it, of which nobody is told: then it is there, or the name is free again.
    ///
    /// While it launches the machine, `remember` has said whose it is, whatever comes of it.
    async fn launched(
        &self,
        cx: &Cx<'_>,
        launch: &Launch,
        remember: &(dyn Fn() -> Result<()> + Sync),
    ) -> Result<()> {
        let begin = tokio::time::Instant::now();
        let mut told = false;
        loop {
            remember()?;
            let launched = self.multipass.launch(cx, self.name(), launch).await;
            let preparing = launched.as_ref().is_err_and(|error| error.is(&PREPARING));
            if !preparing || begin.elapsed() >= Duration::from_secs(launch.timeout) {
                return launched;
            }
            // The machine that is being prepared has not the keys and the id of this launch.
            Receipt::disown(cx, self.name());
            if !std::mem::replace(&mut told, true) {
                let text =
                    format!("waiting for another launch, which prepares the virtual machine {}", self.name());
                cx.observer.info(text);
            }
            pause(cx).await?;
        }
    }

    /// Brings it to where it can be looked into, whatever state it is in.
    pub(crate) async fn bring_up(&self, cx: &Cx<'_>) -> Result<Facts> {
        let found = self.state(cx).await?;
        match found {
            None => self.launch(cx).await?,
            // Its memory of who made it is in it: it has to be back for that.
            Some(State::Deleted) => self.multipass.recover(cx, self.name()).await?,
            _ => {}
        }
        self.start(cx).await?;
        self.looked(cx, found).await
    }

    /// Comes back when the machine does not run any more, seen twice; with what that means.
    pub(crate) async fn gone(&self, cx: &Cx<'_>) -> Error {
        let mut missed = 0;
        while missed < 2 {
            tokio::time::sleep(LOOK).await;
            // A daemon that does not answer says nothing about the machine.
            match self.state(cx).await {
                Ok(Some(State::Running)) | Err(_) => missed = 0,
                Ok(_) => missed += 1,
            }
        }
        self.not_running()
    }

    pub(crate) fn not_running(&self) -> Error {
        lost(self.name()).because("it does not run any more")
    }

    /// Whether nobody builds in it, who would be stopped with it.
    ///
    /// # Errors
    /// [`BUSY`].
    pub(crate) async fn is_free(&self, cx: &Cx<'_>) -> Result<()> {
        let script = "[ ! -e /run/nixoci/in-use ] || flock -n /run/nixoci/in-use true";
        let answer =
            output(&self.guest(cx).await?, &Command::new("sh").args(["-c", script]), cx.cancel).await?;
        if answer.exit.success() {
            return Ok(());
        }
        Err(Error::new(
            &BUSY,
            format!("another build runs in the virtual machine {}, which is to be stopped", self.name()),
        )
        .remedy(Remedy::command("try again when it has ended", "nixoci provision --backend multipass --yes")))
    }

    /// Puts the installer where the guest can run it; says where that is.
    pub(crate) async fn installer(&self, cx: &Cx<'_>) -> Result<Option<String>> {
        let Some(installer) = &self.settings.installer else { return Ok(None) };
        if installer.starts_with("https://") || installer.starts_with("http://") {
            return Ok(Some(installer.clone()));
        }
        let bytes = tokio::fs::read(installer)
            .await
            .or_error(&core_codes::CONFIG_VALUE, || format!("the installer {installer} cannot be read"))?;
        let place = "/var/tmp/nixoci-nix-installer";
        let again = Remedy::command("try again", "nixoci provision --backend multipass --yes");
        let uploaded = upload(cx, &self.guest(cx).await?, &bytes, place).await;
        uploaded.map_err(|error| error.remedy_first(again))?;
        Ok(Some(place.to_owned()))
    }

    /// Neither on nor off.
    pub(crate) fn undecided(&self, state: &State) -> Error {
        if *state == State::Unavailable {
            return self.zone_off();
        }
        Error::new(&SLOW, format!("the virtual machine {} is neither on nor off", self.name()))
            .because(format!("Multipass says: {state:?}"))
            .remedy(Remedy::command("see how it stands", shell!("multipass info {}", self.name())))
    }

    pub(crate) fn zone_off(&self) -> Error {
        Error::new(&ZONE_OFF, format!("the zone of the virtual machine {} is switched off", self.name()))
            .remedy(Remedy::command("see which zone it is in", shell!("multipass info {}", self.name())))
            .remedy(Remedy::command("switch the zone on", "multipass enable-zones ZONE"))
    }

    fn absent(&self) -> Error {
        Error::new(&ABSENT, format!("there is no virtual machine {}", self.name()))
            .remedy(Remedy::command("make it", "nixoci provision --backend multipass --yes"))
    }

    pub(crate) fn deleted(&self) -> Error {
        let name = self.name();
        Error::new(
            &DELETED,
            format!("the virtual machine {name} is deleted, and its name is taken until it is purged"),
        )
        .remedy(Remedy::command("recover it", shell!("multipass recover {}", name)))
        .remedy(Remedy::command("or let go of it for good", shell!("multipass delete -p {}", name)))
    }

    fn first_boot(&self) -> Error {
        let name = self.name();
        Error::new(
            &FIRST_BOOT,
            format!("the first boot of the virtual machine {name} did not do what it was told"),
        )
        .because("it was launched, and has no /etc/nixoci/vm.json, which cloud-init was to write")
        .remedy(Remedy::command(
            "see what cloud-init says",
            shell!("multipass exec -n {} -- cloud-init status --long", name),
        ))
        .remedy(self.by_hand("if it is the one that nixoci launched, delete it, and build again"))
    }

    /// What nixoci cannot be sure of is left to somebody who is.
    pub(crate) fn by_hand(&self, text: &str) -> Remedy {
        Remedy::command(text, shell!("multipass delete -p {}", self.name()))
    }

    fn another(&self) -> Error {
        let name = self.name();
        Error::new(&NOT_OURS, format!("the virtual machine {name} is not the one that nixoci made here"))
            .because("its /etc/nixoci/vm.json has another id: it was deleted and made anew, for another user or in another place")
            .remedy(Remedy::command("see what is in it", shell!("multipass exec -n {} -- ls -l /etc/nixoci /var/lib/nixoci", name)))
            .remedy(self.by_hand("delete it, if nobody needs it"))
    }

    pub(crate) fn not_ours(&self) -> Error {
        let name = self.name();
        Error::new(&NOT_OURS, format!("the virtual machine {name} was not made by nixoci"))
            .because("it has no /etc/nixoci/vm.json that says so, and nixoci does not change other people's machines")
            .remedy(Remedy::lines("take another name, in nixoci.toml", "[backend.multipass]\ninstance = \"nixoci-builder\""))
            .remedy(Remedy::command("or delete it, if nobody needs it", shell!("multipass delete -p {}", name)))
    }
}

/// The cloud-init configuration of the first boot. The two public keys are texts of [`Keys`]: plain words.
fn cloud_init(authorized: &str, host_key: &HostKey, id: &str) -> String {
    let private: Vec<String> =
        host_key.private.trim_end().lines().map(|line| format!("    {line}")).collect();
    CLOUD_INIT
        .replace("@authorized@", authorized)
        .replace("@private@", &private.join("\n"))
        .replace("@public@", &host_key.public)
        .replace("@id@", id)
}

pub(crate) async fn pause(cx: &Cx<'_>) -> Result<()> {
    tokio::select! {
        () = tokio::time::sleep(PAUSE) => Ok(()),
        () = cx.cancel.cancelled() => Err(Error::new(&core_codes::CANCELLED, "waiting was stopped")),
    }
}

/// How much memory this host has, as it says itself.
pub(crate) async fn host_memory(cx: &Cx<'_>) -> Option<Size> {
    if let Ok(text) = cx.host.read(std::path::Path::new("/proc/meminfo"), 1 << 16) {
        let text = String::from_utf8_lossy(&text).into_owned();
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        return Some(Size(line.split_whitespace().next()?.parse::<u64>().ok()? << 10));
    }
    let command = Command::new("sysctl").args(["-n", "hw.memsize"]);
    let answer = output(cx.runner, &command, cx.cancel).await.ok()?;
    answer.stdout_text().trim().parse().ok().map(Size)
}
