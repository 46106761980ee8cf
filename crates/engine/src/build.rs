//! The pipeline of one build.

use std::time::Instant;

use futures_util::future::join_all;
use nixoci_core::Result;
use nixoci_core::artifact::{Artifact, ArtifactId, PathInfo, Role};
use nixoci_core::backend::{Amendment, Cx, Depth, Forecast, Verdict};
use nixoci_core::codes::CANCELLED;
use nixoci_core::platform::{NixSystem, OciPlatform};
use nixoci_core::registry::{Rejection, nobody};
use nixoci_core::release::release_artifact;
use tokio::sync::Mutex;

use crate::Engine;
use crate::bring::{Brought, at_hand, bring};
use crate::choose::{Choice, Choices, Pool, choose};
use crate::consent::{self, Agreed};
use crate::deliver::{Runtimes, check_sinks, deliver};
use crate::job::Job;
use crate::provision::make_ready;
use crate::report::{BuildReport, Clock};

/// Builds an image, checks it, and puts it where it belongs.
///
/// # Errors
/// Whatever the stations report. When delivery fails, the image stays in the cache, and the error says how to
/// try again.
pub async fn build(engine: &Engine<'_>, job: &Job) -> Result<BuildReport> {
    // On the heap: the future of a whole build twice is more than a thread's stack has room for.
    match Box::pin(build_once(engine, job)).await {
        // It is out of the cache now, so that the second time everything is made anew.
        Err(error) if error.is(&nixoci_image::codes::CACHE_DAMAGED) => {
            engine.cx.observer.warn(format!("{error}; it is made anew"), Vec::new());
            Box::pin(build_once(engine, job)).await
        }
        built => built,
    }
}

async fn build_once(engine: &Engine<'_>, job: &Job) -> Result<BuildReport> {
    let mut clock = Clock::start();
    let systems = job.systems()?;
    // Destinations are asked before anything is built, while the backends think about their offers.
    let pool = Pool::new(engine, &job.backends, &job.backend_tables)?;
    let choosing = systems.iter().map(|(_, system)| choose(engine, &pool, system));
    let (runtimes, choices) = tokio::join!(check_sinks(engine, job), join_all(choosing));
    let runtimes: Runtimes = runtimes?;
    let choices = choices.into_iter().collect::<Result<Vec<Choices>>>()?;
    clock.lap("prepare");
    // Backends are made ready one after the other: what does so for one platform may do so for the next.
    // With whether the project was given the user's credentials, for which one question is enough.
    let turn = Mutex::new(false);
    let settling = systems.into_iter().zip(choices).map(|((platform, system), choices)| {
        let turn = &turn;
        async move {
            let (choice, forecast) = settle(engine, job, choices, &system, turn).await?;
            let at_hand = match &forecast.known {
                Some(info) => at_hand(engine, job, info, &platform)?,
                None => None,
            };
            Ok(Settled { platform, system, choice, forecast, at_hand })
        }
    });
    let settled = join_all(settling).await.into_iter().collect::<Result<Vec<Settled>>>()?;
    clock.lap("provision");
    let mut built = build_all(engine, job, settled).await?;
    clock.lap("build");
    let result = after_build(engine, job, &mut built, runtimes, &mut clock).await;
    for one in &built {
        if let Err(error) = one.release(&engine.cx).await {
            engine.cx.observer.debug(format!("the artifact could not be released: {error}"));
        }
    }
    result
}

/// A platform, and who builds for it.
struct Settled {
    platform: OciPlatform,
    system: NixSystem,
    choice: Choice,
    forecast: Forecast,
    at_hand: Option<Brought>,
}

/// A platform that was built.
pub(crate) struct Built {
    pub(crate) platform: OciPlatform,
    pub(crate) choice: Choice,
    pub(crate) artifact: Artifact,
    /// Its image, if that was built before: then there is nothing in any store that is held for us.
    at_hand: Option<Brought>,
    held: bool,
}

impl Built {
    /// What is here already, and known to be what a build would give.
    fn before(one: Settled, info: &PathInfo) -> Built {
        let artifact = Artifact {
            path: info.path.clone(),
            role: Role::Output,
            system: one.system,
            drv: one.forecast.drv,
            attribute: one.forecast.attribute,
            id: ArtifactId(String::new()),
        };
        Built { platform: one.platform, choice: one.choice, artifact, at_hand: one.at_hand, held: false }
    }

    async fn release(&self, cx: &Cx<'_>) -> Result<()> {
        if !self.held {
            return Ok(());
        }
        release_artifact(&*self.choice.backend, cx, self.artifact.id.clone()).await
    }
}

