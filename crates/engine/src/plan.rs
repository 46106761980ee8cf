//! What a build would do, without doing it.

use nixoci_core::Result;
use nixoci_core::artifact::StorePath;
use nixoci_core::backend::{Depth, Forecast, How, Verdict};
use nixoci_core::config::Runtime;
use nixoci_core::plan::ProvisionPlan;
use nixoci_core::platform::{NixSystem, OciPlatform};
use nixoci_core::registry::{Rejection, nobody};
use nixoci_core::request::{BuildRequest, Installable};
use schemars::JsonSchema;
use serde::Serialize;

use crate::Engine;
use crate::choose::{Choice, Choices, Pool, choose};
use crate::consent::has_to_entrust;
use crate::job::{Job, LoadSink};

/// What a build would do.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanReport {
    /// The version of this document.
    pub version: u32,
    /// What would be built.
    pub installable: Installable,
    /// One for each platform.
    pub platforms: Vec<PlatformPlan>,
    /// Where the image would go.
    pub destinations: Vec<String>,
}

/// What a build would do for one platform.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlatformPlan {
    /// Which platform.
    pub platform: OciPlatform,
    /// As Nix names it.
    pub system: NixSystem,
    /// Who would build.
    pub backend: String,
    /// How.
    pub how: How,
    /// Who would take over, best first.
    pub alternatives: Vec<String>,
    /// What a build by those would do, where the cost of this one is worth a comparison.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub compared: Vec<Compared>,
    /// Who cannot, and why.
    pub rejected: Vec<Rejection>,
    /// What it takes to make the backend ready.
    pub provision: ProvisionPlan,
    /// What Nix would do.
    pub forecast: Forecast,
    /// Whether the output is there already.
    pub up_to_date: bool,
}

/// What a build by another backend would do.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Compared {
    /// Whose.
    pub backend: String,
    /// What Nix would do there, as far as can be said without waking anything up.
    pub forecast: Forecast,
}

/// Finds out what a build would do. Changes nothing and wakes nothing up.
///
/// # Errors
/// Those of selection and evaluation.
pub async fn plan(engine: &Engine<'_>, job: &Job) -> Result<PlanReport> {
    let mut platforms = Vec::new();
    let pool = Pool::new(engine, &job.backends, &job.backend_tables)?;
    for (platform, system) in job.systems()? {
        platforms.push(plan_one(engine, job, &pool, platform, system).await?);
    }
    Ok(PlanReport {
        version: 1,
        installable: job.installable.clone(),
        platforms,
        destinations: destinations(job),
    })
}

async fn plan_one(
    engine: &Engine<'_>,
    job: &Job,
    pool: &Pool,
    platform: OciPlatform,
    system: NixSystem,
) -> Result<PlatformPlan> {
    let Choices { mut able, mut rejected } = choose(engine, pool, &system).await?;
    let request = job.request(system.clone());
    loop {
        let Some(choice) = able.pop_front() else { return Err(nobody(&system, &rejected)) };
        let provision = choice.backend.plan(&engine.cx, std::slice::from_ref(&system)).await?;
        let forecast = forecast_of(engine, job, &choice, &request).await?;
        // As for a build: who declines is followed by the next.
        if let Verdict::Decline { error } = forecast.verdict {
            rejected.push(Rejection { backend: choice.name, error });
            continue;
        }
        let mut compared = Vec::new();
        if forecast.cost.is_some() {
            for other in &able {
                // A comparison that cannot be made is none.
                if let Ok(forecast) = forecast_of(engine, job, other, &request).await {
                    compared.push(Compared { backend: other.name.clone(), forecast });
                }
            }
        }
        let idle = |paths: &[StorePath]| paths.is_empty();
        return Ok(PlatformPlan {
            platform,
            backend: choice.name.clone(),
            how: choice.offer.how,
            alternatives: able.into_iter().map(|other| other.name).collect(),
            compared,
            rejected,
            provision,
            up_to_date: forecast.drv.is_some() && idle(&forecast.will_build) && idle(&forecast.will_fetch),
            forecast,
            system,
        });
    }
}

/// What Nix would do there. A plan gives no project the user's credentials.
async fn forecast_of(
    engine: &Engine<'_>,
    job: &Job,
    choice: &Choice,
    request: &BuildRequest,
) -> Result<Forecast> {
    let Some(entrust) = has_to_entrust(engine, choice, job)? else {
        return choice.backend.forecast(&engine.cx, request, Depth::Full).await;
    };
    engine.cx.observer.info(format!(
        "{} is not evaluated: {} would do that with {}, and asks before the first build",
        entrust.source,
        choice.name,
        entrust.names.join(", ")
    ));
    Ok(Forecast::unknown())
}

fn destinations(job: &Job) -> Vec<String> {
    let mut all: Vec<String> = job.sinks.outputs.iter().map(ToString::to_string).collect();
    let runtime = |sink: &LoadSink| sink.runtime.map_or("the container runtime that runs", Runtime::name);
    all.extend(job.sinks.load.as_ref().map(|sink| runtime(sink).to_owned()));
    all.extend(job.sinks.link.as_ref().map(|link| link.shown.clone()));
    all
}
