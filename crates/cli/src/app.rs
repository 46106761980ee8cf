//! What every command works with: the machine, the configuration, processes with their watchdog, the cache.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nixoci_core::backend::Cx;
use nixoci_core::config::{ConfigFile, discover};
use nixoci_core::credentials::{Credentials, Forward};
use nixoci_core::host::{Dirs, Host};
use nixoci_core::platform::{NixSystem, OciPlatform};
use nixoci_core::registry::Registry;
use nixoci_core::runner::{Command as Process, Runner, output};
use nixoci_core::stall::DEFAULT_LIMIT;
use nixoci_core::temporary::{TemporaryFiles, Unguarded};
use nixoci_core::{Error, Remedy, Result, ResultExt, shell};
use nixoci_engine::Engine;
use nixoci_image::Cache;
use nixoci_nix::{HostRunner, Watchdog};

use crate::args::{Command, Global, How};
use crate::backends;
use crate::codes::{FOREIGN_FILE, NO_DIRECTORY, NO_HOME, NO_HOST};
use crate::output::{Printer, Terminal, Ui};
use crate::plugins::Plugins;
use crate::signal::Signals;
use crate::terminal::TerminalRunner;
use crate::trust::Project;

/// This version, as `required-version` compares it.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What commands work with.
pub(crate) struct App {
    pub(crate) printer: Printer,
    pub(crate) ui: Arc<Ui>,
    pub(crate) terminal: Terminal,
    pub(crate) signals: Signals,
    pub(crate) runner: TerminalRunner,
    pub(crate) temporary: Arc<dyn TemporaryFiles>,
    pub(crate) host: Host,
    pub(crate) dirs: Dirs,
    pub(crate) files: Vec<ConfigFile>,
    /// The trust in the first of them, if it is the project's.
    pub(crate) project: Option<Project>,
    pub(crate) registry: Registry,
    pub(crate) cwd: PathBuf,
    pub(crate) plugins: Plugins,
    credentials: Credentials,
    stall_timeout: Duration,
    /// Whether the project is trusted for this command, whatever it says.
    pub(crate) trust_project: bool,
}

impl App {
    /// Looks at the machine and reads the configuration.
    pub(crate) async fn new(
        printer: Printer,
        global: &Global,
        command: &Command,
        ui: Arc<Ui>,
        signals: Signals,
    ) -> Result<App> {
        let watchdog =
            std::env::current_exe().ok().map(|exe| Watchdog::new(exe, vec![crate::WATCHDOG.into()]));
        let temporary: Arc<dyn TemporaryFiles> = match &watchdog {
            Some(watchdog) => Arc::new(watchdog.clone()),
            None => Arc::new(Unguarded),
        };
        let runner = TerminalRunner::new(HostRunner::new(watchdog), &printer, Arc::clone(&ui));
        let host = host(&runner, &signals).await?;
        for name in ["GITHUB_TOKEN", "GH_TOKEN"] {
            host.var(name).into_iter().for_each(nixoci_core::secrets::register);
        }
        let dirs =
            Dirs::from_host(&host).ok_or_else(|| Error::new(&NO_HOME, "there is no home directory"))?;
        let cwd = std::env::current_dir()
            .and_then(|cwd| cwd.canonicalize())
            .or_error(&NO_DIRECTORY, || "the current directory is gone")?;
        let files = config_files(global, &cwd, &dirs, &host)?;
        let credentials = credentials(&files, command.how());
        let stall_timeout = command.how().map_or(DEFAULT_LIMIT, |how| how.stall_timeout);
        let plugins = Plugins::new(&files, &host, &dirs);
        let cx = Cx {
            cancel: signals.cancel(),
            observer: ui.as_ref(),
            runner: &runner,
            host: &host,
            dirs: &dirs,
            temporary: &temporary,
            credentials: &credentials,
            stall_timeout,
        };
        let registry = match command {
            // They are what is managed there: one that cannot be used must not be in the way.
            Command::Plugin(_) => backends::registry(Vec::new()),
            _ => plugins.registry(&cx).await?,
        };
        let own = own_file(&dirs);
        let project = files.first().filter(|file| file.path != own);
        let project = project.map(|file| Project::new(file, &registry, &dirs.state, global.trust_project));
        let project = project.transpose()?;
        let terminal =
            Terminal::new(printer.clone(), Arc::clone(&ui), signals.cancel().clone(), dirs.state.clone());
        Ok(App {
            printer,
            ui,
            terminal,
            signals,
            runner,
            temporary,
            host,
            dirs,
            files,
            project,
            registry,
            cwd,
            plugins,
            credentials,
            stall_timeout,
            trust_project: global.trust_project,
        })
    }

    /// Whether a configuration file is the user's own.
    pub(crate) fn is_own(&self, file: &Path) -> bool {
        file == own_file(&self.dirs)
    }

