//! The part of JSON Schema (2020-12) that finds the mistakes people make in a settings file: unknown keys, missing keys, and values of
//! the wrong type or outside an enumeration.
//!
//! Everything else (`minimum`, `pattern`, `format`, conditions) is left to the plugin, whose `create` refuses a value and names its
//! path. A validator for all of JSON Schema was a quarter of the binary's crates. The schema is a plugin's, so it is untrusted: a
//! reference that leads nowhere or in circles neither fails nor costs more than [`MAX_STEPS`] and
//! [`MAX_DEPTH`].

use serde_json::{Map, Value};

/// How many subschemas are looked at for one table. A table of settings has some dozens of values; references that lead in circles, and
/// alternatives of alternatives, end here, and what was not looked at counts as valid.
const MAX_STEPS: u32 = 10_000;
/// How deep subschemas are followed into each other, for the same reason. Every level of a table or an array takes two at most.
const MAX_DEPTH: u32 = 128;

/// The types of JSON Schema, with the words that a user of TOML knows.
const TYPES: [(&str, &str); 7] = [
    ("string", "a string"),
    ("integer", "an integer"),
    ("number", "a number"),
    ("boolean", "true or false"),
    ("array", "an array"),
    ("object", "a table"),
    ("null", "nothing"),
];

/// The way in which a value breaks the schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Violation {
    /// Keys and positions in arrays that lead to it.
    pub(super) path: Vec<String>,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// The last key of the path; the keys that are known beside it.
    UnknownKey { key: String, known: Vec<String> },
    /// A key that the table at the path lacks.
    MissingKey { key: String },
    /// The expected value, and the actual one.
    WrongType { expected: String, found: &'static str },
    /// The values that are possible.
    NotOneOf { values: Vec<String> },
}

/// Checks that a schema's keywords have the types that JSON Schema gives them, as far as [`violation`] reads them.
///
/// # Errors
/// The place in the schema and what is wrong there, as one sentence.
pub(super) fn well_formed(schema: &Value) -> Result<(), String> {
    check_keywords(schema, "#")
}

fn check_keywords(schema: &Value, at: &str) -> Result<(), String> {
    let Value::Object(keywords) = schema else {
        return if schema.is_boolean() {
            Ok(())
        } else {
            Err(format!("{at} is neither a table nor true or false"))
        };
    };
    let below = |key: &str| format!("{at}/{key}");
    let wrong = |key: &str, wanted: &str| Err(format!("{} is not {wanted}", below(key)));
    for (key, value) in keywords {
        match (key.as_str(), value) {
            ("type", Value::String(name)) if !is_type(name) => return wrong(key, "the name of a type"),
            ("type", Value::String(_)) => {}
            ("type", Value::Array(names))
                if !names.is_empty() && names.iter().all(|name| name.as_str().is_some_and(is_type)) => {}
            ("type", _) => return wrong(key, "the name of a type"),
            ("properties" | "$defs", Value::Object(schemas)) => {
                for (name, schema) in schemas {
                    check_keywords(schema, &format!("{}/{name}", below(key)))?;
                }
            }
            ("properties" | "$defs", _) => return wrong(key, "a table of schemas"),
            ("anyOf" | "oneOf" | "allOf", Value::Array(schemas)) if !schemas.is_empty() => {
                for (place, schema) in schemas.iter().enumerate() {
                    check_keywords(schema, &format!("{}/{place}", below(key)))?;
                }
            }
            ("anyOf" | "oneOf" | "allOf", _) => return wrong(key, "an array of schemas"),
            ("items" | "additionalProperties", schema) => check_keywords(schema, &below(key))?,
            ("required", Value::Array(keys)) if keys.iter().all(Value::is_string) => {}
            ("required", _) => return wrong(key, "an array of keys"),
            ("enum", Value::Array(values)) if !values.is_empty() => {}
            ("$ref", Value::String(_)) => {}
            ("enum", _) => return wrong(key, "an array of values"),
            ("$ref", _) => return wrong(key, "a string"),
            _ => {}
        }
    }
    Ok(())
}

fn is_type(name: &str) -> bool {
    TYPES.iter().any(|(known, _)| *known == name)
}

/// The first thing that is wrong with a value. With `partial`, keys may be missing: other files may have them.
pub(super) fn violation(schema: &Value, value: &Value, partial: bool) -> Option<Violation> {
    let mut walk = Walk { root: schema, partial, steps: MAX_STEPS, depth: 0, path: Vec::new() };
    walk.visit(schema, value).err()
}

/// A walk through a value and the schema of each of its parts.
struct Walk<'a> {
    root: &'a Value,
    partial: bool,
    steps: u32,
    depth: u32,
    path: Vec<String>,
}

impl<'a> Walk<'a> {
    fn visit(&mut self, schema: &'a Value, value: &Value) -> Result<(), Violation> {
        // `true` takes everything. `false` means something here only as `additionalProperties`.
        let Value::Object(keywords) = schema else { return Ok(()) };
        if self.steps == 0 || self.depth == MAX_DEPTH {
            return Ok(());
        }
        self.steps -= 1;
        self.depth += 1;
        let found = self.visit_keywords(keywords, value);
        self.depth -= 1;
        found
    }

    fn visit_keywords(&mut self, keywords: &'a Map<String, Value>, value: &Value) -> Result<(), Violation> {
        if let Some(target) = keywords.get("$ref").and_then(Value::as_str).and_then(|name| self.resolve(name))
        {
            self.visit(target, value)?;
        }
        self.check_type(keywords, value)?;
        self.check_values(keywords, value)?;
        for part in schemas(keywords, "allOf") {
            self.visit(part, value)?;
        }
        for key in ["anyOf", "oneOf"] {
            self.check_alternatives(schemas(keywords, key), value)?;
        }
        match value {
            Value::Object(table) => self.check_table(keywords, table),
            Value::Array(values) => self.check_items(keywords, values),
            _ => Ok(()),
        }
    }

