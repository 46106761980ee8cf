//! Settings of a plugin, held against the schema that it has described: nothing of it is run for that.

use jsonschema::error::ValidationErrorKind;
use jsonschema::{ValidationError, Validator};
use nixoci_core::codes::CONFIG_VALUE;
use nixoci_core::config::{BackendTable, unknown_key_among};
use nixoci_core::{Error, Result};
use serde_json::{Map, Value};

use super::codes::DESCRIPTION;

/// A plugin's schema.
#[derive(Debug)]
pub(super) struct Schema {
    value: Value,
    validator: Validator,
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
        let validator = jsonschema::options()
            .with_draft(jsonschema::Draft::Draft202012)
            .build(value)
            .map_err(|error| fail(error.to_string()))?;
        Ok(Schema { value: value.clone(), validator })
    }

    /// The schema.
    pub(super) fn value(&self) -> &Value {
        &self.value
    }

    /// Checks one file's table.
    ///
    /// # Errors
    /// [`nixoci_core::codes::CONFIG_UNKNOWN_KEY`], [`CONFIG_VALUE`], at the place in the file.
    pub(super) fn check(&self, table: &BackendTable) -> Result<()> {
        let value: Value = table.parse()?;
        let first = self.validator.iter_errors(&value).next();
        first.map_or(Ok(()), |error| Err(self.error(&error, Some(table))))
    }

    /// What all tables say together.
    ///
    /// # Errors
    /// As [`check`](Self::check), for a combination that no single file is to blame for.
    pub(super) fn merge(&self, tables: &[BackendTable]) -> Result<Value> {
        tables.iter().try_for_each(|table| self.check(table))?;
        let merged: Map<String, Value> = BackendTable::merge(tables)?;
        let merged = Value::Object(merged);
        let first = self.validator.iter_errors(&merged).next();
        first.map_or(Ok(()), |error| Err(self.error(&error, None)))?;
        Ok(merged)
    }

    fn error(&self, error: &ValidationError<'_>, table: Option<&BackendTable>) -> Error {
        let mut path: Vec<String> = error.instance_path().iter().map(|part| part.to_string()).collect();
        let (found, key) = match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected } => {
                let known = self.keys(&path);
                let key = unexpected.first().map_or("", String::as_str);
                path.push(key.to_owned());
                (unknown_key_among(key, &known), true)
            }
            _ => {
                let name = path.last().map(|name| format!("`{name}`: ")).unwrap_or_default();
                let text = nixoci_nix::log_line(&error.to_string());
                (Error::new(&CONFIG_VALUE, format!("{name}{text}")), false)
            }
        };
        match table.and_then(|table| table.excerpt(&path, key)) {
            Some(at) => found.at(at),
            None => found,
        }
    }

    /// The keys of the table at this place, as far as the schema says them directly.
    fn keys(&self, path: &[String]) -> Vec<&str> {
        let table = path.iter().try_fold(&self.value, |schema, part| schema.get("properties")?.get(part));
        let keys = table.and_then(|schema| schema.get("properties")).and_then(Value::as_object);
        keys.into_iter().flatten().map(|(key, _)| key.as_str()).collect()
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
            "properties": { "host": { "type": "string" }, "cpus": { "type": "integer", "minimum": 1 } },
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
        let error = schema().check(&table("[backend.x]\ncpus = 0\n")).unwrap_err();
        assert!(error.is(&CONFIG_VALUE) && error.to_string().starts_with("`cpus`: "), "{error}");
        let at = error.report().excerpt.as_ref().unwrap();
        assert_eq!((at.line, at.column), (2, 8));
    }

    #[test]
    fn later_files_win_and_none_is_nothing() {
        assert_eq!(schema().merge(&[]).unwrap(), json!({}));
        let tables = [table("[backend.x]\nhost = \"a\"\ncpus = 1\n"), table("[backend.x]\ncpus = 2\n")];
        assert_eq!(schema().merge(&tables).unwrap(), json!({ "host": "a", "cpus": 2 }));
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
