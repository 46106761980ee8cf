//! `nixoci init`: nixoci.toml for what is here, and a flake where there is nothing.

mod git;
mod project;
mod template;

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use nixoci_core::config::FILE_NAME;
use nixoci_core::platform::NixSystem;
use nixoci_core::request::attribute_name;
use nixoci_core::runner::Command;
use nixoci_core::{Error, Remedy, Result, shell};
use nixoci_image::codes::WRITE_FAILED;
use nixoci_nix::{Images, Nix};
use schemars::JsonSchema;
use serde::Serialize;

use self::project::{FILE, FLAKE, Kind, Project};
use self::template::{Source, Sources};
use crate::app::App;
use crate::args::InitArgs;
use crate::codes::{INIT_NOTHING, USAGE};

/// Attributes that are what people call their image, the likeliest first.
const USUAL: &[&str] = &["container", "image", "docker", "oci", "docker-image", "dockerImage", "default"];

const NEXT: &str = "nixoci build --load";

/// What `init` did.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct InitReport {
    /// The version of this document.
    version: u32,
    /// The files that were written.
    written: Vec<String>,
    /// The files that were there before.
    kept: Vec<String>,
    /// Whether Git was told of the new files.
    tracked: bool,
    /// The command to go on with.
    next: String,
}

pub(crate) async fn run(app: &App, args: &InitArgs) -> Result<u8> {
    let told = told(args)?;
    let mut project = Project::find(&app.cwd);
    if told.is_some() {
        // Relative to here is how it was typed.
        project.root.clone_from(&app.cwd);
    }
    let there = |name: &&&str| project.root.join(name).exists();
    let kept: Vec<&str> = [FLAKE, FILE, FILE_NAME].iter().filter(there).copied().collect();
    let written = if kept.contains(&FILE_NAME) { Vec::new() } else { make(app, &project, told).await? };
    let tracked = git::track(app, &project.root, &written).await?;
    app.ui.finish();
    let shown = |names: &[&str]| names.iter().map(|name| shown(app, &project, name)).collect();
    let next = NEXT.to_owned();
    let report = InitReport { version: 1, written: shown(&written), kept: shown(&kept), tracked, next };
    app.printer.result(&report, &human(&report))?;
    Ok(0)
}

/// Writes what is missing, once everything is found out.
async fn make(app: &App, project: &Project, told: Option<Source>) -> Result<Vec<&'static str>> {
    let invented = told.is_none() && project.kind == Kind::Empty;
    let found = match told {
        Some(source) => Sources::one(source),
        None => sources(app, project).await?,
    };
    let mut written = Vec::new();
    if invented {
        write(&project.root, FLAKE, &template::flake(&project.image_name()))?;
        written.push(FLAKE);
    }
    write(&project.root, FILE_NAME, &template::config(&found))?;
    written.push(FILE_NAME);
    Ok(written)
}

/// What the user names, taken as it is.
fn told(args: &InitArgs) -> Result<Option<Source>> {
    Ok(match (&args.file, &args.installable) {
        (Some(file), attribute) => {
            let file = file.to_str().ok_or_else(|| {
                Error::new(&USAGE, "a file whose name is not UTF-8 cannot be written into nixoci.toml")
            })?;
            Some(Source::File(file.to_owned(), attribute.clone()))
        }
        (None, Some(text)) => {
            nixoci_core::request::Installable::parse(text)?;
            Some(Source::Flake(text.clone()))
        }
        (None, None) => None,
    })
}

/// The images that are here.
async fn sources(app: &App, project: &Project) -> Result<Sources> {
    let of = |path: Option<String>| match (&project.kind, path) {
        (Kind::File, path) => Source::File(FILE.to_owned(), path),
        (Kind::Flake | Kind::Empty, path) => {
            Source::Flake(format!(".#{}", path.as_deref().unwrap_or("container")))
        }
    };
    if project.kind == Kind::Empty {
        return Ok(Sources::one(of(None)));
    }
    let nix = match Nix::discover(&app.cx()).await {
        Ok(nix) => nix,
        Err(error) => {
            let text = format!("the images that are here could not be looked up: {error}");
            let look = Remedy::advice(format!("see whether {FILE_NAME} names the one you want"));
            app.cx().observer.warn(text, vec![look]);
            return Ok(Sources::one(of(None)));
        }
    };
    let system = app.host.system.to_linux();
    let found = nix.images(&app.cx(), &project.installable(), &system).await?;
    if found.itself {
        return Ok(Sources::one(of(None)));
    }
    match in_order(&found).as_slice() {
        [first, others @ ..] => {
            let named = |path: &[String]| of(Some(typed(path)));
            let others = others.iter().filter(|path| **path != ["default"]).map(|path| named(path));
            // A path that names its system needs no platform; one that is looked up is looked up for this machine's.
            let other = found.system.as_ref().filter(|other| **other != system && first.len() < 3);
            let platform = other.and_then(NixSystem::to_oci).map(|platform| platform.to_string());
            Ok(Sources { first: named(first), others: others.collect(), platform })
        }
        [] => Err(nothing(app, project, &found)),
    }
}

