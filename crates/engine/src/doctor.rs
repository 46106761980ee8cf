//! Everything that could stand in the way, with the fix.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use nixoci_core::backend::{Check, CheckVerdict, Cx};
use nixoci_core::config::BackendTable;
use nixoci_core::registry::Registry;
use nixoci_core::{Error, Result};
use nixoci_image::runtime::docker::{Docker, Store};
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
    /// About container runtimes, by name.
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
    let (status, backends, docker) =
        tokio::join!(survey(cx, registry, tables), probes(cx, registry, tables), docker(cx, docker_host));
    let (status, backends) = (status?, backends?);
    // What a look at the machine alone does not show, a probe does: a daemon that refuses this user.
    let fit = |name: &str| backends.get(name).is_none_or(|checks| !checks.iter().any(is_bad));
    let ready = status.iter().any(|backend| {
        fit(&backend.descriptor.name) && backend.offers.iter().any(|offer| offer.readiness.rank().is_some())
    });
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
        runtimes: BTreeMap::from([("docker".to_owned(), docker)]),
    })
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
    for factory in registry.iter() {
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

async fn docker(cx: &Cx<'_>, host: Option<String>) -> Vec<Check> {
    match Docker::new(host).ask(cx).await {
        Ok(info) => vec![Check {
            title: "docker".to_owned(),
            detail: format!(
                "{}, {} at {}, {}",
                info.server_version,
                store(info.store),
                info.endpoint,
                info.platform
            ),
            verdict: CheckVerdict::Good,
            remedies: Vec::new(),
        }],
        // Images can go to files: a missing runtime stands in the way of --load and run only.
        Err(error) => vec![Check { verdict: CheckVerdict::Warning, ..failed("docker", &error) }],
    }
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
