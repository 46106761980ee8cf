//! `nixoci inspect` and `nixoci validate`: what is in an image file, and whether it holds together.

use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};

use nixoci_core::codes::{BUG, CANCELLED};
use nixoci_core::digest::Digest;
use nixoci_core::event::{Task, TaskKind};
use nixoci_core::platform::OciPlatform;
use nixoci_core::runner::GRACE;
use nixoci_core::text::{bytes, count};
use nixoci_core::{Error, Remedy, Result, ResultExt};
use nixoci_image::{Cache, CacheKey, CachedImage, ImageSummary, Input, Naming, ReadOptions, Verdict, import};
use nixoci_nix::nar::HashingReader;
use schemars::JsonSchema;
use serde::Serialize;

use crate::app::App;
use crate::args::{SourceArgs, ValidateArgs};
use crate::codes::USAGE;
use crate::output::Verbosity;
use crate::resolve;

/// Prefixes that say what a source is. What it really is, is recognised by its content.
const FILE_KINDS: &[&str] = &["docker-archive:", "archive:"];
/// Places that skopeo reads, and that this nixoci does not.
const OTHER_KINDS: &[&str] =
    &["oci:", "oci-archive:", "docker:", "docker-daemon:", "dir:", "containers-storage:"];

/// What is in an image.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct InspectReport {
    /// The version of this document.
    version: u32,
    /// The image.
    image: ImageSummary,
}

/// An image that holds together. One that does not is an error.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ValidateReport {
    /// The version of this document.
    version: u32,
    /// Always true.
    valid: bool,
    /// The image.
    image: ImageSummary,
}

pub(crate) async fn inspect(app: &App, args: &SourceArgs) -> Result<u8> {
    let summary = check(app, &args.source, None).await?;
    app.ui.finish();
    let text = if app.printer.verbosity < Verbosity::Normal {
        format!("{}\n", summary.image_id)
    } else {
        human(&summary)
    };
    app.printer.result(&InspectReport { version: 1, image: summary }, &text)?;
    Ok(0)
}

pub(crate) async fn validate(app: &App, args: &ValidateArgs) -> Result<u8> {
    let expect = args.platform.as_deref().map(resolve::parse_platform).transpose()?;
    let summary = check(app, &args.source.source, expect)
        .await
        // Whoever validates does not take the image, and cannot take it as it is.
        .map_err(|error| error.without_remedy("--allow-mismatch"))?;
    for warning in &summary.warnings {
        app.cx().observer.warn(warning.text.clone(), Vec::new());
    }
    app.ui.finish();
    let text = format!(
        "{}: ok, {}, {}, {}\n",
        args.source.source,
        summary.platform,
        count(summary.layers.len(), "layer"),
        bytes(summary.size)
    );
    app.printer.result(&ValidateReport { version: 1, valid: true, image: summary }, &text)?;
    Ok(0)
}

/// Reads an image file into the cache, as the runtimes take it.
pub(crate) async fn import_file(
    app: &App,
    cache: &Cache,
    source: &str,
    naming: Naming,
    allow_mismatch: bool,
) -> Result<CachedImage> {
    let path = path(app, source)?;
    let cache = cache.clone();
    reading(app, source, move |options| {
        read_twice(&path)?;
        // Says what is wrong with a directory.
        Input::file(&path)?;
        let key = CacheKey::new(&content(&path)?, &naming);
        cache.fill(&key, |out| {
            import(
                Input::file(&path)?,
                &ReadOptions { names: naming.clone(), allow_mismatch, ..options.clone() },
                out,
            )
        })
    })
    .await
}

/// Once for the name in the cache, once for the image.
fn read_twice(path: &Path) -> Result<()> {
    if path.metadata().is_ok_and(|about| !about.is_file() && !about.is_dir()) {
        let text = format!("{} is not a file, and can be read only once", path.display());
        return Err(Error::new(&nixoci_image::codes::NOT_FOUND, text)
            .because("an image is read twice before it is loaded")
            .remedy(Remedy::command("keep it in a file first", "cat > image.tar && nixoci load image.tar")));
    }
    Ok(())
}

/// What names a file's content: its path says nothing, somebody may have built it again.
fn content(path: &Path) -> Result<Digest> {
    let unreadable = || format!("{} cannot be read", path.display());
    let file = File::open(path).or_error(&nixoci_image::codes::NOT_FOUND, unreadable)?;
    let mut reader = HashingReader::new(file);
    std::io::copy(&mut reader, &mut std::io::sink()).or_error(&nixoci_image::codes::NOT_FOUND, unreadable)?;
    Ok(reader.finish().0)
}

