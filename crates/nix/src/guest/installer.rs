//! NixOS's installer of Nix, for guests whose release has no package of Nix that is new enough.

use nixoci_core::platform::NixSystem;

/// A static program that carries a Nix, and takes `install linux --no-confirm`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installer {
    /// The name for people: a URL, or a file on this host.
    pub name: String,
    /// A URL, or a file in the guest.
    pub from: String,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
}

/// The release of NixOS/nix-installer that is used where no other is given. It installs the Nix of the same version.
pub const VERSION: &str = "2.35.2";

/// A file of that release.
#[derive(Clone, Copy, Debug)]
pub struct Pinned {
    system: &'static str,
    /// In bytes.
    pub size: u64,
    /// In hexadecimal.
    pub sha256: &'static str,
}

/// Source: the files of the release [`VERSION`], as several projects that use it give them, independently of each other.
const PINNED: [Pinned; 2] = [
    Pinned {
        system: "x86_64-linux",
        size: 34_320_320,
        sha256: "5448a1cd70ad945cb4d36365defbaf3731eba38e23859f3dc8bd7418e1946acc",
    },
    Pinned {
        system: "aarch64-linux",
        size: 32_467_873,
        sha256: "a1b35e56da5adadbc117c3cf17b83948ac657f3c0bd79d47bbe0aa70832b5c8e",
    },
];

impl Pinned {
    /// The file for a guest of this system, if there is one.
    pub fn of(system: &NixSystem) -> Option<Pinned> {
        PINNED.into_iter().find(|pinned| pinned.system == system.as_str())
    }

    /// Where it is downloaded from.
    pub fn url(self) -> String {
        format!("https://github.com/NixOS/nix-installer/releases/download/{VERSION}/{}", self.file())
    }

    fn file(self) -> String {
        format!("nix-installer-{}", self.system)
    }

    /// As an installer.
    pub fn installer(self) -> Installer {
        Installer { name: self.url(), from: self.url(), sha256: self.sha256.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    /// With NIXOCI_INSTALLERS, a directory with the release's files, they are what is expected: to be run where there is a network, before
    /// a release of nixoci.
    #[test]
    fn the_files_of_the_release_are_the_pinned_ones() {
        for pinned in PINNED {
            assert!(pinned.sha256.len() == 64 && pinned.sha256.bytes().all(|byte| byte.is_ascii_hexdigit()));
            assert!(pinned.url().ends_with(&format!("/{VERSION}/nix-installer-{}", pinned.system)));
            if let Some(dir) = std::env::var_os("NIXOCI_INSTALLERS") {
                let bytes = std::fs::read(std::path::Path::new(&dir).join(pinned.file())).unwrap();
                let hash = nixoci_core::text::hex(&Sha256::digest(&bytes));
                assert_eq!((bytes.len() as u64, &*hash), (pinned.size, pinned.sha256), "{}", pinned.file());
            }
        }
        assert!(Pinned::of(&"riscv64-linux".parse().unwrap()).is_none());
    }
}
