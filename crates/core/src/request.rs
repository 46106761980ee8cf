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
const PER_SYSTEM: &[&str] = &["packages", "legacyPackages", "checks", "devShells", "apps", "defaultPackage"];

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
        if let Err(why) = check_word(text) {
            return Err(fail(why));
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
        let attribute = Attribute::parse(fragment);
        check_attribute(attribute.as_str()).map_err(fail)?;
        Ok(Installable::Flake { reference: reference.to_owned(), attribute })
    }

    /// Whether every part of it can be given to a program and be taken for what it is. A part that begins with a dash would
    /// be a flag of Nix, and there are flags with which an expression runs programs.
    ///
    /// # Errors
    /// [`codes::BAD_INSTALLABLE`].
    pub fn check(&self) -> Result<()> {
        let fail = |what: &str, text: &str, why: &str| {
            let text = format!("`{}` is not {what}", text.escape_debug());
            Error::new(&codes::BAD_INSTALLABLE, text).because(why)
        };
        match self {
            Installable::Flake { reference, attribute } => {
                check_word(reference).map_err(|why| fail("a flake reference", reference, why))?;
                let attribute = attribute.as_str();
                check_attribute(attribute).map_err(|why| fail("an attribute", attribute, why))
            }
            Installable::File { attribute, args, .. } => {
                let attribute = attribute.as_deref().unwrap_or("default");
                check_attribute(attribute).map_err(|why| fail("an attribute", attribute, why))?;
                match args.keys().find(|name| !is_identifier(name)) {
                    Some(name) => {
                        Err(fail("an argument's name", name, "a function's arguments have plain names"))
                    }
                    None => Ok(()),
                }
            }
            Installable::StorePath { .. } => Ok(()),
        }
    }

    /// The Linux system that this installable names by itself, such as the one in a pasted
    /// `.#packages.x86_64-linux.container`. A Mac's own set says nothing of the image in it: many projects keep their Linux
    /// images there.
    pub fn implied_system(&self) -> Option<NixSystem> {
        let Installable::Flake { attribute: Attribute::Full(path), .. } = self else { return None };
        let parts = split_attribute(path);
        parts.get(system_place(&parts)?)?.parse().ok().filter(NixSystem::is_linux)
    }
}

/// Which component of an attribute path is a system: the second of the sets that Nix knows, whatever it is, and elsewhere the
/// first one that is a system's name (`dockerImages.x86_64-linux.web`, `hydraJobs.web.x86_64-linux`).
pub fn system_place(parts: &[String]) -> Option<usize> {
    let is_system = |part: &String| part.parse::<NixSystem>().is_ok();
    let per_system = parts.first().is_some_and(|set| PER_SYSTEM.contains(&set.as_str()));
    if per_system && parts.get(1).is_some_and(is_system) {
        return Some(1);
    }
    let known = |part: &String| part.parse::<NixSystem>().is_ok_and(|system| system.is_known());
    parts.iter().skip(1).position(known).map(|place| place + 1)
}

/// A word that no program takes for a flag, and no terminal for an instruction.
fn check_word(text: &str) -> std::result::Result<(), &'static str> {
    if text.starts_with('-') {
        return Err("it begins with a dash, as a flag does");
    }
    if text.chars().any(char::is_control) {
        return Err("it has a control character in it");
    }
    Ok(())
}

fn check_attribute(path: &str) -> std::result::Result<(), &'static str> {
    check_word(path)?;
    if !path.matches('"').count().is_multiple_of(2) {
        return Err("a quotation mark in it is not closed");
    }
    if split_attribute(path).iter().any(String::is_empty) {
        return Err("a name between its dots is empty");
    }
    Ok(())
}

/// Source: Nix manual, "Identifiers".
fn is_identifier(text: &str) -> bool {
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    begins && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '\''))
}

/// One name of an attribute path as it has to be written in a path: in quotation marks unless it is plain.
pub fn attribute_name(name: &str) -> String {
    let plain = !name.is_empty()
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '\'' | '+'));
    if plain { name.to_owned() } else { format!("\"{name}\"") }
}

impl Attribute {
    /// Takes apart what stands after `#`. A path with a system in it (see [`system_place`]), or that begins with a dot, is
    /// full; everything else is a name that is looked up.
    pub fn parse(fragment: &str) -> Attribute {
        if fragment.is_empty() {
            return Attribute::Name("default".to_owned());
        }
        if let Some(path) = fragment.strip_prefix('.') {
            return Attribute::Full(path.to_owned());
        }
        match system_place(&split_attribute(fragment)) {
            Some(_) => Attribute::Full(fragment.to_owned()),
            None => Attribute::Name(fragment.to_owned()),
        }
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
    use proptest::prelude::*;

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
        assert_eq!(system(".#dockerImages.aarch64-linux.web").unwrap().as_str(), "aarch64-linux");
        assert_eq!(system(".#hydraJobs.web.x86_64-linux").unwrap().as_str(), "x86_64-linux");
        assert_eq!(system(".#hydraJobs.\"x86_64-linux\".\"my.web\"").unwrap().as_str(), "x86_64-linux");
        // A Mac's own set holds Linux images in many projects.
        assert_eq!(system(".#packages.aarch64-darwin.container"), None);
        assert_eq!(system(".#images.my-app"), None);
    }

    proptest! {
        /// Nix never takes a name from a project or a plugin for a flag.
        #[test]
        fn no_part_of_an_installable_is_a_flag(dashes in "-{1,3}", rest in "[a-z =./#\"]{0,12}", name in "[a-z-]{1,8}") {
            let flag = format!("{dashes}{rest}");
            let file = |attribute: Option<&str>, argument: &str| Installable::File {
                path: "/p/default.nix".into(),
                attribute: attribute.map(str::to_owned),
                args: [(argument.to_owned(), NixArg::Str(flag.clone()))].into(),
            };
            prop_assert!(Installable::parse(&flag).is_err());
            prop_assert!(file(Some(&flag), "x").check().is_err());
            prop_assert!(file(None, &flag).check().is_err());
            prop_assert_eq!(file(Some("a"), &name).check().is_ok(), !name.starts_with('-'));
            for attribute in [Attribute::Name(flag.clone()), Attribute::Full(flag.clone())] {
                let flake = Installable::Flake { reference: "/p".into(), attribute };
                prop_assert!(flake.check().is_err());
            }
            let flake = Installable::Flake { reference: flag.clone(), attribute: Attribute::Name("a".into()) };
            prop_assert!(flake.check().is_err());
        }

        /// The written form of a name parses as that name.
        #[test]
        fn a_name_that_is_written_is_the_name(name in "[a-zA-Z0-9_.#?+' -]{1,12}") {
            prop_assert_eq!(split_attribute(&attribute_name(&name)), [name]);
        }
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
