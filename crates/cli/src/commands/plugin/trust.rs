//! `nixoci plugin trust`, `nixoci plugin untrust`.

use std::path::{Path, PathBuf};

use nixoci_core::{Error, Remedy, Result, shell};
use nixoci_plugin::host::codes::{CHANGED, NOT_FOUND};
use nixoci_plugin::host::{Library, examine, pins, verify};
use schemars::JsonSchema;
use serde::Serialize;

use super::{named, show};
use crate::app::App;
use crate::args::PluginTrustArgs;
use crate::plugins;

/// What is trusted now.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TrustReport {
    /// The version of this document.
    version: u32,
    /// The plugin's name.
    name: String,
    /// Its file.
    path: PathBuf,
    /// SHA-256 of the file.
    sha256: String,
    /// Where that is noted.
    file: PathBuf,
}

/// What is trusted no more.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UntrustReport {
    /// The version of this document.
    version: u32,
    /// The plugin's name.
    name: String,
    /// Where that was noted.
    file: PathBuf,
}

pub(super) async fn trust(app: &App, args: &PluginTrustArgs, directories: &[PathBuf]) -> Result<u8> {
    let found = named(app, &args.plugin, directories)?;
    let wanted = args.sha256.as_ref().map(|hex| hex.to_ascii_lowercase());
    let sha256 = examine(&found.path, None, &app.host)?;
    if let Some(wanted) = wanted.filter(|wanted| *wanted != sha256) {
        return Err(another(&found.path, &wanted, &sha256));
    }
    quarantine(app, &found.path).await?;
    let verified = verify(&found.path, Some(&sha256), &app.host, &app.dirs)?;
    let library = Library { name: found.name, path: found.path, sha256: verified.sha256 };
    // What does not say what it is, is not worth trusting.
    let description = plugins::description(&app.cx(), &library).await?;
    let file = app.plugins.file.clone();
    pins::trust(&file, &library)?;
    plugins::sweep(app, Some(&library), Some(&library.name));
    app.ui.finish();
    let mut text = show::about(&library, Some(&description));
    let build = shell!("nixoci build --backend {}", library.name);
    text.push_str(&format!("trusted in {}: it runs with your rights\nuse it: {build}\n", file.display()));
    let Library { name, path, sha256 } = library;
    app.printer.result(&TrustReport { version: 1, name, path, sha256, file }, &text)?;
    Ok(0)
}

/// It is not what its author has published: whatever it is, nobody wants to trust it.
fn another(path: &Path, wanted: &str, found: &str) -> Error {
    Error::new(&CHANGED, format!("{} is not the file that you mean", path.display()))
        .because(format!("its SHA-256 is {found}"))
        .because(format!("you named {wanted}"))
        .remedy(Remedy::advice(
            "get it again, compare the SHA-256 with what its author has published, and ask them if they still differ",
        ))
}

/// A Mac marks what a browser has downloaded.
pub(super) async fn quarantine(app: &App, path: &Path) -> Result<()> {
    use nixoci_core::runner::{Command, output};
    use nixoci_plugin::host::codes::QUARANTINED;
    const ATTRIBUTE: &str = "com.apple.quarantine";
    if app.host.system.kernel() != "darwin" {
        return Ok(());
    }
    let ask = Command::new("xattr").args(["-p", ATTRIBUTE]).arg(path);
    // It fails where there is no such attribute, and where nobody can ask.
    match output(&app.runner, &ask, app.signals.cancel()).await {
        Ok(answer) if answer.exit.success() => {
            Err(Error::new(&QUARANTINED, format!("macOS has {} in quarantine", path.display())).remedy(
                Remedy::command("if you know where it comes from", shell!("xattr -d {} {}", ATTRIBUTE, path)),
            ))
        }
        _ => Ok(()),
    }
}

pub(super) fn untrust(app: &App, name: &str) -> Result<u8> {
    let file = app.plugins.file.clone();
    if !pins::untrust(&file, name)? {
        return Err(Error::new(&NOT_FOUND, format!("no plugin called `{name}` is trusted"))
            .because(format!("{} has no [plugins.{name}]", file.display()))
            .remedy(Remedy::command("see which are", "nixoci plugin list")));
    }
    plugins::sweep(app, None, Some(name));
    app.ui.finish();
    let text = format!("{name} is no longer trusted\n");
    app.printer.result(&UntrustReport { version: 1, name: name.to_owned(), file }, &text)?;
    Ok(0)
}
