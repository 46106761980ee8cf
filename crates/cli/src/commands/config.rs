//! `nixoci config`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use nixoci_core::Result;
use nixoci_core::config::{ImageSource, LoadTarget, Origin, Settings, config_schema};
use nixoci_core::request::Installable;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use crate::app::App;
use crate::args::{ConfigArgs, ConfigCommand};
use crate::resolve;

/// Every setting.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct SettingsReport {
    /// The version of this document.
    version: u32,
    /// By key.
    settings: BTreeMap<&'static str, SettingReport>,
}

/// A setting.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct SettingReport {
    /// Its value.
    value: Value,
    /// Where it comes from: a flag, a variable, a file with the line and the table, or `default`.
    origin: String,
}

/// What was checked.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct CheckReport {
    /// The version of this document.
    version: u32,
    /// The files that were read and found right.
    files: Vec<String>,
}

pub(crate) fn run(app: &App, args: &ConfigArgs) -> Result<u8> {
    match &args.command {
        ConfigCommand::Schema => {
            let schema = config_schema(&app.registry);
            let text = serde_json::to_string_pretty(&schema).unwrap_or_default() + "\n";
            app.printer.result(&schema, &text)?;
        }
        // Reading every file is what starting did; layering is what is left.
        ConfigCommand::Check => {
            resolve::check(app)?;
            let files: Vec<String> = app.files.iter().map(|file| file.path.display().to_string()).collect();
            let text = match files.as_slice() {
                [] => "there is no configuration file here, and that is fine\n".to_owned(),
                files => files.iter().map(|file| format!("{file}: ok\n")).collect(),
            };
            app.printer.result(&CheckReport { version: 1, files }, &text)?;
        }
        ConfigCommand::Show { origin, profile } => {
            let rows = rows(&resolve::settings(app, profile.as_deref())?);
            let text: String = rows.iter().map(|row| row.human(*origin)).collect();
            let settings = rows.into_iter().map(Row::report).collect();
            app.printer.result(&SettingsReport { version: 1, settings }, &text)?;
        }
    }
    Ok(0)
}

struct Row {
    key: &'static str,
    value: Value,
    origin: String,
}

impl Row {
    fn new(key: &'static str, value: Value, origin: &Origin) -> Self {
        Row { key, value, origin: origin.to_string() }
    }

    fn human(&self, origin: bool) -> String {
        let mut text = format!("{} = {}", self.key, self.value);
        if origin {
            let _ = write!(text, "  # {}", self.origin);
        }
        text + "\n"
    }

    fn report(self) -> (&'static str, SettingReport) {
        (self.key, SettingReport { value: self.value, origin: self.origin })
    }
}

fn rows(settings: &Settings) -> Vec<Row> {
    let mut rows = vec![Row::new("profile", json!(settings.profile.value), &settings.profile.origin)];
    if let Some(image) = &settings.image {
        let what = match &image.source {
            ImageSource::Flake(text, _) => json!(text),
            ImageSource::File(Installable::File { path, attribute, .. }) => {
                json!({ "file": path, "attr": attribute })
            }
            ImageSource::File(_) => Value::Null,
        };
        rows.push(Row::new("image", what, &image.origin));
    }
    match &settings.platforms {
        Some(platforms) => rows.push(Row::new("platforms", json!(platforms.value), &platforms.origin)),
        None => rows.push(Row::new("platforms", json!("linux on this machine's CPU"), &Origin::Default)),
    }
    rows.push(Row::new("tags", json!(settings.tags.value), &settings.tags.origin));
    rows.push(Row::new("backend", json!(settings.backends.value), &settings.backends.origin));
    let load = match settings.load.value {
        LoadTarget::No => json!(false),
        LoadTarget::Auto => json!(true),
        LoadTarget::Into(runtime) => json!(runtime),
    };
    rows.push(Row::new("load", load, &settings.load.origin));
    rows.push(Row::new("output", json!(settings.outputs.value), &settings.outputs.origin));
    rows
}