    fn resolve(&self, reference: &str) -> Option<&'a Value> {
        self.root.pointer(reference.strip_prefix('#')?)
    }

    fn violation<T>(&self, kind: Kind) -> Result<T, Violation> {
        Err(Violation { path: self.path.clone(), kind })
    }

    fn check_type(&self, keywords: &Map<String, Value>, value: &Value) -> Result<(), Violation> {
        let names: Vec<&str> = match keywords.get("type") {
            Some(Value::String(name)) => vec![name],
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
            _ => return Ok(()),
        };
        if names.iter().any(|name| has_type(value, name)) {
            return Ok(());
        }
        // TOML has no null: an option that may be absent is described without it.
        let expected: Vec<&str> = TYPES
            .iter()
            .filter(|(name, _)| *name != "null" && names.contains(name))
            .map(|(_, words)| *words)
            .collect();
        self.violation(Kind::WrongType { expected: expected.join(" or "), found: type_of(value) })
    }

    fn check_values(&self, keywords: &Map<String, Value>, value: &Value) -> Result<(), Violation> {
        let possible = match (keywords.get("enum"), keywords.get("const")) {
            (Some(Value::Array(values)), _) => values.iter().collect(),
            (_, Some(one)) => vec![one],
            _ => return Ok(()),
        };
        if possible.contains(&value) {
            return Ok(());
        }
        let values = possible.iter().filter(|value| !value.is_null()).map(ToString::to_string).collect();
        self.violation(Kind::NotOneOf { values })
    }

    /// One of the schemas has to take the value. If none does, the one that got farthest into it says why: it is the one that was meant. Where
    /// all of them differ about the value itself, everything that it may be is named.
    fn check_alternatives(&mut self, schemas: &'a [Value], value: &Value) -> Result<(), Violation> {
        let here = self.path.clone();
        let mut nearest: Option<Violation> = None;
        let mut possible: Vec<String> = Vec::new();
        let mut types: Vec<String> = Vec::new();
        for schema in schemas {
            let Err(violation) = self.visit(schema, value) else { return Ok(()) };
            self.path.clone_from(&here);
            match &violation.kind {
                Kind::NotOneOf { values } if violation.path == here => {
                    possible.extend(values.iter().cloned())
                }
                Kind::WrongType { expected, .. } if violation.path == here && !expected.is_empty() => {
                    types.push(expected.clone());
                }
                _ => {}
            }
            if nearest.as_ref().is_none_or(|known| known.path.len() < violation.path.len()) {
                nearest = Some(violation);
            }
        }
        let Some(nearest) = nearest else { return Ok(()) };
        if nearest.path != here {
            return Err(nearest);
        }
        // schemars describes each documented variant of an enumeration as an alternative of its own.
        if !possible.is_empty() {
            return self.violation(Kind::NotOneOf { values: possible });
        }
        match nearest.kind {
            Kind::WrongType { found, .. } => {
                types.dedup();
                self.violation(Kind::WrongType { expected: types.join(" or "), found })
            }
            kind => self.violation(kind),
        }
    }

    fn check_table(
        &mut self,
        keywords: &'a Map<String, Value>,
        table: &Map<String, Value>,
    ) -> Result<(), Violation> {
        let properties = keywords.get("properties").and_then(Value::as_object);
        // Keys that a pattern describes are the plugin's affair, and so are all that it may describe.
        let others = match keywords.get("patternProperties") {
            Some(_) => None,
            None => keywords.get("additionalProperties"),
        };
        for (key, value) in table {
            self.path.push(key.clone());
            match (properties.and_then(|known| known.get(key)), others) {
                (Some(schema), _) => self.visit(schema, value)?,
                (None, Some(Value::Bool(false))) => {
                    let known = properties.into_iter().flatten().map(|(key, _)| key.clone()).collect();
                    return self.violation(Kind::UnknownKey { key: key.clone(), known });
                }
                (None, Some(schema)) => self.visit(schema, value)?,
                (None, None) => {}
            }
            self.path.pop();
        }
        let required = keywords.get("required").and_then(Value::as_array).into_iter().flatten();
        let missing = required.filter_map(Value::as_str).find(|key| !table.contains_key(*key));
        match missing {
            Some(key) if !self.partial => self.violation(Kind::MissingKey { key: key.to_owned() }),
            _ => Ok(()),
        }
    }

    fn check_items(&mut self, keywords: &'a Map<String, Value>, values: &[Value]) -> Result<(), Violation> {
        let Some(schema) = keywords.get("items") else { return Ok(()) };
        // The first ones may have schemas of their own, which are left to the plugin.
        let own = schemas(keywords, "prefixItems").len();
        for (place, value) in values.iter().enumerate().skip(own) {
            self.path.push(place.to_string());
            self.visit(schema, value)?;
            self.path.pop();
        }
        Ok(())
    }
}

fn schemas<'a>(keywords: &'a Map<String, Value>, key: &str) -> &'a [Value] {
    keywords.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn has_type(value: &Value, name: &str) -> bool {
    match name {
        "integer" => {
            value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0)
        }
        "number" => value.is_number(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        _ => true,
    }
}

fn type_of(value: &Value) -> &'static str {
    let name = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    TYPES.iter().find(|(known, _)| *known == name).map_or("a value", |(_, words)| *words)
}

#[cfg(test)]
mod tests;
