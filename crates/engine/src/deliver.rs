//! Where images go: files, runtimes, `./result`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nixoci_core::codes::BUG;
use nixoci_core::event::{Event, Stage, Task, TaskKind};
use nixoci_core::platform::OciPlatform;
use nixoci_core::{Error, Result};
use nixoci_image::runtime::docker::{Docker, DockerInfo};
use nixoci_image::{CachedImage, Delivered, Destination};

use crate::Engine;
use crate::job::{Job, LoadSink};
use crate::progress::telling;
use crate::report::{LoadOutcome, OutputReport};

/// The runtimes that answered before anything was built.
#[derive(Debug, Default)]
pub struct Runtimes {
    docker: Option<(Docker, DockerInfo)>,
}

/// Asks every destination whether it can take an image, before anything is built.
pub(crate) async fn check_sinks(engine: &Engine<'_>, job: &Job) -> Result<Runtimes> {
    job.sinks.outputs.iter().try_for_each(Destination::check)?;
    if let Some(link) = &job.sinks.link {
        nixoci_image::check_link(&link.path)?;
    }
    match &job.sinks.load {
        Some(sink) => find_runtime(engine, sink, Some(&job.platform)).await,
        None => Ok(Runtimes::default()),
    }
}

async fn find_runtime(
    engine: &Engine<'_>,
    sink: &LoadSink,
    platform: Option<&OciPlatform>,
) -> Result<Runtimes> {
    // One runtime is known; `auto` and `docker` differ once there are others.
    let docker = Docker::new(sink.docker_host.clone());
    let text = "asking docker whether it takes an image".to_owned();
    engine.cx.observer.observe(Event::Stage { stage: Stage::Prepare, system: None, text });
    let info = docker.ask(&engine.cx).await?;
    engine.cx.observer.debug(format!("docker {} at {}", info.server_version, info.endpoint));
    if let Some(platform) = platform.filter(|platform| !platform.matches(&info.platform)) {
        engine
            .cx
            .observer
            .info(format!("docker runs on {}: it needs an emulator to run {platform}", info.platform));
    }
    Ok(Runtimes { docker: Some((docker, info)) })
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
    if let Some((docker, _)) = &runtimes.docker {
        let loaded = into_docker(engine, docker, image).await?;
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

async fn into_docker(engine: &Engine<'_>, docker: &Docker, image: &CachedImage) -> Result<LoadOutcome> {
    let text = "loading into docker".to_owned();
    engine.cx.observer.observe(Event::Stage { stage: Stage::Deliver, system: None, text });
    let task = Task::start(engine.cx.observer, TaskKind::Load, "docker", None);
    let loaded = docker.load(&engine.cx, image).await?;
    task.finish();
    Ok(LoadOutcome { references: loaded.references, image_id: loaded.image_id, runtime: "docker" })
}

/// Loads an image that is in the cache already into the runtime that `sink` names.
///
/// # Errors
/// Those of the runtime.
pub async fn load(engine: &Engine<'_>, sink: &LoadSink, image: &CachedImage) -> Result<LoadOutcome> {
    let runtimes = find_runtime(engine, sink, Some(&image.summary.platform)).await?;
    let (docker, _) =
        runtimes.docker.ok_or_else(|| Error::new(&BUG, "no runtime was found, and no error said so"))?;
    into_docker(engine, &docker, image).await
}
