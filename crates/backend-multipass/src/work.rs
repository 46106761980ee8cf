//! Building in the guest.

use std::sync::{Arc, Mutex, PoisonError};

use nixoci_core::artifact::{Artifact, ArtifactId, StorePath};
use nixoci_core::backend::{Check, Cx, Forecast};
use nixoci_core::credentials::Forward;
use nixoci_core::event::{Event, Stage};
use nixoci_core::platform::NixSystem;
use nixoci_core::request::BuildRequest;
use nixoci_core::runner::{Command, output};
use nixoci_core::text::{bytes, count};
use nixoci_core::{Code, Error, ErrorKind, Remedy, Result, shell};
use nixoci_nix::guest::codes::{DISK_FULL, NOT_SET_UP, OUT_OF_MEMORY, STALLED};
use nixoci_nix::guest::sources::{Scope, Sources, send};
use nixoci_nix::guest::{Agent, Called, Facts, Inside, Secrets, Seen, killed_since};
use nixoci_nix::{BuildStore, Nix, codes as nix_codes, proof};

use crate::driver::State;
use crate::machine::Machine;
use crate::mounts::{self, Mount, Mounted};
use crate::plan::stamp;
use crate::receipt::dir;
use crate::settings::{Send, Settings, USER};
use crate::size::{GIB, Size};

/// Less free disk than this, and garbage is collected before a build.
const LITTLE_DISK: u64 = 1 << 30;
/// Less than this, and no build is begun.
const NO_DISK: u64 = 128 << 20;
/// Less memory than this, and evaluating nixpkgs alone may be too much.
const LITTLE_MEMORY: u64 = 512 << 20;
/// Sources beyond this are worth a word.
const MUCH: u64 = 20 << 20;

/// What was built in the guest, and by which Nix.
#[derive(Debug, Default)]
pub(crate) struct Built(Mutex<Vec<(StorePath, ArtifactId, Arc<BuildStore>)>>);

impl Built {
    fn all(&self) -> std::sync::MutexGuard<'_, Vec<(StorePath, ArtifactId, Arc<BuildStore>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn owner(&self, paths: &[StorePath]) -> Option<Arc<BuildStore>> {
        let all = self.all();
        let owner = all.iter().find(|(path, ..)| paths.first() == Some(path));
        owner.or(all.last()).map(|(.., store)| Arc::clone(store))
    }

    pub(crate) fn holder(&self, id: &ArtifactId) -> Option<Arc<BuildStore>> {
        self.all().iter().find(|(_, held, _)| held == id).map(|(.., store)| Arc::clone(store))
    }

    fn keep(&self, artifact: &Artifact, store: Arc<BuildStore>) {
        self.all().push((artifact.path.clone(), artifact.id.clone(), store));
    }
}

/// A guest that is awake and set up.
pub(crate) struct Work<'a> {
    pub(crate) machine: Machine<'a>,
    pub(crate) facts: Facts,
    /// What it builds for.
    pub(crate) systems: Vec<NixSystem>,
}

