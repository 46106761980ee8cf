//! The fleet as its users reach it: a `~/.ssh` with a key, the machines' host keys and a `config`, as people have it.
//!
//! Nothing of Nix's names these machines: that is for whoever uses them to say.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};

use anyhow::Result;

use super::builder::{Builder, FLEET};
use super::mounts::Root;
use super::state::State;
use super::trouble;

static ANT: &Builder = &FLEET[0];
static BEE: &Builder = &FLEET[1];

/// Ways to bee that something is wrong with: name and port.
const TROUBLE: [(&str, u16); 7] = [
    ("silent", trouble::SILENT),
    ("closed", trouble::CLOSED),
    ("slow", trouble::SLOW),
    ("cut", trouble::CUT),
    ("web", trouble::WEB),
    ("impostor", trouble::IMPOSTOR),
    ("nobody-home", trouble::NOBODY),
];

/// Who has the key: name, id and home.
const OWNERS: [(&str, u32, &str); 2] = [("root", 0, "/root"), ("alice", 1000, "/home/alice")];

/// What is in `~/.ssh/config`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fleet {
    /// The machines.
    Machines,
    /// And what is wrong with some ways to them.
    Trouble,
}

impl Fleet {
    /// What `enter.sh` is to bind where.
    pub(crate) fn binds(self) -> Vec<String> {
        OWNERS.map(|(owner, _, home)| format!("{}:{home}/.ssh", self.dir(owner))).to_vec()
    }

    fn dir(self, owner: &str) -> String {
        let name = match self {
            Self::Machines => "fleet",
            Self::Trouble => "trouble",
        };
        format!("/lab/{name}/{owner}")
    }

    fn config(self) -> String {
        let mut text: String =
            FLEET.iter().map(|builder| host(builder.name, builder.port, builder.name)).collect();
        if self == Self::Trouble {
            for (name, port) in TROUBLE {
                text.push_str(&host(name, port, BEE.name));
            }
            text.push_str(&format!(
                "{}  IdentityFile ~/.ssh/other_ed25519\n  IdentitiesOnly yes\n",
                host("refused", BEE.port, BEE.name)
            ));
        }
        text
    }

    fn write(self, root: &Root, state: &State) -> Result<()> {
        let key = |builder: &Builder, name: &str| fs::read_to_string(builder.keys(state).join(name));
        let mut known_hosts = String::new();
        for builder in &FLEET {
            known_hosts.push_str(&format!("{} {}", builder.name, key(builder, "host.pub")?));
        }
        let mut files = vec![
            ("id_ed25519", key(ANT, "client")?, 0o600),
            ("id_ed25519.pub", key(ANT, "client.pub")?, 0o644),
            ("known_hosts", known_hosts, 0o600),
            ("config", self.config(), 0o600),
        ];
        if self == Self::Trouble {
            // Bee lets ant's key in, like all of them, and its own nowhere.
            files.push(("other_ed25519", key(BEE, "client")?, 0o600));
            files.push(("other_ed25519.pub", key(BEE, "client.pub")?, 0o644));
        }
        for (owner, id, _) in OWNERS {
            let dir = self.dir(owner);
            private_directory(root, &dir, id)?;
            for (name, text, mode) in &files {
                let file = format!("{dir}/{name}");
                root.write(&file, text, *mode)?;
                chown(root.outside(file), Some(id), Some(id))?;
            }
        }
        Ok(())
    }
}

/// Puts everything in place that commands on a host may find.
pub(crate) fn prepare(root: &Root, state: &State) -> Result<()> {
    for (_, id, home) in OWNERS {
        private_directory(root, &format!("{home}/.ssh"), id)?;
    }
    [Fleet::Machines, Fleet::Trouble].into_iter().try_for_each(|fleet| fleet.write(root, state))
}

fn private_directory(root: &Root, path: &str, owner: u32) -> Result<()> {
    let inside = root.directory(path)?;
    fs::set_permissions(&inside, fs::Permissions::from_mode(0o700))?;
    Ok(chown(inside, Some(owner), Some(owner))?)
}

/// A machine in `~/.ssh/config`. `key` names the host key that it has to have.
fn host(name: &str, port: u16, key: &str) -> String {
    format!("Host {name}\n  HostName 127.0.0.1\n  Port {port}\n  User builder\n  HostKeyAlias {key}\n")
}
