//! Who builds what cannot be crossed.

use nixoci_core::Remedy;
use nixoci_core::host::Host;
use nixoci_core::platform::NixSystem;

/// The backends that build for this system natively, from this machine, with how to ask for them.
pub(crate) fn remedies(host: &Host, target: &NixSystem) -> Vec<Remedy> {
    let same_cpu = host.system.to_linux() == *target;
    let mut remedies = Vec::new();
    let mut way = |text: &str, command: &str| remedies.push(Remedy::command(text, command));
    if host.system.kernel() != "darwin" {
        if same_cpu {
            way("let this machine build it itself", "nixoci build --backend local");
        } else {
            way("build it on a machine that has that CPU", "nixoci build --backend remote");
        }
        return remedies;
    }
    if host.system.as_str() == "aarch64-darwin" {
        way("build it on Linux: a builder on this Mac, for both CPUs", "nixoci build --backend rosetta");
    } else {
        way(
            "build it on Linux: with the builder that this Mac's Nix knows",
            "nixoci build --backend darwin-builder",
        );
    }
    if same_cpu {
        way("or a virtual machine that needs no Nix here", "nixoci build --backend multipass");
    } else {
        way(
            "or a virtual machine that needs no Nix here (`emulate = true` in [backend.multipass]: it has another CPU)",
            "nixoci build --backend multipass",
        );
    }
    remedies
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_named_can_build_it() {
        let named = |host: &str, target: &str| {
            let host = Host { system: host.parse().unwrap(), home: None, uid: 501, env: [].into(), cpus: 1 };
            let commands =
                remedies(&host, &target.parse().unwrap()).into_iter().filter_map(|remedy| remedy.command);
            commands
                .map(|command| command.rsplit(' ').next().unwrap_or_default().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(named("aarch64-darwin", "aarch64-linux"), ["rosetta", "multipass"]);
        assert_eq!(named("x86_64-darwin", "x86_64-linux"), ["darwin-builder", "multipass"]);
        assert_eq!(named("x86_64-linux", "aarch64-linux"), ["remote"]);
    }
}
