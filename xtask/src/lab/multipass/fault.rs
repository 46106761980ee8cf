//! `lab fault multipass`: what goes wrong with one instance, by its name. A name may be taken before its instance is there.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::ValueEnum;

use super::super::cache::Cache;
use super::super::state::State;
use super::protocol::Ask;
use super::{Access, Profile, client, dir};
use crate::sh;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Knob {
    /// Connections from hosts to the guest's port 22 find no route: a Mac's Local Network permission
    NoRoute,
    /// Once: the daemon loses track of an instance that runs
    UnknownState,
    /// `launch` gives up waiting for cloud-init after a second
    InitTimeout,
    /// `launch` and `start` give up waiting for ssh after a second: nobody reaches the guest
    ResponseTimeout,
    /// What is mounted looks empty: the daemon may not read it
    MountEmpty,
    /// What is mounted now does not come back when the instance starts
    MountLost,
    /// No mounts on this installation
    MountsDisabled,
    /// The guest cannot get what mounting takes
    SshfsMissing,
    /// Another address at every start
    IpChangeOnStart,
    /// A guest that boots has no package repository: apt's is on the network, which there is none of
    NoNetwork,
    /// `info` answers when this is off again
    InfoWaits,
    /// Once: the guest has a new ed25519 host key after its next boot
    HostKeyChange,
    /// The availability zone is off for this instance alone: it is powered off, and `Unavailable`
    ZoneUnavailable,
    /// Now: the guest's processes and its network stop, until this is off or the guest ends
    Freeze,
    /// Once, and now: the guest dies
    Die,
}

impl Knob {
    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    fn file(self, state: &State, instance: &str) -> PathBuf {
        dir(state, "faults").join(format!("{instance}.{}", self.name()))
    }

    pub(super) fn is_on(self, state: &State, instance: &str) -> bool {
        self.file(state, instance).exists()
    }

    /// Whether it was on; it is off after that.
    pub(super) fn take(self, state: &State, instance: &str) -> bool {
        fs::remove_file(self.file(state, instance)).is_ok()
    }
}

/// `KNOB INSTANCE [on|off]`.
pub(crate) fn run(words: &[String]) -> Result<i32> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (knob, instance, on) = match words[..] {
        [knob, instance] | [knob, instance, "on"] => (knob, instance, true),
        [knob, instance, "off"] => (knob, instance, false),
        _ => bail!("it takes KNOB INSTANCE [on|off]; knobs: {}", names()),
    };
    let Ok(knob) = Knob::from_str(knob, false) else { bail!("no knob {knob}; knobs: {}", names()) };
    let state = State::of(&Cache::open()?)?;
    if !state.is_up()? {
        bail!("the lab is not up: run `cargo xtask lab up`");
    }
    match (knob, on) {
        (Knob::Die, _) => tell(&state, Ask::Die { name: instance.to_owned() })?,
        (Knob::Freeze, on) => tell(&state, Ask::Freeze { name: instance.to_owned(), on })?,
        (_, true) => fs::write(knob.file(&state, instance), "")?,
        (_, false) => {
            knob.take(&state, instance);
        }
    }
    match knob {
        Knob::NoRoute => tell(&state, Ask::Routes { name: instance.to_owned() })?,
        Knob::ZoneUnavailable => tell(&state, Ask::Zone { name: instance.to_owned() })?,
        _ => {}
    }
    sh::say(format!("{} of {instance}: {}", knob.name(), if on { "on" } else { "off" }));
    Ok(0)
}

fn names() -> String {
    Knob::value_variants().iter().map(|knob| knob.name()).collect::<Vec<_>>().join(", ")
}

/// Has the daemon act at once.
fn tell(state: &State, ask: Ask) -> Result<()> {
    let socket = dir(state, "access").join(Access::Granted.name()).join("socket");
    match client::ask(&UnixStream::connect(socket)?, Profile::V16, ask, &mut |_| ())? {
        Ok(_) => Ok(()),
        Err(failure) => bail!("{}", failure.message),
    }
}