impl Work<'_> {
    /// What commands run through, where they see what was sent.
    ///
    /// # Errors
    /// As [`Machine::guest`].
    pub(crate) async fn inside<'c>(&self, cx: &Cx<'c>, seen: Vec<Seen>) -> Result<Inside<'c>> {
        Ok(Inside::new(self.machine.guest(cx).await?, USER, seen))
    }

    fn name(&self) -> &str {
        &self.machine.settings.instance
    }

    /// Sends what Nix has to see.
    async fn send(&self, cx: &Cx<'_>, sources: &Sources) -> Result<Vec<Seen>> {
        let (files, weight) = sources
            .trees
            .iter()
            .map(|tree| tree.weight())
            .fold((0, 0), |(files, bytes), (more, size)| (files + more, bytes + size));
        if weight > MUCH {
            let text = format!(
                "the project has {} ({}); what the virtual machine has already is not sent again",
                count(files, "file"),
                bytes(weight)
            );
            cx.observer.info(text);
        }
        let memory = dir(cx, self.name()).join("trees");
        let sent = match send(cx, &self.machine.guest(cx).await?, &memory, &sources.trees).await {
            // Another connection may get there.
            Err(error) if error.is(&STALLED) => {
                cx.observer.warn(format!("{error}: it is sent once more"), Vec::new());
                self.machine.connections.forget();
                send(cx, &self.machine.guest(cx).await?, &memory, &sources.trees).await?
            }
            sent => sent?,
        };
        if sent.files > 0 {
            let text = format!(
                "sent {} ({}) to the virtual machine {}",
                count(sent.files, "file"),
                bytes(sent.bytes),
                self.name()
            );
            cx.observer.observe(Event::Stage { stage: Stage::Forecast, system: None, text });
        }
        Ok(sent.seen)
    }

    /// What a build's commands run through: they see what was sent, and know the user's secrets.
    async fn prepared<'c>(
        &self,
        cx: &Cx<'c>,
        request: &BuildRequest,
        mounted: &Mounted,
    ) -> Result<(Nix, Inside<'c>)> {
        let scope = match self.machine.settings.sources {
            Send::Stream => Scope::Seen,
            Send::Path => Scope::All,
            Send::Mount => Scope::Mounted,
        };
        let sources = Sources::of(cx, request, scope).await?;
        let secrets = Secrets::gather(cx).await?;
        let mut seen = self.send(cx, &sources).await?;
        if let Some(root) = &sources.mount {
            let mount = Mount::new(cx, &self.machine, root).await?;
            seen.push(mount.seen());
            mounted.keep(mount);
        } else if mounts::may_be_left(cx, self.name())
            && let Err(error) = mounts::sweep(cx, &self.machine).await
        {
            cx.observer.debug(format!("what was left mounted is not known: {error}"));
        }
        let agent = match cx.credentials.forward.contains(&Forward::SshAgent) {
            true => Some(Agent::forward(cx, &self.machine.guest(cx).await?).await?),
            false => None,
        };
        let nix = self.nix(sources)?;
        Ok((nix, self.inside(cx, seen).await?.knowing(&secrets).asking(agent)))
    }

    fn nix(&self, sources: Sources) -> Result<Nix> {
        let name = self.name();
        let called = Called {
            name: format!("the virtual machine {name}"),
            enter: shell!("multipass exec -n {} --", name),
            user: USER.to_owned(),
            backend: "multipass",
        };
        Nix::in_guest(&self.facts.nix, called, sources)
    }

    pub(crate) async fn forecast(
        &self,
        cx: &Cx<'_>,
        request: &BuildRequest,
        mounted: &Mounted,
    ) -> Result<Forecast> {
        let (nix, inside) = self.prepared(cx, request, mounted).await?;
        nix.forecast(&Cx { runner: &inside, ..*cx }, request).await
    }

    pub(crate) async fn build(
        &self,
        cx: &Cx<'_>,
        request: &BuildRequest,
        forecast: &Forecast,
        built: &Built,
        mounted: &Mounted,
    ) -> Result<Artifact> {
        let (nix, inside) = self.prepared(cx, request, mounted).await?;
        let store = Arc::new(BuildStore::new(nix));
        let artifact = store.build(&Cx { runner: &inside, ..*cx }, request, forecast).await?;
        built.keep(&artifact, store);
        Ok(artifact)
    }

    /// A build in it, whoever does that: there has to be room for it, and what the guest knows of a failure is told.
    pub(crate) async fn with_room(
        &self,
        cx: &Cx<'_>,
        build: impl Future<Output = Result<Artifact>>,
    ) -> Result<Artifact> {
        self.room(cx).await?;
        if let Some((text, remedies)) = little_memory(self.machine.settings, &self.facts) {
            cx.observer.warn(text, remedies);
        }
        match build.await {
            Err(error) => Err(self.explained(cx, error).await),
            built => built,
        }
    }

    /// Makes room on the disk, where there is little.
    async fn room(&self, cx: &Cx<'_>) -> Result<()> {
        if self.facts.disk.free > LITTLE_DISK {
            return Ok(());
        }
        cx.observer.info(format!(
            "the virtual machine {} has {} of disk left: collecting garbage",
            self.name(),
            bytes(self.facts.disk.free)
        ));
        self.collect(cx).await?;
        let facts = self.machine.look(cx).await?;
        if facts.disk.free > NO_DISK { Ok(()) } else { Err(self.disk_full(&facts)) }
    }

    async fn collect(&self, cx: &Cx<'_>) -> Result<()> {
        let inside = self.inside(cx, Vec::new()).await?;
        let command = Command::new("nix-store").arg("--gc");
        output(&inside, &command, cx.cancel).await.map(drop)
    }

    fn disk_full(&self, facts: &Facts) -> Error {
        Error::new(&DISK_FULL, format!("the disk of the virtual machine {} is full", self.name())).because(
            format!(
                "{} of {} are free after collecting garbage",
                bytes(facts.disk.free),
                bytes(facts.disk.total)
            ),
        )
    }

    /// Says more about a build that failed: what the kernel killed, whether the disk is full.
    async fn explained(&self, cx: &Cx<'_>, error: Error) -> Error {
        if !matches!(error.kind(), ErrorKind::Build | ErrorKind::Transfer | ErrorKind::Evaluation) {
            return error;
        }
        if error.is(&nix_codes::FETCH_DENIED) {
            return no_agent(cx, error);
        }
        if error.is(&nix_codes::DISK_FULL) {
            let _ = self.collect(cx).await;
            let facts = self.machine.look(cx).await.unwrap_or_else(|_| self.facts.clone());
            return error.report().causes.iter().fold(self.disk_full(&facts), Error::because);
        }
        // One that is off would be started for the look.
        if !may_be_for_memory(&error) || !matches!(self.machine.state(cx).await, Ok(Some(State::Running))) {
            return error;
        }
        let Ok(guest) = self.machine.guest(cx).await else { return error };
        let killed = killed_since(cx, &guest, self.facts.time).await.unwrap_or_default();
        let Some(program) = killed.last() else { return error };
        let has = format!(
            "it has {} of memory and {} of swap",
            Size(self.facts.memory.total),
            Size(self.facts.swap.total)
        );
        let told =
            Error::new(&OUT_OF_MEMORY, format!("the virtual machine {} ran out of memory", self.name()))
                .because(&error)
                .because(format!("its kernel killed `{program}`; {has}"));
        match &error.report().log_path {
            Some(path) => told.log_at(path),
            None => told,
        }
    }

    pub(crate) async fn prove(&self, cx: &Cx<'_>, want: &[NixSystem]) -> Result<Vec<Check>> {
        let sources = proof::sources(cx, want)?;
        let seen = self.send(cx, &sources).await?;
        let nix = self.nix(sources)?;
        let inside = self.inside(cx, seen).await?;
        proof::checks(&Cx { runner: &inside, ..*cx }, &nix, want).await
    }

    /// A store to ask about what somebody else built.
    pub(crate) fn store(&self) -> Result<Arc<BuildStore>> {
        Ok(Arc::new(BuildStore::new(self.nix(Sources::default())?)))
    }

    /// # Errors
    /// [`NOT_SET_UP`].
    pub(crate) fn is_set_up(&self) -> Result<()> {
        if self.facts.stamp == stamp(self.machine.settings) && !self.facts.nix.is_empty() {
            return Ok(());
        }
        let text =
            format!("the virtual machine {} is not set up, or as another nixoci.toml says", self.name());
        Err(Error::new(&NOT_SET_UP, text).remedy(Remedy::command(
            "set it up; what was done is not done twice",
            "nixoci provision --backend multipass --yes",
        )))
    }
}

