//! `[backend.multipass]`.

use nixoci_core::backend::Cx;
use nixoci_core::platform::NixSystem;
use nixoci_core::{Error, Remedy, Result, codes as core_codes};
use nixoci_nix::Idle;
use nixoci_nix::guest::installer::Pinned;
use nixoci_nix::guest::{Installer, SetUp};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::size::{GIB, Size};

/// Who logs in to every instance of Multipass's.
pub(crate) const USER: &str = "ubuntu";

/// Settings of the multipass backend.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Settings {
    /// The virtual machine's name.
    #[schemars(extend("x-trust" = "asks"))]
    pub instance: String,
    /// How many CPUs it gets; half of this machine's without.
    #[schemars(extend("x-trust" = "asks"))]
    pub cpus: Option<u32>,
    /// How much memory it gets: `8G`; a third of this machine's without, but at least 4G.
    #[schemars(extend("x-trust" = "asks"))]
    pub memory: Option<Size>,
    /// How big its disk may become: `60G`.
    #[schemars(extend("x-trust" = "asks"))]
    pub disk: Size,
    /// Ubuntu's release, or another image that Multipass knows.
    #[schemars(extend("x-trust" = "asks"))]
    pub image: String,
    /// How long its first boot may take, in seconds.
    #[schemars(extend("x-trust" = "asks"))]
    pub timeout: u64,
    /// How long it runs on when nobody uses it: `30m`, `2h`; `0s` for ever.
    #[schemars(extend("x-trust" = "asks"))]
    pub idle: Idle,
    /// The Nix that evaluates and builds: the virtual machine's (`guest`), or this machine's, in the virtual machine's store (`store`).
    #[schemars(extend("x-trust" = "safe"))]
    pub transport: Transport,
    /// What is sent of a project: what a flake sees (`stream`), or everything in its directory (`path`); or nothing, and Multipass
    /// mounts the directory (`mount`).
    #[schemars(extend("x-trust" = "asks", "x-trust-safe" = ["stream"]))]
    pub sources: Send,
    /// What is done when a build runs out of memory, or the disk is full.
    #[schemars(extend("x-trust" = "asks", "x-trust-safe" = ["ask", "fail"]))]
    pub on_oom: OnOom,
    /// Whether it builds for the other CPU architecture as well, whose programs qemu runs there: many times slower.
    #[schemars(extend("x-trust" = "asks"))]
    pub emulate: bool,
    /// A static installer of Nix, in place of Ubuntu's package, or of NixOS's installer where that package is too old: a URL, or a file on this machine by its whole path.
    #[schemars(extend("x-trust" = "asks"))]
    pub installer: Option<String>,
    /// The SHA-256 of the installer.
    #[schemars(extend("x-trust" = "asks"))]
    pub installer_sha256: Option<String>,
}

/// The Nix that evaluates and builds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// The virtual machine's: this machine needs none.
    #[default]
    Guest,
    /// This machine's, which builds in the virtual machine's store.
    Store,
}

/// What is sent of a project.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Send {
    /// What Git tracks, for a flake; what Git does not ignore, for a file.
    #[default]
    Stream,
    /// Everything.
    Path,
    /// Nothing: Multipass mounts the project's directory.
    Mount,
}

/// What is done when memory or disk do not suffice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnOom {
    /// Somebody is asked whether to enlarge the virtual machine.
    #[default]
    Ask,
    /// It is enlarged.
    Grow,
    /// The build fails.
    Fail,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            instance: "nixoci".to_owned(),
            cpus: None,
            memory: None,
            disk: Size(60 * GIB),
            image: "26.04".to_owned(),
            timeout: 1800,
            idle: Idle::default(),
            transport: Transport::default(),
            sources: Send::default(),
            on_oom: OnOom::default(),
            emulate: false,
            installer: None,
            installer_sha256: None,
        }
    }
}

