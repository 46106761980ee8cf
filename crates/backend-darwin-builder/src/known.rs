//! Builders that are set up by modules that people use, recognised by the name they have for ssh.
//!
//! Sources: nix-darwin `modules/nix/linux-builder.nix`; Determinate `modules/nix-darwin/default.nix`; nix-rosetta-builder
//! `module.nix`; virby `module/`.

/// What is known about a builder of this name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known {
    host: &'static str,
    /// What people call it.
    pub(crate) title: &'static str,
    /// What launchd calls it.
    pub(crate) label: &'static str,
    /// A connection may start its virtual machine: whoever only asks must not connect.
    pub(crate) wakes: bool,
}

const ALL: &[Known] = &[
    Known {
        host: "linux-builder",
        title: "nix-darwin's linux-builder",
        label: "org.nixos.linux-builder",
        wakes: false,
    },
    Known {
        host: "nixos-vm-based-linux-builder",
        title: "Determinate's NixOS VM",
        label: "org.nixos.nixos-vm-based-linux-builder",
        wakes: false,
    },
    Known {
        host: "rosetta-builder",
        title: "nix-rosetta-builder",
        label: "org.nixos.rosetta-builderd",
        wakes: true,
    },
    Known { host: "virby-vm", title: "virby", label: "org.nixos.virbyd", wakes: true },
];

/// What is known about the builder of this name, if it is one of those on the Mac itself.
pub(crate) fn known(host: &str) -> Option<&'static Known> {
    ALL.iter().find(|known| known.host == host)
}
