//! The daemon: it keeps the instances, and does what clients ask.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::super::mounts::Root;
use super::super::state::State;
use super::fault::Knob;
use super::guest::USER;
use super::instance::{self, Instance, Status};
use super::protocol::{Answer, Ask, Failure, Outcome, Request, receive, send};
use super::zones::Zones;
use super::{Access, PROGRAM, Profile, dir, files, info, kernel_log, launch, mount, net, settings, zones};
use crate::sh;

/// How long an instance may take to boot, and again to be set up, as long as nobody says otherwise.
pub(super) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(300);

/// What all connections share.
#[derive(Debug, Clone)]
pub(super) struct Daemon {
    pub(super) state: State,
    pub(super) key: PathBuf,
    pub(super) zones: Arc<Zones>,
    all: Arc<Mutex<Instances>>,
}

#[derive(Debug, Default)]
struct Instances {
    by_name: BTreeMap<String, Instance>,
    last_number: u16,
}

/// Turns this process into the daemon.
pub(crate) fn run(state: &State) -> Result<()> {
    put_together(state)?.enter()?;
    let home = dir(state, "");
    for name in ["instances", "faults", "keys", "daemon"] {
        fs::create_dir_all(home.join(name))?;
    }
    let key = home.join("daemon/id_ed25519");
    let mut keygen = Command::new("/usr/bin/ssh-keygen");
    keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "ubuntu@localhost", "-f"]).arg(&key);
    sh::quiet(keygen.env_clear())?;
    net::make_bridge()?;
    let daemon = Daemon { state: state.clone(), key, zones: Arc::default(), all: Arc::default() };
    kernel_log::keep(&daemon);
    let listening = Access::SOCKETS
        .map(|access| listen(&daemon, access))
        .into_iter()
        .collect::<Result<Vec<thread::JoinHandle<()>>>>()?;
    for listener in listening {
        let _ = listener.join();
    }
    anyhow::bail!("nobody listens any more")
}

/// A guest's root is good enough for its daemon. The cache and the lab's state are where they are on the machine.
fn put_together(state: &State) -> Result<Root> {
    let spec = state.spec()?;
    let cache = state.dir().ancestors().nth(2).context("a lab outside the cache")?;
    let root = Root::over(&spec.parts.more()?.guest, &dir(state, "root-fs"))?;
    root.kernel()?;
    root.control_groups(state)?;
    root.bind(cache, cache)?;
    root.bind_all(Path::new("/proc"), mount::MACHINE)?;
    root.bind_read_only(&files(), files())?;
    root.bind_read_only(&std::env::current_exe()?, PROGRAM)?;
    Ok(root)
}

fn listen(daemon: &Daemon, access: Access) -> Result<thread::JoinHandle<()>> {
    let sockets = dir(&daemon.state, "access").join(access.name());
    fs::create_dir_all(&sockets)?;
    let path = sockets.join("socket");
    let unready = sockets.join("unready");
    let listener = UnixListener::bind(&unready)?;
    // Before the first client is known, and on a host where none is, the socket is root's.
    let mode = if access == Access::Denied { 0o600 } else { 0o666 };
    fs::set_permissions(&unready, fs::Permissions::from_mode(mode))?;
    fs::rename(&unready, &path)?;
    let daemon = daemon.clone();
    Ok(thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let daemon = daemon.clone();
            thread::spawn(move || serve(&daemon, access, &stream));
        }
    }))
}

/// One request. A client that has gone is no reason not to finish: launches go on.
fn serve(daemon: &Daemon, access: Access, stream: &UnixStream) {
    // Whoever only knocks has nothing to say.
    let Ok(request) = receive(stream) else { return };
    let mut tell = |answer: Answer| {
        let _ = send(stream, &answer);
    };
    let outcome = if access == Access::Unauthenticated {
        Err(unauthenticated(&request))
    } else {
        daemon.answer(&request, &mut tell)
    };
    tell(match outcome {
        Ok(value) => Answer::Done(value),
        Err(failure) => Answer::Fail(failure),
    });
}

fn unauthenticated(request: &Request) -> Failure {
    if matches!(request.ask, Ask::Authenticate) {
        return no_passphrase();
    }
    Failure::new(match request.profile {
        Profile::V16 => {
            "The client is not authenticated with the Multipass service.\n\
             Please use 'multipass authenticate' before proceeding."
        }
        Profile::V17 => {
            "The user is not authenticated with the Multipass service.\n\n\
             Please authenticate before proceeding (e.g. via 'multipass authenticate'). Note that you first need an \
             authenticated user to set and provide you with a trusted passphrase (e.g. via 'multipass set \
             local.passphrase')."
        }
    })
}