/// Builds all platforms: at once, except on a backend that takes one build at a time. The first failure ends the others,
/// unless they are to go on; what was built is released then.
async fn build_all(engine: &Engine<'_>, job: &Job, settled: Vec<Settled>) -> Result<Vec<Built>> {
    let turn = Mutex::new(());
    let stop = engine.cx.cancel.child_token();
    let cx = Cx { cancel: &stop, ..engine.cx };
    let (turn, cx, stop) = (&turn, &cx, &stop);
    let builds = settled.into_iter().map(|one| async move {
        if let (Some(info), Some(_)) = (one.forecast.known.clone(), &one.at_hand) {
            return Ok(Built::before(one, &info));
        }
        let alone = !engine.registry.require(&one.choice.name)?.descriptor().concurrent_builds;
        let _turn = if alone { Some(turn.lock().await) } else { None };
        let built = build_one(engine, cx, job, &one).await;
        if built.is_err() && !job.flags.keep_going {
            stop.cancel();
        }
        let (platform, choice) = (one.platform, one.choice);
        Ok(Built { artifact: built?, platform, choice, at_hand: None, held: true })
    });
    let results: Vec<Result<Built>> = join_all(builds).await;
    let (built, mut failed): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    let built: Vec<Built> = built.into_iter().flatten().collect();
    if failed.is_empty() {
        return Ok(built);
    }
    for one in &built {
        let _ = one.release(&engine.cx).await;
    }
    // Those that were stopped because another one failed are not the reason.
    let reason = failed.iter().position(|failed| matches!(failed, Err(error) if !error.is(&CANCELLED)));
    let reason = failed.swap_remove(reason.unwrap_or(0));
    for error in failed.into_iter().filter_map(Result::err).filter(|error| !error.is(&CANCELLED)) {
        engine.cx.observer.warn(error.to_string(), error.report().remedies.clone());
    }
    reason.map(|_| Vec::new())
}

/// Builds, and once more if the backend knows what would let it end well and somebody agrees to that.
async fn build_one(engine: &Engine<'_>, cx: &Cx<'_>, job: &Job, one: &Settled) -> Result<Artifact> {
    let backend = &one.choice.backend;
    let request = job.request(one.system.clone());
    let error = match backend.build(cx, &request, &one.forecast).await {
        Ok(artifact) => return Ok(artifact),
        Err(error) => error,
    };
    let Some(Amendment { plan, agreed }) = backend.amend(cx, &error).await? else { return Err(error) };
    let agreed = Agreed { yes: job.agreed.yes || agreed, ..job.agreed };
    if !consent::to_amend(engine, &one.choice.name, &plan, agreed).await? {
        return Err(error);
    }
    let todo: Vec<&str> = plan.pending().map(|step| step.title.as_str()).collect();
    cx.observer.warn(format!("{error}; now: {}, then the build goes on", todo.join(", ")), Vec::new());
    backend.provision(cx, &plan).await?;
    backend.build(cx, &request, &one.forecast).await
}

/// The first backend that takes the build once it has seen what it would be. This is the last moment at which another
/// one takes over: after a build has failed, nobody does.
async fn settle(
    engine: &Engine<'_>,
    job: &Job,
    choices: Choices,
    system: &NixSystem,
    turn: &Mutex<bool>,
) -> Result<(Choice, Forecast)> {
    let Choices { mut able, mut rejected } = choices;
    while let Some(choice) = able.pop_front() {
        {
            let mut entrusted = turn.lock().await;
            *entrusted = *entrusted || consent::to_entrust(engine, &choice, job).await?;
            make_ready(engine, &choice, system, job.agreed).await?;
        }
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
    built: &mut [Built],
    runtimes: Runtimes,
    clock: &mut Clock,
) -> Result<BuildReport> {
    let started = Instant::now();
    let mut brought = Vec::new();
    // One after the other: reading an image keeps all CPUs busy.
    for one in built.iter_mut() {
        let image = match one.at_hand.take() {
            Some(image) => image,
            None => bring(engine, job, &one.choice, &one.artifact, &one.platform).await?,
        };
        for summary in image.image.platforms() {
            for warning in summary.accept(std::slice::from_ref(&one.platform), job.mismatch)? {
                engine.cx.observer.warn(warning.text, Vec::new());
            }
        }
        brought.push(image);
    }
    clock.lap("validate");
    if engine.cx.cancel.is_cancelled() {
        return Err(nixoci_core::Error::new(&CANCELLED, "stopped before the image was delivered"));
    }
    let outputs = deliver(engine, job, &brought, runtimes).await?;
    clock.lap("deliver");
    engine.cx.observer.debug(format!("image handled in {} ms", started.elapsed().as_millis()));
    Ok(BuildReport::new(built, &brought, outputs, clock.take()))
}
