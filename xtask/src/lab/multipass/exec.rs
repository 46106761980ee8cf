//! `exec` and `shell`: the client's own ssh connection to a guest.
//!
//! Without a terminal `exec` passes its streams on by libssh, as in life, with libssh's faults: `lab/multipass/libssh/exec.c`. OpenSSH runs
//! commands that have a terminal, and `shell`.

use std::io::IsTerminal;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::geteuid;
use serde::Deserialize;

use super::args::Args;
use super::client::{Client, err, failed, wrong};
use super::protocol::Ask;
use super::{EXEC, KEYS, Profile};

/// How to reach a guest.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Way {
    host: std::net::Ipv4Addr,
    user: String,
}

/// What a client that cannot run its command exits with: 1.16's own code for failures, or 1.17's for this.
fn cannot(profile: Profile) -> i32 {
    match profile {
        Profile::V16 => 2,
        Profile::V17 => 255,
    }
}

/// A program that dies with us, and has nothing of this user's environment.
fn program(path: &str) -> Command {
    let mut program = Command::new("/usr/bin/setpriv");
    program.args(["--pdeathsig", "KILL", path]);
    program
}

/// This user's copy of the daemon's key.
fn key() -> PathBuf {
    Path::new(KEYS).join(geteuid().as_raw().to_string())
}

/// Whether both sides are a terminal's: the command gets one there, too.
fn has_terminal() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

impl Way {
    /// Connects once before ssh does: what goes wrong is told in libssh's words.
    fn check(&self) -> Result<(), String> {
        let failed = |why: &str| Err(format!("ssh connection failed: '{why}'"));
        match TcpStream::connect_timeout(&SocketAddr::from((self.host, 22)), Duration::from_secs(20)) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                failed("Failed to connect: Connection refused")
            }
            Err(error) if error.raw_os_error() == Some(113) => failed("Failed to connect: No route to host"),
            Err(_) => failed(&format!("Timeout connecting to {}", self.host)),
        }
    }

    /// OpenSSH in place of libssh, with nothing of this user's settings.
    fn ssh(&self) -> Command {
        let mut ssh = program("/usr/bin/ssh");
        ssh.args(["-F", "none", "-i"]).arg(key());
        for option in [
            "IdentitiesOnly=yes",
            "IdentityAgent=none",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "GlobalKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
            "BatchMode=yes",
            "ControlPath=none",
            "EscapeChar=none",
        ] {
            ssh.args(["-o", option]);
        }
        ssh.arg(format!("{}@{}", self.user, self.host));
        ssh
    }

    /// A command, or a login's shell, by OpenSSH: with a terminal if both of our sides have one.
    fn interactive(&self, what: &str, command: Option<&str>, unreachable: i32) -> Result<i32> {
        if let Err(why) = self.check() {
            err(&format!("{what} failed: {why}\n"));
            return Ok(unreachable);
        }
        let mut ssh = self.ssh();
        ssh.arg(if has_terminal() { "-tt" } else { "-T" });
        if let Some(command) = command {
            ssh.arg("--").arg(command);
        }
        let status = ssh.status().context("cannot run ssh")?;
        Ok(status.code().unwrap_or(255))
    }

    /// A command by libssh's connectors on our own streams. If there is no connection, `exec` has said why.
    fn streams(&self, command: &str, unreachable: i32) -> Result<i32> {
        let mut exec = program(EXEC);
        exec.arg(self.host.to_string()).arg(&self.user).arg(key()).arg(unreachable.to_string()).arg(command);
        let status = exec.status().context("cannot run exec")?;
        Ok(status.code().unwrap_or(255))
    }
}

/// Asks how to reach instances; what is not running is started first, as often as it takes.
fn way(client: Client, command: &str, name: &str) -> Result<Result<Way, i32>> {
    loop {
        let failure = match client.ask(Ask::Ssh { names: vec![name.to_owned()] })? {
            Ok(answer) => {
                let mut ways: Vec<Way> = serde_json::from_value(answer)?;
                return Ok(Ok(ways.pop().context("no way to the instance")?));
            }
            Err(failure) => failure,
        };
        if !failure.stopped {
            return Ok(Err(failed(command, &failure)));
        }
        let code = client.start(vec![name.to_owned()], false, None)?;
        if code != 0 {
            return Ok(Err(code));
        }
    }
}

