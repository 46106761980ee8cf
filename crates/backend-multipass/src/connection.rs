//! The ssh connection to the virtual machine, which everything that is done in it goes through.
//!
//! OpenSSH, and not `multipass exec`: its client loses standard input beyond about 2 MiB, and its output gets stuck when the reader is slower
//! for a moment (`docs/adr/0011-openssh-into-the-virtual-machine.md`). A virtual machine that nixoci launches has nixoci's key and a host key
//! that nixoci knows from its first boot on. `multipass exec` is for what is small: letting the key into a virtual machine that has it not, and
//! finding out why ssh does not get there.

use std::ffi::OsString;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use nixoci_core::backend::Cx;
use nixoci_core::runner::Command;
use nixoci_core::{Code, Error, Remedy, Result, shell};
use nixoci_nix::guest::{Facts, GuestTransport};
use nixoci_nix::ssh::{SshHost, SshSession, codes as ssh_codes, words};
use tokio::sync::Mutex;

use crate::driver::{State, no_route};
use crate::error::{HOST_KEY, KEY, LOST, NO_ROUTE, NOT_OURS, SSH};
use crate::keys::{Keys, host_key};
use crate::machine::Machine;
use crate::receipt::Receipt;
use crate::settings::USER;

/// Lets the key `$1` in, by the line `$2` of `authorized_keys`, and prints the host key. Only in a virtual machine that nixoci made: another one may
/// have taken its name since that was seen.
const LET_IN: &str = r#"grep -q '"owner":"nixoci"' /etc/nixoci/vm.json || exit 1
umask 077; mkdir -p ~/.ssh; file=~/.ssh/authorized_keys; exec 9>>"$file.lock"; flock 9; touch "$file"
{ grep -vF -- "$1" "$file"; [ $? -le 1 ] && printf '%s\n' "$2"; } >"$file.new" && mv "$file.new" "$file" || exit 1
cat /etc/ssh/ssh_host_ed25519_key.pub"#;

/// How long `multipass exec` may take to show that it reaches the machine. Its own limit for connecting is 20 s.
const PROBE: Duration = Duration::from_secs(10);

/// The connection of this run to a virtual machine, made when it is first needed, and made anew when it was lost.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    current: Mutex<Option<Arc<Connection>>>,
    is_stale: AtomicBool,
}

/// Work over the connection. If it is dropped before it is done, as a transfer that stalls, the next work gets another connection.
pub(crate) struct Attempt<'a>(Option<&'a Connections>);

impl Attempt<'_> {
    pub(crate) fn done(mut self) {
        self.0 = None;
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if let Some(connections) = self.0 {
            connections.forget();
        }
    }
}

impl Connections {
    /// The virtual machine was switched off, or on: it may have another address now.
    pub(crate) fn forget(&self) {
        self.is_stale.store(true, Ordering::Relaxed);
    }

    pub(crate) fn attempt(&self) -> Attempt<'_> {
        Attempt(Some(self))
    }

    /// The connection to a virtual machine that runs.
    ///
    /// # Errors
    /// [`NO_ROUTE`], [`SSH`], [`HOST_KEY`], [`KEY`]; for one that has not nixoci's key,
    /// [`crate::error::NOT_OURS`] and [`crate::error::FIRST_BOOT`].
    pub(crate) async fn get(&self, cx: &Cx<'_>, machine: &Machine<'_>) -> Result<Arc<Connection>> {
        let mut current = self.current.lock().await;
        if self.is_stale.swap(false, Ordering::Relaxed) {
            *current = None;
        }
        if let Some(connection) = &*current
            && connection.session.is_connected(&connection.host.name).await
        {
            return Ok(Arc::clone(connection));
        }
        let connection = Arc::new(connect(cx, machine).await?);
        *current = Some(Arc::clone(&connection));
        Ok(connection)
    }
}

/// One connection, which every command shares.
#[derive(Debug)]
pub(crate) struct Connection {
    instance: String,
    pub(crate) session: Arc<SshSession>,
    pub(crate) host: SshHost,
}

impl Connection {
    /// The command that runs `argv` in the virtual machine on the user's terminal. It needs nothing that ends with this run, so that a person can
    /// type it again.
    pub(crate) fn terminal(&self, cx: &Cx<'_>, argv: &[OsString]) -> Command {
        let keys = Keys::of(cx, &self.instance);
        Command::new("ssh")
            .args([
                "-F",
                "none",
                "-o",
                "LogLevel=ERROR",
                "-o",
                "ServerAliveInterval=15",
                "-o",
                "IdentityAgent=none",
                "-o",
                "IdentitiesOnly=yes",
                "-o",
                "StrictHostKeyChecking=yes",
            ])
            .arg("-o")
            .arg(format!("HostKeyAlias={}", keys.alias))
            .arg("-o")
            .arg(format!("UserKnownHostsFile=\"{}\"", keys.known_hosts().display()))
            .arg("-i")
            .arg(keys.private())
            .arg("-t")
            .arg(format!("{USER}@{}", self.host.address.as_deref().unwrap_or_default()))
            .arg(words(argv))
            .interactive()
    }
}

