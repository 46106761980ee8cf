//! `nixoci plugin list`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use nixoci_core::Result;
use nixoci_plugin::host::{examine, places};
use schemars::JsonSchema;
use serde::Serialize;

use crate::app::App;

/// The plugins there are.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PluginsReport {
    /// The version of this document.
    version: u32,
    /// Where they are looked for, in order.
    directories: Vec<PathBuf>,
    /// Those that are there or trusted.
    plugins: Vec<PluginStatus>,
}

/// A plugin.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PluginStatus {
    /// Its name.
    name: String,
    /// Its file.
    path: PathBuf,
    /// Whether it may be used.
    state: TrustState,
    /// Why not, if it is trusted and may not.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<nixoci_core::Error>,
}

/// Whether a plugin may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum TrustState {
    /// It is trusted, and its file is as it was then.
    Trusted,
    /// It is trusted, and its file is not as it was then.
    Refused,
    /// It is not trusted.
    Untrusted,
}

pub(super) fn run(app: &App, directories: &[PathBuf]) -> Result<u8> {
    let mut plugins: BTreeMap<(String, PathBuf), PluginStatus> = BTreeMap::new();
    for library in app.plugins.all_trusted() {
        let error = examine(&library.path, Some(&library.sha256), &app.host).err();
        let state = if error.is_some() { TrustState::Refused } else { TrustState::Trusted };
        let status = PluginStatus { name: library.name.clone(), path: library.path.clone(), state, error };
        plugins.insert((library.name.clone(), library.path.clone()), status);
    }
    for (name, files) in places::scan(directories) {
        for path in files {
            let path = path.canonicalize().unwrap_or(path);
            let status = PluginStatus {
                name: name.clone(),
                path: path.clone(),
                state: TrustState::Untrusted,
                error: None,
            };
            plugins.entry((name.clone(), path)).or_insert(status);
        }
    }
    let plugins: Vec<PluginStatus> = plugins.into_values().collect();
    app.ui.finish();
    let text = human(&plugins, directories);
    let report = PluginsReport { version: 1, directories: directories.to_vec(), plugins };
    app.printer.result(&report, &text)?;
    Ok(0)
}

fn human(plugins: &[PluginStatus], directories: &[PathBuf]) -> String {
    let mut text = String::new();
    for PluginStatus { name, path, state, error } in plugins {
        let state = match state {
            TrustState::Trusted => "trusted",
            TrustState::Refused => "refused",
            TrustState::Untrusted => "not trusted",
        };
        let _ = writeln!(text, "{name:<16}{state:<13}{}", path.display());
        if let Some(error) = error {
            let _ = writeln!(text, "  {error}");
        }
    }
    if plugins.is_empty() {
        let _ = writeln!(text, "there are no plugins in");
        for dir in directories {
            let _ = writeln!(text, "  {}", dir.display());
        }
        text.push_str(
            "\nto write one:     nixoci plugin new NAME\nto trust a file:  nixoci plugin trust FILE\n",
        );
    }
    text
}
