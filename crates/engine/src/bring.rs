//! From a store path in some store to a checked image in the cache.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nixoci_core::artifact::{Artifact, PathInfo};
use nixoci_core::backend::{Backend, How};
use nixoci_core::codes::{BUG, CANCELLED};
use nixoci_core::event::{Event, Stage, Task, TaskKind};
use nixoci_core::platform::OciPlatform;
use nixoci_core::runner::GRACE;
use nixoci_core::stall::{Meter, Progress};
use nixoci_core::text::bytes;
use nixoci_core::{Error, ErrorKind, Remedy, Result};
use nixoci_image::{Cache, CacheKey, CachedImage, Input, Mismatch, Naming, ReadOptions, import};
use tokio::io::AsyncWriteExt;
use tokio_util::io::SyncIoBridge;
use tokio_util::sync::CancellationToken;

use crate::Engine;
use crate::arrive::Arrival;
use crate::choose::Choice;
use crate::codes::{NOT_FOUND_AGAIN, STALLED};
use crate::job::Job;
use crate::progress::telling;
use crate::script;

/// How much of a stream may be on its way between fetching and reading.
const PIPE: usize = 1 << 20;

/// An image that is here now.
pub(crate) struct Brought {
    pub(crate) image: CachedImage,
    /// Its key in the cache.
    pub(crate) key: CacheKey,
    /// Bytes that had to be moved.
    pub(crate) fetched: u64,
    /// Bytes that were in the cache already.
    pub(crate) reused: u64,
}

/// Finds the artifact's image in the cache, or reads it into the cache, checking everything on the way.
pub(crate) async fn bring(
    engine: &Engine<'_>,
    job: &Job,
    choice: &Choice,
    artifact: &Artifact,
    platform: &OciPlatform,
) -> Result<Brought> {
    let backend = choice.backend.as_ref();
    let info = query(engine, backend, artifact).await?;
    if let Some(brought) = at_hand(engine, job, &info, platform)? {
        return Ok(brought);
    }
    let text = format!("checking {}", info.path.name());
    let system = Some(artifact.system.clone());
    engine.cx.observer.observe(Event::Stage { stage: Stage::Validate, system, text });
    let key = key(job, &info, platform);
    let reading = Reading::new(engine, job, platform, key.clone());
    let image = match &info.local {
        Some(path) if script::is_one(path) => {
            // What a cross compilation makes an image with is this host's.
            let runs = engine.cx.host.system.is_linux() || choice.offer.how == How::Cross;
            script::run(engine, path, &info, reading, runs).await?
        }
        // Nothing is copied: the file is read where it is.
        Some(path) => reading.run(engine, info.path.name(), Source::File(path.clone())).await?,
        None => return fetch_patiently(engine, job, choice, info, platform).await,
    };
    Ok(Brought { image, key, fetched: 0, reused: 0 })
}

fn key(job: &Job, info: &PathInfo, platform: &OciPlatform) -> CacheKey {
    let expect = std::slice::from_ref(platform);
    CacheKey::new(&info.nar_hash, &job.naming, job.created.as_deref()).only(expect, None)
}

/// The image of a store path, if it is in the cache.
pub(crate) fn at_hand(
    engine: &Engine<'_>,
    job: &Job,
    info: &PathInfo,
    platform: &OciPlatform,
) -> Result<Option<Brought>> {
    let key = key(job, info, platform);
    let Some(image) = engine.cache.lookup(&key)? else { return Ok(None) };
    // It was checked when it came; whether it is what is wanted today is another question.
    for summary in image.platforms() {
        summary.accept(std::slice::from_ref(platform), job.mismatch)?;
    }
    engine.cx.observer.debug(format!("{} is in the cache", info.path));
    Ok(Some(Brought { fetched: 0, reused: info.nar_size, image, key }))
}

async fn query(engine: &Engine<'_>, backend: &dyn Backend, artifact: &Artifact) -> Result<PathInfo> {
    let roots = std::slice::from_ref(&artifact.path);
    let infos = backend.query(&engine.cx, roots, false).await?;
    infos
        .into_iter()
        .find(|info| info.path == artifact.path)
        .ok_or_else(|| Error::new(&NOT_FOUND_AGAIN, format!("{} is gone", artifact.path)))
}

/// Where the bytes of an image come from.
pub(crate) enum Source {
    File(PathBuf),
    Stream(Arrival),
    /// What a program writes.
    Output(Box<dyn std::io::Read + Send>, String),
}

/// Everything the reading thread needs, owned: it must not borrow from the task that waits for it.
pub(crate) struct Reading {
    cache: Cache,
    key: CacheKey,
    naming: Naming,
    created: Option<String>,
    expect: OciPlatform,
    native: OciPlatform,
    mismatch: Mismatch,
    cancel: CancellationToken,
    done: Arc<AtomicU64>,
    total: Arc<AtomicU64>,
}

impl Reading {
    fn new(engine: &Engine<'_>, job: &Job, platform: &OciPlatform, key: CacheKey) -> Self {
        Reading {
            cache: engine.cache.clone(),
            key,
            naming: job.naming.clone(),
            created: job.created.clone(),
            expect: platform.clone(),
            native: job.native.clone(),
            mismatch: job.mismatch,
            cancel: engine.cx.cancel.child_token(),
            done: Arc::default(),
            total: Arc::default(),
        }
    }

