//! Whether an ssh server answers, asked without a key.
//!
//! Nix says no more than "failed to start SSH connection", so we look ourselves: where ssh would connect to, whether anybody
//! listens there, and whether an ssh server speaks. (QEMU accepts connections before the guest's server is up.)

use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use nixoci_core::Error;
use nixoci_core::backend::Cx;
use nixoci_core::runner::{Command, output};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::rules::{diagnose, failure};
use super::{SshHost, SshSession, codes};

/// A server that is there says so within this time, also one on a busy machine.
const PATIENCE: Duration = Duration::from_secs(4);

impl SshHost {
    /// Why no ssh server answers; nothing if one does, or if only ssh itself can find out (through a jump host, for
    /// example). A connection wakes up a machine that starts on demand.
    pub async fn refusal(&self, cx: &Cx<'_>) -> Option<Error> {
        let (host, port) = self.address(cx).await?;
        match timeout(PATIENCE, tokio::net::lookup_host((host.as_str(), port))).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                let said = error.to_string();
                let said = said.strip_prefix("failed to lookup address information: ").unwrap_or(&said);
                return Some(failure(self, &codes::UNRESOLVED, &format!("{host}: {said}")));
            }
            Err(_) => {
                return Some(failure(
                    self,
                    &codes::UNRESOLVED,
                    &format!("{host}: no answer from the name server"),
                ));
            }
        }
        let (code, said) = match look(&host, port).await? {
            Seen::Refused(error) => {
                let code = match error.kind() {
                    ErrorKind::ConnectionRefused => &codes::REFUSED,
                    ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset => &codes::CLOSED,
                    _ => &codes::UNREACHABLE,
                };
                // That it ended is what the code says.
                let ended = error.kind() == ErrorKind::UnexpectedEof;
                (code, if ended { String::new() } else { error.to_string() })
            }
            Seen::Another => (&codes::NOT_SSH, String::new()),
            Seen::Nobody => (&codes::UNREACHABLE, format!("no answer within {} s", PATIENCE.as_secs())),
            Seen::Silence => (&codes::SILENT, format!("not a word within {} s", PATIENCE.as_secs())),
        };
        let place = format!("{host}:{port}");
        let said = if said.is_empty() { place } else { format!("{place}: {said}") };
        Some(failure(self, code, &said))
    }

    /// Whether the server has another host key than the expected one, where one is. No login is tried.
    pub async fn other_key(&self, cx: &Cx<'_>) -> Option<Error> {
        let expected = self.host_key.as_deref()?;
        let kind = match expected.split(' ').next()?.trim_start_matches("ssh-") {
            curve if curve.starts_with("ecdsa") => "ecdsa",
            kind => kind,
        };
        let (host, port) = self.address(cx).await?;
        // ssh-keyscan does not go on to a name's next address when nobody listens at the first.
        let there = timeout(PATIENCE, TcpStream::connect((host.as_str(), port))).await.ok()?.ok()?;
        let host = there.peer_addr().ok()?.ip().to_string();
        let scan = Command::new("ssh-keyscan").args([
            "-T",
            "2",
            "-p",
            &port.to_string(),
            "-t",
            kind.trim_start_matches("ssh-"),
            &host,
        ]);
        let answer = output(cx.runner, &scan, cx.cancel).await.ok()?;
        let text = answer.stdout_text();
        // `HOST TYPE KEY`, after comments.
        let mut keys = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split_once(' '))
            .map(|(_, key)| key);
        let found = keys.next()?;
        let same = |key: &str| key.split(' ').take(2).eq(expected.split(' ').take(2));
        if same(found) || keys.any(same) {
            return None;
        }
        Some(failure(
            self,
            &codes::HOST_KEY_CHANGED,
            &format!("{host}:{port} shows {found}, and {expected} is expected"),
        ))
    }

    /// Why somebody else could not connect who has what we may not read: looks from outside whether the server answers, has
    /// the expected host key, and would let the owner of the key in whose public half lies beside it. Nothing if all is well
    /// as far as can be seen.
    pub async fn cause(&self, cx: &Cx<'_>) -> Option<Error> {
        if let Some(error) = self.refusal(cx).await {
            return Some(error);
        }
        if let Some(error) = self.other_key(cx).await {
            return Some(error);
        }
        if let Some(key) = &self.key
            && cx.host.read(key, 1).is_err_and(|error| error.kind() == ErrorKind::NotFound)
        {
            return Some(failure(self, &codes::KEY_UNREADABLE, &format!("{} does not exist", key.display())));
        }
        let public_key = self.key.as_ref().map(|key| {
            let mut name = key.clone().into_os_string();
            name.push(".pub");
            PathBuf::from(name)
        });
        let public_key = public_key.filter(|key| cx.host.read(key, 1).is_ok());
        // ssh asks whether a key would do before it signs with it: the public half is enough to see the answer.
        let expected = SshHost { key: public_key.clone(), ..self.clone() };
        let session = SshSession::new(cx, vec![expected]).ok()?;
        let command = session.ssh().args([
            "-v",
            "-o",
            "PreferredAuthentications=publickey",
            "-o",
            "IdentityAgent=none",
        ]);
        let answer = output(cx.runner, &command.arg(&self.name).arg("true"), cx.cancel).await.ok()?;
        let said = answer.stderr_text();
        let error = diagnose(self, &said);
        let accepted = said.contains("Server accepts key");
        match error.code() {
            // Nobody but the owner of the key can log in; whether that would do is what we wanted to know.
            code if code == codes::KEY_REFUSED.id || code == codes::KEY_UNREADABLE.id => {
                (public_key.is_some() && !accepted)
                    .then(|| failure(self, &codes::KEY_REFUSED, "it does not know the key"))
            }
            code if code == codes::HOST_KEY_CHANGED.id || code == codes::HOST_KEY_UNKNOWN.id => Some(error),
            _ => None,
        }
    }

    /// Where ssh would connect to. Without ssh, or through another machine, nobody can tell.
    async fn address(&self, cx: &Cx<'_>) -> Option<(String, u16)> {
        if let Some(address) = &self.address {
            return Some((address.clone(), self.port.unwrap_or(22)));
        }
        let ssh = Command::new("ssh").arg("-G");
        let ssh = match self.port {
            Some(port) => ssh.arg("-p").arg(port.to_string()),
            None => ssh,
        };
        let answer = output(cx.runner, &ssh.arg(self.destination()), cx.cancel).await.ok()?;
        let text = answer.stdout_text();
        let value = |key: &str| {
            let mut pairs = text.lines().filter_map(|line| line.split_once(' '));
            pairs.find(|(name, _)| *name == key).map(|(_, value)| value)
        };
        let direct = |name: &str| value(name).is_none_or(|value| value == "none");
        if !answer.exit.success() || !direct("proxyjump") || !direct("proxycommand") {
            return None;
        }
        Some((value("hostname")?.to_owned(), value("port")?.parse().ok()?))
    }
}

/// What is there that is no ssh server.
enum Seen {
    Refused(std::io::Error),
    /// Another protocol.
    Another,
    /// Packets go nowhere.
    Nobody,
    /// A connection, and nothing on it for so long.
    Silence,
}

/// Looks whether what listens there begins as an ssh server does; nothing if so.
async fn look(host: &str, port: u16) -> Option<Seen> {
    let mut stream = match timeout(PATIENCE, TcpStream::connect((host, port))).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Some(Seen::Refused(error)),
        Err(_) => return Some(Seen::Nobody),
    };
    let mut banner = [0; 4];
    match timeout(PATIENCE, stream.read_exact(&mut banner)).await {
        Ok(Ok(_)) if &banner == b"SSH-" => None,
        Ok(Ok(_)) => Some(Seen::Another),
        Ok(Err(error)) => Some(Seen::Refused(error)),
        Err(_) => Some(Seen::Silence),
    }
}
