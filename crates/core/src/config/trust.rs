//! Classifies the keys of a project's file: those that take effect at once, and those that need the user's trust.
//!
//! A checked-out nixoci.toml is read by whoever types `nixoci build` in that directory. Every key has a class, written at its
//! declaration as a part of its schema (`#[schemars(extend("x-trust" = "safe"))]`), so that the reference shows it, a key
//! of a plugin has one in the same way, and a test fails for a key without:
//!
//! - `safe`: it describes the image, or can do no more than the project's own Nix expressions.
//! - `inside`: it names something to build, and `path` a file; both are safe as long as that lies in the project.
//! - `asks`: it names machines, keys, URLs, mounts, clusters, or how large the user's machines are. Some of its values may be
//!   listed as harmless (`x-trust-safe`).
//! - `forbidden`: a project may not have it at all; [`ConfigFile::check_project`] refuses it.
//!
//! A key without a class, such as a plugin's that knows nothing of this, asks.

use std::path::{Path, PathBuf};

use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::discover::repository;
use super::model::ConfigFile;
use super::toml_error::data_error;
use crate::error::{Excerpt, Result};
use crate::file;

/// The word of the schema that has the class.
pub const CLASS: &str = "x-trust";
/// The word of the schema that has the values which need no question.
pub const HARMLESS: &str = "x-trust-safe";
/// Every class.
pub const CLASSES: [&str; 5] = ["safe", "inside", "path", "asks", "forbidden"];

/// Something that a file wants, and that it has to be trusted for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Which key: `backend.remote.builders`.
    pub key: String,
    /// Its value as TOML, on one line.
    pub value: String,
    /// Where it is.
    pub at: Excerpt,
}

impl Reach {
    /// The backend whose settings it is among.
    pub fn backend(&self) -> Option<&str> {
        self.key.strip_prefix("backend.")?.split('.').next()
    }
}

/// Lists the keys of a project's file that need trust, in the order of the file. `schema` is that of
/// [`config_schema`](super::config_schema).
///
/// # Errors
/// Those of a file that is not TOML.
pub fn reaches(file: &ConfigFile, schema: &Value) -> Result<Vec<Reach>> {
    let document =
        DeTable::parse(&file.source).map_err(|error| data_error(&file.path, &file.source, &error))?;
    let mut walk = Walk { file, root: schema, project: project(&file.path), found: Vec::new() };
    walk.table(document.get_ref(), schema, "");
    walk.found.sort_by_key(|reach| (reach.at.line, reach.at.column));
    Ok(walk.found)
}

/// The directory that a project is: the repository that the file is in, or the file's own.
fn project(path: &Path) -> PathBuf {
    let dir = path.parent().unwrap_or(Path::new("/"));
    file::resolved(repository(dir).unwrap_or(dir))
}

struct Walk<'a> {
    file: &'a ConfigFile,
    root: &'a Value,
    project: PathBuf,
    found: Vec<Reach>,
}

impl Walk<'_> {
    fn table(&mut self, table: &DeTable<'_>, schema: &Value, path: &str) {
        for (name, value) in table {
            let name = name.get_ref();
            let key = if path.is_empty() { name.to_string() } else { format!("{path}.{name}") };
            let property =
                schema["properties"].get(name.as_ref()).or_else(|| schema.get("additionalProperties"));
            self.value(value, property.unwrap_or(&Value::Null), &key);
        }
    }

    fn value(&mut self, value: &Spanned<DeValue<'_>>, schema: &Value, key: &str) {
        let target = self.target(schema);
        let class = schema[CLASS].as_str().or(target[CLASS].as_str());
        let fine = match (class, value.get_ref()) {
            (Some("safe" | "forbidden"), _) => true,
            (Some("inside"), DeValue::String(text)) => self.is_inside(text),
            (Some("path"), DeValue::String(text)) => self.is_path_inside(text),
            (None, DeValue::Table(table)) if has_keys(target) => {
                let (table, target) = (table.clone(), target.clone());
                return self.table(&table, &target, key);
            }
            _ => false,
        };
        let plain = plain(value.get_ref());
        let harmless = [schema, target].into_iter().filter_map(|schema| schema[HARMLESS].as_array());
        let harmless = harmless.flatten().any(|harmless| toml_of(harmless).as_ref() == Some(&plain));
        if !fine && !harmless {
            let at = self.file.excerpt(value.span());
            self.found.push(Reach { key: key.to_owned(), value: plain.to_string(), at });
        }
    }

    /// Follows a reference, or the one of two alternatives that is not `null`.
    fn target<'s>(&'s self, schema: &'s Value) -> &'s Value {
        let mut schema = schema;
        // References of a schema that was generated lead to definitions, which have no references at their top.
        for _ in 0..4 {
            if let Some(pointer) = schema["$ref"].as_str().and_then(|name| name.strip_prefix('#')) {
                schema = self.root.pointer(pointer).unwrap_or(&Value::Null);
            } else if let Some(choices) = schema["anyOf"].as_array() {
                let choice = choices.iter().find(|choice| choice["type"] != "null");
                schema = choice.unwrap_or(&Value::Null);
            } else {
                break;
            }
        }
        schema
    }

    /// Whether a file or a flake reference lies in the project, links resolved. A reference that is fetched, or looked up in
    /// a registry, does not.
    fn is_inside(&self, text: &str) -> bool {
        let reference = text.split(['#', '?']).next().unwrap_or_default();
        let path = reference.strip_prefix("path:").unwrap_or(reference);
        let is_path = reference.starts_with("path:")
            || matches!(path, "" | "." | "..")
            || ["/", "./", "../"].iter().any(|start| path.starts_with(start));
        // Nix asks a registry for a word that is no path, unless something of that name is there.
        let is_there = || !path.contains(':') && self.base().join(path).exists();
        (is_path || is_there()) && self.is_path_inside(path)
    }

    fn is_path_inside(&self, path: &str) -> bool {
        file::resolved(&self.base().join(path)).starts_with(&self.project)
    }

    fn base(&self) -> &Path {
        self.file.path.parent().unwrap_or(Path::new("/"))
    }
}

