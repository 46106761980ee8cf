//! Settings of a plugin, held against the schema that it has described: nothing of it is run for that.

use nixoci_core::codes::CONFIG_VALUE;
use nixoci_core::config::{BackendTable, unknown_key_among};
use nixoci_core::{Error, Result};
use serde_json::{Map, Value};

use super::codes::DESCRIPTION;
use super::schema::{self, Kind, Violation};

/// A plugin's schema.
#[derive(Debug)]
pub(super) struct Schema {
    value: Value,
}

impl Schema {
    /// # Errors
    /// [`DESCRIPTION`] if it is no schema, or not one that would find a misspelt key.
    pub(super) fn new(name: &str, value: &Value) -> Result<Schema> {
        let fail = |why: String| {
            Error::new(&DESCRIPTION, format!("the plugin `{name}` does not describe its settings"))
                .because(why)
        };
        let closed = value.get("additionalProperties") == Some(&Value::Bool(false));
        if value.get("type").and_then(Value::as_str) != Some("object") || !closed {
            let why = "its schema is not that of an object with `additionalProperties: false`, so a misspelt key would do nothing";
            return Err(fail(why.to_owned()));
        }
        schema::well_formed(value).map_err(|why| fail(nixoci_nix::log_line(&why)))?;
        Ok(Schema { value: value.clone() })
    }

    /// The schema.
    pub(super) fn value(&self) -> &Value {
        &self.value
    }

    /// Checks one file's table. Keys that it lacks may be in another file.
    ///
    /// # Errors
    /// [`nixoci_core::codes::CONFIG_UNKNOWN_KEY`], [`CONFIG_VALUE`], at the place in the file.
    pub(super) fn check(&self, table: &BackendTable) -> Result<()> {
        let value: Value = table.parse()?;
        let violation = schema::violation(&self.value, &value, true);
        violation.map_or(Ok(()), |violation| Err(error(&violation, Some(table))))
    }

    /// What all tables say together.
    ///
    /// # Errors
    /// As [`check`](Self::check), and [`CONFIG_VALUE`] for a key that no file has.
    pub(super) fn merge(&self, tables: &[BackendTable]) -> Result<Value> {
        tables.iter().try_for_each(|table| self.check(table))?;
        let merged: Map<String, Value> = BackendTable::merge(tables, &[])?;
        let merged = Value::Object(merged);
        match schema::violation(&self.value, &merged, false) {
            Some(violation) => Err(error(&violation, tables.last())),
            None => Ok(merged),
        }
    }
}

/// The violation as an error, at its place in the table.
fn error(violation: &Violation, table: Option<&BackendTable>) -> Error {
    let path = &violation.path;
    let value = |text: String| Error::new(&CONFIG_VALUE, nixoci_nix::log_line(&text));
    let name = path.last().map(|name| format!("`{name}`: ")).unwrap_or_default();
    let found = match &violation.kind {
        Kind::UnknownKey { key, known } => {
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            unknown_key_among(key, &known)
        }
        Kind::MissingKey { key } => value(format!("{name}the key `{key}` is missing")),
        Kind::WrongType { expected, found } => value(format!("{name}expected {expected}, found {found}")),
        Kind::NotOneOf { values } => value(format!("{name}expected one of {}", values.join(", "))),
    };
    let key = matches!(violation.kind, Kind::UnknownKey { .. });
    match table.and_then(|table| table.excerpt(path, key)) {
        Some(at) => found.at(at),
        None => found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nixoci_core::codes::CONFIG_UNKNOWN_KEY;
    use serde_json::json;

    fn table(text: &str) -> BackendTable {
        BackendTable { file: "nixoci.toml".into(), name: "x".to_owned(), source: text.into() }
    }

    fn schema() -> Schema {
        let value = json!({
            "type": "object", "additionalProperties": false,
            "properties": { "host": { "type": "string" }, "cpus": { "type": "integer" } },
            "required": ["host"],
        });
        Schema::new("x", &value).unwrap()
    }

    #[test]
    fn an_error_points_at_its_place() {
        let error = schema().check(&table("[backend.x]\nhost = \"a\"\ncpu = 1\n")).unwrap_err();
        assert!(error.is(&CONFIG_UNKNOWN_KEY));
        let at = error.report().excerpt.as_ref().unwrap();
        assert_eq!((at.line, at.column, at.width), (3, 1, 3));
        assert_eq!(error.report().remedies[0].text, "did you mean `cpus`");
        let error = schema().check(&table("[backend.x]\ncpus = \"many\"\n")).unwrap_err();
        assert!(error.is(&CONFIG_VALUE) && error.to_string().starts_with("`cpus`: "), "{error}");
        let at = error.report().excerpt.as_ref().unwrap();
        assert_eq!((at.line, at.column), (2, 8));
    }

    #[test]
    fn later_files_win_and_each_may_lack_what_another_has() {
        let tables = [table("[backend.x]\ncpus = 1\n"), table("[backend.x]\nhost = \"a\"\ncpus = 2\n")];
        assert_eq!(schema().merge(&tables).unwrap(), json!({ "host": "a", "cpus": 2 }));
    }

    #[test]
    fn a_key_that_no_file_has_is_missing() {
        let error = schema().merge(&[table("[backend.x]\ncpus = 1\n")]).unwrap_err();
        assert!(error.is(&CONFIG_VALUE) && error.to_string().contains("`host`"), "{error}");
        assert_eq!(error.report().excerpt.as_ref().unwrap().line, 1);
        assert!(schema().merge(&[]).unwrap_err().report().excerpt.is_none());
    }

    #[test]
    fn a_schema_that_takes_anything_is_refused() {
        for value in [
            json!(true),
            json!({}),
            json!({ "type": "object" }),
            json!({ "type": 7, "additionalProperties": false }),
        ] {
            assert!(Schema::new("x", &value).unwrap_err().is(&DESCRIPTION), "{value}");
        }
    }
}
