//! Images that are there already: what people write for one, and reading it.

use std::path::{Path, PathBuf};

use nixoci_core::codes::{BUG, CANCELLED};
use nixoci_core::digest::Digest;
use nixoci_core::event::{Task, TaskKind};
use nixoci_core::runner::GRACE;
use nixoci_core::{Error, Remedy, Result, ResultExt, shell};
use nixoci_image::{Cache, CacheKey, CachedImage, Input, Naming, ReadOptions, import};
use nixoci_nix::nar::HashingReader;

use crate::app::App;
use crate::codes::USAGE;

/// Prefixes that say what a source is. What it really is, is recognised by its content.
const KINDS: &[&str] = &["docker-archive:", "oci-archive:", "archive:", "oci:", "dir:"];
/// Places that skopeo reads, and that this nixoci does not.
const OTHER_KINDS: &[&str] = &["docker:", "docker-daemon:", "containers-storage:"];

/// Where an image comes from.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// The file or directory; standard input where there is none.
    path: Option<PathBuf>,
    /// The image in it that is meant.
    pub(crate) only: Option<String>,
    /// As it was typed.
    pub(crate) shown: String,
}

impl Source {
    /// Understands a path, `-`, and skopeo's `docker-archive:FILE[:NAME]`, `oci:DIR[:NAME]` and so on.
    ///
    /// # Errors
    /// [`USAGE`] for places that are not read; a link whose target is gone.
    pub(crate) fn parse(app: &App, text: &str) -> Result<Source> {
        if let Some(kind) = OTHER_KINDS.iter().find(|kind| text.starts_with(**kind)) {
            return Err(not_read(text, kind));
        }
        let kind = KINDS.iter().find(|kind| text.starts_with(**kind));
        let file = kind.map_or(text, |kind| &text[kind.len()..]);
        let shown = text.to_owned();
        if file.is_empty() {
            return Err(Error::new(&USAGE, format!("`{text}` names no image"))
                .remedy(Remedy::command("name a file or a directory", "nixoci validate ./result")));
        }
        if file == "-" {
            return Ok(Source { path: None, only: None, shown });
        }
        let path = app.cwd.join(file);
        if let (Some(_), false, Some((file, name))) = (kind, path.exists(), split_name(app, file)) {
            return Ok(Source { path: Some(app.cwd.join(file)), only: Some(name.to_owned()), shown });
        }
        match std::fs::read_link(&path) {
            Ok(target) if !path.exists() => Err(dangling(file, &target)),
            _ => Ok(Source { path: Some(path), only: None, shown }),
        }
    }

    /// The bytes, from their beginning. Standard input has only one.
    pub(crate) fn open(&self) -> Result<Input> {
        match &self.path {
            Some(path) => Input::file(path),
            None => Ok(Input::reader(Box::new(std::io::stdin()), "standard input".to_owned(), None)),
        }
    }

    /// Whether it can be read again.
    fn is_lasting(&self) -> bool {
        let once = |path: &PathBuf| path.metadata().is_ok_and(|about| !about.is_file() && !about.is_dir());
        self.path.as_ref().is_some_and(|path| !once(path))
    }
}

/// The shortest beginning of the text that is there, and what follows its colon.
fn split_name<'t>(app: &App, text: &'t str) -> Option<(&'t str, &'t str)> {
    text.match_indices(':')
        .map(|(at, _)| (&text[..at], &text[at + 1..]))
        .find(|(file, name)| !file.is_empty() && !name.is_empty() && app.cwd.join(file).exists())
}

fn not_read(text: &str, kind: &str) -> Error {
    let name = text.trim_start_matches(kind).trim_start_matches("//");
    let error = Error::new(&USAGE, format!("nixoci does not read from `{}` yet", kind.trim_end_matches(':')));
    error.remedy(match kind {
        "docker-daemon:" => Remedy::command("pipe it", shell!("docker save {} | nixoci inspect -", name)),
        "containers-storage:" => {
            Remedy::command("pipe it", shell!("podman save {} | nixoci inspect -", name))
        }
        _ => Remedy::command("copy it to a layout first", shell!("skopeo copy {} oci:image", text)),
    })
}

