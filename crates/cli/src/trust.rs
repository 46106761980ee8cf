//! Whether the project's file is trusted: by a question that was answered once, for as long as the file has these bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use nixoci_core::config::trust::{Reach, reaches};
use nixoci_core::config::{BackendTable, ConfigFile, config_schema, repository};
use nixoci_core::credentials::Credentials;
use nixoci_core::registry::Registry;
use nixoci_core::request::Installable;
use nixoci_core::text::{hex, printable};
use nixoci_core::{Error, Remedy, Result, ResultExt, file, shell};
use nixoci_engine::Entrust;
use nixoci_nix::{canonical_reference, local_dir};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::app::App;
use crate::args::Command;
use crate::codes::{TRUST_FILE, UNTRUSTED_PROJECT};

/// The longest list of trusted projects.
const LIMIT: u64 = 4 << 20;

/// The project's file, and what it has to be trusted for.
#[derive(Debug)]
pub(crate) struct Project {
    /// The file, links resolved: a project is trusted where it lies.
    pub(crate) file: PathBuf,
    /// SHA-256 of its content.
    pub(crate) sha256: String,
    /// The keys that need trust.
    pub(crate) reaches: Vec<Reach>,
    /// Whether that is given.
    pub(crate) trusted: bool,
}

/// How far a command goes with the keys of an untrusted project.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Nothing of it.
    Nothing,
    /// It examines this machine's backends, without those keys.
    LooksAtBackends,
    /// It examines a build, which is possible only where all of those keys are about backends.
    LooksAtBuild,
    /// It acts on them.
    Does,
}

impl Need {
    pub(crate) fn of(command: &Command) -> Need {
        match command {
            Command::Build(command) if command.dry_run => Need::LooksAtBuild,
            Command::Plan(_) => Need::LooksAtBuild,
            Command::Doctor(_) | Command::Backends(_) => Need::LooksAtBackends,
            Command::Build(_)
            | Command::Run(_)
            | Command::Shell(_)
            | Command::Provision(_)
            | Command::Load(_) => Need::Does,
            _ => Need::Nothing,
        }
    }
}

impl Project {
    /// Looks the project's file up in the list of those that are trusted. `now` trusts it without that.
    ///
    /// # Errors
    /// Those of the file; [`TRUST_FILE`].
    pub(crate) fn new(config: &ConfigFile, registry: &Registry, state: &Path, now: bool) -> Result<Project> {
        let reaches = reaches(config, &config_schema(registry))?;
        let file = file::resolved(&config.path);
        let sha256 = hex(&Sha256::digest(config.source.as_bytes()));
        let trusted = reaches.is_empty() || now || List::read(state)?.has(&file, &sha256);
        Ok(Project { file, sha256, reaches, trusted })
    }

    /// The keys that need trust with their values, one per line.
    pub(crate) fn wishes(&self) -> Vec<String> {
        self.reaches.iter().map(wish).collect()
    }

    fn refused(&self) -> Error {
        let text = format!("{} is not trusted to do what it says", self.file.display());
        let error = Error::new(&UNTRUSTED_PROJECT, text);
        let error = match self.reaches.first() {
            Some(first) => error.at(first.at.clone()),
            None => error,
        };
        let error = self.wishes().into_iter().fold(error, Error::because);
        error
            .remedy(Remedy::command(
                "if you trust its authors, until it changes",
                shell!("nixoci config trust {}", self.file),
            ))
            .remedy(Remedy::command("or for this command alone, as in CI", "--trust-project"))
            .remedy(Remedy::command("or read no configuration", "--no-config"))
    }
}

/// Sees to it that what the project's file says may be done, or is left out by a command that only looks.
///
/// # Errors
/// [`UNTRUSTED_PROJECT`]; those of a question.
pub(crate) async fn settle(app: &mut App, need: Need) -> Result<()> {
    consent(app, need).await?;
    if need != Need::Nothing {
        for text in overrides(&app.files) {
            app.cx().observer.info(text);
        }
    }
    Ok(())
}

