//! `nixoci plugin`: backends from elsewhere.

mod check;
mod list;
mod new;
mod show;
mod trust;

use std::path::{Path, PathBuf};

use nixoci_core::{Error, Remedy, Result};
use nixoci_plugin::host::codes::{BAD_NAME, NOT_FOUND};
use nixoci_plugin::host::places;

use crate::app::App;
use crate::args::{PluginArgs, PluginCommand};
use crate::{backends, plugins};

pub(crate) use check::CheckReport;
pub(crate) use list::PluginsReport;
pub(crate) use new::NewReport;
pub(crate) use show::PluginReport;
pub(crate) use trust::{TrustReport, UntrustReport};

pub(crate) async fn run(app: &App, args: PluginArgs) -> Result<u8> {
    let named: Vec<PathBuf> = args.dirs.iter().map(|dir| app.cwd.join(dir)).collect();
    let directories = plugins::directories(&named, &app.host);
    match args.command {
        PluginCommand::List => list::run(app, &directories),
        PluginCommand::Show(args) => show::run(app, &args.plugin, &directories).await,
        PluginCommand::Trust(args) => trust::trust(app, &args, &directories).await,
        PluginCommand::Untrust(args) => trust::untrust(app, &args.name),
        PluginCommand::New(args) => new::run(app, &args.name),
        PluginCommand::Check(args) => check::run(app, &args, &directories).await,
    }
}

/// A plugin's file, and its name.
struct Named {
    name: String,
    path: PathBuf,
}

/// What somebody means who names a plugin: a file if it is written like one, else the one that is trusted under this name, else one that lies
/// where plugins are looked for.
fn named(app: &App, typed: &str, directories: &[PathBuf]) -> Result<Named> {
    let path = if is_file(app, typed) {
        let path = app.cwd.join(typed);
        path.canonicalize().map_err(|error| {
            Error::new(&NOT_FOUND, format!("{typed} is not there"))
                .caused_by(&error)
                .remedy(Remedy::command("see which plugins there are", "nixoci plugin list"))
        })?
    } else if let Some(library) = app.plugins.trusted(typed) {
        library.path.clone()
    } else {
        let found = places::find(typed, directories)?;
        found.canonicalize().unwrap_or(found)
    };
    let name = name_of(&path)?;
    places::check_name(&name, &backends::reserved())?;
    Ok(Named { name, path })
}

/// Whether a word names a file: a plugin's name may be that of something else here.
fn is_file(app: &App, typed: &str) -> bool {
    typed.contains('/') || (places::name_of(Path::new(typed)).is_some() && app.cwd.join(typed).is_file())
}

fn name_of(path: &Path) -> Result<String> {
    places::name_of(path).ok_or_else(|| {
        Error::new(&BAD_NAME, format!("{} has not the name of a plugin", path.display()))
            .because(format!("the file of a plugin called `my-vm` is called {}", places::file_name("my-vm")))
    })
}
