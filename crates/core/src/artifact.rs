//! Store paths and what a build leaves in them.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::Digest;
use crate::platform::NixSystem;

/// A path in a Nix store, such as `/nix/store/<32 characters>-hello-2.12`. Always the top of a store object,
/// never a file inside one.
///
/// Source of the rules: Nix manual, "Store Path" (name: at most 211 characters of `[0-9a-zA-Z+-._?=]`, no
/// leading dot-only names).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StorePath {
    text: String,
    /// Where the base name begins in `text`.
    base: usize,
}

/// A text that is no store path.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a store path")]
pub struct ParseStorePathError(String);

const HASH_LENGTH: usize = 32;
const NAME_LIMIT: usize = 211;

impl StorePath {
    /// The whole path.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The whole path, as a path of this host.
    pub fn as_path(&self) -> &Path {
        Path::new(&self.text)
    }

    /// Hash and name: the last component.
    pub fn base_name(&self) -> &str {
        &self.text[self.base..]
    }

    /// The 32 characters before the name.
    pub fn hash(&self) -> &str {
        &self.text[self.base..self.base + HASH_LENGTH]
    }

    /// The name, without the hash; `.drv` included for derivations.
    pub fn name(&self) -> &str {
        &self.text[self.base + HASH_LENGTH + 1..]
    }

    /// The store this path is in: `/nix/store`.
    pub fn store_dir(&self) -> &Path {
        Path::new(&self.text[..self.base - 1])
    }

    /// Whether this is a derivation.
    pub fn is_derivation(&self) -> bool {
        self.text.ends_with(".drv")
    }

    /// The store object that `path` is, or lies in: the first two components below a `store` directory.
    pub fn containing(path: &Path) -> Option<StorePath> {
        path.ancestors().filter_map(|ancestor| ancestor.to_str()?.parse().ok()).last()
    }
}

impl FromStr for StorePath {
    type Err = ParseStorePathError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = || ParseStorePathError(text.to_owned());
        let (dir, base_name) = text.rsplit_once('/').ok_or_else(fail)?;
        let (hash, name) = base_name.split_once('-').ok_or_else(fail)?;
        let hash_ok = hash.len() == HASH_LENGTH
            && hash.bytes().all(|c| b"0123456789abcdfghijklmnpqrsvwxyz".contains(&c));
        let name_ok = (1..=NAME_LIMIT).contains(&name.len())
            && name.bytes().all(|c| c.is_ascii_alphanumeric() || b"+-._?=".contains(&c))
            && name != "."
            && name != "..";
        if !dir.starts_with('/') || dir.len() < 2 || !hash_ok || !name_ok {
            return Err(fail());
        }
        Ok(StorePath { text: text.to_owned(), base: dir.len() + 1 })
    }
}

impl fmt::Display for StorePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for StorePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl JsonSchema for StorePath {
    fn schema_name() -> Cow<'static, str> {
        "StorePath".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^/.+/[0-9a-z]{32}-.+$", "description": "A store path." })
    }
}

impl Serialize for StorePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for StorePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What Nix knows about a valid store path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PathInfo {
    /// The path.
    pub path: StorePath,
    /// SHA-256 of its NAR serialisation.
    pub nar_hash: Digest,
    /// Length of its NAR serialisation, in bytes.
    pub nar_size: u64,
    /// The store paths it mentions, itself included if it does.
    pub references: Vec<StorePath>,
    /// The derivation that made it, when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deriver: Option<StorePath>,
    /// Where this host can read it directly, so that nothing needs to be copied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<PathBuf>,
}

/// What sort of thing a build made, as far as its backend can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Role {
    /// A streamed image's `conf.json`.
    StreamConf,
    /// nix2container's JSON.
    Nix2container,
    /// An image, or whatever the user's attribute yields: the image crate decides by content.
    #[serde(other)]
    Output,
}

/// Names an artifact within its backend until it is released.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ArtifactId(pub String);

/// What a build left in a store, held by a garbage collector root until it is released.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Artifact {
    /// Where it is, in the backend's store.
    pub path: StorePath,
    /// What it is.
    pub role: Role,
    /// The system it was built for.
    pub system: NixSystem,
    /// The derivation that made it, when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drv: Option<StorePath>,
    /// The full attribute that was built (`packages.x86_64-linux.container`), when it was looked up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attribute: Option<String>,
    /// Hand this to `release` when done.
    pub id: ArtifactId,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HELLO: &str = "/nix/store/0mixbwv945yr64jsc6jla0384mdn9l4z-hello-2.12.1.tar.gz";

    #[test]
    fn takes_a_store_path_apart() {
        let path: StorePath = HELLO.parse().unwrap();
        assert_eq!(path.name(), "hello-2.12.1.tar.gz");
        assert_eq!(path.hash(), "0mixbwv945yr64jsc6jla0384mdn9l4z");
        assert_eq!(path.store_dir(), Path::new("/nix/store"));
        assert!(!path.is_derivation());
    }

    #[test]
    fn refuses_what_is_none() {
        for text in [
            "",
            "/nix/store/short-x",
            "nix/store/0mixbwv945yr64jsc6jla0384mdn9l4z-x",
            "/nix/store/0mixbwv945yr64jsc6jla0384mdn9l4z-",
            "/nix/store/0mixbwv945yr64jsc6jla0384mdn9l4z-..",
            "/nix/store/0mixbwv945yr64jsc6jla0384mdn9l4z-a b",
            "/nix/store/0mixbwv945yr64jsc6jla0384mdn9l4z-x/etc",
            "/0mixbwv945yr64jsc6jla0384mdn9l4z-x",
        ] {
            assert!(text.parse::<StorePath>().is_err(), "{text}");
        }
    }

    #[test]
    fn finds_the_object_that_holds_a_file() {
        let file = format!("{HELLO}/share/x");
        assert_eq!(StorePath::containing(Path::new(&file)).unwrap().as_str(), HELLO);
        assert_eq!(StorePath::containing(Path::new("/tmp/x")), None);
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in ".{0,300}") {
            let _ = text.parse::<StorePath>();
            let _ = format!("/nix/store/{text}").parse::<StorePath>();
        }
    }
}