/// The settings of backends that a project's file has in place of the user's own, a sentence for each.
fn overrides(files: &[ConfigFile]) -> Vec<String> {
    let [project, user] = files else { return Vec::new() };
    let own = |table: &BackendTable| user.backends.iter().find(|own| own.name == table.name);
    let pairs = project.backends.iter().filter_map(|table| Some((table, own(table)?)));
    pairs
        .flat_map(|(table, own)| {
            let (table_keys, own_keys) = (table.keys(), own.keys());
            let both = table_keys.into_iter().filter(move |key| own_keys.contains(key));
            let (name, file) = (table.name.clone(), project.path.display().to_string());
            both.map(move |key| {
                format!("{file} sets backend.{name}.{key} in place of your own configuration")
            })
        })
        .collect()
}

async fn consent(app: &mut App, need: Need) -> Result<()> {
    let Some(project) = app.project.as_ref().filter(|project| !project.trusted) else { return Ok(()) };
    match need {
        Need::Nothing => Ok(()),
        Need::Does => {
            ask(app, project).await?;
            if let Some(project) = &mut app.project {
                project.trusted = true;
            }
            Ok(())
        }
        Need::LooksAtBuild if project.reaches.iter().any(|reach| reach.backend().is_none()) => {
            Err(project.refused())
        }
        Need::LooksAtBuild | Need::LooksAtBackends => {
            set_aside(app);
            Ok(())
        }
    }
}

async fn ask(app: &App, project: &Project) -> Result<()> {
    let mut text = format!(
        "{} wants what a project does not do by itself:\n",
        printable(&project.file.display().to_string())
    );
    for wish in project.wishes() {
        text.push_str(&format!("  {wish}\n"));
    }
    match app.terminal.confirm(&text, "Trust this file, until it changes? [y/N] ").await? {
        Some(true) => remember(&app.dirs.state, &project.file, &project.sha256),
        _ => Err(project.refused()),
    }
}

/// Removes the tables of backends that need trust from the configuration, with a warning.
fn set_aside(app: &mut App) {
    let Some(project) = &app.project else { return };
    let reaches = || project.reaches.iter().filter_map(|reach| Some((reach, reach.backend()?.to_owned())));
    let left_out: Vec<String> = reaches().map(|(_, backend)| backend).collect();
    if left_out.is_empty() {
        return;
    }
    let wishes: Vec<String> = reaches().map(|(reach, _)| wish(reach)).collect();
    let text = format!(
        "{} is not trusted, and its tables of backends are left out: {}",
        project.file.display(),
        wishes.join(", ")
    );
    let remedy = Remedy::command("if you trust its authors", shell!("nixoci config trust {}", project.file));
    app.cx().observer.warn(text, vec![remedy]);
    if let Some(file) = app.files.first_mut() {
        file.backends.retain(|table| !left_out.contains(&table.name));
    }
}

fn wish(reach: &Reach) -> String {
    printable(&format!("{} = {}", reach.key, reach.value)).into_owned()
}

/// The credentials that a project has not been given yet: those of the user's configuration. `--ssh` is an answer.
///
/// # Errors
/// [`TRUST_FILE`]; a reference that is none.
pub(crate) fn to_entrust(app: &App, installable: &Installable) -> Result<Option<Entrust>> {
    let names = app.files.iter().find_map(|file| file.credentials.as_ref()).map(Credentials::names);
    let Some(names) = names.filter(|names| !names.is_empty() && !app.trust_project) else { return Ok(None) };
    let source = source(installable, &app.cwd)?;
    let given = List::read(&app.dirs.state)?.credentials.contains(&source);
    Ok((!given).then_some(Entrust { source, names }))
}

/// The recipient of credentials: the repository or the directory that an installable is in, or the reference of a flake elsewhere.
fn source(installable: &Installable, cwd: &Path) -> Result<String> {
    let dir = match installable {
        Installable::File { path, .. } => {
            let path = cwd.join(path);
            if path.is_dir() { path } else { path.parent().unwrap_or(&path).to_owned() }
        }
        Installable::Flake { reference, .. } => {
            let canonical = canonical_reference(reference, cwd)?;
            match local_dir(&canonical) {
                Some(dir) => dir,
                None => return Ok(canonical),
            }
        }
        _ => cwd.to_owned(),
    };
    Ok(project_of(&dir))
}

