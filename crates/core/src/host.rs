//! What is known about the machine nixoci runs on.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::platform::NixSystem;

/// Facts about this host, gathered once. Backends ask here instead of looking themselves, so that a test
/// can give them another machine.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Host {
    /// What `uname` says, as a Nix system: `aarch64-darwin`, `x86_64-linux`.
    pub system: NixSystem,
    /// The user's home directory.
    pub home: Option<PathBuf>,
    /// The effective user's id.
    pub uid: u32,
    /// The environment nixoci was started with.
    pub env: BTreeMap<String, String>,
    /// How many CPUs there are.
    pub cpus: usize,
}

impl Host {
    /// An environment variable; an empty one counts as absent.
    pub fn var(&self, name: &str) -> Option<&str> {
        self.env.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Whether nixoci runs as root.
    pub fn is_root(&self) -> bool {
        self.uid == 0
    }

    /// Reads a regular file of the host, at most `limit` bytes of it.
    pub fn read(&self, path: &Path, limit: u64) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        crate::file::open(path)?.take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// Where nixoci keeps things, by the XDG base directory specification (also on macOS, where people who use
/// Nix expect it).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Dirs {
    /// `$XDG_CACHE_HOME/nixoci`: what can be made again.
    pub cache: PathBuf,
    /// `$XDG_CONFIG_HOME/nixoci`: what the user wrote.
    pub config: PathBuf,
    /// `$XDG_STATE_HOME/nixoci`: logs and receipts.
    pub state: PathBuf,
}

impl Dirs {
    /// The directories for this environment; `None` without a home directory and without the variables.
    pub fn from_host(host: &Host) -> Option<Dirs> {
        Dirs::from_environment(|name| host.var(name).map(PathBuf::from), host.home.as_deref())
    }

    /// As [`from_host`](Self::from_host), for who knows no more of the host than its variables and the home directory.
    pub fn from_environment(var: impl Fn(&str) -> Option<PathBuf>, home: Option<&Path>) -> Option<Dirs> {
        let place = |variable: &str, fallback: &str| {
            let configured = var(variable).filter(|path| path.is_absolute());
            let base = configured.or_else(|| Some(home?.join(fallback)))?;
            Some(base.join("nixoci"))
        };
        Some(Dirs {
            cache: place("XDG_CACHE_HOME", ".cache")?,
            config: place("XDG_CONFIG_HOME", ".config")?,
            state: place("XDG_STATE_HOME", ".local/state")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(env: &[(&str, &str)]) -> Host {
        Host {
            system: "x86_64-linux".parse().unwrap(),
            home: Some("/home/u".into()),
            uid: 1000,
            env: env.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
            cpus: 2,
        }
    }

    #[test]
    fn relative_xdg_directories_are_ignored_as_the_specification_says() {
        let dirs = Dirs::from_host(&host(&[("XDG_CACHE_HOME", "rel"), ("XDG_CONFIG_HOME", "/c")])).unwrap();
        assert_eq!(dirs.cache, Path::new("/home/u/.cache/nixoci"));
        assert_eq!(dirs.config, Path::new("/c/nixoci"));
    }

    #[test]
    fn an_empty_variable_counts_as_absent() {
        assert_eq!(host(&[("X", "")]).var("X"), None);
    }
}
