//! Container runtimes: finding the one that takes the image, and handing it over.

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use nixoci_core::codes::CANCELLED;
use nixoci_core::config::Runtime;
use nixoci_core::event::{Event, Stage, Task, TaskKind};
use nixoci_core::platform::OciPlatform;
use nixoci_core::{Error, ErrorKind, Remedy, Result, shell};
use nixoci_image::CachedImage;
use nixoci_image::codes::RUNTIME_MISSING;
use nixoci_image::runtime::{self, Loaded, Ready};

use crate::Engine;
use crate::codes::RUNTIME_NONE;
use crate::job::LoadSink;
use crate::replaced;
use crate::report::LoadOutcome;

/// A runtime that did not take the image, and why.
type Refusal = (Runtime, Error);

/// Loads an image that is in the cache already into the runtime that `sink` names.
///
/// # Errors
/// Those of the runtime.
pub async fn load(engine: &Engine<'_>, sink: &LoadSink, image: &CachedImage) -> Result<LoadOutcome> {
    let platforms: Vec<OciPlatform> = image.platforms().map(|one| one.platform.clone()).collect();
    let ready = find(engine, sink, &platforms).await?;
    hand_over(engine, &ready, image).await
}

/// The runtime that takes the image: the one that was named, or the first that answers.
pub(crate) async fn find(engine: &Engine<'_>, sink: &LoadSink, platforms: &[OciPlatform]) -> Result<Ready> {
    let observer = engine.cx.observer;
    let text = match sink.runtime {
        Some(runtime) => format!("asking {} whether it takes an image", runtime.name()),
        None => "looking for a container runtime that takes an image".to_owned(),
    };
    observer.observe(Event::Stage { stage: Stage::Prepare, system: None, text });
    let ready = match sink.runtime {
        Some(runtime) => ask(engine, sink, runtime).await?,
        None => first(engine, sink).await?,
    };
    let (name, about) = (ready.runtime().name(), ready.about());
    observer.debug(format!("{name} {} {}", about.version, about.place));
    if let Some(native) = about.platform {
        let foreign = platforms.iter().filter(|platform| !platform.matches(&native));
        let foreign: Vec<String> = foreign.map(ToString::to_string).collect();
        if !foreign.is_empty() {
            let text = format!("{name} runs on {native}: it needs an emulator to run {}", foreign.join(", "));
            observer.info(text);
        }
    }
    Ok(ready)
}

async fn ask(engine: &Engine<'_>, sink: &LoadSink, runtime: Runtime) -> Result<Ready> {
    if sink.to_run {
        runtime::can_run(&engine.cx, runtime).await?;
    }
    runtime::ask(&engine.cx, runtime, sink.docker_host.as_deref()).await
}

/// Asks all of them at once, and takes the first in order that answers; the others are not waited for.
async fn first(engine: &Engine<'_>, sink: &LoadSink) -> Result<Ready> {
    let candidates = Runtime::ALL.into_iter().filter(|runtime| !runtime.is_cluster());
    let mut answers: FuturesOrdered<_> =
        candidates.map(|runtime| async move { (runtime, ask(engine, sink, runtime).await) }).collect();
    let mut refusals = Vec::new();
    while let Some((runtime, answer)) = answers.next().await {
        match answer {
            Ok(ready) => {
                tell(engine, &ready, &refusals);
                return Ok(ready);
            }
            Err(error) if engine.cx.cancel.is_cancelled() => return Err(error),
            Err(error) => refusals.push((runtime, error)),
        }
    }
    Err(nobody(refusals, sink))
}

/// Which runtime was taken, where it is not the one that comes first.
fn tell(engine: &Engine<'_>, ready: &Ready, refusals: &[Refusal]) {
    if refusals.is_empty() {
        return;
    }
    let reasons: Vec<String> = refusals.iter().map(|(_, error)| error.to_string()).collect();
    let text = format!("{} takes the image: {}", ready.runtime().name(), reasons.join(", "));
    engine.cx.observer.info(text);
}

fn is_missing(refusal: &Refusal) -> bool {
    refusal.1.kind() == ErrorKind::ToolMissing
}

/// Nobody answered. What is installed and does not run is the likeliest to be meant.
fn nobody(mut refusals: Vec<Refusal>, sink: &LoadSink) -> Error {
    refusals.sort_by_key(is_missing);
    let error = if refusals.iter().all(is_missing) {
        Error::new(&RUNTIME_MISSING, "no container runtime is installed")
    } else {
        Error::new(&RUNTIME_NONE, RUNTIME_NONE.title)
    };
    let reason = |(runtime, error): &Refusal| format!("{}: {error}", runtime.name());
    let error = refusals.iter().map(reason).fold(error, Error::because);
    // To install one of several is enough.
    let installed = refusals.iter().filter(|refusal| !is_missing(refusal)).count();
    let remedies = refusals.iter().take(installed.max(1));
    let remedies = remedies.filter_map(|(_, error)| error.report().remedies.first().cloned());
    let error = remedies.fold(error, Error::remedy);
    if sink.to_run {
        return error;
    }
    error.remedy(Remedy::advice("or leave out --load: the image is kept as ./result"))
}

/// The image is in the cache: nobody has to build it again.
fn kept(error: Error, runtime: Runtime, image: &CachedImage) -> Error {
    if error.is(&CANCELLED) {
        return error;
    }
    let again = shell!("nixoci load {} --runtime {}", image.archive, runtime.name());
    error.remedy(Remedy::command("the image is kept: load it again", again))
}

/// Loads an image into a runtime that answered.
pub(crate) async fn hand_over(
    engine: &Engine<'_>,
    ready: &Ready,
    image: &CachedImage,
) -> Result<LoadOutcome> {
    let runtime = ready.runtime();
    // Which of several clusters it is, is worth knowing.
    let place = if runtime.is_cluster() { format!(" {}", ready.about().place) } else { String::new() };
    let text = format!("loading into {}{place}", runtime.name());
    engine.cx.observer.observe(Event::Stage { stage: Stage::Deliver, system: None, text });
    let task = Task::start(engine.cx.observer, TaskKind::Load, runtime.name(), None);
    let loaded = ready.load(&engine.cx, image).await.map_err(|error| kept(error, runtime, image))?;
    task.finish();
    let Loaded { images, skipped } = loaded;
    replaced::remember(&engine.cx, runtime, &images);
    Ok(LoadOutcome { images, skipped, runtime })
}
