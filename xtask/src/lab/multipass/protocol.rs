//! What the client and the daemon say to each other: one request a connection, a line of JSON for each answer.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Profile;

/// Who asks, and for what.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Request {
    pub(super) profile: Profile,
    /// The host that the client is on.
    pub(super) host: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) ask: Ask,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Ask {
    Version,
    Launch(Launch),
    Start {
        names: Vec<String>,
        all: bool,
        timeout: Option<u64>,
    },
    Stop {
        names: Vec<String>,
        all: bool,
        force: bool,
    },
    Suspend {
        names: Vec<String>,
        all: bool,
    },
    Restart {
        names: Vec<String>,
        all: bool,
        timeout: Option<u64>,
    },
    Delete {
        names: Vec<String>,
        all: bool,
        purge: bool,
    },
    Recover {
        names: Vec<String>,
        all: bool,
    },
    Purge,
    Info {
        names: Vec<String>,
        runtime: bool,
    },
    List {
        addresses: bool,
    },
    /// All instances have none.
    Snapshots,
    Zones,
    /// No names: all zones.
    SetZones {
        names: Vec<String>,
        on: bool,
    },
    /// Address and key of running instances, for `exec`.
    Ssh {
        names: Vec<String>,
    },
    Mount(Mount),
    Umount {
        name: String,
        target: Option<String>,
    },
    Get {
        key: String,
    },
    Set {
        key: String,
        value: String,
    },
    Find {
        remote: String,
        search: String,
    },
    /// The keys of settings that the daemon keeps.
    Keys,
    Authenticate,
    WaitReady,
    /// Not multipass': this and the next ones are for `lab fault`.
    Die {
        name: String,
    },
    Freeze {
        name: String,
        on: bool,
    },
    /// This instance has to follow its knob `zone-unavailable`.
    Zone {
        name: String,
    },
    /// The routes to this instance have to follow its knob `no-route`.
    Routes {
        name: String,
    },
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Launch {
    pub(super) name: Option<String>,
    pub(super) cpus: Option<u32>,
    pub(super) memory: Option<String>,
    pub(super) disk: Option<String>,
    pub(super) remote: String,
    pub(super) image: String,
    pub(super) user_data: Option<String>,
    pub(super) timeout: Option<u64>,
    pub(super) zone: Option<String>,
    /// The host has Apple's CPU, and so does what it launches.
    pub(super) arm: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Mount {
    pub(super) name: String,
    pub(super) source: String,
    /// As it was typed.
    pub(super) target: Option<String>,
    pub(super) native: bool,
    pub(super) uids: Vec<Pair>,
    pub(super) gids: Vec<Pair>,
}

/// An id of the host and the one it becomes in the guest. None: the guest's user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pair(pub(super) u32, pub(super) Option<u32>);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Answer {
    /// What is being done, for the spinner.
    Say(String),
    /// A line for stderr.
    Warn(String),
    Done(Value),
    Fail(Failure),
}

/// How a request failed, in words for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Failure {
    pub(super) message: String,
    pub(super) details: String,
    /// The instance is not running: `exec` starts it and asks again.
    pub(super) stopped: bool,
}

impl Failure {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), details: String::new(), stopped: false }
    }

    pub(super) fn details(message: impl Into<String>, details: impl Into<String>) -> Self {
        Self { details: details.into(), ..Self::new(message) }
    }

    /// How commands that select instances fail: a line for each.
    pub(super) fn each(lines: &[String]) -> Self {
        Self::details("The following errors occurred:", lines.join("\n"))
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::new(format!("the lab's double: {error:#}"))
    }
}

/// What a request comes to.
pub(super) type Outcome = Result<Value, Failure>;

/// Sends one line.
pub(super) fn send(mut stream: &UnixStream, value: &impl Serialize) -> Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(stream.write_all(&line)?)
}

/// Reads the request.
pub(super) fn receive(stream: &UnixStream) -> Result<Request> {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    serde_json::from_str(&line).context("no request")
}
