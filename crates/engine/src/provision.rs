//! Making a backend ready, and putting it away: for `nixoci provision`, and on the way to a build.

use std::collections::BTreeMap;
use std::sync::Arc;

use nixoci_core::backend::{Backend, Check, CheckVerdict, Readiness, Release};
use nixoci_core::codes::{BUG, PENDING};
use nixoci_core::config::BackendTable;
use nixoci_core::event::{Event, Stage};
use nixoci_core::plan::{Configuration, ProvisionPlan};
use nixoci_core::platform::{NixSystem, OciPlatform};
use nixoci_core::{Error, Remedy, Result};
use schemars::JsonSchema;
use serde::Serialize;

use crate::Engine;
use crate::choose::{Choice, Pool, choose, made};
use crate::codes::{NOT_PROVEN, NOTHING_TO_WRITE};
use crate::consent::{self, Agreed};
use crate::job::system_of;

/// What is to be made ready, or put away.
#[derive(Clone, Debug)]
pub struct ProvisionJob {
    /// For which platforms; there is at least one.
    pub platforms: Vec<OciPlatform>,
    /// Backends in order of preference; empty means by readiness.
    pub backends: Vec<String>,
    /// Whether somebody named those backends just now: then they are put away unseen, as what is broken offers nothing and
    /// is never chosen.
    pub named: bool,
    /// The configured tables of each backend, weakest first.
    pub backend_tables: BTreeMap<String, Vec<BackendTable>>,
    /// What was agreed to beforehand.
    pub agreed: Agreed,
}

/// What was made ready.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProvisionReport {
    /// The version of this document.
    pub version: u32,
    /// The chosen backends.
    pub backends: Vec<Provisioned>,
}

/// One backend that is ready.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Provisioned {
    /// Its name.
    pub backend: String,
    /// The systems that it is ready for, as Nix names them.
    pub systems: Vec<NixSystem>,
    /// Whether something had to be done.
    pub changed: bool,
    /// The steps as they stood before.
    pub plan: ProvisionPlan,
    /// What came of building something tiny for each system. Empty if nothing had to be done.
    pub proof: Vec<Check>,
}

/// How a backend is put away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PutAway {
    /// What it keeps running stops.
    Stop,
    /// What provisioning did is undone.
    Remove,
}

/// What was put away. What exactly was done, each backend says itself, as events.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PutAwayReport {
    /// The version of this document.
    pub version: u32,
    /// How.
    pub how: PutAway,
    /// Which backends.
    pub backends: Vec<String>,
}

/// Chooses a backend for each platform as a build does, makes it ready if somebody agrees, and has it prove that it builds.
///
/// # Errors
/// Those of selection; [`PENDING`]; the backend's own; `nixoci::provision::not_proven`.
pub async fn provision(engine: &Engine<'_>, job: &ProvisionJob) -> Result<ProvisionReport> {
    let mut backends = Vec::new();
    for (choice, systems) in chosen(engine, job).await? {
        backends.push(provision_one(engine, &choice, systems, job.agreed).await?);
    }
    Ok(ProvisionReport { version: 1, backends })
}

/// The chosen backends, each once, with all systems that it is for.
async fn chosen(engine: &Engine<'_>, job: &ProvisionJob) -> Result<Vec<(Choice, Vec<NixSystem>)>> {
    let mut chosen: Vec<(Choice, Vec<NixSystem>)> = Vec::new();
    for platform in &job.platforms {
        let system = system_of(platform)?;
        let choice = first(engine, job, &system).await?;
        match chosen.iter_mut().find(|(other, _)| other.name == choice.name) {
            Some((_, systems)) if systems.contains(&system) => {}
            Some((_, systems)) => systems.push(system),
            None => chosen.push((choice, vec![system])),
        }
    }
    Ok(chosen)
}

async fn first(engine: &Engine<'_>, job: &ProvisionJob, system: &NixSystem) -> Result<Choice> {
    let mut choices = choose(engine, &Pool::new(engine, &job.backends, &job.backend_tables)?, system).await?;
    choices.able.pop_front().ok_or_else(|| Error::new(&BUG, "nobody was chosen, and no error said so"))
}

async fn provision_one(
    engine: &Engine<'_>,
    choice: &Choice,
    systems: Vec<NixSystem>,
    agreed: Agreed,
) -> Result<Provisioned> {
    let plan = carry_out(engine, choice, &systems, agreed).await?;
    let changed = !plan.is_satisfied();
    let proof = if changed { prove(engine, choice, &systems).await? } else { Vec::new() };
    Ok(Provisioned { backend: choice.name.clone(), systems, changed, plan, proof })
}

