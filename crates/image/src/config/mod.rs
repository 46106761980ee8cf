//! The image's configuration: what it says, and the one place where it is mended.
//!
//! Source: OCI image specification, `config.md`; Docker image specification v1.2, which it continues. The
//! bytes are kept as they are, because their digest is the image's identity, with one exception that
//! [`ImageConfig::parse`] documents.

mod types;

use std::collections::BTreeMap;

use nixoci_core::digest::Digest;
use nixoci_core::platform::OciPlatform;
use nixoci_core::{Error, Remedy, Result, ResultExt};

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

/// Values that replace or complete those of a configuration.
#[derive(Clone, Copy, Default)]
pub(crate) struct Given<'a> {
    /// The date of the image, in place of its own.
    pub(crate) created: Option<&'a str>,
    /// The platform of an image that names none. `crane append` leaves `os` empty.
    pub(crate) platform: Option<&'a OciPlatform>,
}

impl ImageConfig {
    /// Reads a configuration.
    ///
    /// `Cmd` or `Entrypoint` as a plain string is taken by Docker's classic store and refused by everyone else:
    /// their type in the specification is a list, and Docker 28 with the containerd store loads such an image
    /// and cannot run it. [`written`](ImageConfig::written) then holds the same text with brackets around that
    /// string, and every other byte as it was.
    ///
    /// # Errors
    /// [`codes::BAD_CONFIG`] where a key has another type than Go's `image.Image`, with the line of Nix that is right;
    /// [`codes::BAD_PLATFORM`]; [`codes::BAD_JSON`].
    pub(crate) fn parse(text: &str, given: Given<'_>) -> Result<ImageConfig> {
        let root = Object::parse(text, WHAT)?;
        types::check(&root, given.created.is_some())?;
        let mut warnings = Vec::new();
        let (platform, named) = platform(text, &root, given.platform, &mut warnings)?;
        let rootfs = root.object("rootfs")?.ok_or_else(|| root.missing("rootfs"))?;
        let diff_ids = diff_ids(&rootfs)?;
        let config = match root.object("config")? {
            Some(config) => config,
            None => Object::parse("{}", WHAT)?,
        };
        let commands = commands(text, &config, &mut warnings);
        let date = given.created.map(|created| put(text, &root, "created", created));
        let kept: Vec<Edit> = date.into_iter().chain(named).collect();
        let all: Vec<Edit> = commands.into_iter().chain(kept.iter().cloned()).collect();
        Ok(ImageConfig {
            platform,
            created: match given.created {
                Some(created) => Some(created.to_owned()),
                None => root.string("created")?,
            },
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
            source: edit(text, kept),
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

/// The platform, and what is to be written where the configuration names none.
fn platform(
    text: &str,
    root: &Object<'_>,
    given: Option<&OciPlatform>,
    warnings: &mut Vec<Warning>,
) -> Result<(OciPlatform, Vec<Edit>)> {
    let (os, architecture) = (root.string("os")?, root.string("architecture")?);
    let (Some(os), Some(architecture)) = (os, architecture) else {
        return unnamed(text, root, given, warnings);
    };
    let mut name = format!("{os}/{architecture}");
    if let Some(variant) = root.string("variant")? {
        name = format!("{name}/{variant}");
    }
    let fail = |why: &str| {
        bad_platform(&format!("the image says it is for `{}`", show(name.as_bytes()))).because(why)
    };
    if os != "linux" {
        return Err(fail("only images for Linux are handled"));
    }
    let platform: OciPlatform =
        name.parse().map_err(|_| fail("that is no platform that container tools have a name for"))?;
    if platform.architecture != architecture {
        let text = format!(
            "the image's architecture is written `{architecture}`; container tools call it `{}`",
            platform.architecture
        );
        warnings.push(Warning::new(&codes::ARCHITECTURE_ALIAS, text));
    }
    Ok((platform, Vec::new()))
}

/// An image that does not say what it is for is what the user says.
fn unnamed(
    text: &str,
    root: &Object<'_>,
    given: Option<&OciPlatform>,
    warnings: &mut Vec<Warning>,
) -> Result<(OciPlatform, Vec<Edit>)> {
    let absent: Vec<&str> = ["os", "architecture"]
        .into_iter()
        .filter(|key| !root.string(key).is_ok_and(|value| value.is_some()))
        .collect();
    let absent = absent.join(" nor ");
    let neither = if absent.contains(' ') { "neither" } else { "no" };
    let message = format!("the image's configuration names {neither} {absent}");
    let Some(given) = given else {
        return Err(bad_platform(&message)
            .remedy(Remedy::command("say what it is for", "--platform linux/amd64"))
            .remedy(Remedy::command("take it for this machine's platform", "--allow-mismatch")));
    };
    warnings.push(Warning::new(&codes::BAD_PLATFORM, format!("{message}; it is taken for {given}")));
    // All of it: an architecture alone would stand beside the variant of another.
    let mut edits =
        vec![put(text, root, "os", &given.os), put(text, root, "architecture", &given.architecture)];
    if given.variant.is_some() || root.get("variant").is_some() {
        edits.push(put(text, root, "variant", given.variant.as_deref().unwrap_or_default()));
    }
    Ok((given.clone(), edits))
}

fn bad_platform(message: &str) -> Error {
    Error::new(&codes::BAD_PLATFORM, message)
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

/// A key of the configuration becomes this text.
fn put(text: &str, root: &Object<'_>, key: &str, value: &str) -> Edit {
    let value = serde_json::Value::from(value).to_string();
    match root.all(key).last() {
        Some(old) => {
            let (at, length) = place_of(text, old.get());
            (at, length, value)
        }
        None => (text.find('{').map_or(0, |at| at + 1), 0, format!("\"{key}\":{value},")),
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
mod tests;
