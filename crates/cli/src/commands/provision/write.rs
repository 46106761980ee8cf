//! `nixoci provision --write FILE`: adds a Linux builder to a nix-darwin configuration.

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nixoci_core::plan::Configuration;
use nixoci_core::runner::output;
use nixoci_core::{Error, Remedy, Result, ResultExt, shell};
use nixoci_engine::ProvisionJob;
use nixoci_nix::mac::{Placed, place};
use schemars::JsonSchema;
use serde::Serialize;
use similar::TextDiff;

use crate::app::App;
use crate::codes::{CONFIGURATION_FILE, NOT_PLACED};

/// Larger than this no configuration is.
const LIMIT: u64 = 4 << 20;

/// What became of the file.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WriteReport {
    /// The version of this document.
    version: u32,
    /// Of which backend the configuration is.
    backend: String,
    /// The file, without links.
    file: PathBuf,
    /// Whether it was changed. If not, the option is set there already.
    changed: bool,
    /// How it was changed, as a unified diff.
    #[serde(skip_serializing_if = "Option::is_none")]
    diff: Option<String>,
    /// The commands that come next.
    next: Vec<String>,
    /// What may replace the new lines once they were applied, to have all that the settings ask for.
    #[serde(skip_serializing_if = "Option::is_none")]
    later: Option<String>,
}

pub(crate) async fn run(app: &App, file: &Path, job: &ProvisionJob) -> Result<u8> {
    let cache = app.cache()?;
    let engine = app.engine(&cache);
    let (backend, wanted) = nixoci_engine::configuration(&engine, job).await?;
    let file = app.cwd.join(file);
    let unreadable = || format!("{} cannot be read", file.display());
    let file = file.canonicalize().or_error(&CONFIGURATION_FILE, unreadable)?;
    let text = app.host.read(&file, LIMIT).or_error(&CONFIGURATION_FILE, unreadable)?;
    let text = String::from_utf8(text).or_error(&CONFIGURATION_FILE, unreadable)?;
    let mut report = WriteReport {
        version: 1,
        backend,
        changed: false,
        diff: None,
        next: Vec::new(),
        later: wanted.later.clone(),
        file: file.clone(),
    };
    let new = match place(&text, &wanted) {
        Err(why) => return Err(not_placed(&file, &wanted, why)),
        Ok(Placed::There(line)) => {
            app.ui.finish();
            let human = format!(
                "{} sets {} already: nothing was changed\n  {line}\n{}",
                file.display(),
                wanted.option,
                later(&report)
            );
            app.printer.result(&report, &human)?;
            return Ok(0);
        }
        Ok(Placed::Added(new) | Placed::Corrected(new)) => new,
    };
    let diff = diff(&file, &text, &new);
    nixoci_engine::to_write(&engine, &file, &diff, job.agreed).await?;
    write(&file, &text, &new)?;
    (report.changed, report.diff) = (true, Some(diff));
    report.next.extend(git_add(app, &file).await);
    report.next.push(apply(&file, &wanted));
    app.ui.finish();
    app.printer.result(&report, &human(&report))?;
    Ok(0)
}

fn diff(file: &Path, old: &str, new: &str) -> String {
    let name = file.display().to_string();
    TextDiff::from_lines(old, new).unified_diff().header(&name, &name).to_string()
}

fn human(report: &WriteReport) -> String {
    let mut text = format!("{} is changed. Next:\n", report.file.display());
    for command in &report.next {
        let _ = writeln!(text, "  {command}");
    }
    text + &later(report)
}

fn later(report: &WriteReport) -> String {
    let Some(later) = &report.later else { return String::new() };
    let lines: String = later.lines().map(|line| format!("  {line}\n")).collect();
    format!(
        "For all that the settings ask for, this takes its place once the builder runs, which has to build it:\n{lines}"
    )
}

fn not_placed(file: &Path, wanted: &Configuration, why: &str) -> Error {
    Error::new(
        &NOT_PLACED,
        format!("{} is left as it is: nixoci cannot tell where the lines belong", file.display()),
    )
    .because(why)
    .remedy(Remedy::lines("add this to your configuration yourself", &wanted.text))
    .remedy(Remedy::command("and apply it", apply(file, wanted)))
}

