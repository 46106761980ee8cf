//! `[backend.cross]`.

use std::collections::BTreeMap;

use nixoci_core::host::Host;
use nixoci_core::platform::NixSystem;
use nixoci_core::request::Attribute;
use nixoci_core::request::split_attribute;
use nixoci_core::{Error, Result, codes as core_codes};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of the cross backend.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Settings {
    /// The attribute of the flake to build instead of the one that was asked for by name: `packages.{host}.{name}-cross-{arch}`.
    #[schemars(extend("x-trust" = "safe"))]
    pub attr: Option<String>,
    /// The C library of what is made: `gnu` or `musl`.
    #[schemars(extend("x-trust" = "safe"))]
    pub libc: Libc,
    /// Whether programs contain their libraries.
    #[serde(rename = "static")]
    #[schemars(extend("x-trust" = "safe"))]
    pub is_static: bool,
    /// How many derivations may be built on this machine.
    #[schemars(extend("x-trust" = "safe"))]
    pub max_local_builds: usize,
    /// More names of what is expensive, with minutes: `{ tensorflow = 120 }`.
    #[schemars(extend("x-trust" = "safe"))]
    pub weights: BTreeMap<String, u32>,
}

/// A C library.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Libc {
    /// GNU's.
    #[default]
    Gnu,
    /// musl.
    Musl,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            attr: None,
            libc: Libc::Gnu,
            is_static: false,
            max_local_builds: 50,
            weights: BTreeMap::new(),
        }
    }
}

/// From where to where, as cross.nix takes it.
#[derive(Debug, Serialize)]
pub(crate) struct Swap {
    local: String,
    target: String,
    cross: CrossSystem,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CrossSystem {
    config: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    is_static: bool,
}

impl Settings {
    /// # Errors
    /// [`core_codes::CONFIG_VALUE`].
    pub(crate) fn check(&self) -> Result<()> {
        let odd = |text: &&String| text.is_empty() || text.contains(['"', '$', '\\', '\n']);
        match self.attr.iter().find(odd) {
            Some(attr) => Err(Error::new(
                &core_codes::CONFIG_VALUE,
                format!("[backend.cross] `{}` is no attribute", attr.escape_debug()),
            )),
            None => Ok(()),
        }
    }

    /// As nixpkgs names the target.
    pub(crate) fn config(&self, target: &NixSystem) -> String {
        let libc = match self.libc {
            Libc::Gnu => "gnu",
            Libc::Musl => "musl",
        };
        format!("{}-unknown-linux-{libc}", cpu(target))
    }

    pub(crate) fn swap(&self, host: &Host, target: &NixSystem) -> Swap {
        Swap {
            local: host.system.to_string(),
            target: target.to_string(),
            cross: CrossSystem { config: self.config(target), is_static: self.is_static },
        }
    }

    /// Where a project has an image for this machine to cross, best first: what the settings say, or what people call it.
    pub(crate) fn explicit(
        &self,
        host: &Host,
        target: &NixSystem,
        attribute: &Attribute,
    ) -> Vec<Vec<String>> {
        let Attribute::Name(name) = attribute else { return Vec::new() };
        let arch = target.to_oci().map(|platform| platform.architecture).unwrap_or_default();
        let filled = |template: &str| {
            split_attribute(
                &template
                    .replace("{host}", host.system.as_str())
                    .replace("{target}", target.as_str())
                    .replace("{arch}", &arch)
                    .replace("{cpu}", cpu(target))
                    .replace("{name}", name),
            )
        };
        match &self.attr {
            Some(attr) => vec![filled(attr)],
            None => CONVENTIONS.iter().map(|template| filled(template)).collect(),
        }
    }
}

/// What people call an image that is crossed.
pub const CONVENTIONS: &[&str] = &[
    "packages.{host}.{name}-cross-{arch}",
    "packages.{host}.{name}-linux-{arch}",
    "packages.{host}.{name}-{cpu}-linux",
    "packages.{host}.{name}-{arch}",
];

fn cpu(system: &NixSystem) -> &str {
    system.as_str().split('-').next().unwrap_or_default()
}