/// Reads a source into the cache, as the runtimes take it. With it comes the key of an image that nobody can ask for
/// again, for [`Cache::forget`] once it was used.
pub(crate) async fn import_source(
    app: &App,
    cache: &Cache,
    source: Source,
    change: impl FnOnce(&mut ReadOptions<'_>) + Send + 'static,
) -> Result<(CachedImage, Option<CacheKey>)> {
    let cache = cache.clone();
    let title = source.shown.clone();
    reading(app, &title, move |mut options| {
        options.only.clone_from(&source.only);
        change(&mut options);
        let as_it_is = options.names == Naming::Keep && options.expect.is_empty() && options.only.is_none();
        if let (true, Some(path)) = (as_it_is, &source.path)
            && let Some(image) = cache.at(path)?
        {
            // What a build left is here already: nothing has to be read.
            return Ok((image, None));
        }
        let key = key(&source)?;
        let key = CacheKey::new(&key, &options.names, None).only(&options.expect, options.only.as_deref());
        let image = cache.fill(&key, |out| import(source.open()?, &options, out))?;
        Ok((image, Some(key).filter(|_| !source.is_lasting())))
    })
    .await
}

/// What names the content of a source: its path says nothing, somebody may have built it again.
fn key(source: &Source) -> Result<Digest> {
    let Some(path) = source.path.as_ref().filter(|_| source.is_lasting()) else {
        return Ok(once());
    };
    // Says what is wrong with a directory that is no layout.
    source.open()?;
    for index in ["index.json", "manifest.json"] {
        // These name everything else in the directory by its digest.
        if path.is_dir() && path.join(index).exists() {
            return content(&path.join(index));
        }
    }
    content(path)
}

/// A key that nobody had before.
fn once() -> Digest {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let text = format!("{} {}", std::process::id(), now.as_nanos());
    let mut reader = HashingReader::new(text.as_bytes());
    let _ = std::io::copy(&mut reader, &mut std::io::sink());
    reader.finish().0
}

/// What names a file's content: its path says nothing, somebody may have built it again.
fn content(path: &Path) -> Result<Digest> {
    let unreadable = || format!("{} cannot be read", path.display());
    let file = nixoci_core::file::open(path).or_error(&nixoci_image::codes::NOT_FOUND, unreadable)?;
    let mut reader = HashingReader::new(file);
    std::io::copy(&mut reader, &mut std::io::sink()).or_error(&nixoci_image::codes::NOT_FOUND, unreadable)?;
    Ok(reader.finish().0)
}

/// Reads on a thread that may block, stopping with everything else.
pub(crate) async fn reading<T: Send + 'static>(
    app: &App,
    title: &str,
    read: impl FnOnce(ReadOptions<'_>) -> Result<T> + Send + 'static,
) -> Result<T> {
    let task = Task::start(app.ui.as_ref(), TaskKind::Validate, title, None);
    let native = app.native();
    let (ui, id, cancel) = (app.ui.clone(), task.id(), app.signals.cancel().clone());
    let reading = tokio::task::spawn_blocking(move || {
        let progress = |done: u64, total: Option<u64>| {
            nixoci_core::event::Observer::observe(
                ui.as_ref(),
                nixoci_core::event::Event::Progress { task: id, done, total },
            );
        };
        read(ReadOptions { native, progress: &progress, ..ReadOptions::new(&cancel) })
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

/// `./result` after the cache was emptied.
fn dangling(link: &str, target: &Path) -> Error {
    Error::new(&nixoci_image::codes::NOT_FOUND, format!("`{link}` is a link to an image that is gone"))
        .because(format!("{} does not exist", target.display()))
        .remedy(Remedy::command("make the image again", "nixoci build"))
}