/// Why a guest cannot be asked to shut down.
fn cannot_shut_down(instance: &Instance) -> Option<String> {
    let name = &instance.name;
    match instance.status {
        Status::Suspended => Some(format!("Cannot shut down suspended instance {name}.")),
        Status::Starting | Status::Restarting => {
            Some(format!("Cannot shut down instance {name} while starting."))
        }
        _ => None,
    }
}

fn no_passphrase() -> Failure {
    Failure::new("Passphrase is not set. Please `multipass set local.passphrase` with a trusted client.")
}

impl Daemon {
    fn lock(&self) -> MutexGuard<'_, Instances> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, name: &str) -> Option<Instance> {
        self.lock().by_name.get(name).cloned()
    }

    /// Every name that is told.
    pub(super) fn names(&self) -> Vec<String> {
        let all = self.lock();
        let known = all.by_name.values().filter(|instance| instance.status != Status::Preparing);
        known.map(|instance| instance.name.clone()).collect()
    }

    pub(super) fn change(&self, name: &str, how: impl FnOnce(&mut Instance)) {
        if let Some(instance) = self.lock().by_name.get_mut(name) {
            how(instance);
        }
    }

    pub(super) fn set_status(&self, name: &str, status: Status) {
        self.change(name, |instance| instance.status = status);
    }

    /// Takes a new name, with a number of its own. False: it is taken.
    pub(super) fn add(&self, mut instance: Instance) -> bool {
        let mut all = self.lock();
        if all.by_name.contains_key(&instance.name) {
            return false;
        }
        all.last_number = (all.last_number + 1).max(2);
        instance.number = all.last_number;
        all.by_name.insert(instance.name.clone(), instance);
        true
    }

    pub(super) fn remove(&self, name: &str) {
        self.lock().by_name.remove(name);
    }

    /// An instance's guest has ended, by itself or not.
    pub(super) fn gone(&self, name: &str, keeper: i32) {
        instance::after(&self.state, name);
        self.change(name, |instance| {
            if instance.keeper == Some(keeper) {
                instance.keeper = None;
                if matches!(instance.status, Status::Running | Status::Unknown) {
                    instance.status = Status::Stopped;
                }
            }
        });
    }

    fn answer(&self, request: &Request, tell: &mut dyn FnMut(Answer)) -> Outcome {
        self.notice_faults();
        match &request.ask {
            Ask::Version => Ok(json!(request.profile.version(&request.host))),
            Ask::Launch(wanted) => launch::launch(self, request, wanted, tell),
            Ask::Start { names, all, timeout } => self.start(&self.these(names, *all), *timeout, tell),
            Ask::Stop { names, all, force } => self.each(&self.these(names, *all), |i| self.stop(i, *force)),
            Ask::Suspend { names, all } => self.each(&self.these(names, *all), |i| self.suspend(i)),
            Ask::Restart { names, all, timeout } => self.restart(&self.these(names, *all), *timeout, tell),
            Ask::Delete { names, all, purge } => {
                self.each(&self.these(names, *all), |i| self.delete(i, *purge))
            }
            Ask::Recover { names, all } => self.each(&self.these(names, *all), |i| {
                if i.status == Status::Deleted {
                    self.set_status(&i.name, Status::Stopped);
                }
                Ok(())
            }),
            Ask::Purge => self.purge(),
            Ask::Info { names, runtime } => info::info(self, request.profile, names, *runtime),
            Ask::List { addresses } => Ok(info::list(self, request.profile, *addresses)),
            Ask::Ssh { names } => self.ssh(request, names),
            Ask::Mount(wanted) => mount::mount(self, request, wanted, tell),
            Ask::Umount { name, target } => mount::umount(self, name, target.as_deref()),
            Ask::Get { key } => settings::get(self, key),
            Ask::Set { key, value } => settings::set(self, request.profile, key, value),
            Ask::Keys => settings::keys(self),
            Ask::Snapshots => Ok(info::snapshots(request.profile)),
            Ask::Zones => Ok(zones::list(self, request.profile)),
            Ask::SetZones { names, on } => zones::set(self, names, *on),
            Ask::Find { remote, search } => launch::find(request.profile, remote, search),
            Ask::Authenticate => Err(no_passphrase()),
            Ask::WaitReady => Ok(Value::Null),
            Ask::Die { name } => {
                self.running(name)?;
                instance::stop(self, name, true);
                Ok(Value::Null)
            }
            Ask::Freeze { name, on } => {
                instance::freeze(&self.running(name)?, *on)?;
                Ok(Value::Null)
            }
            Ask::Zone { name } => {
                zones::apply(self, name);
                Ok(Value::Null)
            }
            Ask::Routes { name } => {
                if let Some(instance) = self.get(name) {
                    net::set_unreachable(instance.address(), Knob::NoRoute.is_on(&self.state, name))?;
                }
                Ok(Value::Null)
            }
        }
    }

    /// An instance that has a guest.
    fn running(&self, name: &str) -> Result<Instance, Failure> {
        let running = self.get(name).filter(|instance| instance.keeper.is_some());
        running.ok_or_else(|| Failure::new(format!("{name} does not run")))
    }

    /// The daemon loses track of what `lab fault` says it does.
    fn notice_faults(&self) {
        for name in self.names() {
            if Knob::UnknownState.take(&self.state, &name) {
                self.set_status(&name, Status::Unknown);
            }
        }
    }

    fn these(&self, names: &[String], all: bool) -> Vec<String> {
        if !all {
            return names.to_vec();
        }
        let live = |name: &String| self.get(name).is_some_and(|i| i.status != Status::Deleted);
        self.names().into_iter().filter(live).collect()
    }

    /// Does something with each instance, once all of them are known to be there. A failure with details is told alone.
    fn each(&self, names: &[String], how: impl Fn(&Instance) -> Result<(), Failure>) -> Outcome {
        let missing = self.missing(names);
        if !missing.is_empty() {
            return Err(Failure::each(&missing));
        }
        let mut failed = Vec::new();
        for instance in names.iter().filter_map(|name| self.get(name)) {
            match how(&instance) {
                Ok(()) => {}
                Err(failure) if failure.details.is_empty() => failed.push(failure.message),
                Err(failure) => return Err(failure),
            }
        }
        if failed.is_empty() { Ok(Value::Null) } else { Err(Failure::each(&failed)) }
    }

    pub(super) fn missing(&self, names: &[String]) -> Vec<String> {
        let unknown = |status: Option<Status>| matches!(status, None | Some(Status::Preparing));
        let missing = names.iter().filter(|name| unknown(self.get(name).map(|instance| instance.status)));
        missing.map(|name| format!("instance \"{name}\" does not exist")).collect()
    }

    fn start(&self, names: &[String], timeout: Option<u64>, tell: &mut dyn FnMut(Answer)) -> Outcome {
        let mut missing = Vec::new();
        let mut refused = Vec::new();
        for name in names {
            match self.get(name).map(|instance| instance.status) {
                None | Some(Status::Preparing) => missing.push(format!("Instance '{name}' does not exist.")),
                Some(Status::Deleted) => missing.push(format!(
                    "Instance '{name}' is deleted. Use 'recover' to recover it or 'purge' to permanently delete it."
                )),
                Some(Status::Unknown) => refused.push(format!(
                    "Instance '{name}' is already running, but in an unknown state.\nTry to stop it first."
                )),
                Some(Status::Unavailable) => {
                    refused.push(format!("Cannot start the instance '{name}' while unavailable."));
                }
                Some(_) => {}
            }
        }
        if !missing.is_empty() {
            return Err(Failure::details("instance(s) missing", missing.join("\n")));
        }
        if !refused.is_empty() {
            return Err(Failure::each(&refused));
        }
        let wait = timeout.map_or(DEFAULT_TIMEOUT, Duration::from_secs);
        let failed: Vec<String> =
            names.iter().filter_map(|name| self.start_one(name, wait, tell).err()).collect();
        if failed.is_empty() { Ok(Value::Null) } else { Err(Failure::each(&failed)) }
    }

    fn start_one(&self, name: &str, wait: Duration, tell: &mut dyn FnMut(Answer)) -> Result<(), String> {
        let mut ours = false;
        let moves = Knob::IpChangeOnStart.is_on(&self.state, name);
        {
            let mut all = self.lock();
            let number = all.last_number + 1;
            if let Some(instance) = all.by_name.get_mut(name)
                && matches!(instance.status, Status::Stopped | Status::Suspended | Status::Restarting)
            {
                instance.status = Status::Starting;
                ours = true;
                if moves {
                    instance.number = number;
                    all.last_number = number;
                }
            }
        }
        if !ours {
            return self.wait_while_starting(name);
        }
        tell(Answer::Say(format!("Starting {name}")));
        instance::start(self, name, wait)?;
        instance::remount(self, name, &mut |line| tell(Answer::Warn(line)));
        Ok(())
    }

    /// Somebody else starts it, or it runs.
    fn wait_while_starting(&self, name: &str) -> Result<(), String> {
        while self.get(name).is_some_and(|instance| instance.status == Status::Starting) {
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn stop(&self, instance: &Instance, force: bool) -> Result<(), Failure> {
        let name = &instance.name;
        if instance.status == Status::Deleted {
            return Err(Failure::new(format!("instance \"{name}\" is deleted")));
        }
        if let Some(why) = cannot_shut_down(instance).filter(|_| !force) {
            return Err(Failure::details(why, "Use --force to power it off."));
        }
        if instance.status != Status::Unavailable {
            instance::stop(self, name, force);
            self.set_status(name, Status::Stopped);
        }
        Ok(())
    }

    /// A suspended guest is one that is off: what it had in memory is lost, which real ones keep.
    fn suspend(&self, instance: &Instance) -> Result<(), Failure> {
        if instance.status == Status::Running {
            instance::stop(self, &instance.name, false);
            self.set_status(&instance.name, Status::Suspended);
        }
        Ok(())
    }

    fn restart(&self, names: &[String], timeout: Option<u64>, tell: &mut dyn FnMut(Answer)) -> Outcome {
        self.each(names, |instance| match instance.status {
            Status::Running => Ok(()),
            Status::Deleted => Err(Failure::new(format!("instance \"{}\" is deleted", instance.name))),
            _ => Err(Failure::new(format!("instance \"{}\" is not running", instance.name))),
        })?;
        for name in names {
            tell(Answer::Say(format!("Restarting {name}")));
            self.set_status(name, Status::Restarting);
            instance::stop(self, name, false);
        }
        self.start(names, timeout, tell)
    }

    fn delete(&self, instance: &Instance, purge: bool) -> Result<(), Failure> {
        let name = &instance.name;
        let busy = matches!(instance.status, Status::Starting | Status::Restarting);
        if let Some(why) = cannot_shut_down(instance).filter(|_| busy && !purge) {
            return Err(Failure::details(why, "Use --purge to forcefully delete it."));
        }
        instance::stop(self, name, purge);
        if !purge {
            self.set_status(name, Status::Deleted);
            return Ok(());
        }
        self.remove(name);
        Ok(instance::erase(&self.state, name)?)
    }

    fn purge(&self) -> Outcome {
        for name in self.names() {
            if self.get(&name).is_some_and(|instance| instance.status == Status::Deleted) {
                self.remove(&name);
                instance::erase(&self.state, &name)?;
            }
        }
        Ok(Value::Null)
    }

    /// Where to reach instances, and with which key.
    fn ssh(&self, request: &Request, names: &[String]) -> Outcome {
        let missing = self.missing(names);
        if !missing.is_empty() {
            return Err(Failure::each(&missing));
        }
        let mut found = Vec::new();
        for name in names {
            let Some(instance) = self.get(name) else { continue };
            match instance.status {
                Status::Running => {}
                Status::Deleted => return Err(Failure::each(&[format!("instance \"{name}\" is deleted")])),
                Status::Unknown => return Err(Failure::new("Cannot retrieve credentials in unknown state")),
                _ => {
                    let why = format!("instance \"{name}\" is not running");
                    return Err(Failure { stopped: true, ..Failure::new(why) });
                }
            }
            found.push(json!({ "host": instance.address(), "user": USER }));
        }
        self.key_for(request.uid)?;
        Ok(Value::Array(found))
    }

    /// Puts the key where this user's clients, and nobody else's, can read it. In life it goes over the socket.
    fn key_for(&self, uid: u32) -> Result<()> {
        let to = dir(&self.state, "keys").join(uid.to_string());
        if to.exists() {
            return Ok(());
        }
        let unready = to.with_extension(format!("{:?}", thread::current().id()));
        fs::copy(&self.key, &unready)?;
        fs::set_permissions(&unready, fs::Permissions::from_mode(0o600))?;
        std::os::unix::fs::chown(&unready, Some(uid), None)?;
        Ok(fs::rename(unready, to)?)
    }

    /// The half of the key that guests get.
    pub(super) fn public_key(&self) -> Result<String> {
        let file: &Path = &self.key.with_extension("pub");
        Ok(fs::read_to_string(file)?.trim_end().to_owned())
    }
}
