//! `nixoci plugin show`.

use std::fmt::Write as _;
use std::path::PathBuf;

use nixoci_core::{Result, shell};
use nixoci_plugin::host::{Library, examine};
use nixoci_plugin::wire::Description;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::named;
use crate::app::App;
use crate::commands::backends::settings_help;
use crate::plugins;

/// A plugin.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PluginReport {
    /// The version of this document.
    version: u32,
    /// Its name.
    name: String,
    /// Its file.
    path: PathBuf,
    /// SHA-256 of the file.
    sha256: String,
    /// Whether it is trusted.
    trusted: bool,
    /// What it says of itself, if it is trusted: nothing of any other is run.
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<Value>,
}

pub(super) async fn run(app: &App, typed: &str, directories: &[PathBuf]) -> Result<u8> {
    let trusted = app.plugins.trusted(typed).cloned();
    let library = match trusted {
        Some(library) => {
            examine(&library.path, Some(&library.sha256), &app.host)?;
            library
        }
        None => {
            let found = named(app, typed, directories)?;
            let sha256 = examine(&found.path, None, &app.host)?;
            Library { name: found.name, path: found.path, sha256 }
        }
    };
    let trusted = app.plugins.trusted(&library.name) == Some(&library);
    let description = match trusted {
        true => Some(plugins::description(&app.cx(), &library).await?),
        false => None,
    };
    app.ui.finish();
    let mut text = about(&library, description.as_ref());
    match &description {
        Some(description) => text.push_str(&settings_help(&library.name, &description.schema)),
        None => {
            let trust = shell!("nixoci plugin trust {}", library.path);
            let _ = write!(
                text,
                "\nnot trusted: nothing of it was run, so nothing more is known\nto trust it: {trust}\n"
            );
        }
    }
    let report = PluginReport {
        version: 1,
        name: library.name,
        path: library.path,
        sha256: library.sha256,
        trusted,
        description: description.and_then(|description| serde_json::to_value(description).ok()),
    };
    app.printer.result(&report, &text)?;
    Ok(0)
}

/// A plugin, in a few lines.
pub(super) fn about(library: &Library, description: Option<&Description>) -> String {
    let mut text = String::new();
    let name = &library.name;
    match description {
        Some(description) => {
            let line = |text: &str| nixoci_nix::log_line(text);
            let summary = line(&description.descriptor.summary);
            let _ = writeln!(text, "{name} {}: {summary}", line(&description.version));
            let _ = writeln!(text, "  made with  {}", line(&description.sdk));
        }
        None => drop(writeln!(text, "{name}")),
    }
    let _ = writeln!(text, "  file       {}", library.path.display());
    let _ = writeln!(text, "  sha256     {}", library.sha256);
    text
}
