//! This host's ssh agent, for the programs of a guest: for private inputs that are fetched by ssh.
//!
//! A small program in the guest listens where ssh looks for an agent, and passes on what it is asked over the way into the guest
//! (`agent.py` says how). Here each of its connections becomes one to the agent. Keys never leave the agent, and more than
//! listing keys and signing is not passed on, so that a guest can neither remove keys nor lock the agent.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use nixoci_core::backend::Cx;
use nixoci_core::runner::{Command, GRACE, Runner as _};
use nixoci_core::{Error, Remedy, Result, codes as core_codes};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;

use super::GuestRunner;
use super::codes::CREDENTIALS;

const RELAY: &str = include_str!("agent.py");
/// The longest message of the protocol, as OpenSSH has it (`authfd.h`, MAX_AGENT_REPLY_LEN).
const LIMIT: u32 = 256 << 10;
/// As much is passed on of a list of known hosts.
const KNOWN_HOSTS: u64 = 4 << 20;
/// `SSH_AGENT_FAILURE` of the agent protocol (draft-ietf-sshm-ssh-agent, section 6.1).
const FAILURE: &[u8] = &[5];
/// `SSH_AGENTC_REQUEST_IDENTITIES`, `SSH_AGENTC_SIGN_REQUEST`, `SSH_AGENTC_EXTENSION`, by which ssh tells whom a signature is for.
const PASSED_ON: &[u8] = &[11, 13, 27];

/// An agent that a guest can ask, until it is dropped.
#[derive(Debug)]
pub struct Agent {
    /// The directory in the guest with the socket and the known hosts.
    place: PathBuf,
    task: JoinHandle<()>,
}

impl Drop for Agent {
    fn drop(&mut self) {
        // With its standard input the relay ends.
        self.task.abort();
    }
}

impl Agent {
    /// Lets a guest's user ask this host's agent.
    ///
    /// # Errors
    /// [`CREDENTIALS`] without an agent; those of the way into the guest.
    pub async fn forward(cx: &Cx<'_>, guest: &GuestRunner<'_>) -> Result<Agent> {
        let socket = cx.host.var("SSH_AUTH_SOCK").map(PathBuf::from).ok_or_else(none)?;
        UnixStream::connect(&socket)
            .await
            .map_err(|error| none().because(format!("{}: {error}", socket.display())))?;
        let known = cx.host.home.as_ref().map(|home| home.join(".ssh/known_hosts"));
        let known = known.and_then(|path| cx.host.read(&path, KNOWN_HOSTS).ok()).unwrap_or_default();
        let command = Command::new("python3").args(["-c", RELAY]).with_stdin();
        let mut process = guest.spawn(&command).await?;
        let (Some(input), Some(output)) = (process.take_stdin(), process.take_stdout()) else {
            return Err(silent());
        };
        let mut relay = Relay { input, output };
        let begun = async {
            relay.send(0, &known).await?;
            relay.receive().await
        };
        let begun = tokio::select! {
            begun = begun => begun,
            () = cx.cancel.cancelled() => {
                return Err(Error::new(&core_codes::CANCELLED, "forwarding the ssh agent was stopped"));
            }
        };
        let place = match begun {
            Ok(Some((0, place))) => PathBuf::from(String::from_utf8_lossy(&place).into_owned()),
            _ => {
                drop(relay);
                process.stop(GRACE).await?;
                return Err(silent());
            }
        };
        let task = tokio::spawn(async move {
            // What ends it is the end of either side: of the build, or of the guest, which others notice.
            let _ = serve(&mut relay, &socket).await;
            drop((relay, process));
        });
        Ok(Agent { place, task })
    }

    /// What programs in the guest have to find in their environment.
    pub(super) fn environment(&self) -> [String; 2] {
        let place = self.place.display();
        [
            format!("SSH_AUTH_SOCK={place}/socket"),
            format!(
                "GIT_SSH_COMMAND=ssh -F none -o BatchMode=yes -o StrictHostKeyChecking=yes -o UserKnownHostsFile={place}/known_hosts"
            ),
        ]
    }
}

fn none() -> Error {
    Error::new(&CREDENTIALS, "there is no ssh agent that could be forwarded")
        .because("SSH_AUTH_SOCK does not lead to one")
        .remedy(Remedy::command("start one, and give it your key", "eval \"$(ssh-agent)\" && ssh-add"))
}