async fn check(app: &App, source: &str, expect: Option<OciPlatform>) -> Result<ImageSummary> {
    let path = path(app, source)?;
    reading(app, source, move |options| {
        nixoci_image::check(Input::file(&path)?, &ReadOptions { expect, ..options })
    })
    .await
}

/// Reads on a thread that may block, stopping with everything else.
async fn reading<T: Send + 'static>(
    app: &App,
    title: &str,
    read: impl FnOnce(ReadOptions<'_>) -> Result<T> + Send + 'static,
) -> Result<T> {
    let task = Task::start(app.ui.as_ref(), TaskKind::Validate, title, None);
    let (ui, id, cancel) = (app.ui.clone(), task.id(), app.signals.cancel().clone());
    let reading = tokio::task::spawn_blocking(move || {
        let progress = |done: u64, total: Option<u64>| {
            nixoci_core::event::Observer::observe(
                ui.as_ref(),
                nixoci_core::event::Event::Progress { task: id, done, total },
            );
        };
        read(ReadOptions {
            expect: None,
            allow_mismatch: false,
            names: Naming::Keep,
            cancel: &cancel,
            progress: &progress,
        })
    });
    let stopped = async {
        app.signals.cancel().cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    let result = tokio::select! {
        read = reading => read.map_err(|error| Error::new(&BUG, "reading the image crashed").caused_by(&error))??,
        // A pipe that nobody writes to cannot be interrupted.
        () = stopped => return Err(Error::new(&CANCELLED, "reading was stopped")),
    };
    task.finish();
    Ok(result)
}

fn path(app: &App, source: &str) -> Result<PathBuf> {
    if let Some(kind) = OTHER_KINDS.iter().find(|kind| source.starts_with(**kind)) {
        return Err(Error::new(
            &USAGE,
            format!("nixoci does not read from `{}` yet", kind.trim_end_matches(':')),
        )
        .remedy(Remedy::command("save the image to a file first", "docker save -o image.tar NAME")));
    }
    let file = FILE_KINDS.iter().find_map(|kind| source.strip_prefix(kind)).unwrap_or(source);
    let path = app.cwd.join(file);
    match std::fs::read_link(&path) {
        Ok(target) if !path.exists() => Err(dangling(file, &target)),
        _ => Ok(path),
    }
}

/// `./result` after the cache was emptied.
fn dangling(link: &str, target: &Path) -> Error {
    Error::new(&nixoci_image::codes::NOT_FOUND, format!("`{link}` is a link to an image that is gone"))
        .because(format!("{} does not exist", target.display()))
        .remedy(Remedy::command("make the image again", "nixoci build"))
}

fn human(image: &ImageSummary) -> String {
    let mut text = String::new();
    let mut row = |key: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(text, "{key:<12}{value}");
        }
    };
    row("name", &image.names.join(", "));
    row("platform", &image.platform.to_string());
    row("image id", &image.image_id.to_string());
    row("manifest", &image.manifest_digest.to_string());
    row("created", image.created.as_deref().unwrap_or_default());
    row("entrypoint", &words(&image.entrypoint));
    row("cmd", &words(&image.cmd));
    row("env", &image.env.join(" "));
    row("user", image.user.as_deref().unwrap_or_default());
    row("workdir", image.working_dir.as_deref().unwrap_or_default());
    for (place, executable) in image.executables.iter().enumerate() {
        let machine = executable.machine.as_ref().map_or_else(|| "script".to_owned(), ToString::to_string);
        // Where it was found, what the container would start comes first; then what starts that, and a sample.
        let label = if place == 0 && image.verdict == Verdict::Runs { "starts" } else { "program" };
        row(label, &format!("{} ({machine})", executable.path));
    }
    for warning in &image.warnings {
        row("warning", &warning.text);
    }
    let _ = writeln!(text, "{:<12}{}, {}", "layers", image.layers.len(), bytes(image.size));
    for layer in &image.layers {
        let short = &layer.diff_id.hex()[..12];
        let paths: Vec<&str> = layer.store_paths.iter().map(|path| name_of(path)).collect();
        let _ = writeln!(text, "  {short}  {:>9}  {}", bytes(layer.size), paths.join(" "));
    }
    text
}

/// A store path without its directory and hash.
fn name_of(path: &str) -> &str {
    path.rsplit_once('/').and_then(|(_, base)| base.split_once('-')).map_or(path, |(_, name)| name)
}

fn words(words: &[String]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| nixoci_core::runner::quote(word.as_ref())).collect();
    quoted.join(" ")
}