fn has_keys(schema: &Value) -> bool {
    schema["properties"].is_object() || schema["additionalProperties"].is_object()
}

/// A value without the places of its parts.
fn plain(value: &DeValue<'_>) -> toml::Value {
    match value {
        DeValue::String(text) => toml::Value::String(text.to_string()),
        DeValue::Integer(number) => number
            .to_string()
            .parse()
            .map_or_else(|_| toml::Value::String(number.to_string()), toml::Value::Integer),
        DeValue::Float(number) => number
            .to_string()
            .parse()
            .map_or_else(|_| toml::Value::String(number.to_string()), toml::Value::Float),
        DeValue::Boolean(flag) => toml::Value::Boolean(*flag),
        DeValue::Datetime(date) => toml::Value::Datetime(*date),
        DeValue::Array(values) => {
            toml::Value::Array(values.iter().map(|value| plain(value.get_ref())).collect())
        }
        DeValue::Table(table) => toml::Value::Table(
            table.iter().map(|(name, value)| (name.get_ref().to_string(), plain(value.get_ref()))).collect(),
        ),
    }
}

fn toml_of(value: &Value) -> Option<toml::Value> {
    toml::Value::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Keys of every class, as a backend's and a plugin's schema have them.
    fn schema() -> Value {
        json!({
            "$defs": { "Image": { "type": "object", "properties": {
                "installable": { "type": ["string", "null"], "x-trust": "inside" },
                "tags": { "x-trust": "safe" },
            } } },
            "properties": {
                "image": { "anyOf": [{ "$ref": "#/$defs/Image" }, { "type": "null" }] },
                "images": { "additionalProperties": { "$ref": "#/$defs/Image" } },
                "load": { "x-trust": "asks", "x-trust-safe": [true, false, "docker"] },
                "plugins": { "x-trust": "forbidden" },
                "backend": { "properties": { "vm": { "properties": {
                    "machines": { "type": "array", "x-trust": "asks" },
                    "unclassified": { "type": "integer" },
                    "size": { "type": "object", "properties": { "cpus": { "x-trust": "asks" }, "name": { "x-trust": "safe" } } },
                } } } },
            },
        })
    }

    fn asked_in(dir: &Path, text: &str) -> Vec<(String, String)> {
        let file = ConfigFile::unchecked(&dir.join("nixoci.toml"), text);
        reaches(&file, &schema()).unwrap().into_iter().map(|reach| (reach.key, reach.value)).collect()
    }

    fn asked(text: &str) -> Vec<(String, String)> {
        asked_in(Path::new("/p"), text)
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_describes_the_image_asks_nothing() {
        assert!(asked("[image]\ninstallable = \".#a\"\ntags = [\"x\"]\n[images.b]\ntags = []\n").is_empty());
        assert!(asked("load = true\n").is_empty() && asked("load = \"docker\"\n").is_empty());
        assert!(asked("[backend.vm.size]\nname = \"x\"\n").is_empty());
    }

    #[test]
    fn what_reaches_out_is_shown_as_it_is_written() {
        let found = asked(
            "load = \"kind\"\n[backend.vm]\nmachines = [{ host = \"bee\\u001b[2K\", jobs = 2 }]\nunclassified = 1\n\
             [backend.vm.size]\ncpus = 64\n[backend.other]\nx = 1.5\n",
        );
        assert_eq!(
            found,
            pairs(&[
                ("load", "\"kind\""),
                ("backend.vm.machines", "[{ host = \"bee\\u001B[2K\", jobs = 2 }]"),
                ("backend.vm.unclassified", "1"),
                ("backend.vm.size.cpus", "64"),
                ("backend.other", "{ x = 1.5 }"),
            ])
        );
    }

    #[test]
    fn a_reference_is_safe_in_the_project_alone() {
        let dir = tempfile::tempdir().unwrap();
        let project = dir.path().join("project");
        std::fs::create_dir_all(project.join("sub/.git")).unwrap();
        std::fs::create_dir_all(project.join(".git")).unwrap();
        std::fs::create_dir_all(dir.path().join("private")).unwrap();
        std::os::unix::fs::symlink("../private", project.join("link")).unwrap();
        let is_asked = |reference: &str| {
            !asked_in(&project, &format!("[image]\ninstallable = {reference:?}\n")).is_empty()
        };
        for inside in
            [".#a", "#a", ".", "./sub#a", "path:.#a", "path:./sub", "./new#a", "sub", "./sub?dir=x#a"]
        {
            assert!(!is_asked(inside), "{inside}");
        }
        assert!(!is_asked(&format!("{}#a", project.display())));
        for outside in [
            "..#a",
            "./link#a",
            "path:link#a",
            "/etc#a",
            "path:/etc",
            "nixpkgs#hello",
            "github:evil/x#a",
            "git+https://evil.example/x",
            "git+file:///home/me#a",
            "https://evil.example/x.tar.gz",
            "./sub/../../private#a",
        ] {
            assert!(is_asked(outside), "{outside}");
        }
    }
}
