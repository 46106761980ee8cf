//! What `doctor` looks at on a Mac.

use nixoci_core::backend::{Check, CheckVerdict, Cx};
use nixoci_core::platform::NixSystem;
use nixoci_core::{Remedy, Result};
use nixoci_nix::mac::{Known, refusal};
use nixoci_nix::{Machine, Nix};

use crate::error;

/// `own` is how things stand with a builder of nixoci's own, where there may be one.
pub(crate) async fn checks(
    cx: &Cx<'_>,
    nix: &Nix,
    machines: &[Machine],
    own: Option<Check>,
) -> Result<Vec<Check>> {
    let mut checks = vec![check("version", nix.version().to_string(), CheckVerdict::Good, Vec::new())];
    if let Some(own) = own {
        checks.push(own);
    } else if machines.is_empty() {
        let remedies = vec![Remedy::command("see how to set one up", "nixoci plan --backend darwin-builder")];
        checks.push(check("Linux builder", error::NO_BUILDER.title.to_owned(), CheckVerdict::Bad, remedies));
    }
    for machine in machines {
        checks.push(builder(cx, machine).await);
    }
    Ok(checks)
}

async fn builder(cx: &Cx<'_>, machine: &Machine) -> Check {
    let host = machine.host();
    let systems: Vec<&str> = machine.systems.iter().map(NixSystem::as_str).collect();
    let jobs =
        if machine.max_jobs == 1 { "one job".to_owned() } else { format!("{} jobs", machine.max_jobs) };
    let detail = format!("{}, {jobs}", systems.join(", "));
    let detail = match Known::named(host) {
        Some(known) if known.wakes => format!("{}: {detail} (not asked: that would start it)", known.title),
        Some(known) => format!("{}: {detail}", known.title),
        None => detail,
    };
    match refusal(cx, machine).await {
        None => check(host, detail, CheckVerdict::Good, Vec::new()),
        Some(error) => {
            let why = error.report().causes.first().cloned().unwrap_or_default();
            let detail =
                format!("{detail}: {} ({why})", error.to_string().trim_start_matches(&format!("{host}: ")));
            check(host, detail, CheckVerdict::Bad, error.report().remedies.clone())
        }
    }
}

fn check(title: &str, detail: String, verdict: CheckVerdict, remedies: Vec<Remedy>) -> Check {
    Check { title: title.to_owned(), detail, verdict, remedies }
}
