//! Backends from elsewhere, as this nixoci has them: those that the user's configuration trusts, and what there is to say about others.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nixoci_core::backend::Cx;
use nixoci_core::config::{ConfigFile, PluginPin};
use nixoci_core::factory::Factory;
use nixoci_core::host::{Dirs, Host};
use nixoci_core::registry::Registry;
use nixoci_core::{Error, Remedy, Result, ResultExt, codes, shell};
use nixoci_plugin::host::codes::{AMBIGUOUS, NOT_TRUSTED};
use nixoci_plugin::host::{self, Broken, Library, PluginFactory, Source, places};
use nixoci_plugin::wire::{CodeDescription, Description};

use crate::app::{App, VERSION};
use crate::backends;

/// The plugins that are trusted, and where others would be.
#[derive(Debug)]
pub(crate) struct Plugins {
    trusted: BTreeMap<String, Library>,
    directories: Vec<PathBuf>,
    /// The user's configuration.
    pub(crate) file: PathBuf,
}

impl Plugins {
    /// Only the user's file trusts; a project's that does is refused before.
    pub(crate) fn new(files: &[ConfigFile], host: &Host, dirs: &Dirs) -> Plugins {
        let pins = files.iter().flat_map(|file| &file.plugins);
        let library = |(name, pin): (&String, &PluginPin)| {
            let PluginPin { path, sha256 } = pin.clone();
            (name.clone(), Library { name: name.clone(), path, sha256 })
        };
        Plugins {
            trusted: pins.map(library).collect(),
            directories: directories(&[], host),
            file: dirs.config.join("config.toml"),
        }
    }

    /// The built-in backends and those that are trusted. Loads only what has never described itself.
    pub(crate) async fn registry(&self, cx: &Cx<'_>) -> Result<Registry> {
        let mut factories: Vec<Box<dyn Factory>> = Vec::new();
        for library in self.trusted.values() {
            factories.push(factory(cx, library).await?);
        }
        let directories = self.directories.clone();
        let registry = backends::registry(factories);
        Ok(registry.with_elsewhere(move |name| untrusted(name, &directories)))
    }

    /// The library that is trusted under this name.
    pub(crate) fn trusted(&self, name: &str) -> Option<&Library> {
        self.trusted.get(name)
    }

    /// Every library that is trusted.
    pub(crate) fn all_trusted(&self) -> impl Iterator<Item = &Library> {
        self.trusted.values()
    }
}

/// Lets go of the copies of libraries that are not trusted any more: an author's builds are large, and many.
pub(crate) fn sweep(app: &App, also: Option<&Library>, without: Option<&str>) {
    let trusted = app.plugins.all_trusted().filter(|library| Some(library.name.as_str()) != without);
    let keep: Vec<&str> = trusted.chain(also).map(|library| library.sha256.as_str()).collect();
    host::sweep(&app.dirs, &keep);
}

/// Where plugins are looked for.
pub(crate) fn directories(named: &[PathBuf], host: &Host) -> Vec<PathBuf> {
    places::directories(named, host, std::env::current_exe().ok().as_deref())
}

/// How a library is run.
pub(crate) fn source(library: &Library) -> Result<Source> {
    let exe = std::env::current_exe().or_error(&codes::PROCESS, || "nixoci does not know where it is")?;
    Ok(Source::Isolated(host::Host { exe, watchdog: vec![crate::WATCHDOG.into()] }, library.clone()))
}

/// What a library says of itself, or has said before.
pub(crate) async fn description(cx: &Cx<'_>, library: &Library) -> Result<Description> {
    match host::described(cx.dirs, &library.name, &library.sha256) {
        Some(description) => Ok(description),
        None => host::describe(cx, &library.name, &source(library)?).await,
    }
}

async fn factory(cx: &Cx<'_>, library: &Library) -> Result<Box<dyn Factory>> {
    let made = async {
        places::check_name(&library.name, &backends::reserved())?;
        PluginFactory::new(source(library)?, description(cx, library).await?)
    };
    match made.await {
        Ok(factory) => Ok(Box::new(factory)),
        Err(error) if error.is(&codes::CANCELLED) => Err(error),
        // Whoever does not use it is not troubled by it.
        Err(error) => Ok(Box::new(Broken { name: library.name.clone(), error })),
    }
}

/// The error codes of the plugins that are trusted, as they have described them. Starts nothing.
pub(crate) fn codes() -> Vec<CodeDescription> {
    let home = std::env::home_dir().filter(|home| home.is_absolute());
    let dirs = Dirs::from_environment(|name| std::env::var_os(name).map(PathBuf::from), home.as_deref());
    let of_user = |dirs: Dirs| {
        let file = ConfigFile::load(&dirs.config.join("config.toml"), VERSION).ok()?;
        let described = |(name, pin): (&String, &PluginPin)| host::described(&dirs, name, &pin.sha256);
        Some(file.plugins.iter().filter_map(described).flat_map(|description| description.codes).collect())
    };
    dirs.and_then(of_user).unwrap_or_default()
}

/// What to say of a backend that is there and not trusted.
fn untrusted(name: &str, directories: &[PathBuf]) -> Option<Error> {
    match places::find(name, directories) {
        Ok(path) => Some(not_trusted(name, &path)),
        Err(error) => error.is(&AMBIGUOUS).then_some(error),
    }
}

/// That a plugin is not trusted, and how that is changed.
pub(crate) fn not_trusted(name: &str, path: &Path) -> Error {
    Error::new(&NOT_TRUSTED, format!("the backend `{name}` is a plugin that you have not trusted"))
        .because(format!("{} would run with your rights", path.display()))
        .remedy(Remedy::command("see what it is", shell!("nixoci plugin show {}", name)))
        .remedy(Remedy::command("if you trust whoever made it", shell!("nixoci plugin trust {}", name)))
}
