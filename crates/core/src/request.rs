//! What to build: the words a user types, taken apart.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::artifact::StorePath;
use crate::codes;
use crate::error::{Error, Remedy, Result};
use crate::platform::NixSystem;

/// Something that Nix can realise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Installable {
    /// An attribute of a flake.
    Flake {
        /// The flake reference as Nix takes it, without `#attribute`.
        reference: String,
        /// Which attribute.
        attribute: Attribute,
    },
    /// An attribute of a Nix file.
    File {
        /// The file, or a directory with a `default.nix`.
        path: PathBuf,
        /// The attribute path; the file's value itself when absent.
        attribute: Option<String>,
        /// Arguments for the file's function, by name.
        args: BTreeMap<String, NixArg>,
    },
    /// Something that is in a store already.
    StorePath {
        /// Which.
        path: StorePath,
    },
}

/// Which attribute of a flake is meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Attribute {
    /// A short name (`container`; `default` when none was typed), looked up per system.
    Name(String),
    /// A full path (`packages.x86_64-linux.container`), taken as it is.
    Full(String),
}

/// The value of a function argument.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NixArg {
    /// `--arg`: a Nix expression.
    Expr(String),
    /// `--argstr`: a string.
    Str(String),
}

/// Output sets of a flake whose second component is a system.
/// Source: Nix manual, "nix flake check", evaluation checks.
const PER_SYSTEM: &[&str] =
    &["packages", "legacyPackages", "checks", "devShells", "apps", "defaultPackage", "hydraJobs"];

impl Installable {
    /// Takes apart what a user types after `nixoci build`: `.#container`, `./dir`, `path:…#x`, a store path.
    ///
    /// # Errors
    /// [`codes::BAD_INSTALLABLE`] for an empty text, a store derivation's output syntax, or a flag.
    pub fn parse(text: &str) -> Result<Installable> {
        let fail = |why: &str| {
            Error::new(&codes::BAD_INSTALLABLE, format!("`{text}` does not say what to build"))
                .because(why)
                .remedy(Remedy::command(
                    "name an attribute of the flake in this directory",
                    "nixoci build .#container",
                ))
        };
        if text.is_empty() {
            return Err(fail("it is empty"));
        }
        if text.contains('^') {
            return Err(fail("outputs cannot be selected with `^`: an image has one output"));
        }
        if let Ok(path) = text.parse::<StorePath>() {
            return Ok(Installable::StorePath { path });
        }
        let (reference, fragment) = match text.split_once('#') {
            Some((reference, fragment)) => (reference, fragment),
            None => (text, ""),
        };
        let reference = if reference.is_empty() { "." } else { reference };
        Ok(Installable::Flake { reference: reference.to_owned(), attribute: Attribute::parse(fragment) })
    }

    /// The Linux system that this installable names by itself, such as the one in a pasted
    /// `.#packages.x86_64-linux.container`.
    pub fn implied_system(&self) -> Option<NixSystem> {
        let Installable::Flake { attribute: Attribute::Full(path), .. } = self else { return None };
        let parts = split_attribute(path);
        let system: NixSystem = parts.get(1)?.parse().ok()?;
        PER_SYSTEM.contains(&parts[0].as_str()).then_some(system)
    }
}

impl Attribute {
    /// Takes apart what stands after `#`. A path that begins with a per-system output set and a system, or
    /// with a dot, is full; everything else is a name that is looked up.
    pub fn parse(fragment: &str) -> Attribute {
        if fragment.is_empty() {
            return Attribute::Name("default".to_owned());
        }
        if let Some(path) = fragment.strip_prefix('.') {
            return Attribute::Full(path.to_owned());
        }
        let parts = split_attribute(fragment);
        let full = parts.len() >= 2
            && PER_SYSTEM.contains(&parts[0].as_str())
            && parts[1].parse::<NixSystem>().is_ok();
        if full { Attribute::Full(fragment.to_owned()) } else { Attribute::Name(fragment.to_owned()) }
    }

    /// The text as typed.
    pub fn as_str(&self) -> &str {
        match self {
            Attribute::Name(text) | Attribute::Full(text) => text,
        }
    }
}

/// Splits an attribute path at its dots, honouring quotes: `a."b.c".d` has three parts.
pub fn split_attribute(path: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut quoted = false;
    for character in path.chars() {
        match character {
            '"' => quoted = !quoted,
            '.' if !quoted => parts.push(String::new()),
            other => {
                if let Some(part) = parts.last_mut() {
                    part.push(other);
                }
            }
        }
    }
    parts
}

/// Nix's own flags that users may pass, in a form that every backend can honour or refuse.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NixFlags {
    /// `--impure`.
    pub impure: bool,
    /// `--accept-flake-config`.
    pub accept_flake_config: bool,
    /// `--refresh`.
    pub refresh: bool,
    /// `--show-trace`.
    pub show_trace: bool,
    /// `--keep-going`.
    pub keep_going: bool,
    /// `--keep-failed`.
    pub keep_failed: bool,
    /// `--override-input INPUT REF`.
    pub override_inputs: Vec<(String, String)>,
    /// `--max-jobs N|auto`.
    pub max_jobs: Option<String>,
    /// `--cores N`.
    pub cores: Option<u32>,
    /// `--option NAME VALUE`.
    pub options: Vec<(String, String)>,
}

/// One thing to build, for one platform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BuildRequest {
    /// What.
    pub installable: Installable,
    /// For which Linux system.
    pub system: NixSystem,
    /// Attribute suffixes that are a better artifact than the output itself, best first (`stream.conf`). A
    /// backend that finds one builds it instead.
    pub prefer: Vec<String>,
    /// Nix's own flags.
    pub flags: NixFlags,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flake(text: &str) -> (String, Attribute) {
        match Installable::parse(text).unwrap() {
            Installable::Flake { reference, attribute } => (reference, attribute),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn takes_what_people_type() {
        assert_eq!(flake(".#container"), (".".into(), Attribute::Name("container".into())));
        assert_eq!(flake("./dir"), ("./dir".into(), Attribute::Name("default".into())));
        assert_eq!(flake("#x"), (".".into(), Attribute::Name("x".into())));
        assert_eq!(flake("git+https://h/r?submodules=1#a.b").1, Attribute::Name("a.b".into()));
        assert_eq!(
            flake(".#packages.x86_64-linux.container").1,
            Attribute::Full("packages.x86_64-linux.container".into())
        );
        assert_eq!(flake(".#.images.web").1, Attribute::Full("images.web".into()));
        let store = "/nix/store/0mixbwv945yr64jsc6jla0384mdn9l4z-x.tar.gz";
        assert_eq!(
            Installable::parse(store).unwrap(),
            Installable::StorePath { path: store.parse().unwrap() }
        );
    }

    #[test]
    fn a_pasted_attribute_implies_its_platform() {
        let system = |text| Installable::parse(text).unwrap().implied_system();
        assert_eq!(system(".#packages.x86_64-linux.container").unwrap().as_str(), "x86_64-linux");
        assert_eq!(system(".#legacyPackages.aarch64-linux.a.b").unwrap().as_str(), "aarch64-linux");
        assert_eq!(system(".#container"), None);
        assert_eq!(system(".#packages.container"), None);
    }

    #[test]
    fn nothing_and_output_selectors_are_refused() {
        assert!(Installable::parse("").is_err());
        assert!(Installable::parse(".#x^out").unwrap_err().is(&codes::BAD_INSTALLABLE));
    }

    #[test]
    fn quoted_attribute_parts_stay_whole() {
        assert_eq!(split_attribute(r#"a."b.c".d"#), ["a", "b.c", "d"]);
    }
}
