//! Connections to machines, one each, which everything that is done there shares.
//!
//! The first ssh to a machine is its master: it authenticates (a hardware key is touched once), and every later ssh that
//! reads the same configuration, Nix's own included, goes through it. The master is a child of ours as any other: it ends
//! when the session is dropped, and when nixoci is killed.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nixoci_core::backend::Cx;
use nixoci_core::runner::{Command, GRACE, Process, Stream, output, quote};
use nixoci_core::{Error, Result, ResultExt, codes as core_codes};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::sync::{Mutex, OnceCell, watch};
use tokio::time::timeout;

use super::rules::{self, diagnose, failure};
use super::{SshHost, codes, config};

/// ssh gives up by itself after ten seconds (ConnectTimeout) in most cases, but not in all.
const CONNECT: Duration = Duration::from_secs(20);
/// What a master prints once it is there for others.
const READY: &[u8] = b"ready";

/// Connections to some machines.
pub struct SshSession {
    hosts: Vec<SshHost>,
    dir: TempDir,
    masters: HashMap<String, OnceCell<Master>>,
    _guard: Box<dyn Send + Sync>,
}

/// A running ssh, ended when dropped.
struct Master {
    process: Mutex<Box<dyn Process>>,
    /// The end of what it wrote to standard error, when it has ended.
    said: watch::Receiver<Option<String>>,
}

impl fmt::Debug for SshSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SshSession").field("hosts", &self.hosts).finish_non_exhaustive()
    }
}

impl SshSession {
    /// Writes the configuration for these machines; connects to none of them yet. Their names must differ.
    ///
    /// # Errors
    /// As [`SshHost::check`]; [`nixoci_core::codes::PROCESS`] if the files cannot be written.
    pub fn new(cx: &Cx<'_>, hosts: Vec<SshHost>) -> Result<Arc<SshSession>> {
        hosts.iter().try_for_each(SshHost::check)?;
        let failed = || "the files for ssh cannot be written in /tmp";
        // Sockets have short names: $TMPDIR on a Mac would leave no room. Nix splits its ssh options at spaces.
        let dir = tempfile::Builder::new()
            .prefix("nixoci-ssh-")
            .tempdir_in("/tmp")
            .or_error(&core_codes::PROCESS, failed)?;
        let guard = cx.temporary.guard(dir.path());
        for (name, text) in
            [("config", config::config(dir.path(), &hosts)), ("known_hosts", config::known_hosts(&hosts))]
        {
            std::fs::write(dir.path().join(name), text).or_error(&core_codes::PROCESS, failed)?;
        }
        let masters = hosts.iter().map(|host| (host.name.clone(), OnceCell::new())).collect();
        Ok(Arc::new(SshSession { hosts, dir, masters, _guard: guard }))
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.dir.path().join("config")
    }

    fn host(&self, name: &str) -> Result<&SshHost> {
        let found = self.hosts.iter().find(|host| host.name == name);
        found.ok_or_else(|| Error::new(&core_codes::BUG, format!("{name} is not in this session")))
    }

    /// Connects to a machine, unless that was done before.
    ///
    /// # Errors
    /// The codes of this module, each with what to do.
    pub async fn connect(&self, cx: &Cx<'_>, name: &str) -> Result<()> {
        let host = self.host(name)?;
        let Some(master) = self.masters.get(name) else { return Ok(()) };
        let connect = || async {
            let connected = self.master(cx, host).await;
            // An interrupted attempt says nothing about the machine.
            if !cx.cancel.is_cancelled() {
                host.note(&cx.dirs.cache, connected.is_ok());
            }
            connected
        };
        master.get_or_try_init(connect).await.map(drop)
    }

    /// Whether the connection to a machine was made, and stands as far as ssh knows.
    pub async fn is_connected(&self, name: &str) -> bool {
        let Some(master) = self.masters.get(name).and_then(OnceCell::get) else { return false };
        // It is still running if waiting for it does not come back at once.
        timeout(Duration::ZERO, async { master.process.lock().await.wait().await }).await.is_err()
    }

    /// Why the connection to a machine was lost, in ssh's words, if it was.
    pub async fn why_lost(&self, name: &str) -> Option<String> {
        let mut said = self.masters.get(name)?.get()?.said.clone();
        // It ends a moment after the commands that went through it.
        let said = timeout(GRACE, said.wait_for(Option::is_some)).await.ok()?.ok()?;
        said.clone().map(|said| rules::last_words(&said)).filter(|said| !said.is_empty())
    }

