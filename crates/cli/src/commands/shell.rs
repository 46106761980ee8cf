//! `nixoci shell`: a shell where something would be built.

use nixoci_core::config::{Origin, Setting, Sources, Wishes, resolve};
use nixoci_core::platform::OciPlatform;
use nixoci_core::{Error, Remedy, Result};
use nixoci_engine::ShellJob;
use schemars::JsonSchema;
use serde::Serialize;

use super::foreground;
use crate::app::App;
use crate::args::{Format, ShellArgs};
use crate::codes::USAGE;
use crate::resolve::{agreed, parse_platform};

/// The shell that was started, for whoever watches.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ShellReport {
    /// The version of this document.
    version: u32,
    /// What was started, as one would type it.
    command: String,
}

pub(crate) async fn run(app: &App, args: ShellArgs) -> Result<u8> {
    if app.printer.format != Format::Human {
        return Err(Error::new(
            &USAGE,
            "`shell` has no result to print as JSON: standard output belongs to the shell",
        ));
    }
    let cache = app.cache()?;
    let command = nixoci_engine::shell(&app.engine(&cache), &job(app, args)?).await?;
    let process = foreground::start(app, &command).await?;
    app.printer.tell(&ShellReport { version: 1, command: command.to_string() });
    foreground::wait(app, process).await
}

fn job(app: &App, args: ShellArgs) -> Result<ShellJob> {
    let platform = args.platform.as_deref().map(parse_platform).transpose()?;
    let backends = (!args.backend.is_empty()).then(|| Setting::new(args.backend, Origin::Flag("--backend")));
    let flags = Wishes {
        profile: args.profile.map(|name| Setting::new(name, Origin::Flag("--profile"))),
        backends,
        platforms: platform.map(|platform| Setting::new(vec![platform], Origin::Flag("--platform"))),
        ..Wishes::default()
    };
    let settings = resolve(Sources { flags, host: &app.host, files: &app.files, image: None })?;
    let wanted = settings.platforms.as_ref().and_then(|setting| setting.value.first());
    let system = wanted.map_or_else(|| Some(app.host.system.to_linux()), OciPlatform::to_nix);
    let system = system.filter(nixoci_core::platform::NixSystem::is_linux).ok_or_else(|| {
        Error::new(&nixoci_core::codes::BAD_PLATFORM, "Nix cannot build for that platform")
            .remedy(Remedy::command("choose a Linux platform", "--platform linux/amd64"))
    })?;
    Ok(ShellJob {
        system,
        backends: settings.backends.value,
        backend_tables: settings.backend_tables,
        agreed: agreed(&args.consent, args.no_provision),
        command: args.command,
    })
}