/// The repository that a directory is in, or the directory.
pub(crate) fn project_of(dir: &Path) -> String {
    let dir = file::resolved(dir);
    repository(&dir).unwrap_or(&dir).display().to_string()
}

/// The projects that are trusted.
#[derive(Debug, Default, Serialize, Deserialize)]
struct List {
    version: u32,
    /// SHA-256 of the file's content, by its path.
    projects: BTreeMap<PathBuf, String>,
    /// The projects that are evaluated with the user's credentials.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    credentials: BTreeSet<String>,
}

impl List {
    fn path(state: &Path) -> PathBuf {
        state.join("trusted-projects.json")
    }

    /// # Errors
    /// [`TRUST_FILE`]: a list that cannot be read trusts nobody, and is not written over.
    fn read(state: &Path) -> Result<List> {
        let path = List::path(state);
        let unreadable = || format!("{} cannot be read", path.display());
        match file::read(&path, LIMIT) {
            Ok(bytes) => serde_json::from_slice(&bytes).or_error(&TRUST_FILE, unreadable),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(List::default()),
            Err(error) => Err(Error::new(&TRUST_FILE, unreadable()).caused_by(&error)),
        }
    }

    fn has(&self, file: &Path, sha256: &str) -> bool {
        self.projects.get(file).is_some_and(|trusted| trusted == sha256)
    }

    fn write(&self, state: &Path) -> Result<()> {
        let path = List::path(state);
        let write = || file::replace(&path, &serde_json::to_vec_pretty(self)?);
        write().or_error(&TRUST_FILE, || format!("{} cannot be written", path.display()))
    }
}

/// Trusts a file with this content.
///
/// # Errors
/// [`TRUST_FILE`].
pub(crate) fn remember(state: &Path, file: &Path, sha256: &str) -> Result<()> {
    let mut list = List::read(state)?;
    list.version = 1;
    list.projects.insert(file.to_owned(), sha256.to_owned());
    list.write(state)
}

/// Gives a project the user's credentials.
///
/// # Errors
/// [`TRUST_FILE`].
pub(crate) fn entrust(state: &Path, source: &str) -> Result<()> {
    let mut list = List::read(state)?;
    list.version = 1;
    list.credentials.insert(source.to_owned());
    list.write(state)
}

/// No longer gives a project credentials; whether it was given them.
///
/// # Errors
/// [`TRUST_FILE`].
pub(crate) fn take_back(state: &Path, source: &str) -> Result<bool> {
    let mut list = List::read(state)?;
    let known = list.credentials.remove(source);
    if known {
        list.write(state)?;
    }
    Ok(known)
}

/// No longer trusts a file; whether it was trusted.
///
/// # Errors
/// [`TRUST_FILE`].
pub(crate) fn forget(state: &Path, file: &Path) -> Result<bool> {
    let mut list = List::read(state)?;
    let known = list.projects.remove(file).is_some();
    if known {
        list.write(state)?;
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_trusted_where_it_lies_and_as_it_is() {
        let state = tempfile::tempdir().unwrap();
        let state = state.path();
        let (one, other) = (Path::new("/p/nixoci.toml"), Path::new("/q/nixoci.toml"));
        assert!(!List::read(state).unwrap().has(one, "a"));
        remember(state, one, "a").unwrap();
        remember(state, other, "b").unwrap();
        let list = List::read(state).unwrap();
        assert!(list.has(one, "a") && list.has(other, "b"));
        assert!(!list.has(one, "b") && !list.has(other, "a") && !list.has(Path::new("/nixoci.toml"), "a"));
        remember(state, one, "c").unwrap();
        assert!(!List::read(state).unwrap().has(one, "a"));
        assert!(forget(state, one).unwrap() && !forget(state, one).unwrap());
        assert!(!List::read(state).unwrap().has(one, "c"));
    }

    #[test]
    fn a_list_that_cannot_be_read_trusts_nobody_and_stays() {
        let state = tempfile::tempdir().unwrap();
        let path = List::path(state.path());
        std::fs::write(&path, "{").unwrap();
        assert!(List::read(state.path()).unwrap_err().is(&TRUST_FILE));
        assert!(remember(state.path(), Path::new("/p"), "a").is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{");
    }
}
