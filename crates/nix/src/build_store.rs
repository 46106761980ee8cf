//! Building in a store and reading out of it: what every backend does that drives Nix, wherever the store is and whoever does
//! the work.

use std::collections::HashMap;
use std::ffi::OsString;
use std::sync::{Mutex, PoisonError};

use nixoci_core::artifact::{Artifact, ArtifactId, PathInfo, Role, StorePath};
use nixoci_core::backend::{Cx, Forecast};
use nixoci_core::request::{BuildRequest, NixFlags};
use nixoci_core::runner::Command;
use nixoci_core::{Error, ErrorKind, Result, codes as core_codes};
use tokio::io::AsyncWrite;
use tokio::sync::OnceCell;

use crate::place::{Place, RemoteMachine};
use crate::roots::{self, Held};
use crate::{Nix, NixSettings, memory, mixed, remote};

/// What is done with what was built, for a message.
const READ: &str = "the image was read";

/// A Nix that works in some store, and what was built there and is still in use.
#[derive(Debug)]
pub struct BuildStore {
    nix: Nix,
    held: Held,
    /// Which derivation made what, and what the store said about it.
    built: Mutex<HashMap<StorePath, Output>>,
}

#[derive(Debug, Default)]
struct Output {
    drv: Option<StorePath>,
    info: Option<PathInfo>,
}

impl BuildStore {
    /// A store with nothing in use.
    pub fn new(nix: Nix) -> Self {
        BuildStore { nix, held: Held::default(), built: Mutex::default() }
    }

    /// The Nix that works in it.
    pub fn nix(&self) -> &Nix {
        &self.nix
    }

    /// Builds, and keeps the output from the garbage collector until [`BuildStore::release`].
    ///
    /// # Errors
    /// As [`Nix::build`]; those of connecting to a machine; [`crate::codes::ROOT`].
    pub async fn build(&self, cx: &Cx<'_>, request: &BuildRequest, forecast: &Forecast) -> Result<Artifact> {
        let (root, guard) = roots::begin(cx, self.nix.place()).await?;
        self.nix.place().connect(cx).await?;
        self.tell_what_is_lost(cx, &request.flags);
        let built = match self.nix.build(cx, request, forecast, &root).await {
            Err(error) if mixed::is_mixed(&error, self.nix.place()) => {
                match mixed::make_here(&self.nix, cx, request, forecast).await {
                    Ok(0) => Err(error),
                    Ok(_) => self.nix.build(cx, request, forecast, &root).await,
                    Err(other) if other.kind() == ErrorKind::Build || other.is(&core_codes::CANCELLED) => {
                        Err(other)
                    }
                    // Nothing was built: what keeps it from being found out is not the reason.
                    Err(other) => Err(error.because(other)),
                }
            }
            built => built,
        };
        let built = self.explained(cx, "it built", built).await?;
        let id = ArtifactId(root.to_string_lossy().into_owned());
        match self.nix.place() {
            Place::Machine(remote) => self.held.keep(id.clone(), hold(cx, remote, &built.path, &root).await),
            _ => self.held.keep(id.clone(), guard),
        }
        let output = Output { drv: built.drv.clone(), info: None };
        self.built.lock().unwrap_or_else(PoisonError::into_inner).insert(built.path.clone(), output);
        Ok(Artifact {
            path: built.path,
            role: Role::Output,
            system: request.system.clone(),
            drv: built.drv,
            attribute: built.attribute,
            id,
        })
    }

    /// Says more about a failure while something was done on a machine than Nix does.
    async fn explained<T>(&self, cx: &Cx<'_>, doing: &str, done: Result<T>) -> Result<T> {
        match (done, self.nix.place()) {
            (Err(error), Place::Machine(remote)) => Err(remote::explain(cx, remote, doing, error).await),
            (done, _) => done,
        }
    }

    /// No option of Nix's crosses to another machine's store.
    fn tell_what_is_lost(&self, cx: &Cx<'_>, flags: &NixFlags) {
        let lost = [
            (flags.max_jobs.is_some(), "--max-jobs"),
            (flags.cores.is_some(), "--cores"),
            (flags.keep_going, "--keep-going"),
            (flags.keep_failed, "--keep-failed"),
            (!flags.options.is_empty(), "--option"),
        ];
        let lost: Vec<&str> = lost.into_iter().filter_map(|(set, name)| set.then_some(name)).collect();
        if let (Place::Machine(remote), false) = (self.nix.place(), lost.is_empty()) {
            let name = remote.machine.host();
            let text = format!("{} does not reach {name}, which builds in its own store", lost.join(", "));
            cx.observer.warn(text, Vec::new());
        }
    }

