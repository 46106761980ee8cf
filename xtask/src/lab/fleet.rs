//! The fleet as its users reach it: a `~/.ssh` with a key, the machines' host keys and a `config`, as people have it.
//!
//! Nothing of Nix's names these machines: that is for whoever uses them to say.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};

use anyhow::Result;

use super::builder::{Builder, FLEET};
use super::mounts::Root;
use super::state::State;

/// Who has the key: name, id and home.
const OWNERS: [(&str, u32, &str); 2] = [("root", 0, "/root"), ("alice", 1000, "/home/alice")];

/// What `enter.sh` is to bind where.
pub(crate) fn binds() -> Vec<String> {
    OWNERS.map(|(owner, _, home)| format!("{}:{home}/.ssh", dir(owner))).to_vec()
}

fn dir(owner: &str) -> String {
    format!("/lab/fleet/{owner}")
}

/// Puts everything in place that commands on a host may find.
pub(crate) fn prepare(root: &Root, state: &State) -> Result<()> {
    let key = |builder: &Builder, name: &str| fs::read_to_string(builder.keys(state).join(name));
    let mut known_hosts = String::new();
    for builder in &FLEET {
        known_hosts.push_str(&format!("{} {}", builder.name, key(builder, "host.pub")?));
    }
    let [first, ..] = &FLEET;
    let config: String = FLEET.iter().map(|builder| host(builder.name, builder.port, builder.name)).collect();
    let files = [
        ("id_ed25519", key(first, "client")?, 0o600),
        ("id_ed25519.pub", key(first, "client.pub")?, 0o644),
        ("known_hosts", known_hosts, 0o600),
        ("config", config, 0o600),
    ];
    for (owner, id, home) in OWNERS {
        // The mount point; what is bound there belongs to its owner as well.
        for dir in [format!("{home}/.ssh"), dir(owner)] {
            let inside = root.directory(dir)?;
            fs::set_permissions(&inside, fs::Permissions::from_mode(0o700))?;
            chown(inside, Some(id), Some(id))?;
        }
        for (name, text, mode) in &files {
            let file = format!("{}/{name}", dir(owner));
            root.write(&file, text, *mode)?;
            chown(root.outside(file), Some(id), Some(id))?;
        }
    }
    Ok(())
}

/// A machine in `~/.ssh/config`. `key` names the host key that it has to have.
fn host(name: &str, port: u16, key: &str) -> String {
    format!("Host {name}\n  HostName 127.0.0.1\n  Port {port}\n  User builder\n  HostKeyAlias {key}\n\n")
}
