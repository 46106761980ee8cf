//! The image's configuration: what it says, and the one place where it is mended.
//!
//! Source: OCI image specification, `config.md`; Docker image specification v1.2, which it continues. The
//! bytes are kept as they are, because their digest is the image's identity, with one exception that
//! [`ImageConfig::parse`] documents.

use std::collections::BTreeMap;

use nixoci_core::digest::Digest;
use nixoci_core::platform::OciPlatform;
use nixoci_core::{Error, Result, ResultExt};

use crate::codes;
use crate::json::Object;
use crate::summary::Warning;
use crate::text::show;

/// What a configuration says.
pub(crate) struct ImageConfig {
    pub(crate) platform: OciPlatform,
    pub(crate) created: Option<String>,
    pub(crate) entrypoint: Vec<String>,
    pub(crate) cmd: Vec<String>,
    pub(crate) env: Vec<String>,
    pub(crate) working_dir: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) exposed_ports: Vec<String>,
    pub(crate) labels: BTreeMap<String, String>,
    /// Digests of the uncompressed layers, the lowest first.
    pub(crate) diff_ids: Vec<Digest>,
    /// The store paths of each layer; empty where the history does not say.
    pub(crate) store_paths: Vec<Vec<String>>,
    /// The configuration as it is written, where that is not as it came: with commands as lists, and the date that was
    /// asked for.
    pub(crate) written: Option<String>,
    /// The same, but with commands as they came.
    pub(crate) source: Option<String>,
    pub(crate) warnings: Vec<Warning>,
}

const WHAT: &str = "the image's configuration";

impl ImageConfig {
    /// Reads a configuration.
    ///
    /// `Cmd` or `Entrypoint` as a plain string is taken by Docker's classic store and refused by everyone else:
    /// their type in the specification is a list, and Docker 28 with the containerd store loads such an image
    /// and cannot run it. [`written`](ImageConfig::written) then holds the same text with brackets around that
    /// string, and every other byte as it was.
    pub(crate) fn parse(text: &str, created: Option<&str>) -> Result<ImageConfig> {
        let root = Object::parse(text, WHAT)?;
        let mut warnings = Vec::new();
        let platform = platform(&root, &mut warnings)?;
        let rootfs = root.object("rootfs")?.ok_or_else(|| root.missing("rootfs"))?;
        let diff_ids = diff_ids(&rootfs)?;
        let config = match root.object("config")? {
            Some(config) => config,
            None => Object::parse("{}", WHAT)?,
        };
        let commands = commands(text, &config, &mut warnings);
        let date = created.map(|created| date(text, &root, created));
        let all: Vec<Edit> = commands.iter().cloned().chain(date.clone()).collect();
        Ok(ImageConfig {
            platform,
            created: created
                .map_or_else(|| root.string("created"), |created| Ok(Some(created.to_owned())))?,
            entrypoint: config.words("Entrypoint")?,
            cmd: config.words("Cmd")?,
            env: config.strings("Env")?,
            working_dir: config.string("WorkingDir")?,
            user: config.string("User")?,
            exposed_ports: config.object("ExposedPorts")?.iter().flat_map(|o| keys(o)).collect(),
            labels: config.object("Labels")?.iter().flat_map(Object::texts).collect(),
            store_paths: store_paths(&root, diff_ids.len()),
            diff_ids,
            written: edit(text, all),
            source: edit(text, date.into_iter().collect()),
            warnings,
        })
    }

    /// What a container would start: entrypoint and command.
    pub(crate) fn argv(&self) -> Vec<&str> {
        self.entrypoint.iter().chain(&self.cmd).map(String::as_str).collect()
    }
}

fn keys(object: &Object<'_>) -> Vec<String> {
    object.keys().map(str::to_owned).collect()
}