    /// What the store knows about paths, and where they can be read without copying.
    ///
    /// # Errors
    /// As [`Nix::path_info`].
    pub async fn query(&self, cx: &Cx<'_>, paths: &[StorePath], closure: bool) -> Result<Vec<PathInfo>> {
        let infos = self.nix.path_info(cx, paths, closure).await;
        let mut infos = self.explained(cx, READ, infos).await?;
        for info in &mut infos {
            info.local = self.nix.place().readable(info.path.as_path());
            self.note(cx, info);
        }
        Ok(infos)
    }

    /// Keeps what the store said about something that was built there.
    fn note(&self, cx: &Cx<'_>, info: &PathInfo) {
        let mut built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(output) = built.get_mut(&info.path) else { return };
        if let (Place::Machine(remote), Some(drv)) = (self.nix.place(), &output.drv) {
            memory::remember(&cx.dirs.cache, &remote.machine, drv, info);
        }
        output.info = Some(info.clone());
    }

    /// What the store said about these paths while it was asked for them. They are held since they were built: nobody else
    /// can have changed them.
    fn noted(&self, paths: &[StorePath]) -> Option<Vec<PathInfo>> {
        let built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        paths.iter().map(|path| built.get(path)?.info.clone()).collect()
    }

    /// Writes the NARs of paths, in order; the bytes that were written.
    ///
    /// # Errors
    /// As [`Nix::dump`].
    pub async fn fetch(
        &self,
        cx: &Cx<'_>,
        paths: &[StorePath],
        out: &mut (dyn AsyncWrite + Send + Unpin),
    ) -> Result<u64> {
        let mut total = 0;
        // Each question costs a process, and one to a machine several round trips.
        let infos = match self.noted(paths) {
            Some(infos) => infos,
            None => self.explained(cx, READ, self.nix.path_info(cx, paths, false).await).await?,
        };
        for info in infos {
            total += self.explained(cx, READ, self.nix.dump(cx, &info, out).await).await?;
        }
        Ok(total)
    }

    /// Lets the garbage collector have what was built. Twice is fine.
    ///
    /// # Errors
    /// [`crate::codes::ROOT`].
    pub async fn release(&self, cx: &Cx<'_>, id: &ArtifactId) -> Result<()> {
        roots::end(cx, self.nix.place(), id).await?;
        self.held.forget(id);
        Ok(())
    }
}

/// Keeps a path of another machine's store from its garbage collector, for as long as a process there runs.
async fn hold(
    cx: &Cx<'_>,
    remote: &RemoteMachine,
    path: &StorePath,
    root: &std::path::Path,
) -> Box<dyn Send + Sync> {
    match remote::hold(cx, remote, path, root).await {
        Ok(process) => Box::new(Mutex::new(process)),
        Err(error) => {
            let text = format!("{path} is not held on {}: {error}", remote.machine.host());
            cx.observer.debug(text);
            Box::new(())
        }
    }
}

/// The command that opens the user's shell on this host, or runs a command, for who builds in this host's own store.
pub fn shell_here(cx: &Cx<'_>, command: &[OsString]) -> Command {
    let shell = || Command::new(cx.host.var("SHELL").unwrap_or("/bin/sh"));
    let command = command.split_first();
    command.map_or_else(shell, |(program, args)| Command::new(program).args(args)).interactive()
}

/// This host's own store, found when it is first needed.
#[derive(Debug, Default)]
pub struct HostStore {
    store: OnceCell<BuildStore>,
    settings: OnceCell<NixSettings>,
}

impl HostStore {
    /// The store.
    ///
    /// # Errors
    /// As [`Nix::discover`].
    pub async fn get(&self, cx: &Cx<'_>) -> Result<&BuildStore> {
        let find = || async { Ok::<_, Error>(BuildStore::new(Nix::discover(cx).await?)) };
        self.store.get_or_try_init(find).await
    }

    /// The Nix of this host.
    ///
    /// # Errors
    /// As [`Nix::discover`].
    pub async fn nix(&self, cx: &Cx<'_>) -> Result<&Nix> {
        Ok(self.get(cx).await?.nix())
    }

    /// Its settings, asked once.
    ///
    /// # Errors
    /// As [`Nix::settings`].
    pub async fn settings(&self, cx: &Cx<'_>) -> Result<&NixSettings> {
        let nix = self.nix(cx).await?;
        self.settings.get_or_try_init(|| nix.settings(cx)).await
    }
}
