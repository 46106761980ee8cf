//! Where images go: files, runtimes, `./result`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nixoci_core::codes::BUG;
use nixoci_core::event::{Event, Stage, Task, TaskKind};
use nixoci_core::{Error, Result};
use nixoci_image::runtime::Ready;
use nixoci_image::{CacheKey, CachedImage, Delivered, Destination, Image, Writing};

use crate::Engine;
use crate::bring::Brought;
use crate::job::Job;
use crate::progress::telling;
use crate::replaced;
use crate::report::OutputReport;
use crate::runtimes;

/// The runtimes that answered before anything was built.
#[derive(Debug, Default)]
pub struct Runtimes {
    load: Option<Ready>,
}

/// Asks every destination whether it can take an image, before anything is built.
pub(crate) async fn check_sinks(engine: &Engine<'_>, job: &Job) -> Result<Runtimes> {
    job.sinks.outputs.iter().try_for_each(Destination::check)?;
    if let Some(link) = &job.sinks.link {
        nixoci_image::check_link(&link.path)?;
    }
    match &job.sinks.load {
        Some(sink) => Ok(Runtimes { load: Some(runtimes::find(engine, sink, &job.platforms).await?) }),
        None => Ok(Runtimes::default()),
    }
}

/// Puts images everywhere they belong: the image of one platform, or one image made of several platforms'. They are in
/// the cache whatever happens here. Returns where each image went.
pub(crate) async fn deliver(
    engine: &Engine<'_>,
    job: &Job,
    brought: &[Brought],
    runtimes: Runtimes,
) -> Result<Vec<Vec<OutputReport>>> {
    let several = brought.len() > 1;
    let images = if several { 1 } else { brought.first().map_or(0, |one| one.image.images().len()) };
    let mut outputs = vec![Vec::new(); images];
    for destination in &job.sinks.outputs {
        let delivered = write(engine, job, destination, brought).await?;
        for (outputs, delivered) in outputs.iter_mut().zip(&delivered) {
            outputs.push(OutputReport::written(destination, delivered));
        }
    }
    if runtimes.load.is_none() && job.sinks.link.is_none() {
        return Ok(outputs);
    }
    let Some(image) = whole(engine, job, brought).await? else { return Ok(outputs) };
    if let Some(ready) = &runtimes.load {
        if let Some(file) = job.sinks.load.as_ref().and_then(|sink| sink.wished_by.as_deref()) {
            replaced::agreed(engine, file, ready, &image).await?;
        }
        let loaded = runtimes::hand_over(engine, ready, &image).await?;
        let there = image.images().iter().zip(&loaded.images);
        for (outputs, (image, there)) in outputs.iter_mut().zip(there) {
            outputs.push(OutputReport::loaded(&loaded, there, image));
        }
    }
    if let Some(link) = &job.sinks.link {
        engine.cache.link(&image, &link.path)?;
        for (outputs, image) in outputs.iter_mut().zip(image.images()) {
            outputs.push(OutputReport::link(link, image));
        }
    }
    Ok(outputs)
}

/// The image as one archive in the cache.
async fn whole(engine: &Engine<'_>, job: &Job, brought: &[Brought]) -> Result<Option<CachedImage>> {
    if brought.len() < 2 {
        return Ok(brought.first().map(|one| one.image.clone()));
    }
    let keys: Vec<CacheKey> = brought.iter().map(|one| one.key.clone()).collect();
    let (cache, key) = (engine.cache.clone(), CacheKey::merged(&keys));
    let merged = writing(engine, job, "the image for all platforms", brought, move |images, writing| {
        cache.merge(&key, &images.iter().collect::<Vec<_>>(), writing)
    });
    Ok(Some(merged.await?))
}

async fn write(
    engine: &Engine<'_>,
    job: &Job,
    destination: &Destination,
    brought: &[Brought],
) -> Result<Vec<Delivered>> {
    let destination = destination.clone();
    let title = destination.to_string();
    writing(engine, job, &title, brought, move |images, writing| {
        destination.write(&images.iter().collect::<Vec<_>>(), writing)
    })
    .await
}

/// Writes on a thread of its own, telling progress meanwhile.
async fn writing<T: Send + 'static>(
    engine: &Engine<'_>,
    job: &Job,
    title: &str,
    brought: &[Brought],
    write: impl FnOnce(&[CachedImage], &Writing<'_>) -> Result<T> + Send + 'static,
) -> Result<T> {
    let text = format!("writing {title}");
    engine.cx.observer.observe(Event::Stage { stage: Stage::Deliver, system: None, text });
    let images: Vec<CachedImage> = brought.iter().map(|one| one.image.clone()).collect();
    let size = images.iter().flat_map(CachedImage::images).map(Image::size).sum();
    let task = Task::start(engine.cx.observer, TaskKind::Write, title, Some(size));
    let cancel = engine.cx.cancel.child_token();
    let _stop = cancel.clone().drop_guard();
    let written = Arc::new(AtomicU64::new(0));
    let (counter, native) = (Arc::clone(&written), job.native.clone());
    let temporary = Arc::clone(engine.cx.temporary);
    let writing = tokio::task::spawn_blocking(move || {
        let progress = |bytes, _| counter.store(bytes, Ordering::Relaxed);
        let temporary = temporary.as_ref();
        write(&images, &Writing { native: &native, temporary, cancel: &cancel, progress: &progress })
    });
    let result = telling(&task, || (written.load(Ordering::Relaxed), None), writing).await;
    let delivered =
        result.map_err(|error| Error::new(&BUG, "writing the image crashed").caused_by(&error))??;
    task.finish();
    Ok(delivered)
}
