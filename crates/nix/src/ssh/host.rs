//! A machine as ssh sees it.

use std::path::PathBuf;

use nixoci_core::runner::Command;
use nixoci_core::{Error, Result, codes as core_codes};

use crate::Machine;

/// What ssh is told about a machine; what is absent is said by the user's own configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SshHost {
    /// A name of ssh's configuration, or a host name or address.
    pub name: String,
    /// Who logs in.
    pub user: Option<String>,
    /// Where the server listens.
    pub port: Option<u16>,
    /// The private key that logs in; no other is tried then.
    pub key: Option<PathBuf>,
    /// The only host key that is accepted: `ssh-ed25519 AAAA…`.
    pub host_key: Option<String>,
    /// Where it is, if the name is ours alone: then nothing of the user's configuration leads there.
    pub address: Option<String>,
}

impl SshHost {
    /// What a person gives ssh: the user, where there is one, and the name.
    pub fn destination(&self) -> String {
        match &self.user {
            Some(user) => format!("{user}@{}", self.name),
            None => self.name.clone(),
        }
    }

    /// Whether every part can stand in ssh's configuration and on its command line, where it must not be taken for
    /// something else: a name that begins with a dash would be an option, and a line break another setting.
    ///
    /// # Errors
    /// [`core_codes::CONFIG_VALUE`] says which part cannot be.
    pub fn check(&self) -> Result<()> {
        let word = |text: &str| {
            !text.is_empty()
                && !text.starts_with('-')
                && text.chars().all(|c| c.is_alphanumeric() || "._-:@%+=/".contains(c))
        };
        let line = |text: &str| !text.chars().any(|c| c.is_control() || c == '"');
        let wrong = |what: &str, text: &str| {
            Err(Error::new(
                &core_codes::CONFIG_VALUE,
                format!("`{}` cannot be the {what} of a builder", text.escape_debug()),
            ))
        };
        match self {
            // Nix takes that name for this machine's own store, and starts no ssh.
            Self { name, user: None, .. } if name == "localhost" => wrong("name", name),
            Self { name, .. } if !word(name) => wrong("name", name),
            Self { user: Some(user), .. } if !word(user) => wrong("user", user),
            Self { key: Some(key), .. } if !line(&key.to_string_lossy()) => {
                wrong("key", &key.to_string_lossy())
            }
            Self { host_key: Some(key), .. } if !line(key) => wrong("host key", key),
            _ => Ok(()),
        }
    }

    /// The command a person types to get there, for remedies.
    pub fn by_hand(&self) -> Command {
        let command = Command::new("ssh");
        let command = match self.port {
            Some(port) => command.arg("-p").arg(port.to_string()),
            None => command,
        };
        let command = match &self.key {
            Some(key) => command.arg("-i").arg(key),
            None => command,
        };
        match (&self.address, &self.user) {
            (None, _) => command.arg(self.destination()),
            (Some(address), Some(user)) => command.arg(format!("{user}@{address}")),
            (Some(address), None) => command.arg(address),
        }
    }

    /// The same as root, for remedies about a daemon's connection.
    pub fn by_hand_as_root(&self) -> Command {
        let ssh = self.by_hand();
        Command::new("sudo").arg(ssh.program).args(ssh.args)
    }
}

impl From<&Machine> for SshHost {
    fn from(machine: &Machine) -> Self {
        SshHost {
            name: machine.host().to_owned(),
            user: machine.user().map(str::to_owned),
            port: machine.port(),
            key: machine.key.clone(),
            host_key: machine.host_key.clone(),
            address: machine.address.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_project_s_becomes_an_option_or_a_setting_of_ssh() {
        let host = |name: &str| SshHost { name: name.into(), ..SshHost::default() };
        for good in ["box", "box.example.org", "10.0.0.1", "::1"] {
            host(good).check().unwrap();
        }
        for bad in ["", "-oProxyCommand=x", "box\nProxyCommand x", "a b", "$(x)", "a;b", "a*"] {
            assert!(host(bad).check().is_err(), "{bad}");
        }
        let with = |key: &str, host_key: &str| SshHost {
            key: Some(key.into()),
            host_key: Some(host_key.into()),
            ..host("box")
        };
        with("/a b/key", "ssh-ed25519 AAAA me@box").check().unwrap();
        assert!(with("/a\"b", "x").check().is_err());
        assert!(with("/a", "x\nHost *").check().is_err());
    }
}
