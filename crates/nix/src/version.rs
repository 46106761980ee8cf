//! Which Nix this is, and what its command line can do.
//!
//! Implementations number differently: Lix 2.91 is a fork of Nix 2.18, Determinate Nix 3.4 has the command
//! line of Nix 2.28. Flags are gated by [`Ability`], never by comparing what `--version` prints.

use std::fmt;

/// Who made this Nix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Implementation {
    /// NixOS/nix.
    Nix,
    /// Lix, a fork of Nix 2.18.
    Lix,
    /// Determinate Nix.
    Determinate,
    /// Something that answers as Nix does, under this name.
    Other(String),
}

/// What `nix --version` says, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Who made it.
    pub implementation: Implementation,
    /// The version of NixOS/nix whose command line it has.
    pub base: (u32, u32, u32),
    /// The implementation's own version, as printed.
    pub own: String,
    /// The whole line.
    pub text: String,
    /// Whether it was made before `base` was released, and so may lack some of it.
    prerelease: bool,
}

/// Something that not every supported version can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ability {
    /// `--json-format N`, without which newer versions warn (2.33).
    JsonFormat,
    /// `nix store info`; older versions and Lix call it `nix store ping` (2.19).
    StoreInfo,
    /// A port in a store URI, `ssh-ng://host:22` (2.31).
    PortInStoreUri,
}

impl Ability {
    fn since(self) -> (u32, u32, u32) {
        match self {
            Ability::StoreInfo => (2, 19, 0),
            Ability::PortInStoreUri => (2, 31, 0),
            Ability::JsonFormat => (2, 33, 0),
        }
    }
}

/// Lix began as a fork of this.
const LIX_BASE: (u32, u32, u32) = (2, 18, 0);
/// The oldest NixOS/nix that is supported.
const MINIMUM: (u32, u32, u32) = (2, 24, 0);
/// The oldest Lix that is supported: its first release.
const MINIMUM_LIX: (u32, u32, u32) = (2, 90, 0);

impl Version {
    /// Understands the output of `nix --version`: `nix (Nix) 2.34.8`, `nix (Lix, like Nix) 2.91.1`,
    /// `nix (Determinate Nix 3.4.1) 2.28.2`.
    pub fn parse(output: &str) -> Option<Version> {
        let text = output.lines().map(str::trim).find(|line| line.starts_with("nix "))?.to_owned();
        let (label, number) = match text.find('(').zip(text.rfind(')')) {
            Some((open, close)) if open < close => (&text[open + 1..close], text[close + 1..].trim()),
            _ => ("Nix", text.rsplit(' ').next()?),
        };
        let (numbers, prerelease) = parse_number(number)?;
        let (implementation, base, own) = if label.starts_with("Lix") {
            (Implementation::Lix, LIX_BASE, number)
        } else if let Some(own) = label.strip_prefix("Determinate Nix") {
            let own = own.trim();
            (Implementation::Determinate, numbers, if own.is_empty() { number } else { own })
        } else if label == "Nix" {
            (Implementation::Nix, numbers, number)
        } else {
            (Implementation::Other(label.to_owned()), numbers, number)
        };
        Some(Version { implementation, base, own: own.to_owned(), prerelease, text: text.clone() })
    }

    /// Whether its command line can do this.
    pub fn has(&self, ability: Ability) -> bool {
        self.reaches(ability.since())
    }

    /// Whether nixoci works with it.
    pub fn is_supported(&self) -> bool {
        match self.implementation {
            Implementation::Lix => parse_number(&self.own).is_some_and(|(own, _)| own >= MINIMUM_LIX),
            _ => self.reaches(MINIMUM),
        }
    }

    fn reaches(&self, wanted: (u32, u32, u32)) -> bool {
        (self.base, !self.prerelease) >= (wanted, true)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match &self.implementation {
            Implementation::Nix => "Nix",
            Implementation::Lix => "Lix",
            Implementation::Determinate => "Determinate Nix",
            Implementation::Other(name) => name,
        };
        write!(f, "{name} {}", self.own)
    }
}

/// `2.34.8`, `2.34`, `2.34pre20260101_abc`, `2.91.1-lix`. Whether it is a prerelease comes second.
fn parse_number(text: &str) -> Option<((u32, u32, u32), bool)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (digits, suffix) = text.split_at(end);
    let mut parts = digits.trim_end_matches('.').split('.');
    let major = parts.next()?.parse().ok()?;
    let minor = parts.next()?.parse().ok()?;
    let patch = parts.next().and_then(|part| part.parse().ok()).unwrap_or(0);
    let prerelease = suffix.trim_start_matches('-').starts_with("pre");
    Some(((major, minor, patch), prerelease))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        Version::parse(text).unwrap()
    }

    #[test]
    fn tells_the_implementations_apart() {
        let nix = version("nix (Nix) 2.34.8\n");
        assert_eq!((nix.implementation.clone(), nix.base), (Implementation::Nix, (2, 34, 8)));
        let lix = version("nix (Lix, like Nix) 2.91.1");
        assert_eq!((lix.implementation.clone(), lix.base), (Implementation::Lix, (2, 18, 0)));
        assert_eq!(lix.to_string(), "Lix 2.91.1");
        let determinate = version("nix (Determinate Nix 3.4.1) 2.28.2");
        assert_eq!((determinate.base, determinate.own.as_str()), ((2, 28, 2), "3.4.1"));
        assert_eq!(determinate.implementation, Implementation::Determinate);
        let other = version("nix (Snix) 2.30.0");
        assert_eq!(other.implementation, Implementation::Other("Snix".into()));
        assert_eq!(version("warning: something\nnix (Nix) 2.26.3").base, (2, 26, 3));
    }

    #[test]
    fn a_fork_of_an_old_nix_is_not_newer_than_a_new_one() {
        assert!(version("nix (Nix) 2.34.8").has(Ability::JsonFormat));
        assert!(version("nix (Nix) 2.36pre20260801_abc").has(Ability::JsonFormat));
        for old in ["nix (Lix, like Nix) 2.91.1", "nix (Determinate Nix 3.4.1) 2.28.2", "nix (Nix) 2.26.3"] {
            assert!(!version(old).has(Ability::JsonFormat), "{old}");
        }
        assert!(!version("nix (Lix, like Nix) 2.91.1").has(Ability::StoreInfo));
        assert!(!version("nix (Nix) 2.33pre20260101_abc").has(Ability::JsonFormat));
    }

    #[test]
    fn knows_what_is_too_old() {
        for (text, supported) in [
            ("nix (Nix) 2.24.0", true),
            ("nix (Nix) 2.24.14", true),
            ("nix (Nix) 2.23.4", false),
            ("nix (Nix) 2.8.0", false),
            ("nix (Nix) 2.34pre20260101_abc", true),
            ("nix (Lix, like Nix) 2.90.0", true),
            ("nix (Lix, like Nix) 2.91.1-pre20250101", true),
            ("nix (Determinate Nix 3.4.1) 2.28.2", true),
            ("nix (Nix) 3.0.0", true),
        ] {
            assert_eq!(version(text).is_supported(), supported, "{text}");
        }
    }

    #[test]
    fn what_is_no_version_is_none() {
        for text in ["", "nix", "bash: nix: command not found", "nix (Nix) unknown", "nix (Nix)"] {
            assert_eq!(Version::parse(text), None, "{text:?}");
        }
    }
}
