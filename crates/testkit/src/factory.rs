//! What can be said of a factory without having a backend: its descriptor and its settings.

use nixoci_core::codes::CONFIG_UNKNOWN_KEY;
use nixoci_core::config::BackendTable;
use nixoci_core::factory::Factory;
use serde_json::Value;

use crate::conformance::{Finding, Outcome};

/// Runs the part of the suite that needs no backend.
pub fn check(factory: &dyn Factory) -> Outcome {
    let mut outcome = Outcome::default();
    outcome.note("the descriptor can be shown", descriptor(factory));
    outcome.note("the settings are described", schema(factory));
    outcome.note("an unknown setting is refused, at its place", unknown_setting(factory));
    outcome.note("no settings are needed", none(factory));
    outcome
}

fn descriptor(factory: &dyn Factory) -> Finding {
    let descriptor = factory.descriptor();
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    for name in std::iter::once(&descriptor.name).chain(descriptor.aliases.iter()) {
        if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(plain) {
            return Err(format!("`{name}` is not lower-case words with dashes"));
        }
    }
    let summary = &descriptor.summary;
    if summary.trim().is_empty() || summary.chars().any(char::is_control) || summary.len() > 120 {
        return Err(format!("the summary is not one short line: {summary:?}"));
    }
    Ok(())
}

fn schema(factory: &dyn Factory) -> Finding {
    let schema = factory.schema();
    if schema.get("type").and_then(Value::as_str) != Some("object") {
        return Err(format!("the schema is not that of a table: {schema}"));
    }
    let properties = schema.get("properties").and_then(Value::as_object);
    for (key, property) in properties.into_iter().flatten() {
        let described =
            property.get("description").and_then(Value::as_str).is_some_and(|text| text.len() > 3);
        if !described {
            return Err(format!("`{key}` has no description, so nobody learns what it does"));
        }
    }
    Ok(())
}

/// A table with one line.
fn table(factory: &dyn Factory, line: &str) -> BackendTable {
    let name = factory.descriptor().name.into_owned();
    let source = format!("[backend.{name}]\n{line}\n").into();
    BackendTable { file: "nixoci.toml".into(), name, source }
}

fn unknown_setting(factory: &dyn Factory) -> Finding {
    match factory.check(&table(factory, "nixoci-conformance-unknown = 1")) {
        Ok(()) => Err("it is taken, so a misspelt setting would do nothing".to_owned()),
        Err(error) if !error.is(&CONFIG_UNKNOWN_KEY) => Err(format!("it is another error: {error:?}")),
        Err(error) => match &error.report().excerpt {
            Some(at) if at.line == 2 => Ok(()),
            at => Err(format!("the error does not point at line 2: {at:?}")),
        },
    }
}

fn none(factory: &dyn Factory) -> Finding {
    factory.create(&[]).map(drop).map_err(|error| format!("without settings it is not made: {error:?}"))
}
