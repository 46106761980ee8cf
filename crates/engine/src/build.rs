//! The pipeline of one build.

use std::time::Instant;

use nixoci_core::Result;
use nixoci_core::artifact::Artifact;
use nixoci_core::backend::{Depth, Forecast, Release, Verdict};
use nixoci_core::codes::CANCELLED;
use nixoci_core::platform::NixSystem;
use nixoci_core::registry::{Rejection, nobody};

use crate::Engine;
use crate::bring::{Brought, bring};
use crate::choose::{Choice, Choices, choose, make_ready};
use crate::deliver::{Runtimes, check_sinks, deliver};
use crate::job::Job;
use crate::report::{BuildReport, Clock};

/// Builds an image, checks it, and puts it where it belongs.
///
/// # Errors
/// Whatever the stations report. When delivery fails, the image stays in the cache, and the error says how to
/// try again.
pub async fn build(engine: &Engine<'_>, job: &Job) -> Result<BuildReport> {
    let mut clock = Clock::start();
    let system = job.system()?;
    // Destinations are asked before anything is built, while the backends think about their offers.
    let (runtimes, choices) = tokio::join!(check_sinks(engine, job), choose(engine, job, &system));
    let runtimes: Runtimes = runtimes?;
    let choices = choices?;
    clock.lap("prepare");
    let (choice, forecast) = settle(engine, job, choices, &system).await?;
    clock.lap("provision");
    let artifact = choice.backend.build(&engine.cx, &job.request(system), &forecast).await?;
    clock.lap("build");
    let result = after_build(engine, job, &choice, &artifact, runtimes, &mut clock).await;
    let released = choice.backend.release(&engine.cx, Release::Artifact { id: artifact.id.clone() }).await;
    let report = result?;
    if let Err(error) = released {
        engine.cx.observer.debug(format!("the artifact could not be released: {error}"));
    }
    Ok(report)
}

/// The first backend that takes the build once it has seen what it would be. This is the last moment at which another
/// one takes over: after a build has failed, nobody does.
async fn settle(
    engine: &Engine<'_>,
    job: &Job,
    choices: Choices,
    system: &NixSystem,
) -> Result<(Choice, Forecast)> {
    let Choices { mut able, mut rejected } = choices;
    while let Some(choice) = able.pop_front() {
        make_ready(engine, &choice, system, job.may_provision).await?;
        let forecast =
            choice.backend.forecast(&engine.cx, &job.request(system.clone()), Depth::Verdict).await?;
        let Verdict::Decline { error } = forecast.verdict else { return Ok((choice, forecast)) };
        if let Some(next) = able.front() {
            let text = format!("{} declines ({error}); {} takes over", choice.name, next.name);
            engine.cx.observer.warn(text, error.report().remedies.clone());
        }
        rejected.push(Rejection { backend: choice.name, error });
    }
    Err(nobody(system, &rejected))
}

async fn after_build(
    engine: &Engine<'_>,
    job: &Job,
    choice: &Choice,
    artifact: &Artifact,
    runtimes: Runtimes,
    clock: &mut Clock,
) -> Result<BuildReport> {
    let started = Instant::now();
    let brought: Brought = bring(engine, job, choice.backend.as_ref(), artifact).await?;
    clock.lap("validate");
    for warning in brought.image.summary.accept(Some(&job.platform), job.allow_mismatch)? {
        engine.cx.observer.warn(warning.text, Vec::new());
    }
    if engine.cx.cancel.is_cancelled() {
        return Err(nixoci_core::Error::new(&CANCELLED, "stopped before the image was delivered"));
    }
    let outputs = deliver(engine, job, &brought.image, runtimes).await?;
    clock.lap("deliver");
    engine.cx.observer.debug(format!("image handled in {} ms", started.elapsed().as_millis()));
    Ok(BuildReport::new(job, choice, artifact, &brought, outputs, clock.take()))
}