/// The names that lead to an image, as a path to type.
fn typed(path: &[String]) -> String {
    path.iter().map(|name| attribute_name(name)).collect::<Vec<_>>().join(".")
}

/// The images, the likeliest first. Names that need quotation marks come last.
fn in_order(found: &Images) -> Vec<&[String]> {
    let mut paths: Vec<&[String]> = found.images.iter().map(Vec::as_slice).collect();
    let name = |path: &[String]| path.last().cloned().unwrap_or_default();
    let usual = |name: &str| USUAL.iter().position(|usual| *usual == name).unwrap_or(USUAL.len());
    let is_plain = |path: &[String]| path.iter().all(|name| attribute_name(name) == *name);
    paths.sort_by_key(|path| (!is_plain(path), path.len(), usual(&name(path))));
    paths
}

/// There is an expression, and no image in it.
fn nothing(app: &App, project: &Project, found: &Images) -> Error {
    let of_file = project.kind == Kind::File;
    let (file, system) = (if of_file { FILE } else { FLAKE }, app.host.system.to_linux());
    let why = match found.names.as_slice() {
        [] if of_file => "what it yields is none of dockerTools' images".to_owned(),
        [] => "it has no packages for Linux".to_owned(),
        names => format!("it has: {}", names.join(", ")),
    };
    let pkgs = if of_file { "pkgs".to_owned() } else { format!("nixpkgs.legacyPackages.{system}") };
    let name = if of_file { "image".to_owned() } else { format!("packages.{system}.container") };
    let line = format!(
        "{name} = {pkgs}.dockerTools.buildLayeredImage {{ name = \"app\"; contents = [ {pkgs}.hello ]; }};"
    );
    let name = found.names.first().map(|name| attribute_name(name));
    let told = match (of_file, name) {
        (true, None) => shell!("nixoci init -f {}", FILE),
        (true, Some(name)) => shell!("nixoci init -f {} {}", FILE, name),
        (false, Some(name)) => shell!("nixoci init {}", format!(".#{name}")),
        // Never the name of an attribute that is not there.
        (false, None) => shell!("nixoci init {}", format!(".#SET.{system}.NAME")),
    };
    let mut error = Error::new(&INIT_NOTHING, format!("found no image in {file}")).because(why);
    if !of_file {
        error = error.because(format!(
            "searched: packages.{system}, sets such as dockerImages.{system}, and legacyPackages.{system}.images"
        ));
    }
    error
        .remedy(Remedy::lines("add one", line))
        .remedy(Remedy::command("or name an image that is made in another way, or in another set", told))
}

fn write(root: &Path, name: &str, text: &str) -> Result<()> {
    let path = root.join(name);
    // Never over something: whatever came meanwhile is somebody's.
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| {
        let failed = Error::new(&WRITE_FAILED, format!("{} could not be written", path.display()));
        let failed = failed.caused_by(&error);
        if error.kind() == ErrorKind::AlreadyExists {
            failed.remedy(Remedy::command("start again with what is there now", "nixoci init"))
        } else {
            failed
        }
    })
}

/// A file of the project as one would type it here.
fn shown(app: &App, project: &Project, name: &str) -> String {
    let path = project.root.join(name);
    if project.root == app.cwd {
        return name.to_owned();
    }
    path.display().to_string()
}

fn human(report: &InitReport) -> String {
    let mut text = String::new();
    for file in &report.written {
        let _ = writeln!(text, "wrote {file}");
    }
    for file in &report.kept {
        let _ = writeln!(text, "{file} is there already and stays as it is");
    }
    if report.tracked {
        let add = Command::new("git").args(["add", "--intent-to-add"]).args(&report.written);
        let _ = writeln!(text, "{add}: Nix sees only what Git tracks");
    }
    let _ = writeln!(text, "next: {}", report.next);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likeliest_image_comes_first() {
        let order = |paths: &[&str]| {
            let path = |path: &&str| path.split('/').map(str::to_owned).collect();
            let found = Images { images: paths.iter().map(path).collect(), ..Images::default() };
            in_order(&found).into_iter().map(typed).collect::<Vec<_>>()
        };
        assert_eq!(order(&["a", "container", "default"]), ["container", "default", "a"]);
        assert_eq!(order(&["b", "a.b", "a"]), ["b", "a", "\"a.b\""]);
        assert_eq!(order(&["set/image", "set/a.b", "x"]), ["x", "set.image", "set.\"a.b\""]);
    }
}
