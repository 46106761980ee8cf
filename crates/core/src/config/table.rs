//! One file's `[backend.<name>]` table: opaque here, typed by the backend's factory, with errors that point
//! into the file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::toml_error::data_error;
use crate::codes;
use crate::error::{Error, Excerpt, Result};

/// The settings that one file gives one backend.
#[derive(Clone, Debug)]
pub struct BackendTable {
    /// The file, as the user would name it.
    pub file: PathBuf,
    /// The backend's name, as written.
    pub name: String,
    /// The file's text; the table is found in it again, so that positions stay true.
    pub source: Arc<str>,
}

impl BackendTable {
    /// The table as the backend's own type.
    ///
    /// # Errors
    /// [`codes::CONFIG_UNKNOWN_KEY`] or [`codes::CONFIG_VALUE`], pointing at the place.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        let value = self.locate()?;
        T::deserialize(ValueDeserializer::from(value))
            .map_err(|error| data_error(&self.file, &self.source, &error))
    }

    /// The tables of several files as one value: tables merge, everything else of a later one replaces. The `paths` among the
    /// settings become absolute, each from the directory of its own file.
    ///
    /// # Errors
    /// As [`parse`](Self::parse), for a combination that no single file is to blame for.
    pub fn merge<T: DeserializeOwned + Default>(tables: &[BackendTable], paths: &[&str]) -> Result<T> {
        let Some(last) = tables.last() else { return Ok(T::default()) };
        let mut merged = toml::Table::new();
        for table in tables {
            let mut own = toml::Value::Table(table.parse()?);
            let base = table.file.parent().unwrap_or(Path::new(""));
            paths.iter().for_each(|path| anchor(&mut own, path, base));
            if let toml::Value::Table(own) = own {
                merge_into(&mut merged, own);
            }
        }
        merged.try_into().map_err(|error| {
            Error::new(
                &codes::CONFIG_VALUE,
                format!("the settings of backend `{}` do not fit together", last.name),
            )
            .caused_by(&error)
        })
    }

    /// The keys of the table, without those of tables in it.
    pub fn keys(&self) -> Vec<String> {
        self.parse::<toml::Table>().map(|table| table.keys().cloned().collect()).unwrap_or_default()
    }

    /// The place of a key of the table, given as the keys and places in arrays that lead to it, or of the table's value there.
    pub fn excerpt(&self, path: &[String], key: bool) -> Option<Excerpt> {
        let mut span = None;
        let mut value = self.locate().ok()?;
        for part in path {
            let (at, next) = match value.into_inner() {
                DeValue::Table(table) => {
                    let (name, next) = table.into_iter().find(|(name, _)| name.get_ref() == part)?;
                    (name.span(), next)
                }
                DeValue::Array(values) => {
                    let next = values.into_iter().nth(part.parse().ok()?)?;
                    (next.span(), next)
                }
                _ => return None,
            };
            span = Some(if key { at } else { next.span() });
            value = next;
        }
        Some(Excerpt::from_span(&self.file, &self.source, span.unwrap_or_else(|| value.span())))
    }

    fn locate(&self) -> Result<Spanned<DeValue<'_>>> {
        let missing = || Error::new(&codes::BUG, format!("[backend.{}] vanished from its file", self.name));
        let document =
            DeTable::parse(&self.source).map_err(|error| data_error(&self.file, &self.source, &error))?;
        let backends = take(document.into_inner(), "backend").ok_or_else(missing)?;
        match backends.into_inner() {
            DeValue::Table(backends) => take(backends, &self.name).ok_or_else(missing),
            _ => Err(missing()),
        }
    }
}

/// Makes the path at these keys one from the directory; `~` stays for whoever knows the home directory.
fn anchor(value: &mut toml::Value, keys: &str, base: &Path) {
    match value {
        toml::Value::Array(values) => values.iter_mut().for_each(|value| anchor(value, keys, base)),
        toml::Value::Table(table) => {
            let (key, rest) = keys.split_once('.').unwrap_or((keys, ""));
            if let Some(value) = table.get_mut(key) {
                anchor(value, rest, base);
            }
        }
        toml::Value::String(path) if keys.is_empty() && path != "~" && !path.starts_with("~/") => {
            *path = base.join(&*path).display().to_string();
        }
        _ => {}
    }
}

fn take<'a>(table: DeTable<'a>, key: &str) -> Option<Spanned<DeValue<'a>>> {
    table.into_iter().find_map(|(name, value)| (name.get_ref() == key).then_some(value))
}

fn merge_into(target: &mut toml::Table, source: toml::Table) {
    for (key, value) in source {
        match (target.get_mut(&key), value) {
            (Some(toml::Value::Table(below)), toml::Value::Table(above)) => merge_into(below, above),
            (_, value) => {
                target.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Settings {
        from: Option<PathBuf>,
        keys: Vec<Key>,
        name: String,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Key {
        file: Option<PathBuf>,
    }

    #[test]
    fn paths_are_relative_to_the_file_that_has_them() {
        let table = |file: &str, text: &str| BackendTable {
            file: file.into(),
            name: "x".to_owned(),
            source: format!("[backend.x]\n{text}").into(),
        };
        let tables = [
            table("/user/config.toml", "from = \"machines\"\nname = \"user\"\n"),
            table(
                "/p/sub/nixoci.toml",
                "name = \"a\"\nkeys = [{ file = \"k\" }, { file = \"~/k\" }, { file = \"/k\" }, {}]\n",
            ),
        ];
        let settings: Settings = BackendTable::merge(&tables, &["from", "keys.file"]).unwrap();
        let key = |file: Option<&str>| Key { file: file.map(PathBuf::from) };
        assert_eq!(
            settings,
            Settings {
                from: Some("/user/machines".into()),
                keys: vec![key(Some("/p/sub/k")), key(Some("~/k")), key(Some("/k")), key(None)],
                name: "a".to_owned(),
            }
        );
    }
}
