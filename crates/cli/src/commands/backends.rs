//! `nixoci backends`.

use std::fmt::Write as _;

use nixoci_core::Result;
use nixoci_core::backend::{How, Offer, Readiness};
use nixoci_engine::BackendStatus;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::app::App;
use crate::args::{BackendsArgs, BackendsCommand};
use crate::resolve;

/// Every backend.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct BackendsReport {
    /// The version of this document.
    version: u32,
    /// What each could build, and why it could not.
    backends: Vec<BackendStatus>,
}

/// One backend.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct BackendReport {
    /// The version of this document.
    version: u32,
    /// What it could build, and why it could not.
    backend: Option<BackendStatus>,
    /// The JSON Schema of its table in nixoci.toml.
    settings: Value,
}

pub(crate) async fn run(app: &App, args: &BackendsArgs) -> Result<u8> {
    let settings = resolve::settings(app, None)?;
    let mut status = nixoci_engine::survey(&app.cx(), &app.registry, &settings.backend_tables).await?;
    match &args.command {
        None => {
            app.ui.finish();
            let text: String = status.iter().map(|status| human(status, false)).collect();
            app.printer.result(&BackendsReport { version: 1, backends: status }, &text)?;
        }
        Some(BackendsCommand::Show { name }) => {
            let factory = app.registry.require(name)?;
            let wanted = factory.descriptor().name;
            status.retain(|status| status.descriptor.name == wanted);
            app.ui.finish();
            let schema = factory.schema();
            let mut text: String = status.iter().map(|status| human(status, true)).collect();
            text.push_str(&settings_help(&wanted, &schema));
            let backend = status.into_iter().next();
            app.printer.result(&BackendReport { version: 1, backend, settings: schema }, &text)?;
        }
    }
    Ok(0)
}

fn human(status: &BackendStatus, detail: bool) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "{:<16}{}", status.descriptor.name, status.descriptor.summary);
    if let Some(error) = &status.error {
        let _ = writeln!(text, "  no   {error}");
        remedies(&mut text, error);
    }
    for offer in status.offers.iter().filter(|offer| detail || relevant(offer)) {
        let platform =
            offer.system.to_oci().map_or_else(|| offer.system.to_string(), |platform| platform.to_string());
        let state = match &offer.readiness {
            Readiness::Ready => "ready",
            Readiness::Asleep => "asleep, wakes by itself",
            Readiness::Startable => "can be made ready",
            Readiness::NeedsRoot => "needs root or an installation",
            Readiness::No { error } => {
                let _ = writeln!(text, "  no   {platform:<16}{error}");
                if detail {
                    remedies(&mut text, error);
                }
                continue;
            }
            _ => "unknown",
        };
        let how = match offer.how {
            How::Native => "native",
            How::Translated => "emulated",
            How::Cross => "cross compiled",
        };
        let name = &offer.builder.0;
        let on = if *name == status.descriptor.name { String::new() } else { format!(", on {name}") };
        let _ = writeln!(text, "  yes  {platform:<16}{state}, {how}{on}");
    }
    text
}

/// Every offer, and of the refusals those for the two platforms that everybody wants.
fn relevant(offer: &Offer) -> bool {
    offer.readiness.rank().is_some() || matches!(offer.system.as_str(), "x86_64-linux" | "aarch64-linux")
}

fn remedies(text: &mut String, error: &nixoci_core::Error) {
    for remedy in &error.report().remedies {
        let _ = writeln!(text, "         {}", remedy.text);
        for line in remedy.command.iter().flat_map(|command| command.lines()) {
            let _ = writeln!(text, "             {line}");
        }
    }
}

/// The settings of a backend, from its schema: what `[backend.<name>]` takes.
pub(crate) fn settings_help(name: &str, schema: &Value) -> String {
    let mut text = format!("\n[backend.{name}]\n");
    settings(&mut text, "", schema);
    text
}

/// The keys of a table; those of a table inside it with their dots.
fn settings(text: &mut String, prefix: &str, schema: &Value) {
    let properties = schema.get("properties").and_then(Value::as_object);
    for (key, property) in properties.into_iter().flatten() {
        if property.get("properties").is_some() {
            settings(text, &format!("{prefix}{key}."), property);
            continue;
        }
        let about = property.get("description").and_then(Value::as_str).unwrap_or_default();
        for line in textwrap::wrap(about, 90) {
            let _ = writeln!(text, "# {line}");
        }
        let choices: Vec<&Value> =
            property.get("oneOf").and_then(Value::as_array).into_iter().flatten().collect();
        for choice in &choices {
            let about = choice.get("description").and_then(Value::as_str).unwrap_or_default();
            let word = choice.get("const").map(Value::to_string).unwrap_or_default();
            let choice = format!("{word}: {about}");
            for line in textwrap::wrap(&choice, textwrap::Options::new(88).subsequent_indent("  ")) {
                let _ = writeln!(text, "#   {line}");
            }
        }
        // An absent value is nothing one could write.
        let default = property.get("default").filter(|value| !value.is_null());
        let first = choices.first().and_then(|choice| choice.get("const"));
        let value = default.or(first).map(|value| format!(" = {value}")).unwrap_or_default();
        let _ = writeln!(text, "{prefix}{key}{value}");
    }
}
