//! Builders that are set up by modules that people use, recognised by the name they have for ssh.
//!
//! Sources: nix-darwin `modules/nix/linux-builder.nix`; Determinate `modules/nix-darwin/default.nix`; nix-rosetta-builder
//! `module.nix`; virby `module/`; nix-apple-container `builders.nix`.

use nixoci_core::{Error, Remedy, shell};

use crate::ssh::codes;

/// What is known about a builder of this name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// The name.
    pub host: &'static str,
    /// What people call it.
    pub title: &'static str,
    /// What launchd calls it, if it is one of the system's services.
    pub label: Option<&'static str>,
    /// A connection may start its virtual machine: whoever only asks must not connect.
    pub wakes: bool,
}

const ALL: &[Known] = &[
    Known {
        host: "linux-builder",
        title: "nix-darwin's linux-builder",
        label: Some("org.nixos.linux-builder"),
        wakes: false,
    },
    Known {
        host: "nixos-vm-based-linux-builder",
        title: "Determinate's NixOS VM",
        label: Some("org.nixos.nixos-vm-based-linux-builder"),
        wakes: false,
    },
    Known {
        host: "rosetta-builder",
        title: "nix-rosetta-builder",
        label: Some("org.nixos.rosetta-builderd"),
        wakes: true,
    },
    Known { host: "virby-vm", title: "virby", label: Some("org.nixos.virbyd"), wakes: true },
    Known { host: "nix-builder-aarch64", title: "nix-apple-container", label: None, wakes: false },
    Known { host: "nix-builder-amd64", title: "nix-apple-container", label: None, wakes: false },
];

impl Known {
    /// What is known about the builder of this name, if it is one of those on the Mac itself.
    pub fn named(host: &str) -> Option<&'static Known> {
        ALL.iter().find(|known| known.host == host)
    }

    /// Adds what helps with a builder of launchd's: the error says that it cannot be used.
    pub(crate) fn help(&self, error: Error) -> Error {
        let Some(label) = self.label else { return error };
        // No restart makes a key known or readable.
        if error.is(&codes::HOST_KEY_UNKNOWN) || error.is(&codes::KEY_UNREADABLE) {
            return error;
        }
        let service = format!("system/{label}");
        let look = Remedy::command("see what launchd says", shell!("launchctl print {}", service));
        let restart = Remedy::command("restart it", shell!("sudo launchctl kickstart -k {}", service));
        error.remedy_first(restart).remedy(look)
    }
}
