//! What `doctor` looks at.

use nixoci_core::backend::{Check, CheckVerdict, Cx};
use nixoci_core::platform::NixSystem;
use nixoci_core::{Remedy, Result};
use nixoci_nix::Machine;
use nixoci_nix::mac::{Known, refusal};

use crate::Rosetta;
use crate::error::NONE;
use crate::plan::{INSTALL, is_installed, require_apple_silicon};

pub(crate) async fn checks(cx: &Cx<'_>, rosetta: &Rosetta) -> Result<Vec<Check>> {
    require_apple_silicon(cx.host)?;
    let machines = rosetta.builders.machines(cx).await?;
    let mut checks = vec![installed(cx)];
    if machines.is_empty() {
        let remedies = vec![Remedy::command("see how to set one up", "nixoci plan --backend rosetta")];
        // Whoever wants one CPU only has no use for it.
        checks.push(check("builder", NONE.title.to_owned(), CheckVerdict::Warning, remedies));
    }
    for machine in machines {
        checks.push(builder(cx, machine).await);
    }
    Ok(checks)
}

fn installed(cx: &Cx<'_>) -> Check {
    if is_installed(cx.host) {
        return check("Rosetta", "installed".to_owned(), CheckVerdict::Good, Vec::new());
    }
    let remedies = vec![Remedy::command("install it, for linux/amd64", INSTALL)];
    check("Rosetta", "not installed".to_owned(), CheckVerdict::Warning, remedies)
}

async fn builder(cx: &Cx<'_>, machine: &Machine) -> Check {
    let systems: Vec<&str> = machine.systems.iter().map(NixSystem::as_str).collect();
    let known = Known::named(machine.host());
    let title = known.map_or(machine.host(), |known| known.title);
    let asleep =
        if known.is_some_and(|known| known.wakes) { " (not asked: that would start it)" } else { "" };
    let detail = format!("{title}: {}{asleep}", systems.join(", "));
    match refusal(cx, machine).await {
        None => check(machine.host(), detail, CheckVerdict::Good, Vec::new()),
        Some(error) => {
            let why = error.report().causes.first().cloned().unwrap_or_default();
            let detail = format!("{detail}: {error} ({why})");
            check(machine.host(), detail, CheckVerdict::Bad, error.report().remedies.clone())
        }
    }
}

fn check(title: &str, detail: String, verdict: CheckVerdict, remedies: Vec<Remedy>) -> Check {
    Check { title: title.to_owned(), detail, verdict, remedies }
}
