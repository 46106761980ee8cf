//! Whether a builder answers.
//!
//! Nix says no more than "failed to start SSH connection", so we look ourselves: where ssh would connect to, whether anybody
//! listens there, and whether an ssh server speaks. (QEMU accepts connections before the guest's server is up.) No key is tried.

use std::time::Duration;

use nixoci_core::backend::Cx;
use nixoci_core::runner::{Command, output};
use nixoci_core::{Error, Remedy};
use nixoci_nix::Machine;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::error::UNREACHABLE;
use crate::known::known;

/// A builder on this Mac answers at once; a machine elsewhere may need a moment.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Why a builder does not answer; nothing if it does, or if asking would start it.
pub(crate) async fn refusal(cx: &Cx<'_>, machine: &Machine) -> Option<Error> {
    if known(machine.host()).is_some_and(|known| known.wakes) {
        return None;
    }
    let (host, port) = address(cx, machine).await?;
    let spoken = async {
        let mut stream = TcpStream::connect((host.as_str(), port)).await?;
        let mut banner = [0; 4];
        stream.read_exact(&mut banner).await?;
        Ok::<_, std::io::Error>(&banner == b"SSH-")
    };
    let why = match timeout(PATIENCE, spoken).await {
        Ok(Ok(true)) => return None,
        Ok(Ok(false)) => "what answers there is no ssh server".to_owned(),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            "the connection is closed before an ssh server has spoken".to_owned()
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no ssh server has spoken after {:.1} s", PATIENCE.as_secs_f32()),
    };
    Some(unreachable(machine, &format!("{host}:{port}: {why}")))
}

fn unreachable(machine: &Machine, why: &str) -> Error {
    let host = machine.host();
    let error = Error::new(&UNREACHABLE, format!("the Linux builder {host} does not answer")).because(why);
    match known(host) {
        Some(known) => error
            .remedy(Remedy::command(
                "restart it",
                format!("sudo launchctl kickstart -k system/{}", known.label),
            ))
            .remedy(Remedy::command(
                "see what launchd says",
                format!("launchctl print system/{}", known.label),
            )),
        None => error.remedy(Remedy::command("see why", format!("sudo ssh -v {}", machine.destination()))),
    }
}

/// Where ssh would connect to. Without ssh, or through another machine, nobody can tell.
async fn address(cx: &Cx<'_>, machine: &Machine) -> Option<(String, u16)> {
    let ssh = Command::new("ssh").arg("-G");
    let ssh = match machine.port() {
        Some(port) => ssh.arg("-p").arg(port.to_string()),
        None => ssh,
    };
    let answer = output(cx.runner, &ssh.arg(machine.destination()), cx.cancel).await.ok()?;
    let text = answer.stdout_text();
    let value = |key: &str| {
        text.lines()
            .filter_map(|line| line.split_once(' '))
            .find(|(name, _)| *name == key)
            .map(|(_, value)| value)
    };
    let direct = |name: &str| value(name).is_none_or(|value| value == "none");
    if !answer.exit.success() || !direct("proxyjump") || !direct("proxycommand") {
        return None;
    }
    Some((value("hostname")?.to_owned(), value("port")?.parse().ok()?))
}
