//! Platforms as Nix and as container tools name them.
//!
//! Nix says `aarch64-linux`; OCI says `linux/arm64`. OCI takes its names from Go's `GOARCH`, and there are more of them than
//! Nix has systems: an image for any of them can be read and converted, and built where Nix has a system for it.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A Nix system double such as `x86_64-linux` or `aarch64-darwin`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NixSystem(String);

/// An OCI platform such as `linux/amd64` or `linux/arm/v7`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OciPlatform {
    /// `GOOS`, such as `linux`.
    pub os: String,
    /// `GOARCH`, such as `amd64`.
    pub architecture: String,
    /// The CPU variant, such as `v7`; absent where the architecture has only one in use.
    pub variant: Option<String>,
}

/// A text that names no platform.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a platform such as linux/amd64 or linux/arm64")]
pub struct ParsePlatformError(String);

/// Every architecture of Go that a Linux image may be for. Source: Go `internal/syslist/syslist.go`; OCI image
/// specification, `image-index.md`, "Platform Variants".
const ARCHITECTURES: &[&str] = &[
    "386", "amd64", "arm", "arm64", "arm64be", "armbe", "loong64", "mips", "mips64", "mips64le", "mipsle",
    "ppc", "ppc64", "ppc64le", "riscv", "riscv64", "s390", "s390x", "sparc", "sparc64", "wasm",
];

/// Nix CPU, GOARCH, variant: those of nixpkgs' `lib/systems/doubles.nix` that Go has as well.
const CPUS: &[(&str, &str, Option<&str>)] = &[
    ("x86_64", "amd64", None),
    ("aarch64", "arm64", None),
    ("armv7l", "arm", Some("v7")),
    ("armv6l", "arm", Some("v6")),
    ("armv5tel", "arm", Some("v5")),
    ("i686", "386", None),
    ("riscv64", "riscv64", None),
    ("powerpc64le", "ppc64le", None),
    ("s390x", "s390x", None),
    ("loongarch64", "loong64", None),
    ("mips64el", "mips64le", None),
    ("mips64", "mips64", None),
    ("mipsel", "mipsle", None),
    ("mips", "mips", None),
    ("powerpc64", "ppc64", None),
    ("powerpc", "ppc", None),
    ("s390", "s390", None),
];

impl NixSystem {
    /// The CPU part: `x86_64`.
    pub fn cpu(&self) -> &str {
        self.0.split_once('-').map_or(self.0.as_str(), |(cpu, _)| cpu)
    }

    /// The kernel part: `linux`.
    pub fn kernel(&self) -> &str {
        self.0.split_once('-').map_or("", |(_, kernel)| kernel)
    }

    /// Whether this is a Linux system.
    pub fn is_linux(&self) -> bool {
        self.kernel() == "linux"
    }

    /// Whether both parts are names that Nix and containers have, and not merely two words.
    pub fn is_known(&self) -> bool {
        matches!(self.kernel(), "linux" | "darwin") && CPUS.iter().any(|(cpu, ..)| *cpu == self.cpu())
    }