    /// Makes sure that what the files say of backends can be.
    pub(crate) fn check_backends(&self) -> Result<()> {
        self.files.iter().try_for_each(|file| file.check_backends(&self.registry))
    }

    /// The world as backends see it.
    pub(crate) fn cx(&self) -> Cx<'_> {
        Cx {
            cancel: self.signals.cancel(),
            observer: self.ui.as_ref(),
            runner: &self.runner,
            host: &self.host,
            dirs: &self.dirs,
            temporary: &self.temporary,
            credentials: &self.credentials,
            stall_timeout: self.stall_timeout,
        }
    }

    /// The images kept between runs.
    pub(crate) fn cache(&self) -> Result<Cache> {
        let cache = Cache::open(self.dirs.cache.join("images"))?;
        Ok(cache.cancelled_by(self.signals.cancel().clone()).guarded_by(Arc::clone(&self.temporary)))
    }

    /// The platform of this machine's containers.
    pub(crate) fn native(&self) -> OciPlatform {
        let amd64 =
            || OciPlatform { os: "linux".to_owned(), architecture: "amd64".to_owned(), variant: None };
        self.host.system.to_linux().to_oci().unwrap_or_else(amd64)
    }

    /// The pipeline.
    pub(crate) fn engine<'a>(&'a self, cache: &'a Cache) -> Engine<'a> {
        Engine { cx: self.cx(), registry: &self.registry, cache, consent: &self.terminal }
    }
}

/// The user's, and what was said now.
fn credentials(files: &[ConfigFile], how: Option<&How>) -> Credentials {
    let mut credentials = files.iter().find_map(|file| file.credentials.clone()).unwrap_or_default();
    if how.is_some_and(|how| how.ssh.is_some()) {
        credentials.forward.push(Forward::SshAgent);
    }
    credentials
}

async fn host(runner: &dyn Runner, signals: &Signals) -> Result<Host> {
    let uname = output(runner, &Process::new("uname").args(["-s", "-m"]), signals.cancel()).await?;
    let text = uname.stdout_text();
    let mut words = text.split_whitespace();
    let system = match (words.next(), words.next()) {
        (Some(kernel), Some(machine)) => NixSystem::from_uname(kernel, machine),
        _ => None,
    };
    let system = system.ok_or_else(|| {
        Error::new(&NO_HOST, "this machine cannot be recognised").because(format!("uname says `{text}`"))
    })?;
    Ok(Host {
        system,
        home: std::env::home_dir().filter(|home| home.is_absolute()),
        uid: rustix::process::geteuid().as_raw(),
        env: std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect(),
        cpus: std::thread::available_parallelism().map_or(1, usize::from),
    })
}

/// Where the user's own configuration is.
fn own_file(dirs: &Dirs) -> PathBuf {
    dirs.config.join("config.toml")
}

/// Refuses a file that another user could have put in the way. What root wrote is as good as the system's.
fn check_owner(file: &Path, host: &Host) -> Result<()> {
    // With sudo, the user is who typed it.
    let sudo = host.var("SUDO_UID").and_then(|uid| uid.parse().ok()).filter(|_| host.is_root());
    let (linked, real) = (file.symlink_metadata(), file.metadata());
    let foreign = [linked, real].into_iter().flatten().map(|about| about.uid());
    let foreign = foreign.into_iter().find(|owner| ![host.uid, 0].contains(owner) && Some(*owner) != sudo);
    match foreign {
        None => Ok(()),
        Some(owner) => Err(Error::new(&FOREIGN_FILE, format!("{} belongs to another user", file.display()))
            .because(format!("its owner has the number {owner}, and yours is {}", host.uid))
            .remedy(Remedy::command("if you mean it, name it", shell!("nixoci build --config-file {}", file)))
            .remedy(Remedy::command("or read no configuration", "nixoci build --no-config"))),
    }
}

/// The project's file, then the user's.
fn config_files(global: &Global, cwd: &Path, dirs: &Dirs, host: &Host) -> Result<Vec<ConfigFile>> {
    if global.no_config {
        return Ok(Vec::new());
    }
    let project = match &global.config_file {
        Some(path) => Some(cwd.join(path)),
        None => discover(cwd, host.home.as_deref()),
    };
    if let (None, Some(found)) = (&global.config_file, &project) {
        check_owner(found, host)?;
    }
    let user = Some(own_file(dirs)).filter(|path| path.exists());
    let project = project.map(|path| ConfigFile::load(&path, VERSION)).transpose()?;
    project.iter().try_for_each(ConfigFile::check_project)?;
    let user = user.map(|path| ConfigFile::load(&path, VERSION)).transpose()?;
    Ok(project.into_iter().chain(user).collect())
}