#[async_trait]
impl GuestTransport for Connection {
    fn command(&self, argv: Vec<OsString>) -> Command {
        self.session.command(&self.host.name, &argv)
    }

    async fn lost(&self, said: &str) -> Error {
        let error = lost(&self.instance);
        match self.session.why_lost(&self.host.name).await {
            Some(why) => error.because(why),
            // The connection stands for others: what the command's own ssh said last is all that is known.
            None => said.lines().rev().take(2).fold(error, |error, line| error.because(line)),
        }
    }
}

/// The error for a connection that was lost. Its cause is the caller's to add.
pub(crate) fn lost(instance: &str) -> Error {
    let again = "try again: a build starts it, and what was finished is kept";
    Error::new(&LOST, format!("the connection to the virtual machine {instance} was lost"))
        .remedy(Remedy::command(again, "nixoci build"))
}

async fn connect(cx: &Cx<'_>, machine: &Machine<'_>) -> Result<Connection> {
    let keys = Keys::of(cx, machine.name());
    let connected = match keys.complete() {
        Some(pinned) => match open(cx, machine, &keys, pinned.clone()).await {
            Err(error) => again(cx, machine, &keys, &pinned, error).await,
            connection => connection,
        },
        // Another nixoci made it, an older one or one with other files; or the key that logs in was removed.
        None => {
            let shown = let_in(cx, machine, &keys).await?;
            if keys.pinned().is_some_and(|pinned| pinned != shown) {
                return Err(another_host_key(machine, &keys));
            }
            keys.pin(&shown)?;
            open(cx, machine, &keys, shown).await
        }
    };
    match connected {
        Err(error) => Err(explained(cx, machine, &keys, error).await),
        connection => connection,
    }
}

/// Connects once more where the machine did not get the keys that it was launched with, or lost the one that logs in.
async fn again(
    cx: &Cx<'_>,
    machine: &Machine<'_>,
    keys: &Keys,
    pinned: &str,
    error: Error,
) -> Result<Connection> {
    // A first boot may have ignored what it was told. Then the machine is known by the id that it was launched with, or not at all.
    let is_new = Receipt::read(cx, machine.name()).is_some_and(|receipt| receipt.stamp.is_empty());
    let may_be_unknown = error.is(&ssh_codes::KEY_REFUSED) || (is_new && is_another_key(&error));
    if !may_be_unknown {
        return Err(error);
    }
    let shown = let_in(cx, machine, keys).await?;
    if shown != pinned && !is_new {
        return Err(another_host_key(machine, keys));
    }
    keys.pin(&shown)?;
    open(cx, machine, keys, shown).await
}

/// Connects to where Multipass says that the machine is. Multipass may give it another address whenever it starts.
async fn open(cx: &Cx<'_>, machine: &Machine<'_>, keys: &Keys, host_key: String) -> Result<Connection> {
    let instance = machine.name().to_owned();
    let info = machine.multipass.info(cx, &instance).await?;
    if info.state.as_ref() != Some(&State::Running) {
        return Err(machine.not_running());
    }
    let address = info.ipv4.first().and_then(|text| text.parse::<IpAddr>().ok()).ok_or_else(|| {
        Error::new(&NO_ROUTE, format!("Multipass knows no address of the virtual machine {instance}"))
            .remedy(Remedy::command("see how it stands", shell!("multipass info {}", instance)))
            .remedy(Remedy::command("switch it off and on", shell!("multipass restart {}", instance)))
    })?;
    let host = SshHost {
        name: keys.alias.clone(),
        user: Some(USER.to_owned()),
        port: None,
        key: Some(keys.private()),
        host_key: Some(host_key),
        address: Some(address.to_string()),
    };
    let session = SshSession::new(cx, vec![host.clone()])?;
    session.connect(cx, &host.name).await?;
    Ok(Connection { instance, session, host })
}

/// Has the guest let the key in, through `multipass exec`, if nixoci made it; its host key.
async fn let_in(cx: &Cx<'_>, machine: &Machine<'_>, keys: &Keys) -> Result<String> {
    machine.look_by_exec(cx).await?;
    let text =
        format!("letting nixoci's ssh key into the virtual machine {}, by `multipass exec`", machine.name());
    cx.observer.info(text);
    let line = keys.authorized(cx).await?;
    let key = line.split(' ').nth(2).unwrap_or_default().to_owned();
    let command = Command::new("sh").args(["-c", LET_IN, "nixoci", &key, &line]);
    let answer = machine.multipass.exec(cx, machine.name(), &command).await?;
    let shown = host_key(&answer.stdout_text()).filter(|_| answer.exit.success()).ok_or_else(|| {
        Error::new(&KEY, format!("the virtual machine {} does not let nixoci's key in", machine.name()))
            .because(answer.stderr_text().trim())
    })?;
    Ok(shown)
}

