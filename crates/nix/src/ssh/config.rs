//! The ssh configuration of one run.
//!
//! Ours comes first, because ssh takes the first value it finds; the user's own follows, so that ProxyJump, agents, hardware
//! keys and names of a VPN keep working. It is left out where there is nothing for it to say.

use std::fmt::Write as _;
use std::path::Path;

use super::SshHost;

/// The configuration for these machines, with files in `dir`.
pub(crate) fn config(dir: &Path, hosts: &[SshHost]) -> String {
    // Apple's ssh knows options that others do not (UseKeychain); the user's own ssh tells of misspelt ones.
    let mut text = "# Made by nixoci for one run.\nIgnoreUnknown *\n".to_owned();
    for host in hosts {
        section(&mut text, dir, host);
    }
    // A passphrase or an unknown host key cannot be asked about in the middle of a build. Without keep-alives, a machine
    // that has vanished is noticed after many minutes.
    let _ = write!(
        text,
        "Host *\n  BatchMode yes\n  ConnectTimeout 10\n  ServerAliveInterval 15\n  ServerAliveCountMax 3\n  \
         ControlMaster no\n  ControlPath \"{}/%C\"\n  RequestTTY no\n  RemoteCommand none\n",
        dir.display()
    );
    if !hosts.iter().all(is_complete) {
        text.push_str("Match all\n  Include ~/.ssh/config\n  Include /etc/ssh/ssh_config\n");
    }
    text
}

/// Whether nothing is left for the user's own configuration to say, which could only get in the way of a machine that nixoci made.
fn is_complete(host: &SshHost) -> bool {
    host.address.is_some() && host.key.is_some() && host.host_key.is_some()
}

fn section(text: &mut String, dir: &Path, host: &SshHost) {
    let _ = writeln!(text, "Host {}", host.name);
    if let Some(address) = &host.address {
        let _ = writeln!(text, "  HostName {address}\n  ProxyCommand none\n  ProxyJump none");
    }
    if let Some(user) = &host.user {
        let _ = writeln!(text, "  User {user}");
    }
    if let Some(port) = host.port {
        let _ = writeln!(text, "  Port {port}");
    }
    if let Some(key) = &host.key {
        let _ = writeln!(text, "  IdentityFile \"{}\"\n  IdentitiesOnly yes", key.display());
    }
    if is_complete(host) {
        text.push_str("  IdentityAgent none\n");
    }
    if host.host_key.is_some() {
        let _ = writeln!(
            text,
            "  HostKeyAlias {}\n  UserKnownHostsFile \"{}/known_hosts\"\n  GlobalKnownHostsFile /dev/null\n  \
             StrictHostKeyChecking yes",
            pinned(host),
            dir.display()
        );
    }
}

/// The pinned host keys.
pub(crate) fn known_hosts(hosts: &[SshHost]) -> String {
    let line = |host: &SshHost| Some(format!("{} {}\n", pinned(host), host.host_key.as_ref()?));
    hosts.iter().filter_map(line).collect()
}

/// Under what name a pinned key is looked up: address and port do not matter.
fn pinned(host: &SshHost) -> String {
    format!("nixoci-{}", host.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_set_is_left_to_the_user_s_own_configuration() {
        let text = config(Path::new("/run"), &[SshHost { name: "box".into(), ..SshHost::default() }]);
        let (before, after) = text.split_once("Host *").unwrap();
        assert!(before.ends_with("Host box\n"), "{before}");
        assert!(after.contains("Include ~/.ssh/config"));
        assert!(!text.contains("IdentitiesOnly") && !text.contains("StrictHostKeyChecking"));
    }

    #[test]
    fn a_key_of_ours_is_the_only_one_and_a_pinned_host_key_as_well() {
        let host = SshHost {
            name: "box".into(),
            user: Some("me".into()),
            port: Some(2222),
            key: Some("/keys/a b".into()),
            host_key: Some("ssh-ed25519 AAAA".into()),
            address: Some("127.0.0.1".into()),
        };
        let text = config(Path::new("/run"), std::slice::from_ref(&host));
        for line in [
            "User me",
            "Port 2222",
            "IdentityFile \"/keys/a b\"",
            "IdentitiesOnly yes",
            "StrictHostKeyChecking yes",
            "HostName 127.0.0.1",
        ] {
            assert!(text.contains(line), "{text}");
        }
        assert!(!text.contains("Include"), "{text}");
        assert_eq!(known_hosts(&[host]), "nixoci-box ssh-ed25519 AAAA\n");
    }
}
