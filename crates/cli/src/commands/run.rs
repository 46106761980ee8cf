//! `nixoci run`: build, load, run.

use std::io::IsTerminal;

use nixoci_core::codes::BUG;
use nixoci_core::runner::Command as Process;
use nixoci_core::{Error, Remedy, Result};
use nixoci_engine::LoadSink;
use nixoci_image::runtime::{self, Start};

use super::foreground;
use crate::app::App;
use crate::args::{BuildArgs, Format, RunArgs, What, Where};
use crate::codes::{NOTHING_TO_START, USAGE};
use crate::resolve;

/// The command that was typed, with one for the container.
fn again(what: &What) -> String {
    let mut again = Process::new("nixoci").arg("run");
    if let Some(file) = &what.file {
        again = again.arg("-f").arg(file);
    }
    again.args(what.attr.iter().chain(&what.installable)).args(["--", "COMMAND"]).to_string()
}

/// Docker would say "no command specified", after everything else.
fn nothing_to_start(again: &str) -> Error {
    Error::new(&NOTHING_TO_START, "the image names no command to start: it has neither Entrypoint nor Cmd")
        .remedy(Remedy::command("give one", again))
        .remedy(Remedy::lines("or put one into the image", "config.Cmd = [ \"${pkgs.hello}/bin/hello\" ];"))
}

pub(crate) async fn run(app: &App, args: RunArgs) -> Result<u8> {
    if app.printer.format != Format::Human {
        return Err(Error::new(
            &USAGE,
            "`run` has no result to print as JSON: standard output belongs to the container",
        ));
    }
    let container_args = args.args;
    let container_flags = args.container.flags();
    let docker_host = args.docker.docker_host.clone();
    let limit = args.how.timeout;
    let again = again(&args.what);
    let build = BuildArgs {
        what: args.what,
        how: args.how,
        nix: args.nix,
        place: Where {
            tag: args.tag,
            load: args.runtime,
            output: Vec::new(),
            compression: None,
            created: None,
            out_link: None,
            no_link: true,
            allow_mismatch: args.allow_mismatch,
            docker: args.docker,
        },
    };
    let mut job = resolve::job(app, &build)?;
    let auto = match &job.sinks.load {
        Some(_) => None,
        None => Some(resolve::sink(None, docker_host.as_deref())?),
    };
    job.sinks.load = job.sinks.load.or(auto).map(|sink| LoadSink { to_run: true, ..sink });
    // Outputs that a profile names are for `build`: somebody who runs wants to see it run.
    job.sinks.outputs.clear();
    if job.platforms.len() > 1 {
        // One is enough to run: that of this machine, if it is among them.
        let native = job.platforms.iter().position(|platform| platform.matches(&job.native));
        job.platforms = vec![job.platforms.swap_remove(native.unwrap_or(0))];
    }
    let limit = limit.map(|limit| app.signals.limit(limit));
    let cache = app.cache()?;
    let report = nixoci_engine::build(&app.engine(&cache), &job).await?;
    // The limit is for the build: a server runs for as long as it likes.
    if let Some(limit) = limit {
        limit.abort();
    }
    let loaded = report.images.iter().find_map(|image| Some((image, image.loaded()?)));
    let loaded = loaded.and_then(|(image, output)| Some((image, output, output.runtime?)));
    let (image, output, runtime) = loaded.ok_or_else(|| Error::new(&BUG, "the image was not loaded"))?;
    let starts = image.platforms.iter().any(|platform| !platform.command.is_empty());
    if !starts && container_args.is_empty() && !args.container.names_entrypoint() {
        return Err(nothing_to_start(&again));
    }
    let start = Start {
        reference: &output.reference,
        platform: output.platforms.first().map(|platform| &platform.platform),
        flags: &container_flags,
        args: &container_args,
        tty: std::io::stdin().is_terminal() && std::io::stdout().is_terminal(),
    };
    let command = runtime::run_command(&app.cx(), runtime, docker_host.as_deref(), &start).await?;
    let process = foreground::start(app, &command).await?;
    // Standard output is the container's; whoever watches learns what runs.
    app.printer.tell(&report);
    foreground::wait(app, process).await
}
