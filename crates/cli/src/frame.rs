//! The frame around every command: where it runs, signals, progress, and how its end is reported.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use nixoci_core::{Error, Result, ResultExt};
use schemars::JsonSchema;
use serde::Serialize;

use crate::app::{App, VERSION};
use crate::args::{Cli, Command, Format, Global};
use crate::codes::NO_DIRECTORY;
use crate::commands;
use crate::output::{Printer, Stream, Ui};
use crate::report;
use crate::signal::Signals;
use crate::trust::{self, Need};

/// Runs the command and says how it ended.
pub(crate) fn run(cli: Cli) -> ExitCode {
    let Cli { global, command } = cli;
    let printer = Printer::new(global.format, global.color, global.quiet, global.verbose);
    let (printer, result) = match global.progress_fd.map(Stream::open).transpose() {
        Ok(stream) => {
            let printer = Printer { stream, ..printer };
            let result = command_in_place(&printer, &global, command);
            (printer, result)
        }
        Err(error) => (printer, Err(error)),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            fail(&printer, &error);
            ExitCode::from(error.kind().exit_code())
        }
    }
}

fn command_in_place(printer: &Printer, global: &Global, command: Command) -> Result<u8> {
    enter(global.directory.as_deref())?;
    match command {
        Command::Completions(args) => commands::completions::run(printer, &args),
        Command::Schema(args) => {
            hello(printer);
            commands::schema::run(printer, &args)
        }
        Command::Man(args) => {
            hello(printer);
            commands::man::run(printer, &args)
        }
        Command::Explain(args) => {
            hello(printer);
            commands::explain::run(printer, &args)
        }
        command => threads().and_then(|runtime| {
            let result = runtime.block_on(with_app(printer, global, command));
            // A thread that reads what never comes (a pipe without a writer) is not waited for.
            runtime.shutdown_background();
            result
        }),
    }
}

/// Tells an error to everybody who listens, each in their own form.
pub(crate) fn fail(printer: &Printer, error: &Error) {
    if printer.format == Format::Human {
        printer.err(&report::human(error));
    }
    fail_for_programs(printer, error);
}

/// Tells an error to whoever reads JSON.
pub(crate) fn fail_for_programs(printer: &Printer, error: &Error) {
    let line = format!("{}\n", report::json(error));
    if printer.format != Format::Human {
        printer.err(&line);
    }
    printer.event(&line);
}

/// The first line of the JSON stream.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Hello {
    /// The version of the stream: another number, and a reader of this one would be wrong.
    version: u32,
    /// The version of nixoci.
    nixoci: &'static str,
}

/// Greets whoever reads JSON lines.
pub(crate) fn hello(printer: &Printer) {
    printer.line("hello", &Hello { version: 1, nixoci: VERSION });
}

fn enter(directory: Option<&Path>) -> Result<()> {
    directory.map_or(Ok(()), |directory| {
        std::env::set_current_dir(directory)
            .or_error(&NO_DIRECTORY, || format!("{} cannot be entered", directory.display()))
    })
}

fn threads() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .or_error(&nixoci_core::codes::PROCESS, || "threads cannot be started")
}

async fn with_app(printer: &Printer, global: &Global, command: Command) -> Result<u8> {
    let logs = command.how().is_some_and(|how| how.print_build_logs);
    let ui = Arc::new(Ui::start(printer.clone(), global.progress, logs));
    let signals = Signals::default();
    signals.listen(ui.clone()).or_error(&nixoci_core::codes::PROCESS, || "signals cannot be received")?;
    hello(printer);
    let work = work(printer, global, command, &ui, &signals);
    let result = signals.watched(Box::pin(work)).await;
    ui.finish();
    result.map_err(|error| signals.explain(error))
}

async fn work(
    printer: &Printer,
    global: &Global,
    command: Command,
    ui: &Arc<Ui>,
    signals: &Signals,
) -> Result<u8> {
    let mut app = App::new(printer.clone(), global, &command, Arc::clone(ui), signals.clone()).await?;
    // A plugin that cannot be used must not keep anybody from managing plugins.
    if !matches!(command, Command::Plugin(_)) {
        app.check_backends()?;
    }
    trust::settle(&mut app, Need::of(&command)).await?;
    let plans = matches!(command, Command::Plan(_));
    let done = commands::dispatch(&app, command).await;
    if plans { done.map_err(planned) } else { done }
}

/// A plan that failed is tried again as a plan: what a build would be told to do, without what only a build takes.
fn planned(error: Error) -> Error {
    let mut report = error.into_report();
    for command in report.remedies.iter_mut().filter_map(|remedy| remedy.command.as_mut()) {
        let of_build = ["--load", "--output", "--tag", "-t", "-o", "-y", "--yes"];
        let plain = !command.split(' ').any(|word| of_build.iter().any(|flag| word.starts_with(flag)));
        if let (Some(rest), true) = (command.strip_prefix("nixoci build "), plain) {
            *command = format!("nixoci plan {rest}");
        }
    }
    Error::from(report)
}