    /// The Linux system of the same CPU: what a container on this host runs natively.
    pub fn to_linux(&self) -> NixSystem {
        NixSystem(format!("{}-linux", self.cpu()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same platform as OCI names it; `None` for CPUs that containers have no name for.
    pub fn to_oci(&self) -> Option<OciPlatform> {
        let &(_, architecture, variant) = CPUS.iter().find(|(cpu, ..)| *cpu == self.cpu())?;
        Some(OciPlatform {
            os: self.kernel().to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
        })
    }

    /// The system that `uname -s` and `uname -m` describe.
    pub fn from_uname(kernel: &str, machine: &str) -> Option<NixSystem> {
        let cpu = match machine {
            "arm64" => "aarch64",
            "amd64" => "x86_64",
            "i386" | "i586" => "i686",
            "ppc64le" => "powerpc64le",
            other => other,
        };
        format!("{cpu}-{}", kernel.to_lowercase()).parse().ok()
    }
}

impl OciPlatform {
    /// The Nix system of this platform; `None` where Nix has no such system.
    pub fn to_nix(&self) -> Option<NixSystem> {
        let wanted = self.normalised();
        let &(cpu, ..) = CPUS.iter().find(|(_, architecture, variant)| {
            *architecture == wanted.architecture && variant.map(str::to_owned) == wanted.variant
        })?;
        Some(NixSystem(format!("{cpu}-{}", self.os)))
    }

    /// Whether an image for `self` is an image for `other`. Variants that every CPU of an architecture
    /// has (`arm64/v8`, `amd64/v1`) count as absent; `arm` without a variant is `v7`, as containerd reads it.
    pub fn matches(&self, other: &OciPlatform) -> bool {
        self.normalised() == other.normalised()
    }

    fn normalised(&self) -> OciPlatform {
        let variant = match (self.architecture.as_str(), self.variant.as_deref()) {
            ("arm64", Some("v8" | "8")) | ("amd64", Some("v1")) => None,
            ("arm", None) => Some("v7".to_owned()),
            (_, variant) => variant.map(str::to_owned),
        };
        OciPlatform { os: self.os.clone(), architecture: self.architecture.clone(), variant }
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_')
}

impl FromStr for NixSystem {
    type Err = ParsePlatformError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('-') {
            Some((cpu, kernel)) if is_word(cpu) && is_word(kernel) => Ok(NixSystem(text.to_owned())),
            _ => Err(ParsePlatformError(text.to_owned())),
        }
    }
}

impl FromStr for OciPlatform {
    type Err = ParsePlatformError;

    /// Accepts `os/arch[/variant]`, a bare architecture (`arm64`), the names that people use for it
    /// (`x86_64`, `aarch64`) and Nix systems (`aarch64-linux`).
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = || ParsePlatformError(text.to_owned());
        if let Ok(system) = text.parse::<NixSystem>() {
            return system.to_oci().ok_or_else(fail);
        }
        let mut parts: Vec<&str> = text.split('/').collect();
        if parts.len() == 1 {
            parts.insert(0, "linux");
        }
        if parts.len() > 3 || !parts.iter().all(|part| is_word(part)) {
            return Err(fail());
        }
        let alias = CPUS.iter().find(|(cpu, ..)| *cpu == parts[1]);
        let (architecture, implied) = match (alias, parts[1]) {
            (Some((_, architecture, variant)), _) => (*architecture, *variant),
            (None, "armhf") => ("arm", Some("v7")),
            (None, other) => (other, None),
        };
        if !ARCHITECTURES.contains(&architecture) {
            return Err(fail());
        }
        let variant = parts.get(2).copied().or(implied).map(str::to_owned);
        Ok(OciPlatform { os: parts[0].to_owned(), architecture: architecture.to_owned(), variant })
    }
}

impl fmt::Display for NixSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for OciPlatform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.iter().try_for_each(|variant| write!(f, "/{variant}"))
    }
}

macro_rules! serde_as_text {
    ($($name:ident: $about:literal),*) => {$(
        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "description": $about })
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}
serde_as_text!(
    NixSystem: "A Nix system, such as x86_64-linux.",
    OciPlatform: "A platform, such as linux/amd64."
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_nix_cpu_maps_to_oci_and_back() {
        for (cpu, ..) in CPUS {
            let system: NixSystem = format!("{cpu}-linux").parse().unwrap();
            assert_eq!(system.to_oci().unwrap().to_nix().unwrap(), system);
        }
    }

    #[test]
    fn people_may_write_a_platform_in_many_ways() {
        for text in ["linux/arm64", "arm64", "aarch64", "aarch64-linux", "linux/arm64/v8", "linux/aarch64"] {
            let platform: OciPlatform = text.parse().unwrap();
            assert_eq!(platform.to_nix().unwrap().as_str(), "aarch64-linux", "{text}");
        }
        for text in ["", "linux/", "windows", "linux/amd64/v1/x", "linux/pdp11", "Linux/amd64", "a b"] {
            assert!(text.parse::<OciPlatform>().is_err(), "{text}");
        }
    }

    #[test]
    fn variants_that_every_cpu_has_do_not_matter() {
        let platform = |text: &str| text.parse::<OciPlatform>().unwrap();
        assert!(platform("linux/arm64/v8").matches(&platform("linux/arm64")));
        assert!(platform("linux/arm").matches(&platform("linux/arm/v7")));
        assert!(!platform("linux/arm/v6").matches(&platform("linux/arm/v7")));
        assert!(!platform("linux/amd64").matches(&platform("linux/arm64")));
    }

    #[test]
    fn a_mac_is_recognised_from_uname() {
        assert_eq!(NixSystem::from_uname("Darwin", "arm64").unwrap().as_str(), "aarch64-darwin");
        assert_eq!(NixSystem::from_uname("Linux", "x86_64").unwrap().as_str(), "x86_64-linux");
        assert_eq!(NixSystem::from_uname("Darwin", "arm64").unwrap().to_linux().as_str(), "aarch64-linux");
    }
}
