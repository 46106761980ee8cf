//! What this host could build.

use nixoci_core::backend::{BuilderId, How, Offer, Readiness};
use nixoci_core::host::Host;
use nixoci_core::platform::NixSystem;
use nixoci_core::{Error, Remedy, Result, shell};
use nixoci_nix::NixSettings;

use crate::error::{NOT_LINUX, WRONG_PLATFORM};
use crate::settings::Settings;

/// The systems that people ask for: each gets an answer, so that a refusal can say what would change it.
const COMMON: &[&str] = &["x86_64-linux", "aarch64-linux", "armv7l-linux", "riscv64-linux"];

/// The one builder there is.
fn builder() -> BuilderId {
    BuilderId("local".to_owned())
}

pub(crate) fn require_linux(host: &Host) -> Result<()> {
    if host.system.is_linux() {
        return Ok(());
    }
    Err(Error::new(&NOT_LINUX, format!("this machine is {}, and images need Linux derivations", host.system)))
}

/// An offer for every system that Nix builds for here, and a reasoned refusal for the other common ones.
pub(crate) fn offers(nix: &NixSettings, settings: &Settings, host: &Host) -> Vec<Offer> {
    let mut offers = vec![offer(&nix.system, host, Readiness::Ready)];
    for system in &nix.extra_platforms {
        if system.is_linux() && system != &nix.system && settings.extra_platforms {
            offers.push(offer(system, host, Readiness::Ready));
        }
    }
    offers.retain(|offer| offer.system.is_linux());
    for system in COMMON.iter().filter_map(|name| name.parse::<NixSystem>().ok()) {
        if !offers.iter().any(|offer| offer.system == system) {
            let error = wrong_platform(&system, nix, settings);
            offers.push(offer(&system, host, Readiness::No { error }));
        }
    }
    offers
}

/// The offer for the machine's own platform.
pub(crate) fn native(host: &Host) -> Offer {
    offer(&host.system, host, Readiness::Ready)
}

/// Why nothing can be built for `system`, by these offers.
pub(crate) fn refusal(offers: &[Offer], host: &Host, system: &NixSystem) -> Option<Error> {
    match offers.iter().find(|offer| &offer.system == system) {
        Some(Offer { readiness: Readiness::No { error }, .. }) => Some(error.clone()),
        Some(_) => None,
        None => Some(Error::new(&WRONG_PLATFORM, format!("{} cannot build for {system}", host.system))),
    }
}

fn offer(system: &NixSystem, host: &Host, readiness: Readiness) -> Offer {
    Offer { system: system.clone(), how: how(system, host), readiness, builder: builder() }
}

fn how(system: &NixSystem, host: &Host) -> How {
    let native = match (host.system.cpu(), system.cpu()) {
        (own, wanted) if own == wanted => true,
        // These CPUs run the older instruction set themselves.
        ("x86_64", "i686") => true,
        ("aarch64", "armv7l" | "armv6l") => true,
        _ => false,
    };
    if native { How::Native } else { How::Translated }
}

fn wrong_platform(system: &NixSystem, nix: &NixSettings, settings: &Settings) -> Error {
    let configured = nix.extra_platforms.contains(system);
    let error = Error::new(
        &WRONG_PLATFORM,
        format!("this machine's Nix builds for {}, not for {system}", nix.system),
    );
    if configured && !settings.extra_platforms {
        return error
            .because("Nix could (it is in extra-platforms), but [backend.local] extra-platforms is false")
            .remedy(Remedy::lines("allow it in nixoci.toml", "[backend.local]\nextra-platforms = true"));
    }
    let cpu = if system.cpu() == "armv7l" { "arm" } else { system.cpu() };
    error
        .because(format!("its `extra-platforms` setting does not have {system}"))
        .remedy(Remedy::command(
            format!("let this machine emulate {cpu} (Debian, Ubuntu; slow, but true to the platform)"),
            shell!(
                "sudo apt install qemu-user-static binfmt-support\n\
                 echo {} | sudo tee -a /etc/nix/nix.conf\n\
                 sudo systemctl restart nix-daemon",
                format!("extra-platforms = {system}")
            ),
        ))
        .remedy(Remedy::lines(
            "the same on NixOS, in configuration.nix",
            format!("boot.binfmt.emulatedSystems = [ \"{system}\" ];"),
        ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(system: &str) -> Host {
        Host { system: system.parse().unwrap(), home: None, uid: 0, env: Default::default(), cpus: 1 }
    }

    fn nix(extra: &[&str]) -> NixSettings {
        NixSettings {
            system: "x86_64-linux".parse().unwrap(),
            extra_platforms: extra.iter().map(|s| s.parse().unwrap()).collect(),
            experimental_features: Vec::new(),
            sandbox: "true".into(),
            sandbox_fallback: true,
            builders: String::new(),
            max_jobs: 1,
            external_builders: Vec::new(),
            system_features: Vec::new(),
            substituters: Vec::new(),
        }
    }

    fn readiness(offers: &[Offer], system: &str) -> (Option<u8>, How) {
        let offer = offers.iter().find(|offer| offer.system.as_str() == system).unwrap();
        (offer.readiness.rank(), offer.how)
    }

    #[test]
    fn the_own_platform_is_native_and_an_extra_one_translated() {
        let offers =
            offers(&nix(&["i686-linux", "aarch64-linux"]), &Settings::default(), &host("x86_64-linux"));
        assert_eq!(readiness(&offers, "x86_64-linux"), (Some(0), How::Native));
        assert_eq!(readiness(&offers, "i686-linux"), (Some(0), How::Native));
        assert_eq!(readiness(&offers, "aarch64-linux"), (Some(0), How::Translated));
    }

    #[test]
    fn a_platform_that_is_missing_is_refused_with_the_way_to_get_it() {
        let host = host("x86_64-linux");
        let offers = offers(&nix(&[]), &Settings::default(), &host);
        let error = refusal(&offers, &host, &"aarch64-linux".parse().unwrap()).unwrap();
        assert!(error.is(&WRONG_PLATFORM));
        assert!(
            error.report().remedies[0].command.as_ref().unwrap().contains("extra-platforms = aarch64-linux")
        );
    }

    #[test]
    fn emulation_can_be_switched_off() {
        let settings = Settings { extra_platforms: false };
        let host = host("x86_64-linux");
        let offers = offers(&nix(&["aarch64-linux"]), &settings, &host);
        let error = refusal(&offers, &host, &"aarch64-linux".parse().unwrap()).unwrap();
        assert!(error.report().causes[0].contains("[backend.local]"));
    }

    #[test]
    fn a_mac_is_told_why() {
        assert!(require_linux(&host("aarch64-darwin")).unwrap_err().is(&NOT_LINUX));
    }
}