    /// Reads on a thread of its own, telling progress meanwhile. Dropping the future stops the thread.
    pub(crate) async fn run(self, engine: &Engine<'_>, title: &str, source: Source) -> Result<CachedImage> {
        let (done, total) = (Arc::clone(&self.done), Arc::clone(&self.total));
        let task = Task::start(engine.cx.observer, TaskKind::Validate, title, None);
        let _stop = self.cancel.clone().drop_guard();
        let reading = tokio::task::spawn_blocking(move || self.read(source));
        let progress = || {
            let total = Some(total.load(Ordering::Relaxed)).filter(|total| *total > 0);
            (done.load(Ordering::Relaxed), total)
        };
        let result = telling(&task, progress, reading).await;
        let image =
            result.map_err(|error| Error::new(&BUG, "reading the image crashed").caused_by(&error))??;
        task.finish();
        Ok(image)
    }

    fn read(self, source: Source) -> Result<CachedImage> {
        let Reading { cache, key, naming, created, expect, native, mismatch, cancel, done, total } = self;
        let progress = |read: u64, size: Option<u64>| {
            done.store(read, Ordering::Relaxed);
            total.store(size.unwrap_or(0), Ordering::Relaxed);
        };
        let options = ReadOptions {
            expect: vec![expect],
            only: None,
            native,
            created,
            mismatch,
            names: naming,
            cancel: &cancel,
            progress: &progress,
        };
        cache.fill(&key, |out| match source {
            Source::File(path) => import(Input::file(&path)?, &options, out),
            Source::Stream(arrival) => arrival.import(&options, out),
            Source::Output(stream, name) => import(Input::reader(stream, name, None), &options, out),
        })
    }
}

/// Reads an image that arrives from a store elsewhere; once more, if it does not arrive whole.
async fn fetch_patiently(
    engine: &Engine<'_>,
    job: &Job,
    choice: &Choice,
    info: PathInfo,
    platform: &OciPlatform,
) -> Result<Brought> {
    let key = key(job, &info, platform);
    let reading = || Reading::new(engine, job, platform, key.clone());
    let error = match fetch(engine, choice, info.clone(), reading(), key.clone()).await {
        Err(error) if error.kind() == ErrorKind::Transfer => error,
        other => return other,
    };
    engine.cx.observer.warn(format!("{error}: it is read once more"), Vec::new());
    fetch(engine, choice, info, reading(), key).await
}

/// Reads an image while it arrives from a store elsewhere.
async fn fetch(
    engine: &Engine<'_>,
    choice: &Choice,
    info: PathInfo,
    reading: Reading,
    key: CacheKey,
) -> Result<Brought> {
    let (writer, reader) = tokio::io::duplex(PIPE);
    let progress = Arc::new(Progress::default());
    let mut writer = Meter::new(writer, Arc::clone(&progress));
    let (path, size) = (info.path.clone(), info.nar_size);
    let (backend, from, limit) = (choice.backend.as_ref(), choice.name.as_str(), engine.cx.stall_timeout);
    let source = Source::Stream(Arrival { stream: Box::new(SyncIoBridge::new(reader)), info });
    let send = async {
        let sent = tokio::select! {
            sent = backend.fetch(&engine.cx, std::slice::from_ref(&path), &mut writer) => sent,
            () = progress.sender_stalled(limit) => Err(stalled(from, limit, progress.bytes(), size)),
        };
        // The reader waits for the end of the stream, also after a failure.
        let _ = writer.shutdown().await;
        drop(writer);
        sent
    };
    let failed = CancellationToken::new();
    let read = async {
        let image = reading.run(engine, path.name(), source).await;
        if image.is_err() {
            failed.cancel();
        }
        image
    };
    let (sent, image) = tokio::join!(at_most_a_moment_after(&failed, send), read);
    match (sent, image) {
        (Some(Ok(fetched)), Ok(image)) => Ok(Brought { image, key, fetched, reused: 0 }),
        (Some(Err(sent)), Ok(_)) => Err(sent),
        (Some(Err(sent)), Err(read)) => Err(blame(sent, read)),
        (_, Err(read)) => Err(read),
        (None, Ok(_)) => Err(Error::new(&BUG, "a transfer was given up without a reason")),
    }
}

fn stalled(backend: &str, limit: Duration, moved: u64, size: u64) -> Error {
    let limit = limit.as_secs();
    Error::new(&STALLED, format!("nothing has come from the backend {backend} for {limit} s"))
        .because(format!("{} of {} had arrived", bytes(moved), bytes(size)))
        .remedy(Remedy::command("try again; what was built is kept", "nixoci build"))
        .remedy(Remedy::command("or wait longer", "--stall-timeout 10m"))
}

/// A sender that waits for its network learns late that nobody listens any more: then it is dropped.
async fn at_most_a_moment_after<T>(failed: &CancellationToken, send: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        sent = send => Some(sent),
        () = async { failed.cancelled().await; tokio::time::sleep(GRACE).await } => None,
    }
}

/// When both ends failed, one of them is the reason and the other its consequence: a reader that fails closes the
/// pipe, and a sender that dies leaves half a stream, which the reader calls a transfer error.
fn blame(sent: Error, read: Error) -> Error {
    let consequence = read.kind() == ErrorKind::Transfer || read.is(&CANCELLED);
    if sent.is(&CANCELLED) || consequence { sent } else { read }
}
