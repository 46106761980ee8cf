//! Where images go: files, runtimes, `./result`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nixoci_core::codes::BUG;
use nixoci_core::event::{Event, Stage, Task, TaskKind};
use nixoci_core::{Error, Result};
use nixoci_image::runtime::Ready;
use nixoci_image::{CachedImage, Delivered, Destination};

use crate::Engine;
use crate::job::Job;
use crate::progress::telling;
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
        Some(sink) => Ok(Runtimes {
            load: Some(runtimes::find(engine, sink, std::slice::from_ref(&job.platform)).await?),
        }),
        None => Ok(Runtimes::default()),
    }
}

/// Puts an image everywhere it belongs. The image is in the cache whatever happens here.
pub(crate) async fn deliver(
    engine: &Engine<'_>,
    job: &Job,
    image: &CachedImage,
    runtimes: Runtimes,
) -> Result<Vec<OutputReport>> {
    let mut outputs = Vec::new();
    for destination in &job.sinks.outputs {
        let delivered = write(engine, destination, image).await?;
        outputs.push(OutputReport::file(destination, &delivered, image));
    }
    if let Some(ready) = &runtimes.load {
        let loaded = runtimes::hand_over(engine, ready, image).await?;
        outputs.push(OutputReport::loaded(&loaded, image));
    }
    if let Some(link) = &job.sinks.link {
        engine.cache.link(image, &link.path)?;
        outputs.push(OutputReport::link(link, image));
    }
    Ok(outputs)
}

async fn write(engine: &Engine<'_>, destination: &Destination, image: &CachedImage) -> Result<Delivered> {
    let text = format!("writing {destination}");
    engine.cx.observer.observe(Event::Stage { stage: Stage::Deliver, system: None, text });
    let task =
        Task::start(engine.cx.observer, TaskKind::Write, destination.to_string(), Some(image.summary.size));
    let cancel = engine.cx.cancel.child_token();
    let _stop = cancel.clone().drop_guard();
    let written = Arc::new(AtomicU64::new(0));
    let (counter, destination, image) = (Arc::clone(&written), destination.clone(), image.clone());
    let temporary = Arc::clone(engine.cx.temporary);
    let writing = tokio::task::spawn_blocking(move || {
        let progress = |bytes, _| counter.store(bytes, Ordering::Relaxed);
        destination.write(&image, temporary.as_ref(), &cancel, &progress)
    });
    let result = telling(&task, || (written.load(Ordering::Relaxed), None), writing).await;
    let delivered =
        result.map_err(|error| Error::new(&BUG, "writing the image crashed").caused_by(&error))??;
    task.finish();
    Ok(delivered)
}
