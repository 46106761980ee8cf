//! Everything that could stand in the way, with the fix.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use nixoci_core::backend::{Check, CheckVerdict, Cx, Offer, Readiness};
use nixoci_core::codes::CANCELLED;
use nixoci_core::config::{BackendTable, Runtime};
use nixoci_core::platform::NixSystem;
use nixoci_core::registry::Registry;
use nixoci_core::{ErrorKind, Result};
use nixoci_image::runtime::{self, Ready, Store};
use schemars::JsonSchema;
use serde::Serialize;

use crate::choose::{BackendStatus, Made, made, survey};

/// The findings.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Doctor {
    /// The version of this document.
    pub version: u32,
    /// Whether some backend can build right now.
    pub ready: bool,
    /// About this machine.
    pub host: Vec<Check>,
    /// About each backend, by name.
    pub backends: BTreeMap<String, Vec<Check>>,
    /// About the container runtimes that are installed, by name; about Docker, if none is.
    pub runtimes: BTreeMap<String, Vec<Check>>,
}

/// How closely to look.
#[derive(Clone, Debug, Default)]
pub struct Examination {
    /// Docker's endpoint, if it is not to be found as Docker finds it.
    pub docker_host: Option<String>,
    /// Whether every backend that is ready has to build something tiny, for each of its systems.
    pub build: bool,
}

/// Looks at everything. Changes nothing, throw-away builds aside.
///
/// # Errors
/// Those of the backends' settings; [`nixoci_core::codes::CANCELLED`].
pub async fn doctor(
    cx: &Cx<'_>,
    registry: &Registry,
    tables: &BTreeMap<String, Vec<BackendTable>>,
    how: &Examination,
) -> Result<Doctor> {
    let (status, backends, runtimes) = tokio::join!(
        survey(cx, registry, tables),
        probes(cx, registry, tables),
        runtimes(cx, how.docker_host.as_deref())
    );
    let (status, mut backends) = (status?, backends?);
    // What a look at the machine alone does not show, a probe does: a daemon that refuses this user.
    let fit = |name: &str| backends.get(name).is_none_or(|checks| !checks.iter().any(is_bad));
    // Who only builds when named makes nobody's machine ready.
    let usable = |backend: &&BackendStatus| {
        backend.descriptor.automatic && fit(&backend.descriptor.name) && backend.can_build()
    };
    let able: Vec<&BackendStatus> = status.iter().filter(usable).collect();
    let mut ready = !able.is_empty();
    if how.build {
        let proofs = proofs(cx, registry, tables, &able).await?;
        // A backend that builds for one system of several is ready, and what it does not build for is said.
        ready = proofs.iter().any(|(_, checks)| checks.iter().any(|check| !is_bad(check)));
        for (name, checks) in proofs {
            backends.entry(name).or_default().extend(checks);
        }
    }
    Ok(Doctor {
        version: 1,
        ready,
        host: vec![Check::good("host", format!("{}, {} CPUs", cx.host.system, cx.host.cpus))],
        backends,
        runtimes,
    })
}

fn is_bad(check: &Check) -> bool {
    check.verdict == CheckVerdict::Bad
}

/// What comes of building something tiny, one backend after the other: several may have one builder.
async fn proofs(
    cx: &Cx<'_>,
    registry: &Registry,
    tables: &BTreeMap<String, Vec<BackendTable>>,
    able: &[&BackendStatus],
) -> Result<Vec<(String, Vec<Check>)>> {
    let names: Vec<String> = able.iter().map(|status| status.descriptor.name.clone().into_owned()).collect();
    let mut proofs = Vec::new();
    for ((status, name), Made { backend, .. }) in able.iter().zip(&names).zip(made(registry, &names, tables)?)
    {
        let checks = match backend.prove(cx, &ready_systems(&status.offers)).await {
            Err(error) if error.is(&CANCELLED) => return Err(error),
            Err(error) => vec![Check::failed("a tiny build", &error)],
            Ok(checks) => checks,
        };
        proofs.push((name.clone(), checks));
    }
    Ok(proofs)
}

/// The systems that can be built for without provisioning.
fn ready_systems(offers: &[Offer]) -> Vec<NixSystem> {
    let ready = |offer: &&Offer| matches!(offer.readiness, Readiness::Ready | Readiness::Asleep);
    let mut systems: Vec<NixSystem> = Vec::new();
    for offer in offers.iter().filter(ready) {
        if !systems.contains(&offer.system) {
            systems.push(offer.system.clone());
        }
    }
    systems
}

async fn probes(
    cx: &Cx<'_>,
    registry: &Registry,
    tables: &BTreeMap<String, Vec<BackendTable>>,
) -> Result<BTreeMap<String, Vec<Check>>> {
    let mut made = Vec::new();
    for factory in registry.iter().filter(|factory| factory.descriptor().is_for(cx.host)) {
        let name = factory.descriptor().name.into_owned();
        let backend = factory.create(tables.get(&name).map_or(&[], Vec::as_slice))?;
        made.push((name, backend));
    }
    let probes = made.into_iter().map(|(name, backend)| async move {
        let checks = backend.probe(cx).await.unwrap_or_else(|error| vec![Check::failed(&name, &error)]);
        (name, checks)
    });
    Ok(join_all(probes).await.into_iter().collect())
}

async fn runtimes(cx: &Cx<'_>, docker_host: Option<&str>) -> BTreeMap<String, Vec<Check>> {
    let ask = |runtime| async move { (runtime, runtime::ask(cx, runtime, docker_host).await) };
    let mut answers = join_all(Runtime::ALL.into_iter().map(ask)).await;
    let missing =
        |answer: &Result<Ready>| answer.as_ref().is_err_and(|error| error.kind() == ErrorKind::ToolMissing);
    let none = answers.iter().all(|(_, answer)| missing(answer));
    answers.retain(|(runtime, answer)| !missing(answer) || none && *runtime == Runtime::Docker);
    let check = |(runtime, answer): (Runtime, Result<Ready>)| {
        (runtime.name().to_owned(), vec![check_runtime(runtime.name(), answer)])
    };
    answers.into_iter().map(check).collect()
}

fn check_runtime(name: &str, answer: Result<Ready>) -> Check {
    match answer {
        Ok(ready) => Check::good(name, describe(&ready)),
        // Images can go to files: a missing runtime stands in the way of --load and run only.
        Err(error) => Check { verdict: CheckVerdict::Warning, ..Check::failed(name, &error) },
    }
}

fn describe(ready: &Ready) -> String {
    let about = ready.about();
    let store =
        if let Ready::Docker(_, info) = ready { format!("{} ", store(info.store)) } else { String::new() };
    let platform = about.platform.map(|platform| format!(", {platform}")).unwrap_or_default();
    format!("{}, {store}{}{platform}", about.version, about.place)
}

fn store(store: Store) -> &'static str {
    match store {
        Store::Classic => "classic store",
        Store::Containerd => "containerd store",
    }
}