impl Settings {
    /// Says what cannot be before anything is asked.
    pub(crate) fn check(&self) -> Result<()> {
        let wrong = |why: String| Error::new(&core_codes::CONFIG_VALUE, format!("[backend.multipass] {why}"));
        let name = &self.instance;
        let inner = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let valid = name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.ends_with(|c: char| c.is_ascii_alphanumeric())
            && name.chars().all(inner);
        if !valid {
            let text = format!(
                "`{name}` is no name of a virtual machine: letters, digits and dashes, a letter first"
            );
            return Err(wrong(text));
        }
        if name == "primary" {
            let text =
                "`primary` is Multipass's own virtual machine, into which it mounts the home directory";
            return Err(wrong(text.to_owned()).remedy(Remedy::advice("take another name, such as `nixoci`")));
        }
        if self.cpus == Some(0) {
            return Err(wrong("`cpus` is a number from 1".to_owned()));
        }
        if self.memory.is_some_and(|memory| memory < Size(GIB)) {
            return Err(wrong(
                "`memory` is less than Nix needs: 1G at least, 4G for more than small things".to_owned(),
            ));
        }
        if self.disk < Size(10 * GIB) {
            return Err(wrong("`disk` is less than Ubuntu with Nix takes: 10G at least".to_owned()));
        }
        if self.timeout == 0 {
            return Err(wrong(
                "`timeout` is a number of seconds from 1: no first boot takes no time".to_owned(),
            ));
        }
        let sha256 = self.installer_sha256.as_deref();
        let hash =
            sha256.is_some_and(|hash| hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()));
        if self.installer.is_some() != sha256.is_some() || (sha256.is_some() && !hash) {
            let text =
                "`installer` and `installer-sha256` belong together; the latter is 64 hexadecimal digits";
            return Err(wrong(text.to_owned()));
        }
        let from = self.installer.as_deref().unwrap_or("/");
        if !["/", "https://", "http://"].iter().any(|begin| from.starts_with(begin)) {
            return Err(wrong(format!(
                "`installer` is a URL, or a file by its whole path, and not `{from}`"
            )));
        }
        if self.image.starts_with('-') || self.image.is_empty() {
            return Err(wrong(format!("`{}` is no image", self.image)));
        }
        Ok(())
    }

    pub(crate) fn cpus(&self, cx: &Cx<'_>) -> u32 {
        self.cpus.unwrap_or_else(|| u32::try_from(cx.host.cpus / 2).unwrap_or(1)).max(1)
    }

    /// Given how much this machine has.
    pub(crate) fn memory(&self, host: Option<Size>) -> Size {
        let third = host.map_or(0, |Size(bytes)| bytes / 3 / GIB * GIB);
        self.memory.unwrap_or(Size(third.max(4 * GIB)))
    }

    /// Whether the package of Nix of the image's release is known to be older than 2.24; nothing if the release is not known. Source: Ubuntu's package
    /// `nix-bin`, 2.6.0 in 22.04, 2.18.1 in 24.04 and 2.34.3 in 26.04.
    pub(crate) fn has_old_package(&self) -> Option<bool> {
        let image = self.image.split_once(':').map_or(self.image.as_str(), |(_, image)| image);
        match image {
            "22.04" | "jammy" | "24.04" | "noble" => Some(true),
            "26.04" | "resolute" => Some(false),
            _ => None,
        }
    }

    /// The installer of Nix for a guest of this system, where the release's package may be too old and no other installer is given.
    pub(crate) fn fallback(&self, system: &NixSystem) -> Option<Pinned> {
        let may_be_old = self.installer.is_none() && self.has_old_package() != Some(false);
        Pinned::of(system).filter(|_| may_be_old)
    }

    /// How the guest is set up, with the installer at this place in it, or else the fallback where the package is too old.
    pub(crate) fn set_up(&self, installer: Option<String>, fallback: Option<Pinned>) -> SetUp {
        let sha256 = self.installer_sha256.as_deref().unwrap_or_default().to_ascii_lowercase();
        SetUp {
            user: USER.to_owned(),
            idle: self.idle.0,
            installer: installer.map(|from| Installer {
                name: self.installer.clone().unwrap_or_default(),
                from,
                sha256,
            }),
            fallback: fallback.map(Pinned::installer),
            emulate: self.emulate,
            backend: "multipass",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_is_refused() {
        let odd = |change: fn(&mut Settings)| {
            let mut settings = Settings::default();
            change(&mut settings);
            settings.check().unwrap_err()
        };
        assert!(Settings::default().check().is_ok());
        for error in [
            odd(|settings| settings.instance = "a_b".into()),
            odd(|settings| settings.instance = "-a".into()),
            odd(|settings| settings.instance = "primary".into()),
            odd(|settings| settings.cpus = Some(0)),
            odd(|settings| settings.timeout = 0),
            odd(|settings| settings.memory = Some(Size(1 << 20))),
            odd(|settings| settings.disk = Size(GIB)),
            odd(|settings| settings.installer = Some("x".into())),
            odd(|settings| settings.image = "--all".into()),
        ] {
            assert!(error.is(&core_codes::CONFIG_VALUE), "{error}");
        }
    }

    #[test]
    fn a_third_of_the_memory_is_taken_but_not_too_little() {
        let settings = Settings::default();
        assert_eq!(settings.memory(Some(Size(32 * GIB))), Size(10 * GIB));
        assert_eq!(settings.memory(Some(Size(8 * GIB))), Size(4 * GIB));
        assert_eq!(settings.memory(None), Size(4 * GIB));
    }
}
