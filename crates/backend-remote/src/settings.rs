//! `[backend.remote]`.

use std::path::PathBuf;

use nixoci_core::platform::NixSystem;
use nixoci_core::{Error, Result, codes as core_codes};
use nixoci_nix::ssh::SshHost;
use nixoci_nix::{Machine, Transport};
use schemars::JsonSchema;
use serde::Deserialize;

/// Settings of the remote backend.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Settings {
    /// The machines. Without, and without `from`, those that Nix knows.
    #[schemars(extend("x-trust" = "asks"))]
    pub builders: Vec<Builder>,
    /// A file with machines in the form of /etc/nix/machines.
    #[schemars(extend("x-trust" = "asks"))]
    pub from: Option<PathBuf>,
    /// How Nix is made to build there. Without settings of machines, `auto` lets the daemon connect where their keys are root's.
    #[schemars(extend("x-trust" = "safe"))]
    pub transport: Transport,
}

/// A machine.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Builder {
    /// A name of your ssh configuration, or `[USER@]HOST[:PORT]`.
    pub host: String,
    /// The Nix systems it builds for: `["x86_64-linux"]`. Without, it is asked.
    #[serde(default)]
    pub systems: Vec<String>,
    /// How many derivations it builds at once.
    #[serde(default = "one")]
    pub jobs: u32,
    /// How fast it is, compared with the others.
    #[serde(default = "same")]
    pub speed: f64,
    /// Features that derivations may ask for: `["big-parallel", "kvm"]`.
    #[serde(default)]
    pub features: Vec<String>,
    /// The private key that logs in; ssh's own choice without.
    #[serde(default)]
    pub key: Option<PathBuf>,
    /// The only host key that is accepted: `ssh-ed25519 AAAA…`; what ssh knows without.
    #[serde(default)]
    pub host_key: Option<String>,
    /// The program that serves the machine's store, where a session of ssh does not find `nix-daemon`.
    #[serde(default)]
    pub remote_program: Option<String>,
}

fn one() -> u32 {
    1
}

fn same() -> f64 {
    1.0
}

impl Builder {
    /// The machine, as Nix would list it. Without `systems`, it has none yet.
    pub(crate) fn machine(&self) -> Result<Machine> {
        let wrong = |why: String| {
            Error::new(&core_codes::CONFIG_VALUE, format!("[backend.remote] {}: {why}", self.host))
        };
        let host = self.host.strip_prefix("ssh-ng://").unwrap_or(&self.host);
        if host.contains(['?', '/']) {
            return Err(wrong("a host is written as [USER@]HOST[:PORT]".to_owned()));
        }
        let systems: Result<Vec<NixSystem>, _> = self.systems.iter().map(|name| name.parse()).collect();
        let word = |text: &String| {
            !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:".contains(c))
        };
        if let Some(odd) = self.features.iter().find(|feature| !word(feature)) {
            return Err(wrong(format!("`{odd}` is no feature")));
        }
        if !(self.speed.is_finite() && self.speed > 0.0) {
            return Err(wrong("`speed` is a number above 0".to_owned()));
        }
        let program = self.remote_program.as_deref().map(program).transpose().map_err(wrong)?;
        let machine = Machine {
            uri: format!("ssh-ng://{host}{}", program.unwrap_or_default()),
            systems: systems.map_err(|error| wrong(error.to_string()))?,
            key: self.key.clone(),
            max_jobs: self.jobs.max(1),
            speed: self.speed,
            features: self.features.clone(),
            mandatory: Vec::new(),
            host_key: self.host_key.clone(),
            address: None,
        };
        SshHost::from(&machine).check()?;
        Ok(machine)
    }
}

/// As a parameter of the store's URI. Several words are one command there.
fn program(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=~ ".contains(c);
    if text.is_empty() || text.starts_with('-') || !text.chars().all(plain) {
        return Err(format!("`{text}` cannot be its `remote-program`"));
    }
    Ok(format!("?remote-program={}", text.replace('+', "%2B").replace(' ', "%20")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn builder(host: &str) -> Builder {
        Builder {
            host: host.into(),
            systems: vec!["x86_64-linux".into()],
            jobs: 2,
            speed: 1.5,
            features: Vec::new(),
            key: None,
            host_key: None,
            remote_program: None,
        }
    }

    #[test]
    fn a_builder_is_a_machine_as_nix_lists_them() {
        let machine = Builder { remote_program: Some("sudo nix-daemon".into()), ..builder("me@box:2222") }
            .machine()
            .unwrap();
        assert_eq!(machine.uri, "ssh-ng://me@box:2222?remote-program=sudo%20nix-daemon");
        assert_eq!((machine.host(), machine.port(), machine.user()), ("box", Some(2222), Some("me")));
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_builder_s_name() {
        let feature = Builder { features: vec!["a b".into()], ..builder("box") };
        let program = Builder { remote_program: Some("x;y".into()), ..builder("box") };
        let system = Builder { systems: vec!["linux".into()], ..builder("box") };
        let speed = Builder { speed: f64::NAN, ..builder("box") };
        for odd in [feature, program, system, speed, builder("box?x=y")] {
            let error = odd.machine().unwrap_err();
            assert!(error.is(&core_codes::CONFIG_VALUE) && error.to_string().contains("box"), "{error}");
        }
    }
}
