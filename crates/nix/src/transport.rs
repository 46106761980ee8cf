//! How a Nix is made to build on the machines that it knows.

use nixoci_core::backend::Cx;
use nixoci_core::{Error, Remedy, Result};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::codes::TRANSPORT;
use crate::machines::Machine;
use crate::settings::NixSettings;
use crate::{Over, ssh};

/// How the builders are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// `store` where your user may read the builder's key and loses no binary cache by it; `daemon` otherwise.
    #[default]
    Auto,
    /// The Nix daemon sends builds to the builder, and brings everything back: nobody needs a key or trust.
    Daemon,
    /// In the builder's own store; only the image comes back. Your user must be able to log in there.
    Store,
    /// Nix's scheduler as your user, over all builders, into a store in nixoci's cache.
    Builders,
}

/// Who connects, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The daemon.
    Daemon,
    /// The user.
    User(Over),
}

impl Way {
    /// The transport, and whose binary caches serve it, for a plan.
    pub fn words(self) -> &'static str {
        match self {
            Way::Daemon => "transport daemon, with the binary caches of this machine's daemon",
            Way::User(Over::Store) => "transport store, with the builder's own binary caches",
            Way::User(Over::Builders) => "transport builders, with this machine's binary caches",
        }
    }
}

impl Transport {
    /// The way to use these machines, all of which build for what is wanted.
    ///
    /// # Errors
    /// [`TRANSPORT`] if a way was asked for that they do not allow.
    pub fn way(self, cx: &Cx<'_>, able: &[&Machine], settings: &NixSettings) -> Result<Way> {
        match self {
            Transport::Daemon => Ok(Way::Daemon),
            Transport::Auto => Ok(match able {
                [machine] if reachable(cx, machine) && settings.own_caches().is_empty() => {
                    Way::User(Over::Store)
                }
                _ => Way::Daemon,
            }),
            Transport::Store => allowed(cx, able).map(|()| Way::User(Over::Store)),
            Transport::Builders => allowed(cx, able).map(|()| Way::User(Over::Builders)),
        }
    }
}

fn allowed(cx: &Cx<'_>, able: &[&Machine]) -> Result<()> {
    let Some(machine) = able.iter().find(|machine| !machine.is_ssh_ng() || unreadable(cx, machine)) else {
        return Ok(());
    };
    let daemon = Remedy::lines(
        "let the daemon connect, in the backend's table in nixoci.toml",
        "transport = \"daemon\"",
    );
    let (code, why) = match &machine.key {
        Some(key) if machine.is_ssh_ng() => {
            (&ssh::codes::KEY_UNREADABLE, format!("{} may not be read by your user", key.display()))
        }
        _ => (&TRANSPORT, format!("Nix knows it as {}", machine.uri)),
    };
    Err(Error::new(code, format!("{}: {}", machine.host(), code.title)).because(why).remedy(daemon))
}

/// Whether the user may log in, as far as that can be told without trying: without a key in the list, ssh's own
/// configuration may name one that is root's.
fn reachable(cx: &Cx<'_>, machine: &Machine) -> bool {
    machine.is_ssh_ng() && machine.key.is_some() && !unreadable(cx, machine)
}

/// Whether the list names a key that the user may not read.
fn unreadable(cx: &Cx<'_>, machine: &Machine) -> bool {
    machine.key.as_ref().is_some_and(|key| cx.host.read(key, 1).is_err())
}