pub(super) fn exec(client: Client, args: &Args) -> Result<i32> {
    let dir = args.get("working-directory");
    let unmapped = args.has("no-map-working-directory");
    if dir.is_some() && unmapped {
        return Ok(wrong("Options --working-directory and --no-map-working-directory clash\n"));
    }
    let [name, command @ ..] = args.words.as_slice() else {
        return Ok(wrong("Wrong number of arguments\n"));
    };
    if command.is_empty() {
        return Ok(wrong("Wrong number of arguments\n"));
    }
    let dir = match (dir, unmapped) {
        (Some(dir), _) => Some(dir.to_owned()),
        (None, true) => None,
        (None, false) => mapped(client, name)?,
    };
    let line = line(dir.as_deref(), command);
    loop {
        let way = match way(client, "exec", name)? {
            Ok(way) => way,
            Err(code) => return Ok(code),
        };
        let unreachable = cannot(client.profile);
        let code = if has_terminal() {
            way.interactive("exec", Some(&line), unreachable)?
        } else {
            way.streams(&line, unreachable)?
        };
        // 1.16 takes a remote command's 4 for its own "once more".
        if !(code == 4 && client.profile == Profile::V16) {
            return Ok(code);
        }
    }
}

pub(super) fn shell(client: Client, args: &Args) -> Result<i32> {
    let name = args.words.first().cloned().unwrap_or_else(|| client.primary());
    let way = match way(client, "shell", &name)? {
        Ok(way) => way,
        Err(code) => return Ok(code),
    };
    way.interactive("shell", None, cannot(client.profile))
}

/// Where our directory is in the guest, if it lies in one that is mounted there. That the question fails is said, and no
/// reason to stop.
fn mapped(client: Client, name: &str) -> Result<Option<String>> {
    let answer = match client.ask(Ask::Info { names: vec![name.to_owned()], runtime: false })? {
        Ok(answer) => answer,
        Err(failure) => {
            let _: i32 = failed("exec", &failure);
            return Ok(None);
        }
    };
    let here = std::env::current_dir()?.canonicalize()?;
    let mounts: Vec<(String, String)> = serde_json::from_value(answer["mounts"].clone()).unwrap_or_default();
    Ok(mounts.iter().find_map(|(source, target)| {
        let below = here.strip_prefix(source).ok()?;
        Some(format!("{target}/{}", below.display()))
    }))
}

/// What the guest's shell gets.
fn line(dir: Option<&str>, command: &[String]) -> String {
    let escaped = |words: &[String]| words.iter().map(|word| escape(word)).collect::<Vec<_>>().join(" ");
    match dir {
        None => escaped(command),
        // What was separate words is one text now, and split anew by the guest.
        Some(dir) if command.first().is_some_and(|first| first == "sudo") => {
            let inner = format!("cd {dir} && sudo -u ubuntu {}", command.join(" "));
            format!("sudo sh -c {}", escape(&inner))
        }
        Some(dir) => format!("cd {}&&{}", escape(dir), escaped(command)),
    }
}

/// A backslash before what a shell might care for, by the same ranges as multipass. `=` is not among them: a first word
/// `NAME=value` is an assignment to the guest's shell.
fn escape(word: &str) -> String {
    if word.is_empty() {
        return "''".to_owned();
    }
    let special =
        |c: char| matches!(c, '\0'..='$' | '&'..='*' | '['..='^' | '{'.. | ',' | ';' | '<' | '>' | '?' | '`');
    let mut out = String::new();
    for c in word.chars() {
        match c {
            '\n' => out.push_str("\"\n\""),
            c if special(c) => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_guests_shell_gets() {
        let words = |line: &[&str]| line.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert_eq!(line(None, &words(&["echo", "a b", "", "$x\n'"])), "echo a\\ b '' \\$x\"\n\"\\'");
        assert_eq!(line(None, &words(&["A=b", "x,y", "ü~{a}[b]"])), "A=b x\\,y \\ü\\~\\{a\\}\\[b\\]");
        assert_eq!(line(Some("/a b"), &words(&["ls", "-l"])), "cd /a\\ b&&ls -l");
        assert_eq!(
            line(Some("/d"), &words(&["sudo", "echo", "a  b"])),
            "sudo sh -c cd\\ /d\\ \\&\\&\\ sudo\\ -u\\ ubuntu\\ sudo\\ echo\\ a\\ \\ b"
        );
    }
}