fn platform(root: &Object<'_>, warnings: &mut Vec<Warning>) -> Result<OciPlatform> {
    let os = root.string("os")?.ok_or_else(|| root.missing("os"))?;
    let architecture = root.string("architecture")?.ok_or_else(|| root.missing("architecture"))?;
    let mut text = format!("{os}/{architecture}");
    if let Some(variant) = root.string("variant")? {
        text = format!("{text}/{variant}");
    }
    let fail = |why: &str| {
        let shown = show(text.as_bytes());
        Error::new(&codes::BAD_PLATFORM, format!("the image says it is for `{shown}`")).because(why)
    };
    if os != "linux" {
        return Err(fail("only images for Linux are handled"));
    }
    let platform: OciPlatform =
        text.parse().map_err(|_| fail("that is no platform that container tools have a name for"))?;
    if platform.architecture != architecture {
        let text = format!(
            "the image's architecture is written `{architecture}`; container tools call it `{}`",
            platform.architecture
        );
        warnings.push(Warning::new(&codes::ARCHITECTURE_ALIAS, text));
    }
    Ok(platform)
}

fn diff_ids(rootfs: &Object<'_>) -> Result<Vec<Digest>> {
    let parse = |text: String| {
        let shown = show(text.as_bytes());
        // Only OCI's own notation: Nix's would parse, too.
        let hex = text.strip_prefix("sha256:").unwrap_or_default();
        Digest::from_hex(hex).or_error(&codes::BAD_JSON, || format!("`{shown}` is not a layer's digest"))
    };
    rootfs.strings("diff_ids")?.into_iter().map(parse).collect()
}

/// `streamLayeredImage` notes a layer's store paths in its history, as Python prints a list:
/// `store paths: ['/nix/store/…-a', '/nix/store/…-b']`. A history that does not fit the layers says nothing.
fn store_paths(root: &Object<'_>, layers: usize) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    for (index, item) in root.list("history").unwrap_or_default().iter().enumerate() {
        let Ok(entry) = Object::parse(item.get(), format!("history entry {index}")) else {
            return vec![Vec::new(); layers];
        };
        if !entry.flag("empty_layer") {
            let comment = entry.string("comment").ok().flatten().unwrap_or_default();
            paths.push(listed_paths(&comment));
        }
    }
    if paths.len() == layers { paths } else { vec![Vec::new(); layers] }
}

fn listed_paths(comment: &str) -> Vec<String> {
    let Some(list) = comment.strip_prefix("store paths: [") else { return Vec::new() };
    let quoted = list.split('\'').skip(1).step_by(2);
    quoted.filter(|path| path.starts_with('/')).map(str::to_owned).collect()
}

/// A place in the text, what is there, and what takes its place.
type Edit = (usize, usize, String);

fn place_of(text: &str, value: &str) -> (usize, usize) {
    // Raw values are slices of the text: where they begin in it is where they are replaced.
    (value.as_ptr() as usize - text.as_ptr() as usize, value.len())
}

/// Commands that are plain strings become lists of one element.
fn commands(text: &str, config: &Object<'_>, warnings: &mut Vec<Warning>) -> Vec<Edit> {
    let mut edits = Vec::new();
    for key in ["Cmd", "Entrypoint"] {
        let found = config.all(key).map(|value| value.get()).filter(|value| value.starts_with('"'));
        let before = edits.len();
        edits.extend(found.map(|value| {
            let (at, length) = place_of(text, value);
            (at, length, format!("[{value}]"))
        }));
        if edits.len() > before {
            let text = format!("`{key}` is a plain string; a list of one element was written instead");
            warnings.push(Warning::new(&codes::COMMAND_IS_STRING, text));
        }
    }
    edits
}

/// The date of the image becomes this one.
fn date(text: &str, root: &Object<'_>, created: &str) -> Edit {
    let value = serde_json::Value::from(created).to_string();
    match root.all("created").last() {
        Some(old) => {
            let (at, length) = place_of(text, old.get());
            (at, length, value)
        }
        None => (text.find('{').map_or(0, |at| at + 1), 0, format!("\"created\":{value},")),
    }
}