/// Whatever else is at that place now was not shown to anybody: it stays.
fn write(file: &Path, old: &str, new: &str) -> Result<()> {
    let failed = || format!("{} cannot be written", file.display());
    let dir = file.parent().unwrap_or(Path::new("/"));
    let meta = std::fs::metadata(file).or_error(&CONFIGURATION_FILE, failed)?;
    let mut temporary =
        tempfile::Builder::new().prefix(".nixoci-").tempfile_in(dir).or_error(&CONFIGURATION_FILE, failed)?;
    let write = || {
        temporary.write_all(new.as_bytes())?;
        temporary.as_file().set_permissions(meta.permissions())?;
        let own = temporary.as_file().metadata()?;
        if (own.uid(), own.gid()) != (meta.uid(), meta.gid()) {
            // With sudo, the file stays its owner's. Elsewhere the group may be one that its owner is not in.
            let changed = std::os::unix::fs::fchown(temporary.as_file(), Some(meta.uid()), Some(meta.gid()));
            if own.uid() != meta.uid() {
                changed?;
            }
        }
        temporary.as_file().sync_all()
    };
    let mut write = write;
    write().or_error(&CONFIGURATION_FILE, failed)?;
    if std::fs::read(file).or_error(&CONFIGURATION_FILE, failed)? != old.as_bytes() {
        return Err(Error::new(
            &CONFIGURATION_FILE,
            format!("{} was changed by somebody else meanwhile", file.display()),
        ));
    }
    temporary.persist(file).map_err(|error| error.error).or_error(&CONFIGURATION_FILE, failed)?;
    Ok(())
}

/// Nix sees only what git knows of.
async fn git_add(app: &App, file: &Path) -> Option<String> {
    let dir = file.parent()?;
    let git = |words: &[&str]| nixoci_nix::git::command(dir).args(words.iter().copied());
    let inside =
        output(&app.runner, &git(&["rev-parse", "--is-inside-work-tree"]), app.signals.cancel()).await;
    if !inside.is_ok_and(|answer| answer.exit.success()) {
        return None;
    }
    let known = git(&["ls-files", "--error-unmatch", "--"]).arg(file);
    let known = output(&app.runner, &known, app.signals.cancel()).await;
    let add = shell!("git -C {} add -- {}", dir, file.file_name()?);
    known.is_ok_and(|answer| !answer.exit.success()).then_some(add)
}

/// The command that applies the configuration: of the nearest flake, if there is one.
fn apply(file: &Path, wanted: &Configuration) -> String {
    for dir in file.ancestors().skip(1) {
        if dir.join("flake.nix").is_file() {
            return format!("{} {}", wanted.apply, shell!("--flake {}", dir));
        }
        if dir.join(".git").exists() {
            break;
        }
    }
    wanted.apply.clone()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use nixoci_nix::mac::{Manager, Vm, configuration};

    use super::*;

    #[test]
    fn the_file_keeps_its_mode_and_what_somebody_else_wrote_meanwhile() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("darwin.nix");
        std::fs::write(&file, "{ }").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
        write(&file, "{ }", "{ a = 1; }").unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "{ a = 1; }");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(write(&file, "{ }", "{ b = 1; }").is_err());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "{ a = 1; }");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_nearest_flake_of_the_repository_is_applied() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("a b");
        let file = root.join("hosts/mac/darwin.nix");
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        let wanted = configuration(Manager::NixDarwin, false, &Vm::default());
        std::fs::create_dir(root.join(".git")).unwrap();
        std::fs::write(dir.path().join("flake.nix"), "").unwrap();
        assert_eq!(apply(&file, &wanted), "sudo darwin-rebuild switch");
        std::fs::write(root.join("flake.nix"), "").unwrap();
        assert_eq!(apply(&file, &wanted), format!("sudo darwin-rebuild switch --flake '{}'", root.display()));
    }
}