/// What there is to say before a build of a machine whose memory is in use.
fn little_memory(settings: &Settings, facts: &Facts) -> Option<(String, Vec<Remedy>)> {
    if facts.memory.free >= LITTLE_MEMORY {
        return None;
    }
    let name = &settings.instance;
    let text = format!(
        "the virtual machine {name} has {} of memory free, of {}, and {} of swap: a build may run out of it",
        bytes(facts.memory.free),
        bytes(facts.memory.total),
        bytes(facts.swap.free)
    );
    let more = Size((facts.memory.total * 2).div_ceil(GIB) * GIB).argument();
    Some((
        text,
        vec![
            Remedy::command(
                "see what takes it",
                shell!("multipass exec -n {} -- ps -eo rss,args --sort=-rss", name),
            ),
            Remedy::lines(
                "give it more, in nixoci.toml, then `nixoci provision --backend multipass`",
                format!("[backend.multipass]\nmemory = \"{more}\""),
            ),
        ],
    ))
}

/// Whether it can have come of a program that was killed: the kernel may have killed somebody else's. An expression that is
/// wrong is wrong with any memory.
fn may_be_for_memory(error: &Error) -> bool {
    const CERTAIN: &[&Code] = &[
        &nix_codes::HASH_MISMATCH,
        &nix_codes::NO_OUTPUT,
        &nix_codes::BUILD_TIMEOUT,
        &nix_codes::EXEC_FORMAT,
        &nix_codes::LINUX_ON_MAC,
    ];
    const WORDS: &[&str] = &["gave no reason", "memory", "killed", "signal 9", "bad_alloc"];
    let says = |word: &&str| error.to_string().to_lowercase().contains(*word);
    match error.kind() {
        ErrorKind::Build => !CERTAIN.iter().any(|code| error.is(code)),
        ErrorKind::Transfer => true,
        ErrorKind::Evaluation => error.is(&nix_codes::EVALUATION) && WORDS.iter().any(says),
        _ => false,
    }
}