/// The text with these changes, every other byte as it was; nothing without changes.
fn edit(text: &str, mut edits: Vec<Edit>) -> Option<String> {
    if edits.is_empty() {
        return None;
    }
    edits.sort_unstable();
    let mut edited = String::with_capacity(text.len() + 64);
    let mut copied = 0;
    for (at, length, new) in edits {
        edited.push_str(&text[copied..at]);
        edited.push_str(&new);
        copied = at + length;
    }
    edited.push_str(&text[copied..]);
    Some(edited)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LAYER: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn config(rest: &str) -> String {
        let rootfs = format!(r#""rootfs":{{"type":"layers","diff_ids":["{LAYER}"]}}"#);
        format!(r#"{{"architecture":"amd64","os":"linux",{rootfs}{rest}}}"#)
    }

    #[test]
    fn a_command_given_as_a_string_is_mended_and_nothing_else_changes() {
        let text = config(
            ",\n \"config\": { \"X\" : 1.0,  \"Cmd\" :\"a\\u0062\" , \"Entrypoint\":\"\\\"e\" }, \"Cmd\":\"no\"",
        );
        let parsed = ImageConfig::parse(&text, None).unwrap();
        assert_eq!(parsed.cmd, ["ab"]);
        assert_eq!(parsed.entrypoint, ["\"e"]);
        let expected = text.replace(r#""a\u0062""#, r#"["a\u0062"]"#).replace(r#""\"e""#, r#"["\"e"]"#);
        assert_eq!(parsed.written.unwrap(), expected);
        assert_eq!(parsed.warnings.len(), 2);
    }

    #[test]
    fn a_proper_configuration_is_left_alone() {
        let text = config(
            r#","config":{"Cmd":["a"],"Entrypoint":null,"Env":["A=b"],"User":"","preferLocalBuild":true}"#,
        );
        let parsed = ImageConfig::parse(&text, None).unwrap();
        assert!(parsed.written.is_none() && parsed.warnings.is_empty());
        assert_eq!(parsed.argv(), ["a"]);
        assert_eq!(parsed.user, None);
    }

    #[test]
    fn the_history_names_store_paths() {
        let history = r#","history":[{"comment":"store paths: ['/nix/store/a-x', '/nix/store/b-y']"},
            {"empty_layer":true}]"#;
        let parsed = ImageConfig::parse(&config(history), None).unwrap();
        assert_eq!(parsed.store_paths, [["/nix/store/a-x", "/nix/store/b-y"]]);
        let odd = ImageConfig::parse(&config(r#","history":[{},{}]"#), None).unwrap();
        assert_eq!(odd.store_paths, [[""; 0]]);
    }

    #[test]
    fn only_linux_on_a_known_cpu_is_taken() {
        let with = |os: &str, cpu: &str| {
            config("").replace("\"linux\"", &format!("{os:?}")).replace("\"amd64\"", &format!("{cpu:?}"))
        };
        assert!(ImageConfig::parse(&with("darwin", "arm64"), None).err().unwrap().is(&codes::BAD_PLATFORM));
        assert!(ImageConfig::parse(&with("linux", "pdp11"), None).err().unwrap().is(&codes::BAD_PLATFORM));
        let alias = ImageConfig::parse(&with("linux", "aarch64"), None).unwrap();
        assert_eq!(alias.platform.to_string(), "linux/arm64");
        assert_eq!(alias.warnings[0].code, codes::ARCHITECTURE_ALIAS.id);
    }

    proptest! {
        #[test]
        fn arbitrary_configurations_never_panic(text in ".{0,200}", at in 0usize..200, byte: u8) {
            let _ = ImageConfig::parse(&text, None);
            let mut bytes = config(r#","config":{"Cmd":"x"},"history":[{"comment":"store paths: ['/a']"}]"#).into_bytes();
            let at = at % bytes.len();
            bytes[at] = byte;
            if let Ok(text) = std::str::from_utf8(&bytes) {
                let _ = ImageConfig::parse(text, Some("1970-01-01T00:00:01Z"));
            }
        }
    }
}