    async fn master(&self, cx: &Cx<'_>, host: &SshHost) -> Result<Master> {
        if let Some(key) = &host.key
            && let Err(error) = nixoci_core::file::open(key)
        {
            let said = format!("{}: {error}", key.display());
            return Err(failure(host, &codes::KEY_UNREADABLE, &said));
        }
        let command = self
            .ssh()
            .args(["-M", "-N", "-o", "ControlPersist=no", "-o", "PermitLocalCommand=yes"])
            .args(["-o", "LocalCommand=echo ready"])
            .arg(&host.name);
        let mut process = cx.runner.spawn(&command).await?;
        let (stdout, stderr) = (process.take_stdout(), process.take_stderr());
        let ready = async {
            let mut said = [0; READY.len()];
            match stdout {
                Some(mut stdout) => stdout.read_exact(&mut said).await.is_ok() && said == READY,
                None => false,
            }
        };
        let ready = tokio::select! {
            ready = timeout(CONNECT, ready) => ready,
            () = cx.cancel.cancelled() => {
                process.stop(GRACE).await?;
                return Err(Error::new(&core_codes::CANCELLED, "connecting was stopped"));
            }
        };
        match ready {
            Ok(true) => {
                let (tell, said) = watch::channel(None);
                tokio::spawn(async move {
                    let mut said = Vec::new();
                    drain(stderr, &mut said).await;
                    tell.send_replace(Some(String::from_utf8_lossy(&said).into_owned()))
                });
                Ok(Master { process: Mutex::new(process), said })
            }
            Ok(false) => {
                let said = last_words(stderr).await;
                process.stop(GRACE).await?;
                Err(diagnose(host, &said))
            }
            Err(_) => {
                process.stop(GRACE).await?;
                let said = format!("no connection within {} s", CONNECT.as_secs());
                Err(failure(host, &codes::SILENT, &said))
            }
        }
    }

    /// ssh with this session's configuration.
    pub(crate) fn ssh(&self) -> Command {
        Command::new("ssh").arg("-F").arg(self.config())
    }

    /// The command that runs a script of a POSIX shell on a machine, whatever shell its account has.
    pub fn script(&self, name: &str, script: &str) -> Command {
        self.ssh().arg(name).arg(format!("exec sh -c {}", quote(script.as_ref())))
    }

    /// The command that runs `argv` on a machine, each argument exactly as it is, if the account's shell is a POSIX shell.
    pub fn command(&self, name: &str, argv: &[OsString]) -> Command {
        self.ssh().arg("-T").arg(name).arg(words(argv))
    }

    /// Runs a script on a machine; what it printed, if it succeeded.
    ///
    /// # Errors
    /// As [`SshSession::connect`]; those of starting a process.
    pub async fn ask(&self, cx: &Cx<'_>, name: &str, script: &str) -> Result<Option<String>> {
        self.connect(cx, name).await?;
        let answer = output(cx.runner, &self.script(name, script), cx.cancel).await?;
        Ok(answer.exit.success().then(|| answer.stdout_text()))
    }
}

/// Quotes arguments for a POSIX shell. Unlike [`quote`], which is for people, this keeps bytes that are no UTF-8 and control characters.
pub fn words(argv: &[OsString]) -> OsString {
    let quoted = |word: &OsString| {
        let word: Vec<&[u8]> = word.as_bytes().split(|byte| *byte == b'\'').collect();
        [b"'", word.join(b"'\\''".as_slice()).as_slice(), b"'"].concat()
    };
    OsString::from_vec(argv.iter().map(quoted).collect::<Vec<_>>().join(b" ".as_slice()))
}

/// Reads standard error to its end, so that ssh never blocks on a full pipe, and keeps the last part of it.
async fn drain(stderr: Option<Stream>, last: &mut Vec<u8>) {
    const KEPT: usize = 16 << 10;
    let Some(mut stderr) = stderr else { return };
    while let Ok(1..) = stderr.read_buf(last).await {
        let over = last.len().saturating_sub(KEPT);
        last.drain(..over);
    }
}

async fn last_words(stderr: Option<Stream>) -> String {
    let mut said = Vec::new();
    let _ = timeout(GRACE, drain(stderr, &mut said)).await;
    String::from_utf8_lossy(&said).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_shell_takes_arguments_apart_as_they_were() {
        let odd = ["", "a b", "it's", "''", "$HOME", "\\", "line\nline", "\u{1b}[2K", "*", "-n", "ü"];
        let argv: Vec<OsString> =
            odd.map(|word| OsString::from_vec([word.as_bytes(), b"\xff"].concat())).into();
        let mut script = OsString::from("printf '<%s>' ");
        script.push(words(&argv));
        let command = Command::new("sh").arg("-c").arg(script);
        let answer = output(&crate::HostRunner::default(), &command, &Default::default()).await.unwrap();
        let wanted: Vec<u8> = argv.iter().flat_map(|word| [b"<", word.as_bytes(), b">"].concat()).collect();
        assert_eq!(answer.stdout, wanted);
    }
}