fn silent() -> Error {
    Error::new(&CREDENTIALS, "the ssh agent cannot be forwarded")
        .because("the virtual machine's python3, which passes on what is asked, does not answer")
}

/// The program in the guest.
struct Relay<R, W> {
    output: R,
    input: W,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Relay<R, W> {
    async fn send(&mut self, connection: u32, message: &[u8]) -> io::Result<()> {
        let length = u32::try_from(message.len()).map_err(io::Error::other)?;
        self.input.write_u32(connection).await?;
        self.input.write_u32(length).await?;
        self.input.write_all(message).await?;
        self.input.flush().await
    }

    /// The next message and its connection; nothing when there will be none.
    async fn receive(&mut self) -> io::Result<Option<(u32, Vec<u8>)>> {
        let connection = match self.output.read_u32().await {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            connection => connection?,
        };
        Ok(Some((connection, message(&mut self.output).await?)))
    }
}

async fn message(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let length = from.read_u32().await?;
    if length > LIMIT {
        return Err(io::Error::other("a message is too long"));
    }
    let mut message = vec![0; length as usize];
    from.read_exact(&mut message).await?;
    Ok(message)
}

/// Answers until nobody asks any more.
async fn serve<R, W>(relay: &mut Relay<R, W>, socket: &Path) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    // An agent remembers of a connection whom it was used for.
    let mut agents: HashMap<u32, UnixStream> = HashMap::new();
    while let Some((connection, request)) = relay.receive().await? {
        let Some(kind) = request.first() else {
            agents.remove(&connection);
            continue;
        };
        let answer = if PASSED_ON.contains(kind) {
            ask(&mut agents, connection, socket, &request).await.ok()
        } else {
            None
        };
        relay.send(connection, answer.as_deref().unwrap_or(FAILURE)).await?;
    }
    Ok(())
}

async fn ask(
    agents: &mut HashMap<u32, UnixStream>,
    connection: u32,
    socket: &Path,
    request: &[u8],
) -> io::Result<Vec<u8>> {
    let mut agent = match agents.remove(&connection) {
        Some(agent) => agent,
        None => UnixStream::connect(socket).await?,
    };
    agent.write_u32(u32::try_from(request.len()).map_err(io::Error::other)?).await?;
    agent.write_all(request).await?;
    let answer = message(&mut agent).await?;
    agents.insert(connection, agent);
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;
    use tokio::net::UnixListener;

    use super::*;

    /// An agent that answers each message with its own kind and how many there were on that connection.
    async fn agent(listener: UnixListener) {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut count = 0;
                while let Ok(request) = message(&mut client).await {
                    count += 1;
                    client.write_u32(2).await.unwrap();
                    client.write_all(&[request[0], count]).await.unwrap();
                }
            });
        }
    }

    #[tokio::test]
    async fn connections_are_kept_apart_and_only_what_is_harmless_is_passed_on() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("agent");
        tokio::spawn(agent(UnixListener::bind(&socket).unwrap()));
        let ((output, there), (input, back)) = (duplex(1 << 10), duplex(1 << 10));
        let mut guest = Relay { output: back, input: there };
        let serving = tokio::spawn(async move { serve(&mut Relay { output, input }, &socket).await });
        // 17 adds a key, 19 removes all of them, 22 locks the agent.
        for (connection, kind, expected) in [
            (1, 11, vec![11, 1]),
            (2, 11, vec![11, 1]),
            (1, 13, vec![13, 2]),
            (1, 17, vec![5]),
            (1, 19, vec![5]),
            (1, 22, vec![5]),
            (1, 27, vec![27, 3]),
        ] {
            guest.send(connection, &[kind, 0]).await.unwrap();
            assert_eq!(guest.receive().await.unwrap(), Some((connection, expected)));
        }
        // Its end, and the number is another one's.
        guest.send(1, &[]).await.unwrap();
        guest.send(1, &[11]).await.unwrap();
        assert_eq!(guest.receive().await.unwrap(), Some((1, vec![11, 1])));
        drop(guest);
        serving.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_message_that_is_too_long_is_not_waited_for() {
        let long = [&1u32.to_be_bytes()[..], &u32::MAX.to_be_bytes()].concat();
        let mut relay = Relay { output: long.as_slice(), input: tokio::io::sink() };
        assert!(relay.receive().await.is_err());
    }
}