fn is_another_key(error: &Error) -> bool {
    [&ssh_codes::HOST_KEY_CHANGED, &ssh_codes::HOST_KEY_UNKNOWN].iter().any(|code| error.is(code))
}

/// Explains an error of ssh's about a virtual machine that Multipass says is running.
async fn explained(cx: &Cx<'_>, machine: &Machine<'_>, keys: &Keys, error: Error) -> Error {
    const NO_CONNECTION: &[&Code] = &[
        &ssh_codes::UNREACHABLE,
        &ssh_codes::REFUSED,
        &ssh_codes::SILENT,
        &ssh_codes::CLOSED,
        &ssh_codes::NOT_SSH,
    ];
    if is_another_key(&error) {
        // It may be another machine of that name.
        return match machine.look_by_exec(cx).await {
            Err(error) if error.is(&NOT_OURS) => error,
            _ => another_host_key(machine, keys),
        };
    }
    if NO_CONNECTION.iter().any(|code| error.is(code)) {
        return not_reached(cx, machine, &error).await;
    }
    if error.code().starts_with("nixoci::ssh::") {
        let text = format!("nixoci cannot log in to the virtual machine {}", machine.name());
        let told = with_causes(Error::new(&KEY, text), &error);
        let by_key = error.is(&ssh_codes::KEY_REFUSED) || error.is(&ssh_codes::KEY_UNREADABLE);
        return if by_key { told.remedy(keys.another()) } else { told };
    }
    error
}

/// The error for a machine that ssh does not reach. `multipass exec` shows whether this host stops every program or ssh alone.
async fn not_reached(cx: &Cx<'_>, machine: &Machine<'_>, error: &Error) -> Error {
    let name = machine.name();
    if let Ok(state) = machine.state(cx).await
        && state != Some(State::Running)
    {
        return machine.not_running();
    }
    let probe = Command::new("true");
    let probe = tokio::time::timeout(PROBE, machine.multipass.exec(cx, name, &probe)).await;
    if matches!(probe, Ok(Ok(answer)) if answer.exit.success()) {
        let text = format!("ssh does not reach the virtual machine {name}, and `multipass exec` does");
        return with_causes(Error::new(&SSH, text), error).remedy(Remedy::advice(
            "allow /usr/bin/ssh in the firewall, or in what else filters this machine's connections",
        ));
    }
    with_causes(no_route(name), error)
        .context(format!("the virtual machine {name} runs, and cannot be reached"))
}

fn with_causes(error: Error, from: &Error) -> Error {
    from.report().causes.iter().fold(error, Error::because)
}

fn another_host_key(machine: &Machine<'_>, keys: &Keys) -> Error {
    let name = machine.name();
    let text = format!("the virtual machine {name} shows another host key than the one it was made with");
    let forget = Command::new("rm").arg(keys.known_hosts());
    Error::new(&HOST_KEY, text)
        .because("another machine has its address, or its keys in /etc/ssh were changed")
        .remedy(Remedy::command(
            "see which address Multipass knows, and whether another machine has it",
            shell!("multipass info {}", name),
        ))
        .remedy(Remedy::command(
            "if you changed its keys: accept the new one, which the next build asks `multipass exec` for",
            forget.to_string(),
        ))
        .remedy(Remedy::command(
            "or delete it, and have it made anew",
            "nixoci provision --backend multipass --remove --yes",
        ))
}

impl Machine<'_> {
    /// As [`Machine::look`], and changes nothing: a machine that may lack nixoci's key does not get it.
    pub(crate) async fn look_only(&self, cx: &Cx<'_>) -> Result<Facts> {
        match Keys::of(cx, self.name()).complete() {
            Some(_) => self.look(cx).await,
            None => self.look_by_exec(cx).await,
        }
    }

    /// As [`Machine::look`], through `multipass exec`: for a machine that ssh does not get into. It has to be the one that nixoci remembers.
    ///
    /// # Errors
    /// [`crate::error::NOT_OURS`], [`crate::error::FIRST_BOOT`]; Multipass's own.
    pub(crate) async fn look_by_exec(&self, cx: &Cx<'_>) -> Result<Facts> {
        let facts = Facts::read(&self.multipass.exec(cx, self.name(), &Facts::command()).await?)?;
        self.is_ours(cx, &facts)?;
        self.is_the_same(cx, &facts)?;
        Ok(facts)
    }
}