/// Steps that went well are no proof that something can be built.
async fn prove(engine: &Engine<'_>, choice: &Choice, systems: &[NixSystem]) -> Result<Vec<Check>> {
    let checks = choice.backend.prove(&engine.cx, systems).await?;
    match checks.iter().find(|check| check.verdict == CheckVerdict::Bad) {
        None => Ok(checks),
        Some(bad) => {
            let message = format!("{} was made ready, but does not build for {}", choice.name, bad.title);
            let error = Error::new(&NOT_PROVEN, message).because(&bad.detail);
            Err(bad.remedies.iter().cloned().fold(error, Error::remedy))
        }
    }
}

/// Makes the chosen backend ready, if it is not. One that says it is ready, or that wakes up by itself, costs nothing.
///
/// # Errors
/// [`PENDING`] when provisioning is needed and not agreed to; the backend's own otherwise.
pub(crate) async fn make_ready(
    engine: &Engine<'_>,
    choice: &Choice,
    system: &NixSystem,
    agreed: Agreed,
) -> Result<()> {
    if matches!(choice.offer.readiness, Readiness::Ready | Readiness::Asleep) {
        return Ok(());
    }
    carry_out(engine, choice, std::slice::from_ref(system), agreed).await.map(drop)
}

/// Does what a backend's plan says, if somebody agrees, and looks whether it had an effect. The plan as it stood before.
async fn carry_out(
    engine: &Engine<'_>,
    choice: &Choice,
    want: &[NixSystem],
    agreed: Agreed,
) -> Result<ProvisionPlan> {
    let plan = choice.backend.plan(&engine.cx, want).await?;
    if let Some((_, error)) = plan.blocked() {
        return Err(error.clone());
    }
    if plan.is_satisfied() {
        return Ok(plan);
    }
    // What the backend leaves to the administrator anyway is no question.
    if agreed.never || plan.pending().any(|step| choice.backend.carries_out(step)) {
        consent::to_provision(engine, choice, &plan, want, agreed).await?;
        let text = format!("making {} ready", choice.name);
        engine.cx.observer.observe(Event::Stage { stage: Stage::Provision, system: None, text });
    }
    choice.backend.provision(&engine.cx, &plan).await?;
    match choice.backend.plan(&engine.cx, want).await?.pending().next() {
        None => Ok(plan),
        Some(step) => Err(Error::new(&PENDING, format!("{} is still not ready", choice.name))
            .because(format!("this step had no effect: {}", step.title))
            .remedy(Remedy::command("see the steps", "nixoci plan"))),
    }
}

/// Stops or removes the backends that were named, else the one that a build would take.
///
/// # Errors
/// Those of selection; [`NOT_REMOVED`](crate::CODES) if nobody agrees; the backend's own.
pub async fn put_away(engine: &Engine<'_>, job: &ProvisionJob, how: PutAway) -> Result<PutAwayReport> {
    let mut backends = Vec::new();
    for (name, backend) in to_put_away(engine, job).await? {
        if how == PutAway::Remove {
            // Where nixoci has set nothing up there is nothing to undo, and the backend says so.
            let what = backend.removable(&engine.cx).await;
            if !what.is_empty() {
                consent::to_remove(engine, &name, &what, job.agreed).await?;
            }
        }
        let release = match how {
            PutAway::Stop => Release::Stop,
            PutAway::Remove => Release::Remove,
        };
        backend.release(&engine.cx, release).await?;
        backends.push(name);
    }
    Ok(PutAwayReport { version: 1, how, backends })
}

async fn to_put_away(engine: &Engine<'_>, job: &ProvisionJob) -> Result<Vec<(String, Arc<dyn Backend>)>> {
    if job.named {
        let made = made(engine.registry, &job.backends, &job.backend_tables)?;
        return Ok(made.into_iter().map(|made| (made.descriptor.name.into_owned(), made.backend)).collect());
    }
    let chosen = chosen(engine, job).await?;
    Ok(chosen.into_iter().map(|(choice, _)| (choice.name, choice.backend)).collect())
}

/// What a person adds to their machine's configuration to have a builder: of the first backend that has something to say, and
/// its name.
///
/// # Errors
/// `nixoci::provision::nothing_to_write`; those of the backends' settings.
pub async fn configuration(engine: &Engine<'_>, job: &ProvisionJob) -> Result<(String, Configuration)> {
    let all = || engine.registry.iter().map(|factory| factory.descriptor().name.into_owned()).collect();
    let names = if job.named { job.backends.clone() } else { all() };
    let mut why = Vec::new();
    for made in made(engine.registry, &names, &job.backend_tables)? {
        match made.backend.configuration(&engine.cx).await {
            Ok(Some(configuration)) => return Ok((made.descriptor.name.into_owned(), configuration)),
            Ok(None) => {}
            Err(error) => why.push(format!("{}: {error}", made.descriptor.name)),
        }
    }
    let error = Error::new(&NOTHING_TO_WRITE, NOTHING_TO_WRITE.title);
    Err(why.into_iter().fold(error, Error::because))
}
