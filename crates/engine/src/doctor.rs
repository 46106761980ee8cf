//! Everything that could stand in the way, with the fix.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use nixoci_core::backend::{Check, CheckVerdict, Cx, Offer, Readiness};
use nixoci_core::config::{BackendTable, Runtime};
use nixoci_core::registry::Registry;
use nixoci_core::{Error, ErrorKind, Result};
use nixoci_image::runtime::{self, Ready, Store};
use schemars::JsonSchema;
use serde::Serialize;

use crate::choose::survey;

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

/// Looks at everything. Changes nothing.
///
/// # Errors
/// Those of the backends' settings.
pub async fn doctor(
    cx: &Cx<'_>,
    registry: &Registry,
    tables: &BTreeMap<String, Vec<BackendTable>>,
    docker_host: Option<String>,
) -> Result<Doctor> {
    let (status, backends, runtimes) = tokio::join!(
        survey(cx, registry, tables),
        probes(cx, registry, tables),
        runtimes(cx, docker_host.as_deref())
    );
    let (status, backends) = (status?, backends?);
    // What a look at the machine alone does not show, a probe does: a daemon that refuses this user.
    let fit = |name: &str| backends.get(name).is_none_or(|checks| !checks.iter().any(is_bad));
    let ready =
        status.iter().any(|backend| fit(&backend.descriptor.name) && backend.offers.iter().any(usable));
    Ok(Doctor {
        version: 1,
        ready,
        host: vec![Check {
            title: "host".to_owned(),
            detail: format!("{}, {} CPUs", cx.host.system, cx.host.cpus),
            verdict: CheckVerdict::Good,
            remedies: Vec::new(),
        }],
        backends,
        runtimes,
    })
}

/// Whether a build can begin without anybody's help.
fn usable(offer: &Offer) -> bool {
    matches!(offer.readiness, Readiness::Ready | Readiness::Asleep | Readiness::Startable)
}

fn is_bad(check: &Check) -> bool {
    check.verdict == CheckVerdict::Bad
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
        let checks = backend.probe(cx).await.unwrap_or_else(|error| vec![failed(&name, &error)]);
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
        Ok(ready) => Check {
            title: name.to_owned(),
            detail: describe(&ready),
            verdict: CheckVerdict::Good,
            remedies: Vec::new(),
        },
        // Images can go to files: a missing runtime stands in the way of --load and run only.
        Err(error) => Check { verdict: CheckVerdict::Warning, ..failed(name, &error) },
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

fn failed(title: &str, error: &Error) -> Check {
    let mut causes = error.report().causes.clone();
    if causes.is_empty() {
        // What the program said last is the best hint then.
        causes.extend(error.report().log_tail.last().cloned());
    }
    let why = if causes.is_empty() { String::new() } else { format!(": {}", causes.join(": ")) };
    Check {
        title: title.to_owned(),
        detail: format!("{error}{why}"),
        verdict: CheckVerdict::Bad,
        remedies: error.report().remedies.clone(),
    }
}