/// A server that is reached by ssh lets nobody in who has no key.
fn no_agent(cx: &Cx<'_>, error: Error) -> Error {
    let by_ssh = |text: &String| text.contains("(publickey") || text.contains("Host key verification failed");
    if !cx.credentials.forward.is_empty() || !error.report().causes.iter().any(by_ssh) {
        return error;
    }
    error.remedy(Remedy::command(
        "let the virtual machine's Nix ask your ssh agent, and know the hosts that you know",
        "nixoci build --ssh default",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_whose_memory_is_in_use_is_told_of() {
        let settings = Settings::default();
        let memory = |free: u64, total: u64| {
            let mut facts = crate::grow::tests::facts(total, 60 * GIB);
            facts.memory.free = free;
            little_memory(&settings, &facts)
        };
        assert!(memory(1 << 30, 4 * GIB).is_none());
        let (text, remedies) = memory(100 << 20, 4 * GIB - 1).unwrap();
        assert!(text.contains("has 104.9 MB of memory free, of 4.3 GB"), "{text}");
        assert!(remedies[1].command.as_deref().unwrap().contains("memory = \"8G\""), "{remedies:?}");
    }

    #[test]
    fn what_is_wrong_with_any_memory_is_not_for_want_of_it() {
        use nix_codes as c;
        for code in [&c::SYNTAX, &c::NO_ATTRIBUTE, &c::LOCK, &c::FETCH, &c::FETCH_DENIED, &c::HASH_MISMATCH] {
            assert!(!may_be_for_memory(&Error::new(code, "x")), "{}", code.id);
        }
        for code in [&c::BUILD_KILLED, &c::BUILD_FAILED, &c::IFD, &c::CONNECTION_LOST] {
            assert!(may_be_for_memory(&Error::new(code, "x")), "{}", code.id);
        }
        let evaluation =
            |said: &str| may_be_for_memory(&Error::new(&c::EVALUATION, format!("evaluation failed: {said}")));
        assert!(evaluation("Nix gave no reason") && evaluation("out of memory"));
        assert!(!evaluation("undefined variable 'x'"));
    }
}
