//! Nix's settings on a host, in the flavours that commands can ask for.

use std::path::PathBuf;

use anyhow::Result;

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

    fn text(self) -> String {
        let mut lines = Vec::new();
        if self.flakes {
            // First, and not by a user's flag: without it Nix ignores `flake-registry` below, and asks the internet.
            lines.push("experimental-features = flakes");
        }
        lines.extend([
            // Nothing is fetched: without these lines every command tries for seconds.
            "substituters =",
            "flake-registry = /lab/flake-registry.json",
            "nix-path = nixpkgs=/lab/nixpkgs",
            // A build that cannot be sandboxed is an error, never a quiet unsandboxed build.
            "sandbox = true",
            "sandbox-fallback = false",
            "build-users-group = nixbld",
            "trusted-users = root",
        ]);
        if self.arm64 {
            lines.push("extra-platforms = aarch64-linux");
        }
        if !self.flakes {
            lines.retain(|line| !line.starts_with("flake-registry"));
        }
        lines.join("\n") + "\n"
    }
}

/// What the global flake registry is to everyone else: the one place where the stand-in takes nixpkgs' name.
const REGISTRY: &str = r#"{"version":2,"flakes":[{"from":{"type":"indirect","id":"nixpkgs"},"to":{"type":"path","path":"/lab/nixpkgs"}}]}
"#;

pub(crate) fn write(root: &Root) -> Result<()> {
    root.write("/lab/flake-registry.json", REGISTRY, 0o644)?;
    for flavour in Flavour::ALL {
        root.write(&format!("{}/nix.conf", flavour.conf_dir().display()), &flavour.text(), 0o644)?;
    }
    Ok(())
}
