//! Whose store a Nix works in, and where that Nix runs.

use std::path::PathBuf;
use std::sync::Arc;

use nixoci_core::backend::Cx;
use nixoci_core::{Error, Result, ResultExt, codes as core_codes, shell};

use crate::guest::Called;
use crate::guest::sources::Sources;
use crate::machines::Machine;
use crate::private_store;
use crate::ssh::SshSession;

/// Whose store a Nix works in. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub enum Place {
    /// The one it takes by itself: the daemon's, or its own.
    #[default]
    Own,
    /// Another machine's: what is evaluated here is built there, and stays there.
    Machine(Arc<RemoteMachine>),
    /// A directory of nixoci's, which machines build for, as Nix's scheduler distributes it. What they build comes here.
    Private(Arc<PrivateStore>),
    /// A guest's, where Nix itself runs, too: what is on this host it sees where this host has it.
    Guest(Arc<GuestNix>),
}

/// The Nix of a guest.
#[derive(Debug)]
pub struct GuestNix {
    /// How people know the guest.
    pub called: Called,
    /// What it sees of this host.
    pub sources: Sources,
}

/// A machine whose store is used.
#[derive(Debug)]
pub struct RemoteMachine {
    /// The machine.
    pub machine: Machine,
    /// The connection to it.
    pub session: Arc<SshSession>,
    pub(crate) uri: String,
    pub(crate) ssh_options: String,
}

/// A store of nixoci's own, and who builds for it.
#[derive(Debug)]
pub struct PrivateStore {
    /// The directory that `/nix` is in.
    pub root: PathBuf,
    /// The connections to the machines.
    pub session: Arc<SshSession>,
    /// Who builds.
    pub machines: Vec<Machine>,
    pub(crate) builders: String,
    pub(crate) ssh_options: String,
    /// While it is used, nobody collects its garbage.
    _in_use: std::fs::File,
}

impl Place {
    /// The store of a machine, over this session.
    pub fn machine(cx: &Cx<'_>, machine: Machine, session: Arc<SshSession>) -> Place {
        let uri = machine.store_uri();
        let ssh_options = ssh_options(cx, &session);
        Place::Machine(Arc::new(RemoteMachine { machine, session, uri, ssh_options }))
    }

    /// The store in nixoci's cache of a fleet, which these machines of it build for.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub async fn private(
        cx: &Cx<'_>,
        fleet: &[Machine],
        machines: Vec<Machine>,
        session: Arc<SshSession>,
    ) -> Result<Place> {
        let root = private_store::dir(&cx.dirs.cache, fleet);
        tokio::fs::create_dir_all(&root)
            .await
            .or_error(&core_codes::PROCESS, || format!("{} cannot be made", root.display()))?;
        let builders = machines.iter().map(Machine::line).collect::<Vec<_>>().join(";");
        let ssh_options = ssh_options(cx, &session);
        let _in_use = private_store::used(&cx.dirs.cache)
            .or_error(&core_codes::PROCESS, || format!("{} cannot be used", root.display()))?;
        Ok(Place::Private(Arc::new(PrivateStore { root, session, machines, builders, ssh_options, _in_use })))
    }

    /// The machine, in the words of an error; nothing for this one.
    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Place::Machine(remote) => Some(remote.machine.host()),
            Place::Guest(guest) => Some(&guest.called.name),
            Place::Own | Place::Private(_) => None,
        }
    }

    /// The words to type in front of a command that is to run there. They are quoted for a shell.
    pub(crate) fn on(&self) -> String {
        match self {
            Place::Machine(remote) => shell!("ssh {} ", remote.machine.host()),
            Place::Guest(guest) => format!("{} ", guest.called.enter),
            Place::Own | Place::Private(_) => String::new(),
        }
    }

    /// The guest that Nix runs in, if it does.
    pub(crate) fn guest(&self) -> Option<&Called> {
        match self {
            Place::Guest(guest) => Some(&guest.called),
            _ => None,
        }
    }

    /// What Nix is to call a flake that is `reference` here.
    pub(crate) fn reference<'a>(&'a self, reference: &'a str) -> &'a str {
        match self {
            Place::Guest(guest) => guest.sources.references.get(reference).map_or(reference, String::as_str),
            _ => reference,
        }
    }

    /// What Nix is to call a file that is `file` here.
    pub(crate) fn file<'a>(&'a self, file: &'a std::path::Path) -> &'a std::path::Path {
        match self {
            Place::Guest(guest) => guest.sources.files.get(file).map_or(file, PathBuf::as_path),
            _ => file,
        }
    }

    /// Where a store path of this store can be read without copying, if it can.
    pub(crate) fn readable(&self, path: &std::path::Path) -> Option<PathBuf> {
        match self {
            Place::Own => Some(path.to_owned()),
            Place::Machine(_) | Place::Guest(_) => None,
            Place::Private(private) => Some(private.root.join(path.strip_prefix("/").unwrap_or(path))),
        }
    }

    /// The connections are there before Nix starts, because Nix hides why one fails.
    ///
    /// # Errors
    /// As [`SshSession::connect`].
    pub(crate) async fn connect(&self, cx: &Cx<'_>) -> Result<()> {
        match self {
            Place::Own | Place::Guest(_) => Ok(()),
            Place::Machine(remote) => remote.session.connect(cx, remote.machine.host()).await,
            Place::Private(private) => {
                let names =
                    private.machines.iter().map(|machine| private.session.connect(cx, machine.host()));
                for connected in futures_util::future::join_all(names).await {
                    connected?;
                }
                Ok(())
            }
        }
    }
}

/// What Nix is to give ssh: our configuration, and what the user gives it anyway.
fn ssh_options(cx: &Cx<'_>, session: &SshSession) -> String {
    let own = format!("-F {}", session.config().display());
    match cx.host.var("NIX_SSHOPTS") {
        Some(theirs) => format!("{own} {theirs}"),
        None => own,
    }
}

/// Two machines of one name could not be told apart by ssh.
///
/// # Errors
/// [`core_codes::CONFIG_VALUE`] names them.
pub(crate) fn distinct(machines: &[Machine]) -> Result<()> {
    let mut names: Vec<&str> = machines.iter().map(Machine::host).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => {
            Err(Error::new(&core_codes::CONFIG_VALUE, format!("two builders are called {}", pair[0]))
                .because(
                    "give each a name of its own in ~/.ssh/config (Host NAME, HostName ADDRESS, Port NUMBER)",
                ))
        }
        None => Ok(()),
    }
}
