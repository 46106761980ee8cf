//! `nixoci plugin check`: the conformance suite over somebody's library, whatever it is written in.

use std::fmt::Write as _;
use std::path::PathBuf;

use nixoci_core::platform::NixSystem;
use nixoci_core::text::count;
use nixoci_core::{Error, Remedy, Result, ResultExt, codes};
use nixoci_nix::{HostRunner, Watchdog};
use nixoci_plugin::host::codes::CONTRACT;
use nixoci_plugin::host::{self, Library, PluginFactory, verify};
use nixoci_testkit::author::Build;
use nixoci_testkit::conformance::Outcome;
use nixoci_testkit::{World, author};
use schemars::JsonSchema;
use serde::Serialize;

use super::trust::quarantine;
use super::{named, show};
use crate::app::App;
use crate::args::PluginCheckArgs;
use crate::codes::USAGE;
use crate::{plugins, resolve};

/// What a plugin was found to keep.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CheckReport {
    /// The version of this document.
    version: u32,
    /// The plugin's name.
    name: String,
    /// Its file.
    path: PathBuf,
    /// Rules that it keeps.
    passed: Vec<&'static str>,
    /// Rules that it breaks, and how.
    failed: Vec<String>,
    /// Rules that were left out, because it builds nothing here or was not to.
    skipped: Vec<&'static str>,
}

pub(super) async fn run(app: &App, args: &PluginCheckArgs, directories: &[PathBuf]) -> Result<u8> {
    let system = args.system.as_deref().map(parse_system).transpose()?;
    let found = named(app, &args.plugin, directories)?;
    quarantine(app, &found.path).await?;
    let verified = verify(&found.path, None, &app.host, &app.dirs)?;
    let _copy = UntrustedCopy { app, sha256: &verified.sha256 };
    let library = Library { name: found.name, path: found.path, sha256: verified.sha256.clone() };
    let description = plugins::description(&app.cx(), &library).await?;
    let about = show::about(&library, Some(&description));
    let factory = PluginFactory::new(plugins::source(&library)?, description)?;
    app.cx().observer.info(format!("checking {}", library.name));
    let settings = resolve::settings(app, None)?;
    let tables = settings.backend_tables.get(&library.name).cloned().unwrap_or_default();
    let watchdog = std::env::current_exe().ok().map(|exe| Watchdog::new(exe, vec![crate::WATCHDOG.into()]));
    let world = || {
        let runner = Box::new(HostRunner::new(watchdog.clone()));
        World::of(app.host.clone(), app.dirs.clone(), runner)
    };
    let file = args.file.as_ref().map(|file| app.cwd.join(file));
    let build = match (&file, args.no_build) {
        (_, true) => Build::Nothing,
        (None, false) => Build::Shell,
        (Some(file), false) => Build::File(file),
    };
    let suite = author::whole(&factory, &tables, world, system.as_ref(), build);
    let outcome = tokio::select! {
        outcome = suite => outcome.map_err(|why| Error::new(&CONTRACT, why))?,
        () = app.signals.cancel().cancelled() => return Err(Error::new(&codes::CANCELLED, "stopped")),
    };
    app.ui.finish();
    let broken = outcome.failed.len();
    let text = format!("{about}{}", human(&outcome));
    let Outcome { passed, failed, skipped } = outcome;
    let Library { name, path, .. } = library;
    let message = format!("the plugin `{name}` breaks {}", count(broken, "rule"));
    app.printer.result(&CheckReport { version: 1, name, path, passed, failed, skipped }, &text)?;
    if broken > 0 {
        return Err(Error::new(&CONTRACT, message)
            .remedy(Remedy::advice("the contract is explained in docs/plugins/contract.md")));
    }
    Ok(0)
}

/// The copy of a library: it goes at the end, unless the library is trusted. Authors check every build.
struct UntrustedCopy<'a> {
    app: &'a App,
    sha256: &'a str,
}

impl Drop for UntrustedCopy<'_> {
    fn drop(&mut self) {
        if !self.app.plugins.all_trusted().any(|library| library.sha256 == self.sha256) {
            host::forget(&self.app.dirs, self.sha256);
        }
    }
}

fn parse_system(text: &str) -> Result<NixSystem> {
    text.parse().or_error(&USAGE, || format!("`{text}` is no system such as x86_64-linux"))
}

fn human(outcome: &Outcome) -> String {
    let mut text = String::new();
    for rule in &outcome.passed {
        let _ = writeln!(text, "  ok       {rule}");
    }
    for failed in &outcome.failed {
        let _ = writeln!(text, "  BROKEN   {}", nixoci_nix::plain(failed).replace('\n', "\n           "));
    }
    for rule in &outcome.skipped {
        let _ = writeln!(text, "  left out {rule}");
    }
    let _ = writeln!(
        text,
        "{} kept, {} broken, {} left out",
        count(outcome.passed.len(), "rule"),
        outcome.failed.len(),
        outcome.skipped.len()
    );
    if !outcome.skipped.is_empty() {
        text.push_str("what needs builds was left out: the backend is not ready here (`nixoci plan` shows the steps), or --no-build says so\n");
    }
    text
}
