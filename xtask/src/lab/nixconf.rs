//! Nix's settings on a host, in the flavours that commands can ask for.

use std::path::PathBuf;

use anyhow::Result;

use super::events;
use super::mounts::Root;

/// One set of settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flavour {
    /// The host can run arm64 programs, and Nix knows.
    pub(crate) arm64: bool,
    /// Flakes are enabled in nix.conf. (`nix-command` never is: nixoci has to ask for it itself.)
    pub(crate) flakes: bool,
}

impl Flavour {
    const ALL: [Self; 4] = [
        Self { arm64: false, flakes: true },
        Self { arm64: true, flakes: true },
        Self { arm64: false, flakes: false },
        Self { arm64: true, flakes: false },
    ];

    /// Those a daemon runs with: what a daemon builds does not depend on its client's features.
    pub(crate) fn daemons() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|flavour| flavour.flakes)
    }

    pub(crate) fn name(self) -> &'static str {
        match (self.arm64, self.flakes) {
            (false, true) => "plain",
            (true, true) => "arm64",
            (false, false) => "plain-no-flakes",
            (true, false) => "arm64-no-flakes",
        }
    }

    pub(crate) fn conf_dir(self) -> PathBuf {
        PathBuf::from("/lab/nix-conf").join(self.name())
    }

    /// Where the daemon with these settings listens.
    pub(crate) fn socket_dir(self) -> PathBuf {
        let daemon = Self { flakes: true, ..self };
        PathBuf::from("/lab/nix-daemon").join(daemon.name())
    }

    /// What `enter.sh` is to bind where. Without `daemon`, Nix's socket is not there.
    pub(crate) fn binds(self, daemon: bool) -> Vec<String> {
        let mut binds = vec![format!("{}:/etc/nix", self.conf_dir().display())];
        if daemon {
            binds.push(format!("{}:/nix/var/nix/daemon-socket", self.socket_dir().display()));
        }
        binds
    }

    fn text(self) -> String {
        // A build that cannot be sandboxed is an error, never a quiet unsandboxed build.
        let mut text = format!("{COMMON}sandbox = true\nsandbox-fallback = false\n{}", events::SANDBOX);
        if self.arm64 {
            text.push_str("extra-platforms = aarch64-linux\n");
        }
        if !self.flakes {
            let kept = |line: &&str| !line.starts_with("flake-registry") && !line.starts_with("experimental");
            text = text.lines().filter(kept).map(|line| format!("{line}\n")).collect();
        }
        text
    }
}

/// What all hosts have.
///
/// Flakes come first, and not by a user's flag: without that Nix ignores `flake-registry`, and asks the internet. Nothing is
/// fetched: without an empty list of substituters every command tries for seconds.
pub(crate) const COMMON: &str = "experimental-features = flakes\n\
                                 substituters =\n\
                                 flake-registry = /lab/flake-registry.json\n\
                                 nix-path = nixpkgs=/lab/nixpkgs\n\
                                 build-users-group = nixbld\n\
                                 trusted-users = root\n";

/// What the global flake registry is to everyone else: the one place where the stand-in takes nixpkgs' name.
pub(crate) const REGISTRY: &str = r#"{"version":2,"flakes":[{"from":{"type":"indirect","id":"nixpkgs"},"to":{"type":"path","path":"/lab/nixpkgs"}}]}
"#;

pub(crate) fn write(root: &Root) -> Result<()> {
    root.write("/lab/flake-registry.json", REGISTRY, 0o644)?;
    for flavour in Flavour::ALL {
        root.write(&format!("{}/nix.conf", flavour.conf_dir().display()), &flavour.text(), 0o644)?;
    }
    Ok(())
}
