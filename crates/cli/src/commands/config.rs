//! `nixoci config`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use nixoci_core::codes::CONFIG_MISSING;
use nixoci_core::config::{ConfigFile, ImageSource, LoadTarget, Origin, Settings, config_schema};
use nixoci_core::request::Installable;
use nixoci_core::{Error, Remedy, Result};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use crate::app::{App, VERSION};
use crate::args::{ConfigArgs, ConfigCommand, TrustArgs};
use crate::trust::Project;
use crate::{resolve, trust};

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
        ConfigCommand::Trust(args) => trust(app, args)?,
        ConfigCommand::Untrust(args) => untrust(app, args)?,
        ConfigCommand::Show { origin, profile } => {
            let rows = rows(&resolve::settings(app, profile.as_deref())?);
            let text: String = rows.iter().map(|row| row.human(*origin)).collect();
            let settings = rows.into_iter().map(Row::report).collect();
            app.printer.result(&SettingsReport { version: 1, settings }, &text)?;
        }
    }
    Ok(0)
}

/// A project's file that is trusted now, or no longer.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProjectReport {
    /// The version of this document.
    version: u32,
    /// The file.
    file: PathBuf,
    /// Whether it is trusted now.
    trusted: bool,
    /// The keys that need trust, with their values as TOML.
    wants: Vec<String>,
}

fn trust(app: &App, args: &TrustArgs) -> Result<()> {
    let loaded = args.file.as_ref().map(|file| load(app, file)).transpose()?;
    let Some(project) = loaded.as_ref().or(app.project.as_ref()) else { return Err(no_project()) };
    let wants = project.wishes();
    if !wants.is_empty() {
        trust::remember(&app.dirs.state, &project.file, &project.sha256)?;
    }
    let name = project.file.display();
    let text = match wants.as_slice() {
        [] => format!("{name} wants nothing that it has to be trusted for\n"),
        wants => format!("{name} is trusted until it changes, with\n  {}\n", wants.join("\n  ")),
    };
    let report = ProjectReport { version: 1, file: project.file.clone(), trusted: true, wants };
    app.printer.result(&report, &text)
}

fn untrust(app: &App, args: &TrustArgs) -> Result<()> {
    // The file may be gone, or broken, or never have been there.
    let file = match (&args.file, &app.project) {
        (Some(file), _) => nixoci_core::file::resolved(&app.cwd.join(file)),
        (None, Some(project)) => project.file.clone(),
        (None, None) => app.cwd.join(nixoci_core::config::FILE_NAME),
    };
    let source = trust::project_of(file.parent().unwrap_or(&app.cwd));
    let took_back = trust::take_back(&app.dirs.state, &source)?;
    let forgot = trust::forget(&app.dirs.state, &file)?;
    if !took_back && !forgot && args.file.is_none() && app.project.is_none() {
        return Err(no_project());
    }
    let mut text = match forgot {
        true => format!("{} is no longer trusted\n", file.display()),
        false if took_back => String::new(),
        false => format!("{} was not trusted\n", file.display()),
    };
    if took_back {
        text.push_str(&format!("{source} no longer gets your credentials\n"));
    }
    app.printer.result(&ProjectReport { version: 1, file, trusted: false, wants: Vec::new() }, &text)
}

fn load(app: &App, file: &Path) -> Result<Project> {
    let config = ConfigFile::load(&app.cwd.join(file), VERSION)?;
    config.check_project()?;
    Project::new(&config, &app.registry, &app.dirs.state, true)
}

fn no_project() -> Error {
    Error::new(&CONFIG_MISSING, "no nixoci.toml applies in this directory")
        .remedy(Remedy::command("name the file", "nixoci config trust DIRECTORY/nixoci.toml"))
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
